"""How a persona's text is worded, and whether the sentence of a template can take it.

    >>> wording("You are Sherlock. You never lie.")
    <Wording.PROMPT: 'prompt'>
    >>> wording("a night nurse who hums")  # None: completes "You are …"

A whole prompt, put into a template, becomes "You are You are Sherlock": it is refused, never mended. The openings that
tell one are data (``data/openings.yaml``), for some ninety languages. A text that none of them matches counts as a
description.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

import yaml

from personaeval.errors import UsageError
from personaeval.library.personas import Persona

_DATA = Path(__file__).parent / "data" / "openings.yaml"

_HEAD = 200
"""Characters of a text, or of one of its lines, that are looked at."""

_LINES = 40

_SHOWN = 5

_INDEXED = 2


class Wording(StrEnum):
    """A text that is no description of a person to put after "You are"."""

    PROMPT = "prompt"
    FIRST = "first person"
    THIRD = "third person"
    LIST = "list"


class Fit(StrEnum):
    """What the sentence of a template can take.

    Attributes:
        ANYTHING: the text stands in lines of its own; ``VERBATIM`` is the template that adds nothing at all.
        DESCRIPTION: any description of a person, also in sentences ("Description of the person: …").
        COMPLETION: words that complete a sentence ("You are …").
    """

    VERBATIM = "verbatim"
    ANYTHING = "anything"
    DESCRIPTION = "description"
    COMPLETION = "completion"

    def takes(self, found: Wording | None) -> bool:
        """Whether a text of this wording makes a sentence."""
        if found is None or self in (Fit.VERBATIM, Fit.ANYTHING):
            return True
        return self is Fit.DESCRIPTION and found is not Wording.PROMPT


@dataclass(frozen=True, slots=True)
class _Opening:
    phrase: str
    kind: Wording
    is_word: bool


@dataclass(frozen=True, slots=True)
class _Openings:
    by_head: dict[str, tuple[_Opening, ...]]
    ends: tuple[str, ...]
    joined_ends: tuple[str, ...]
    copula: re.Pattern[str]


def wording(text: str) -> Wording | None:
    """How a text is worded, if it is no description that completes "You are …"."""
    lines = [line for line in text.splitlines() if line.strip()][:_LINES]
    if any(_opens(line) is Wording.PROMPT for line in lines):
        return Wording.PROMPT
    if _ends_as_prompt(text):
        return Wording.PROMPT
    if len(lines) > 1 and all(_BULLET.match(line) for line in lines):
        return Wording.LIST
    found = _opens(text)
    if found is None and _table().copula.match(text.lstrip()):
        found = Wording.THIRD
    return found


_BULLET = re.compile(r"\s*(?:[-*+•‣◦·–—]|\d{1,3}[.)])\s")

_LABEL = re.compile(
    r"(?:(?:system(?: prompt| message)?|prompt|instructions?)\s*[:>\]-]\s*|"
    r"(?:hi|hello|hey|ok|okay|please|now|so|well|alright)(?: there)?[,!.:]*\s+)"
)

_DIACRITICS = re.compile("[\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u200b-\u200f\u2066-\u2069]")
"""Vowel points of Hebrew and Arabic, which most writers leave out, and invisible marks."""


def _unify(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'").replace("‘", "'")
    return " ".join(_DIACRITICS.sub("", text).split())


def _opens(text: str) -> Wording | None:
    head = _unify(text[:_HEAD])
    for _ in range(3):
        start = next((place for place, sign in enumerate(head) if sign.isalnum()), len(head))
        head = head[start:]
        for opening in _openings_like(head):
            if head.startswith(opening.phrase) and not (opening.is_word and _continues(head, len(opening.phrase))):
                return opening.kind
        label = _LABEL.match(head)
        if label is None:
            return None
        head = head[label.end() :]
    return None


def _openings_like(head: str) -> Iterable[_Opening]:
    by_head = _table().by_head
    return (*by_head.get(head[:_INDEXED], ()), *by_head.get(head[:1], ()))


def _continues(text: str, place: int) -> bool:
    """Whether the word before a place goes on there; vowel signs of Indic scripts are marks, not letters."""
    return place < len(text) and unicodedata.category(text[place])[0] in "LMN"


def _ends_as_prompt(text: str) -> bool:
    last = _unify(text[-_HEAD:]).rstrip(" .!?。！？।॥۔؟\"'」』”…")
    table = _table()
    if last.endswith(table.joined_ends):
        return True
    found = next((end for end in table.ends if last.endswith(end)), None)
    return found is not None and (len(last) == len(found) or not last[-len(found) - 1].isalnum())


@cache
def _table() -> _Openings:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    languages = yaml.load(_DATA.read_text(encoding="utf-8"), loader)  # noqa: S506
    by_head: dict[str, list[_Opening]] = {}
    ends: dict[bool, set[str]] = {True: set(), False: set()}
    copulas: set[str] = set()
    for code, entry in languages.items():
        spaced = entry.get("spaced", True)
        for key, kind in (("prompt", Wording.PROMPT), ("first", Wording.FIRST), ("third", Wording.THIRD)):
            for phrase in _phrases(entry.get(key, "")):
                plain = phrase.removesuffix("*")
                is_word = spaced and plain == phrase and plain[-1].isalnum()
                by_head.setdefault(plain[:_INDEXED], []).append(_Opening(plain, kind, is_word))
        # Korean endings are written on to the verb.
        ends[spaced and code != "ko"].update(_phrases(entry.get("ends", "")))
        copulas.update(_phrases(entry.get("copula", "")))
    longest_first = {
        head: tuple(sorted(found, key=lambda opening: -len(opening.phrase))) for head, found in by_head.items()
    }
    verbs = "|".join(re.escape(verb) for verb in sorted(copulas, key=len, reverse=True))
    return _Openings(longest_first, tuple(ends[True]), tuple(ends[False]), re.compile(rf"{_NAME}(?:{verbs})(?!\w)"))


_NAME = r"(?:[A-ZÀ-ÖØ-ÞĀ-ŽΑ-ΩА-ЯЁІЇЄҐ][\w.'’-]*,? ){1,4}"


def _phrases(entries: str) -> list[str]:
    return [phrase for entry in entries.split("|") if (phrase := _unify(entry))]


_MACRO = re.compile(r"\{\{\s*[A-Za-z_/][^{}\n]{0,60}\}\}|<(?:USER|BOT|CHAR)>", re.IGNORECASE)

_BLANK = re.compile(r"(?<!\{)\{[A-Za-z_][A-Za-z0-9_ ]{0,30}\}(?!\})|\$\{[^{}\n]{1,60}\}")


def macros(text: str) -> list[str]:
    """Macros of character cards that nobody has filled in: {{char}}, {{user}}, <BOT>."""
    return list(dict.fromkeys(_MACRO.findall(text)))


def blanks(text: str) -> list[str]:
    """What looks like a blank to fill in, but may be meant: {character}, ${topic}."""
    return list(dict.fromkeys(_BLANK.findall(text)))


def refuse_misfits(named: str, texts: Iterable[tuple[str, str]], fit: Fit, is_file: bool = True) -> None:
    """Refuse texts that the sentence of the run's template would garble, and texts with macros left in them.

    Args:
        named: the file or set, for messages.
        texts: each text with its place: a row or an id.
        fit: what the template takes.
        is_file: whether it is a data file, with columns; else a YAML file, with keys.

    Raises:
        UsageError: names the places and the remedies.
    """
    texts = list(texts)
    left = [(where, held) for where, text in texts if (held := macros(text))]
    if left:
        kinds = ", ".join(dict.fromkeys(macro for _, held in left for macro in held[:_SHOWN]))
        raise UsageError(
            f"{named}: {len(left):,} of {len(texts):,} texts hold macros of a character card that nobody has filled in "
            f"({kinds}): {_some([where for where, _ in left])}. Replace them in the file: {{{{char}}}} by the "
            "character's name, {{user}} by the name or role of whoever asks."
        )
    found: dict[Wording, list[tuple[str, str]]] = {}
    for where, text in texts:
        kind = wording(text)
        if kind is not None and not fit.takes(kind):
            found.setdefault(kind, []).append((where, text))
    if found:
        raise UsageError(_explain(named, len(texts), found, is_file))


def refuse_misfit_personas(named: str, personas: Sequence[Persona], fit: Fit | None) -> None:
    """Refuse personas of a set whose texts a template cannot take, and macros in any text.

    Raises:
        UsageError: names the personas and the remedies.
    """
    own = [(f"persona {persona.id!r}", persona) for persona in personas if not persona.is_baseline]
    whole = [(place, persona.prompt) for place, persona in own if persona.prompt is not None]
    described = [(place, persona.text) for place, persona in own if persona.prompt is None]
    refuse_misfits(named, whole, Fit.VERBATIM, is_file=False)
    refuse_misfits(named, described, fit or Fit.VERBATIM, is_file=False)


def _explain(named: str, count: int, found: dict[Wording, list[tuple[str, str]]], is_file: bool) -> str:
    kinds = {
        Wording.PROMPT: "speak to the model, as a whole prompt does",
        Wording.FIRST: "are in the first person",
        Wording.THIRD: "are sentences in the third person",
        Wording.LIST: "are lists",
    }
    lines = [
        f'{named}: {len(texts):,} of {count:,} texts {kinds[kind]} ("{_beginning(texts[0][1])}"), and cannot go into '
        f"the sentence of the template: {_some([where for where, _ in texts])}."
        for kind, texts in sorted(found.items(), key=lambda pair: list(kinds).index(pair[0]))
    ]
    sentences = "" if Wording.PROMPT in found else "To introduce sentences as such: --template described. "
    lines.append(
        f"{sentences}To send every text as it is: --template verbatim. If only some texts are whole prompts, "
        + "give those "
        + ("a column `prompt`, which is sent as it is." if is_file else "the key `prompt` in place of `text`.")
    )
    return "\n".join(lines)


def _beginning(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 40 else f"{line[:40]}…"


def _some(places: Sequence[str]) -> str:
    more = f" and {len(places) - _SHOWN:,} more" if len(places) > _SHOWN else ""
    return ", ".join(places[:_SHOWN]) + more
