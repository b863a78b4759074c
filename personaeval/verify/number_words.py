"""Number words: ``forty-two``, ``zweiundvierzig``, ``arobaini na mbili``, ``四十二``, ``XLII``, with exact values.

The words are data, in ``data/number_words.yaml``. One grammar serves all languages: words below a hundred add up,
"hundred" multiplies what precedes it (in Swahili, what follows), greater ones close a group.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path

import yaml

from personaeval.verify.normalise import unify

_DATA = Path(__file__).parent / "data" / "number_words.yaml"

_WORD = re.compile(r"[^\W\d_]+(?:['\u0900-\u0dff\u0e31-\u0e4e][^\W\d_]*)*", re.UNICODE)

_GAP = re.compile(r"[ -]{0,2}")

_MOST = 24

_SCANNED = 300

_HAN = {sign: value for value, sign in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}

_HAN_TENS = {"十": 10, "百": 100, "千": 1000}

_HAN_SCALES = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}

_HAN_RUN = re.compile(
    "[负負]?[零〇一二两兩三四五六七八九十百千万萬亿億]{1,24}(?:[点點][零〇一二三四五六七八九]{1,12}|分之[零〇一二两三四五六七八九十百]{1,8})?"
)

_HANGUL = {sign: value for value, sign in enumerate("영일이삼사오육칠팔구")} | {"공": 0}

_HANGUL_TENS = {"십": 10, "백": 100, "천": 1000}

_HANGUL_RUN = re.compile("[영공일이삼사오육칠팔구십백천만억]{2,24}|(?<![가-힣])[일이삼사오육칠팔구십](?![가-힣])")

_ROMAN = re.compile(r"(?<![\w.])(?=[MDCLXVI])M{0,4}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})(?![\w'])")

_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}


@dataclass(frozen=True, slots=True)
class WordNumber:
    """A number in words and its place in the text."""

    value: Fraction
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Lexicon:
    values: dict[tuple[str, ...], int]
    joins: frozenset[str]
    parts: dict[str, int]
    points: frozenset[str]
    minus: frozenset[str]
    halves: dict[str, int]
    firsts: frozenset[str]
    compound: bool
    inverted: bool
    after: bool


@cache
def _lexica() -> dict[str, _Lexicon]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    table = yaml.load(unify(_DATA.read_text(encoding="utf-8")), loader)  # noqa: S506
    return {code: _lexicon(entry) for code, entry in table.items()}


def known() -> tuple[str, ...]:
    """Languages with known number words."""
    return tuple(_lexica())


def _lexicon(entry: dict[str, str]) -> _Lexicon:
    values: dict[tuple[str, ...], int] = {}
    for first, step, words in ((0, 1, entry["ones"]), (20, 10, entry["tens"])):
        for place, forms in enumerate(words.split()):
            values |= {tuple(form.split("+")): first + step * place for form in forms.split("/")}
    values |= {(word,): value for word, value in _pairs(entry["more"])}
    parts = {"".join(words): value for words, value in values.items()}
    return _Lexicon(
        values,
        frozenset(entry.get("and", "").split()),
        parts,
        frozenset(entry.get("point", "").split()),
        frozenset(entry["minus"].split()),
        dict(_pairs(entry.get("halves", ""))),
        frozenset(words[0] for words in values),
        bool(entry.get("compound")),
        bool(entry.get("inverted")),
        bool(entry.get("after")),
    )


def _pairs(text: str) -> list[tuple[str, int]]:
    return [(word, int(value)) for word, value in (pair.split("=") for pair in text.split())]


def scan(text: str, codes: tuple[str, ...]) -> list[WordNumber]:
    """All numbers in words of a short lower-case text, in the given languages; of two that overlap the longer.

    Args:
        text: unified, lower-case.
        codes: languages to look in; Chinese, Japanese and Korean signs are read in every case.
    """
    words = [(match[0], match.start(), match.end()) for match in _WORD.finditer(text)]
    found: list[WordNumber] = []
    for code in codes:
        lexicon = _lexica().get(code)
        if lexicon is not None:
            found += _scan(text, words, lexicon)
    if not text.isascii():
        found += _signs(text)
    chosen: list[WordNumber] = []
    for number in sorted(found[-_SCANNED:], key=lambda number: (number.start - number.end, number.start)):
        if all(number.end <= other.start or number.start >= other.end for other in chosen):
            chosen.append(number)
    return sorted(chosen, key=lambda number: number.start)


def _scan(text: str, words: list[tuple[str, int, int]], lexicon: _Lexicon) -> list[WordNumber]:
    found = []
    place = 0
    while place < len(words):
        number, after = _number(text, words, place, lexicon)
        if number is None:
            place += 1
            continue
        found.append(number)
        place = after
    return found


def _number(
    text: str, words: list[tuple[str, int, int]], place: int, lexicon: _Lexicon
) -> tuple[WordNumber | None, int]:
    """The number that begins at a word, and the place after it."""
    first = place
    negative = words[place][0] in lexicon.minus
    place += negative
    total = _Total(lexicon)
    end = place
    while place < len(words) and place - first < _MOST:
        gap = text[words[place - 1][2] : words[place][1]] if place > first else ""
        # A comma may follow a thousand: "twelve thousand, three hundred".
        if not _GAP.fullmatch(gap) and not (gap in (", ", ",") and total.is_scaled and place == end):
            break
        word = words[place][0]
        if word in lexicon.joins and total.begun:
            total.joined = True
            place += 1
            continue
        taken, values = _take(words, place, lexicon, text)
        if not taken or not all(map(total.add, values)):
            break
        place += taken
        end = place
    fraction, end = _fraction(words, place, end, lexicon, total, text)
    if fraction is None:
        return None, first + 1
    return WordNumber(-fraction if negative else fraction, words[first][1], words[end - 1][2]), end


def _fraction(
    words: list[tuple[str, int, int]], place: int, end: int, lexicon: _Lexicon, total: _Total, text: str
) -> tuple[Fraction | None, int]:
    """Add what follows a whole number: ``three quarters``, ``two and a half``, ``two point five``."""

    def word(number: int) -> str:
        near = number < len(words) and (
            number in (0, end) or _GAP.fullmatch(text, words[number - 1][2], words[number][1])
        )
        return words[number][0] if near else ""

    whole = Fraction(total.value) if total.begun else None
    if whole is not None and word(end) in lexicon.points and end > 0:
        digits = ""
        place = end + 1
        while (value := lexicon.values.get((word(place),), 99)) < 10 and len(digits) < 12:
            digits += str(value)
            place += 1
        return (whole + Fraction(int(digits), 10 ** len(digits)), place) if digits else (whole, end)
    if whole is not None and (part := lexicon.halves.get(word(end))) and whole < 100:
        return whole / part, end + 1
    if whole is not None and word(end) in lexicon.joins:
        skip = end + 1 + (word(end + 1) in ("a", "one", "un", "une", "ein", "eine", "um", "una"))
        if part := lexicon.halves.get(word(skip)):
            return whole + Fraction(1, part), skip + 1
    return whole, end


def _take(words: list[tuple[str, int, int]], place: int, lexicon: _Lexicon, text: str) -> tuple[int, list[int]]:
    """How many words are one entry of the lexicon, and its value; of a compound, the values of its parts."""
    # Most words are none of a number's.
    opening = words[place][0]
    if opening not in lexicon.firsts and opening[:1] == "و":
        opening = opening[1:]  # "and", written as part of the next word
    lengths = (3, 2, 1) if opening in lexicon.firsts else ()
    for length in lengths:
        group = words[place : place + length]
        if len(group) == length:
            near = all(_GAP.fullmatch(text, a[2], b[1]) for a, b in pairwise(group))
            value = lexicon.values.get((opening, *(word for word, _, _ in group[1:]))) if near else None
            if value is not None:
                return length, [value]
    word = words[place][0]
    return (1, split) if lexicon.compound and (split := _split(word, lexicon)) else (0, [])


def _split(word: str, lexicon: _Lexicon) -> list[int] | None:
    """The parts of a compound, each the longest that fits: zwei und vierzig."""
    values: list[int] = []
    place = 0
    while place < len(word):
        for length in range(min(14, len(word) - place), 1, -1):
            part = word[place : place + length]
            if part in lexicon.parts:
                values.append(lexicon.parts[part])
                break
            if part in lexicon.joins and values:
                break
        else:
            return None
        place += length
    return values if len(values) > 1 and len(word) < 80 else None


class _Total:
    """Adds up the words of one number; refuses those that do not belong to it ("two three")."""

    def __init__(self, lexicon: _Lexicon) -> None:
        self._inverted = lexicon.inverted
        self._after = lexicon.after
        self._closed = 0
        self._group = 0
        self._scale = 10**15
        self._pending = 0
        self.begun = False
        self.joined = False

    @property
    def is_scaled(self) -> bool:
        """Whether the last word was one for a thousand or more."""
        return self._scale < 10**15 and not self._group

    @property
    def value(self) -> int:
        """The number so far."""
        return self._closed + self._group + self._pending

    def add(self, value: int) -> bool:
        """Take one word in; False if it does not fit."""
        fits = self._add_after(value) if self._after and (value >= 100 or self._pending) else self._add(value)
        self.begun |= fits
        if fits:
            self.joined = False
        return fits

    def _add(self, value: int) -> bool:
        low = self._group % 100
        if value in (12, 20) and self.begun and low not in (0, 20) and self._group < 20 and value == 12:
            self._group *= 12
        elif value >= 1000:
            if value >= self._scale:
                return False
            self._closed += (self._group or 1) * value
            self._group, self._scale = 0, value
        elif value == 100 and 1 < self._group < 100:
            self._group *= 100
        elif value >= 100:
            if self._group:
                return self._group == 1 and value == 100 and self._hundred()
            self._group = value
        elif (
            (low == 0 and (value or not self.begun))
            or (low >= 20 and low % 10 == 0 and (value < 10 or (value < 20 and low in (60, 80))) and value)
            or (self._inverted and 0 < low < 10 and 20 <= value < 100 and value % 10 == 0)
        ):
            self._group += value
        else:
            return False
        return True

    def _hundred(self) -> bool:
        self._group = 100
        return True

    def _add_after(self, value: int) -> bool:
        """``mia mbili``: the multiplier follows."""
        if value >= 100:
            if value >= self._scale or (self.begun and not self._closed and not self._pending):
                return False
            self._closed += self._pending
            self._pending, self._scale = value, value
            return True
        if self.joined:
            self._closed, self._pending = self._closed + self._pending, 0
            return self._add(value)
        self._closed, self._pending = self._closed + self._pending * value, 0
        return value > 0


def _signs(text: str) -> list[WordNumber]:
    found = [
        WordNumber(value, run.start(), run.end())
        for run in _HAN_RUN.finditer(text)
        if (value := _han(run[0])) is not None
    ]
    found += [
        WordNumber(Fraction(whole), run.start(), run.end())
        for run in _HANGUL_RUN.finditer(text)
        if (whole := _positional(run[0].replace("만", "万").replace("억", "亿"), _HANGUL, _HANGUL_TENS)) is not None
    ]
    return found


def _han(run: str) -> Fraction | None:
    negative = run[0] in "负負"
    run = run.lstrip("负負")
    if "分之" in run:
        below, above = (_positional(part, _HAN, _HAN_TENS) for part in run.split("分之"))
        share = Fraction(above or 0, below) if below else None
        return -share if negative and share is not None else share
    whole_part, _, decimals = run.replace("點", "点").partition("点")
    number = _positional(whole_part, _HAN, _HAN_TENS)
    if number is None:
        return None
    value = Fraction(number)
    if decimals:
        value += Fraction(int("".join(str(_HAN[sign]) for sign in decimals)), 10 ** len(decimals))
    return -value if negative else value


def _positional(run: str, digits: dict[str, int], tens: dict[str, int]) -> int | None:
    if all(sign in digits for sign in run):
        return int("".join(str(digits[sign]) for sign in run))
    total = group = 0
    digit: int | None = None
    for sign in run:
        if sign in digits:
            digit = digits[sign]
        elif sign in tens:
            group += (1 if digit is None else digit) * tens[sign]
            digit = None
        elif sign in _HAN_SCALES:
            total += (group + (digit or 0) or 1) * _HAN_SCALES[sign]
            group, digit = 0, None
        else:
            return None
    return total + group + (digit or 0)


def romans(text: str) -> list[WordNumber]:
    """Roman numerals of a text in capitals (``XLII``); of a single letter too, which the caller must judge."""
    return [
        WordNumber(Fraction(roman(match[0])), match.start(), match.end()) for match in _ROMAN.finditer(text) if match[0]
    ]


def roman(numeral: str) -> int:
    """The value of a Roman numeral."""
    values = [_ROMAN_VALUES[sign] for sign in numeral]
    return sum(-value if follower > value else value for value, follower in zip(values, [*values[1:], 0], strict=True))
