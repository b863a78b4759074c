"""Numbers: the ways people and models write one, read exactly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from personaeval.verify.latex import canonical
from personaeval.verify.patterns import last_match

_LONGEST = 200

_MAGNITUDES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}


_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)"

_DECIMAL = rf"(?:{_DIGITS}(?:\.\d*)?|\.\d+)"

_PLAIN = re.compile(rf"([-+]?)({_DECIMAL})")

_BASED = re.compile(r"([-+]?\d+)_(?:\{(\d+)\}|(\d))")

_POWER = re.compile(rf"([-+]?)({_DECIMAL})(?:\\times|\\cdot|\*) ?10\^(?:\{{([-+]?\d{{1,3}})\}}|(\d))")

_RATIO = re.compile(rf"([-+]?)(?:\\frac\{{([-+]?{_DECIMAL})\}}\{{([-+]?{_DECIMAL})\}}|({_DECIMAL})/(-?{_DECIMAL}))")

_MIXED = re.compile(r"([-+]?)(\d+)(?:\\frac\{(\d+)\}\{(\d+)\}| (\d+)/(\d+))")

_UNIT = re.compile(r"\s*\\(?:text(?:rm)?|mbox|mathrm)\s*\{([^{}]*)\}(?:\^\d|\^\{\d\})?$")

_WORDS = re.compile(r"(.*?[\d%}])\s*([A-Za-z][A-Za-z .'-]*)", re.DOTALL)

_HEDGE = re.compile(r"^(?:\\approx|\\sim|=|about|approximately|exactly|roughly)\s*")


_IN_TEXT = re.compile(
    r"(?:(?<![\w)\]}])[-−])?[$€£]?(?<![A-Za-z_\d])"
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?:/\d+)?"
    r"(?:[eE][-+]?\d{1,3}(?!\w)|\s?(?:\\times|×|\*)\s?10\^(?:\{-?\d{1,3}\}|-?\d{1,3}))?(?:\s?\\?%)?"
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written.

    Attributes:
        value: its exact value; a percentage holds the number before the sign.
        decimal: written with a decimal point, so perhaps rounded.
        percent: written with a percent sign.
        base: the subscript that says in which base its digits are, where one is there. The value ignores it.
    """

    value: Fraction
    decimal: bool = False
    percent: bool = False
    base: int | None = None


def parse_number(text: str) -> Number | None:
    r"""Read an answer that is one number, perhaps with a unit in ``\text{…}``; None for anything else."""
    return _parsed(text) if len(text) <= _LONGEST else None


# One gold answer is compared with many candidates, and a decoy with many answers.
@lru_cache(maxsize=8192)
def _parsed(text: str) -> Number | None:
    unit = _UNIT.search(text)
    word = unit[1].strip().lower().rstrip("s.") if unit and unit.start() else ""
    body = canonical(text[: unit.start()] if unit and unit.start() else text)
    number = _read(body)
    if number is None or not word:
        return number
    if word in ("percent", "%", r"\%"):
        return Number(number.value, number.decimal, percent=True)
    return Number(number.value * 10 ** _MAGNITUDES.get(word, 0), number.decimal, number.percent, number.base)


def read_number(text: str) -> Number | None:
    """Read a number among what people put around it: ``x = 5``, ``about 5 apples``, ``5 million``; None for all else.

    An expression still to be evaluated (``3 + 4``) and two numbers (``5 or 6``) are not one number.
    """
    return (_parsed(text) or _read_among_words(text)) if len(text) <= _LONGEST else None


@lru_cache(maxsize=8192)
def _read_among_words(text: str) -> Number | None:
    body = _HEDGE.sub("", canonical(text.rsplit("=", 1)[-1]).strip())
    words = _WORDS.fullmatch(body)
    if words is None:
        return _read(body)
    number = _read(words[1])
    if number is None:
        return None
    first = words[2].lower().split()[0].rstrip("s.")
    if first == "percent":
        return Number(number.value, number.decimal, percent=True)
    return Number(number.value * 10 ** _MAGNITUDES.get(first, 0), number.decimal)


def _read(body: str) -> Number | None:
    body = re.sub("[€£]", "", body)
    percent = body.endswith((r"\%", "%"))
    if percent:
        body = body.removesuffix("%").removesuffix("\\").rstrip()
    if based := _BASED.fullmatch(body):
        return Number(Fraction(based[1]), percent=percent, base=int(based[2] or based[3]))
    value = _value(body)
    return None if value is None else Number(value, "." in body, percent)


def _value(body: str) -> Fraction | None:
    if plain := _PLAIN.fullmatch(body):
        return _signed(plain[1], _fraction(plain[2]))
    if power := _POWER.fullmatch(body):
        return _signed(power[1], _fraction(power[2]) * Fraction(10) ** int(power[3] or power[4]))
    if ratio := _RATIO.fullmatch(body):
        bottom = _fraction(ratio[3] or ratio[5])
        return _signed(ratio[1], _fraction(ratio[2] or ratio[4]) / bottom) if bottom else None
    if mixed := _MIXED.fullmatch(body):
        bottom = _fraction(mixed[4] or mixed[6])
        return _signed(mixed[1], _fraction(mixed[2]) + _fraction(mixed[3] or mixed[5]) / bottom) if bottom else None
    return None


def _fraction(digits: str) -> Fraction:
    return Fraction(digits.replace(",", "").rstrip("."))


def _signed(sign: str, value: Fraction) -> Fraction:
    return -value if sign == "-" else value


def first_number(text: str) -> str | None:
    """The first number in running text, as written."""
    match = _IN_TEXT.search(text)
    return match[0] if match else None


def last_number(text: str) -> str | None:
    """The last number in running text, as written."""
    last = last_match(_IN_TEXT, text)
    return last[0] if last else None
