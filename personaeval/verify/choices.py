"""Choices: the letters and texts of a multiple-choice item, and where a text mentions them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from personaeval.verify.markers import OTHER_LETTERS, SCRIPT_LETTERS
from personaeval.verify.normalise import lowered, prose, unify, untex
from personaeval.verify.vocabulary import alternation

_PRONOUNS = frozenset("AIEOUY")

_FOREIGN = {sign: "ABCDE"[place] for signs in SCRIPT_LETTERS for place, sign in enumerate(signs)} | OTHER_LETTERS

_CONTINUES = re.compile(
    r"[ \t](?:because|since|as|which|is|it|and|or|for|be|was|seems|would|must|by|with|thanks|matey|"
    r"arr|of course|obviously|"
    r"clearly|definitely|surely|indeed|it's|aye|but|not|nor|cannot|can't|isn't|are|we|you|ist|est|es|è|é|e|y|et|und|oder|o|ou|car|weil|porque|perché|er|är|on|jest|to|ni)(?!\w)"
)


@dataclass(frozen=True, slots=True)
class Mention:
    """A mention of a choice in a text.

    Attributes:
        letter: the choice's letter.
        start, end: its place in the text.
        rejected: whether the text names the choice only to rule it out.
        marked: whether the letter is in brackets or before a sign typical of choice letters.
    """

    letter: str
    start: int
    end: int
    rejected: bool = False
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices of an item.

    Attributes:
        letters: the letters that name a choice.
        texts: the choices' texts, plain and in lower case, in order; empty if unknown.
        codes: languages of the text to read.
    """

    letters: str
    texts: tuple[str, ...]
    codes: tuple[str, ...] = ("en",)


@lru_cache(maxsize=4096)
def lettered(choices: tuple[str, ...]) -> Choices:
    """An item's choices from their texts; 26 letters without texts."""
    letters = "".join(chr(ord("A") + place) for place in range(min(len(choices), 26) or 26))
    return Choices(letters, tuple(plain(choice) for choice in choices[:26]))


def plain(text: str) -> str:
    """A text in lower case, without markup, quotes, full stop and doubled spaces, so that it is found in another."""
    low = lowered(untex(prose(unify(text)))).replace("$", " ")
    return " ".join(re.sub(r"[\"'`]", "", low).split()).strip(" .;,!")


@lru_cache(maxsize=512)
def _tokens(letters: str, codes: tuple[str, ...]) -> re.Pattern[str]:
    """Pattern of choice letters and of the words that accept or reject them."""
    small = letters.lower()
    last = letters[-1]
    return re.compile(
        rf"(?P<letter>(?<![\w\\^])(?:[\[(]\s?(?P<bracketed>[A-{last}a-{last.lower()}])\s?[\])]|(?P<capital>[A-{last}])(?![A-Za-zÀ-ɏ0-9])|"
        rf"(?P<small>[{small[0]}-{small[-1]}])(?=\)))|(?<=[\u0e00-\u9fff\uac00-\ud7af])(?P<joined>[A-{last}])(?![A-Za-z0-9]))|"
        rf"(?P<negation>{alternation('negation', codes=codes)})|(?P<wrong>{alternation('wrong', codes=codes)})|"
        rf"(?P<so>{alternation('so', codes=codes)}|(?<!\w)(?:but|aber|pero|mais|mas|ma|но|sondern|sino|"
        rf"only|leaves|because|since|as|weil|porque|car)(?!\w)|但|而是)|(?P<end>[.!?;\n])",
    )


_COPULA_BEFORE = re.compile(
    r"(?:is|are|was|be|can|could|does|do|did|ist|sind|est|es|è|é|ne|to|on|är|er|是|ni)\s?$|n't$|cannot$|can't$"
)


def mentions(text: str, start: int, end: int, given: Choices) -> list[Mention]:
    """The choices named between two places of a text.

    Args:
        text: unified, without markup, in its own case.
        start, end: the passage.
        given: the item's choices.
    """
    found: list[Mention] = []
    rejects = False
    clause: list[int] = []
    first = start + len(text[start:end]) - len(text[start:end].lstrip(" \"'([{*_:|,"))
    mixed = _mixed(text, start, end)
    for token in _tokens(given.letters, given.codes).finditer(mixed, start, end):
        kind = token.lastgroup if token.lastgroup in ("negation", "wrong", "so", "end") else "letter"
        if kind == "letter":
            mention = _mention(text, token, first, given, rejects)
            if mention is not None:
                clause.append(len(found))
                found.append(mention)
        elif kind == "negation":
            if (
                (
                    clause
                    and _COPULA_BEFORE.search(mixed[max(start, token.start() - 8) : token.start()])
                    and not re.match(r"\s[(\[]?[A-Z]\b", text[token.end() : token.end() + 4])
                )
                or (clause and re.fullmatch(r"isn't|can't|cannot|aren't|ain't|doesn't|won't|isnt", token[0]))
                or (clause and token[0] in ("eliminated",))
            ):
                _reject(found, clause)
            else:
                rejects = True
        elif kind == "wrong":
            if not rejects:  # "if I am not mistaken"
                _reject(found, clause)
            rejects = False
            clause = []
        else:
            rejects = False
            clause = []
    return found


def _mixed(text: str, start: int, end: int) -> str:
    """Lower case but for single letters, so that one pattern finds both letters and words."""
    low = lowered(text[start:end])
    part = re.sub(r"(?<![A-Za-z'])[A-Z](?![A-Za-z])", lambda m: m[0], text[start:end])
    merged = "".join(
        a if a.isupper() and not _neighbours(part, place) else b
        for place, (a, b) in enumerate(zip(part, low, strict=True))
    )
    return " " * start + merged


def _neighbours(text: str, place: int) -> bool:
    before = text[place - 1 : place] if place else ""
    after = text[place + 1 : place + 2]
    return (before.isalpha() and before < "\u0e00") or (after.isalpha() and after < "\u0e00")


def _mention(text: str, token: re.Match[str], first: int, given: Choices, rejects: bool) -> Mention | None:
    sign = token["bracketed"] or token["capital"] or token["small"] or token["joined"]
    letter = sign.upper()
    after = text[token.end() : token.end() + 16]
    marked = bool(token["bracketed"] or token["small"] or re.match(r"[).:](?!\w)", after))
    place = token.start("letter")
    # What opens a passage after a marker names a choice, unless it is "I think".
    opens = place <= first and not (letter == "I" and _SAYS.match(after))
    if not marked and not opens and letter in _PRONOUNS and _is_word(text, place, after):
        return None
    if letter not in given.letters:
        return None
    return Mention(letter, token.start("letter"), token.end("letter"), rejects, marked)


_SAYS = re.compile(
    r"'|,| (?:am|think|would|have|do|don't|be|know|cannot|can|can't|believe|say|swear|refuse|choose|"
    r"was|will|guess|had|pick|see|must|should|could|"
    r"feel|say|reckon|suppose|find|get|got|mean|love|like|want|need|shall|may|might|just|really|simply|also|now|still|did|didn't|won't|not)\b"
)


def _is_word(text: str, place: int, after: str) -> bool:
    """Whether a capital A, I, E, … is an article, a pronoun or a conjunction."""
    if text[place] == "I" and re.match(r"'(?:m|d|ll|ve)\b", after):
        return True
    return bool(re.match(r"[ \t]+[^\W\d_]{2,}|[ \t]+[a-z]\b|[ \t]+\d", after)) and not _CONTINUES.match(after.lower())


def _reject(found: list[Mention], clause: list[int]) -> None:
    for place in clause:
        old = found[place]
        found[place] = Mention(old.letter, old.start, old.end, True, old.marked)


def foreign(text: str, start: int, end: int, given: Choices) -> Mention | None:
    """A letter of another script that opens a passage and stands alone (``الإجابة: ب``)."""
    match = re.match(r"[\s(\[\"']{0,4}(\w{1,2})(?=[\s)\]\"'.,!:]|$)", text[start:end])
    letter = _FOREIGN.get(match[1]) if match else None
    if match is None or letter is None or letter not in given.letters:
        return None
    return Mention(letter, start + match.start(1), start + match.end(1), marked=True)


def named_texts(low: str, given: Choices) -> list[Mention]:
    """The choices whose text occurs in a short plain lower-case text; longer texts hide those within them."""
    if not any(given.texts):
        return []
    taken: list[Mention] = []
    order = sorted(range(len(given.texts)), key=lambda place: -len(given.texts[place]))
    for place in order:
        own = given.texts[place]
        if not own or given.texts.count(own) > 1:
            continue
        at = low.find(own)
        while at >= 0:
            end = at + len(own)
            if _is_whole(low, at, end, own) and all(end <= one.start or at >= one.end for one in taken):
                taken.append(Mention(given.letters[place], at, end))
            at = low.find(own, end)
            if len(taken) > 200:
                break
    return sorted(taken, key=lambda mention: mention.start)


def _is_whole(low: str, start: int, end: int, own: str) -> bool:
    before, after = low[start - 1 : start] if start else "", low[end : end + 1]
    if own[:1].isdigit() and re.search(r"\d[.,/-]$|-$", low[max(0, start - 2) : start]):
        return False
    if own[-1:].isdigit() and re.match(r"[.,/]\d", low[end : end + 2]):
        return False
    joined = "\u0e00"
    return not (before.isalnum() and before < joined and own[:1].isalnum()) and not (
        after.isalnum() and after < joined and own[-1:].isalnum()
    )


def single(choices: Sequence[str], text: str) -> str | None:
    """The letter of the choice that the whole text is; None for none or several."""
    given = lettered(tuple(choices))
    wanted = plain(text)
    same = [place for place, own in enumerate(given.texts) if own and own == wanted]
    return given.letters[same[0]] if len(same) == 1 else None
