"""Statements: places where a text announces its answer, and the passage that then holds it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from personaeval.verify.markers import Language, languages, listed
from personaeval.verify.vocabulary import alternation, pattern

_MOST = 60

_REACH = 300

_BRIDGE = 90

_END = re.compile(r"(?<![.])[.!;?](?=[\s\"')\]*_]|$)|\n")

_BEFORE = 120

_SKIPPED = re.compile(r"(?:[\s|:*_#>\"'(=~`+,-]|\.{2,3}|…){0,120}(?<!-)(?=\S)")

_TIGHT = re.compile(r"[ \t,]{0,3}[\[({\"'*|>]{0,3}[ \t]?")

_WRONG_KIND = re.compile(
    r"(?<!\w)(?:wrong|incorrect|false|no|another|any|an|your|possible|falsche|mauvaise|incorrecta|错误)\s*$"
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A passage of text that should hold the answer.

    Attributes:
        marker: start of the words that announce it.
        start, end: the passage after them.
        sentence: start of the marker's sentence.
        strong: whether a word for "answer" announces it, rather than one for "result" or "total".
        tight: whether the passage follows the marker directly ("Answer B").
    """

    marker: int
    start: int
    end: int
    sentence: int
    strong: bool
    tight: bool


@cache
def _markers(ascii_only: bool) -> re.Pattern[str]:
    return re.compile(alternation("answer", "result", ascii_only=ascii_only))


@cache
def _strong() -> frozenset[str]:
    return frozenset(word for language in languages() for word in listed(language.answer))


@cache
def _connector(marker: str) -> re.Pattern[str]:
    """What joins a marker to its answer: signs, and the verbs of its own language ("to" is one in Polish)."""
    own = [language for language in languages() if language.code == "en" or marker in entries(language)]
    spaced = {word for language in own if language.spaced for word in listed(language.copula)}
    joined = {word for language in own if not language.spaced for word in listed(language.copula)}
    whole = "|".join(re.escape(word) for word in sorted(spaced, key=len, reverse=True)) or "(?!)"
    within = "|".join(re.escape(word) for word in sorted(joined, key=len, reverse=True)) or "(?!)"
    verbs = rf"(?<!\w)(?:{whole})(?!\w)|(?<=\w)'s(?!\w)|{within}"
    return re.compile(rf"(?P<sign>[:=→⇒➜>|?\]]|->|[–—]|\n| - )|(?P<copula>{verbs})|(?P<end>[.!;](?=\s|$))")


@cache
def entries(language: Language) -> frozenset[str]:
    """All words of a language that announce an answer."""
    return frozenset((*listed(language.answer), *listed(language.result)))


def sentence_end(text: str, start: int, reach: int = _REACH) -> int:
    """End of the sentence that holds a place."""
    end = _END.search(text, start, start + reach)
    return end.start() if end else min(len(text), start + reach)


def sentence_start(text: str, place: int) -> int:
    """Start of the sentence that holds a place."""
    start = max(0, place - _BEFORE)
    last = start
    for end in _END.finditer(text, start, place):
        last = end.end()
    return last


def statements(low: str) -> Iterator[Statement]:
    """All statements of a unified lower-case text without markup, in order; of very many the last."""
    found = list(_markers(low.isascii()).finditer(low))[-_MOST:]
    for place, marker in enumerate(found):
        follower = found[place + 1].start() if place + 1 < len(found) else len(low)
        if _WRONG_KIND.search(low, max(0, marker.start() - 24), marker.start()):
            continue
        yield from _statement(low, marker, follower)


def _statement(low: str, marker: re.Match[str], follower: int) -> Iterator[Statement]:
    strong = marker[0] in _strong()
    sentence = sentence_start(low, marker.start())
    tight = _TIGHT.match(low, marker.end())
    start = tight.end() if tight else marker.end()
    joins = _connector(marker[0])
    connector = joins.search(low, marker.end(), marker.end() + _BRIDGE)
    while connector and connector["copula"] and (further := _further(joins, low, connector.end())):
        # "is: 7", "be = 7", "will be": the last of several connectors counts.
        connector = further
    if connector is None or connector["end"] or connector.start() >= follower:
        yield Statement(marker.start(), start, sentence_end(low, start), sentence, strong, True)
        return
    sign = connector["sign"]
    if sign in ("\n", "?", "|", "]", ">", "–", "—", " - ") and low[marker.end() : connector.start()].strip(
        " *_\"')|:]}"
    ):
        # These connect only to what directly precedes them: the answer may be on the marker's own line.
        yield Statement(marker.start(), start, sentence_end(low, start), sentence, strong, True)
        return
    behind = _SKIPPED.match(low, connector.end())
    begin = behind.end() if behind else connector.end()
    # A sign of the answer is no ornament.
    while begin > connector.end() and low[begin - 1] in "-+\"'([":
        begin -= 1
    end = sentence_end(low, begin)
    if connector["copula"] and not low[begin:end].strip(" .!,") and low[start : connector.start()].strip():
        # The verb comes last: "उत्तर B है", "The answer, B it is".
        yield Statement(marker.start(), start, connector.start(), sentence, strong, True)
        return
    yield Statement(marker.start(), begin, end, sentence, strong, False)


def _further(joins: re.Pattern[str], low: str, place: int) -> re.Match[str] | None:
    space = place + low[place : place + 1].isspace()
    found = joins.match(low, space)
    # A single letter there is an answer rather than another verb.
    letter = found and found["copula"] and len(found[0]) == 1
    return found if found and not found["end"] and found["sign"] != "\n" and not letter else None


def corrections(low: str, codes: tuple[str, ...]) -> list[int]:
    """Places where a text retracts what it said before, in some languages."""
    return [match.start() for match in pattern("correction", codes=codes).finditer(low)]
