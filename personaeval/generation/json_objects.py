"""JSON objects in what a model wrote, found wherever they stand and read as a person would read them.

Models write almost JSON: raw line breaks and quotation marks in texts, a comma too many, comments, Python's ``True``
and single quotes. All that has one meaning is read; what breaks off or has two is refused, with the place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_START = re.compile(r"\{(?=\s*(?:[\"'}]|//|/\*))")
"""A brace that opens an object; others in prose (``{a, b}``) open none."""

_GAP = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)*", re.DOTALL)

_KEY_NEXT = re.compile(r"\s*:")

_END_NEXT = re.compile(
    r"(?:\s|//[^\n]*\n|/\*.*?\*/)*(?:[}\]]|$|,(?:\s|//[^\n]*\n|/\*.*?\*/)*(?:[}\]]|\"[^\"\n]{1,60}\"\s*:|'[^'\n]{1,60}'\s*:))",
    re.DOTALL,
)
"""After a value's last quotation mark: the object's end, or a comma and the next key."""

_ENTRY_NEXT = re.compile(r"\s*[,\]]")

_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,300})(?:\.\d{1,300})?(?:[eE][+-]?\d{1,4})?(?![\w.])", re.ASCII)

_OF = re.compile(r"\d{1,3}\s*/\s*\d{1,3}(?![\w./])", re.ASCII)
"""A score with its scale, 4/5."""

_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}

_WORD = re.compile(r"[A-Za-z]+")

_DEEPEST = 40


class BrokenError(ValueError):
    """Text that begins a JSON object and is none; ``place`` is the index where that shows."""

    def __init__(self, problem: str, place: int) -> None:
        super().__init__(problem)
        self.place = place


@dataclass(frozen=True, slots=True)
class FoundObject:
    """A JSON object and where it stands in the text."""

    content: dict[str, Any]
    start: int
    end: int


def find_objects(text: str) -> Iterator[FoundObject]:
    """Yield the JSON objects of a text that stand in no other one.

    Raises:
        BrokenError: an object begins that does not end as one, or has a key twice.
    """
    place = 0
    while (begun := _START.search(text, place)) is not None:
        content, place = _read_object(text, begun.start())
        yield FoundObject(content, begun.start(), place)


def is_one_object(text: str) -> bool:
    """Whether a text is one JSON object and nothing else."""
    text = text.strip()
    if not _START.match(text):
        return False
    try:
        return _read_object(text, 0)[1] == len(text)
    except BrokenError:
        return False


def _read_object(text: str, place: int) -> tuple[dict[str, Any], int]:
    try:
        content, end = _EXACT.raw_decode(text, place)
    except (ValueError, RecursionError):
        return _object(text, place, 0)
    return content, end


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key twice")  # read again by the tolerant reader, which gives the place
    return content


_EXACT = json.JSONDecoder(strict=False, object_pairs_hook=_distinct, parse_constant=_no_constant)


def _skip(text: str, place: int) -> int:
    found = _GAP.match(text, place)
    return found.end() if found else place


def _object(text: str, place: int, depth: int) -> tuple[dict[str, Any], int]:
    content: dict[str, Any] = {}
    place = _skip(text, place + 1)
    while not text.startswith("}", place):
        key, place = _text(text, place, _KEY_NEXT)
        if key in content:
            raise BrokenError(f"it gives a key twice ({key!r})", place)
        place = _skip(text, place)
        if not text.startswith(":", place):
            raise BrokenError("a colon is missing", place)
        content[key], place = _value(text, _skip(text, place + 1), depth + 1, _END_NEXT)
        place = _next(text, place, "}")
    return content, place + 1


def _array(text: str, place: int, depth: int) -> tuple[list[Any], int]:
    entries: list[Any] = []
    place = _skip(text, place + 1)
    while not text.startswith("]", place):
        entry, place = _value(text, place, depth + 1, _ENTRY_NEXT)
        entries.append(entry)
        place = _next(text, place, "]")
    return entries, place + 1


def _next(text: str, place: int, end: str) -> int:
    """The place after a value and its comma: of the next entry, or of the end."""
    place = _skip(text, place)
    if text.startswith(",", place):
        return _skip(text, place + 1)
    if not text.startswith(end, place):
        problem = "it breaks off" if place >= len(text) else f"a comma or {end!r} is missing"
        raise BrokenError(problem, place)
    return place


def _value(text: str, place: int, depth: int, closing: re.Pattern[str]) -> tuple[Any, int]:
    if depth > _DEEPEST:
        raise BrokenError("it is nested too deeply", place)
    first = text[place : place + 1]
    if first == "{":
        return _object(text, place, depth)
    if first == "[":
        return _array(text, place, depth)
    if first in ('"', "'"):
        return _text(text, place, closing)
    if (scaled := _OF.match(text, place)) is not None:
        return scaled[0], scaled.end()
    if (number := _NUMBER.match(text, place)) is not None:
        return (int(number[0]) if number[0].lstrip("-").isdigit() else float(number[0])), number.end()
    word = _WORD.match(text, place)
    if word is not None and word[0] in _WORDS:
        return _WORDS[word[0]], word.end()
    raise BrokenError("it breaks off" if not first else "a value is missing", place)


def _text(text: str, place: int, closing: re.Pattern[str]) -> tuple[str, int]:
    """A quoted text. A quotation mark ends it only where what comes next may follow a text."""
    quote = text[place : place + 1]
    if quote not in ('"', "'") or not quote:
        raise BrokenError("it breaks off" if not quote else "a quotation mark is missing", place)
    end = place
    while (end := text.find(quote, end + 1)) >= 0:
        if not _is_escaped(text, end) and closing.match(text, end + 1):
            return _unescaped(text[place + 1 : end]), end + 1
    raise BrokenError("it breaks off in a text", len(text))


def _is_escaped(text: str, place: int) -> bool:
    before = text[:place] if place < 64 else text[place - 64 : place]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _unescaped(raw: str) -> str:
    r"""The text that a JSON text stands for; ``\d`` and the like, which JSON lacks, stand for themselves."""
    valid = re.sub(r"\\(u(?![0-9a-fA-F]{4})|[^\"\\/bfnrtu])", r"\\\\\1", raw.replace("\\'", "'"), flags=re.DOTALL)
    quoted = re.sub(r'(\\.)|"', lambda found: found[1] or '\\"', valid, flags=re.DOTALL)
    try:
        return str(json.loads(f'"{quoted}"', strict=False))
    except ValueError:
        return raw
