r"""Comparison: gold against answer by kind of task, without a computer algebra system.

Each function returns True, False, or None where only Math-Verify can tell. Where both decide they agree, but for
these corrections, where Math-Verify 0.9 stumbles over form or passes over content:

- what TeX lacks (``90°``), a full stop (``12.``), ``6.7e-5`` and ``1 000`` are read as what they say;
- ``12.5\%`` is right for 12.5, as ``50\%`` is right for 50 there and here;
- ``52_9`` is wrong for ``52_8``; digits without subscript are right for either;
- ``5\text{ million}`` is 5000000, not 5.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from personaeval.verify.evaluate import differ, equal_constants
from personaeval.verify.forms import compare_forms
from personaeval.verify.latex import canonical, unfont
from personaeval.verify.number import Number, parse_number, read_number

_ROUNDING = Fraction(2, 1_000_000)

_TEXT_GOLD = re.compile(r"\s*\\(?:text|mbox|mathrm|textbf)\s*\{[^{}]*\}\s*")

_WORDS = re.compile(r"[A-Za-z][A-Za-z '-]*")

_LETTER = re.compile(r"\(?\s*([A-Za-z])\s*\)?")

_LETTERED = re.compile(r"(?:\(\s*([A-Z])\s*\)|([A-Z])\s*[).:])(.*)", re.DOTALL)

_MEMO = 65_536


@lru_cache(maxsize=_MEMO)
def compare_math(gold: str, answer: str) -> bool | None:
    """Compare two formulas as literals, as words, as numbers, and then by their values at one point."""
    left, right = canonical(gold), canonical(answer)
    if left == right:
        return bool(left)
    if not right:
        return False
    words = _compare_words(gold, left, right)
    if words is not None:
        return words
    form = compare_forms(gold, answer)
    if form is not None:
        return form
    expected, given = parse_number(gold), parse_number(answer)
    if expected is not None and given is not None:
        return _compare_numbers(expected, given)
    if differ(gold, answer):
        return False
    return True if equal_constants(gold, answer) else None


def _compare_words(gold: str, left: str, right: str) -> bool | None:
    if not _TEXT_GOLD.fullmatch(gold):
        return None
    left, right = left.strip("() "), right.strip("() ")
    if _WORDS.fullmatch(left) and _WORDS.fullmatch(right):
        return left.casefold().split() == right.casefold().split()
    return None


def _compare_numbers(gold: Number, answer: Number) -> bool | None:
    if gold.base is not None and answer.base is not None:
        return (gold.value, gold.base) == (answer.value, answer.base)
    candidates = [(gold.value, answer.value)]
    if gold.percent and not answer.percent:
        candidates.append((gold.value / 100, answer.value))
    if answer.percent and not gold.percent:
        candidates.append((gold.value, answer.value / 100))
    found = [_equal(left, right, gold.decimal or answer.decimal) for left, right in candidates]
    if True in found:
        return True
    return None if None in found else False


def _equal(left: Fraction, right: Fraction, rounded: bool) -> bool | None:
    """Compare two numbers; None if they are so close that only Math-Verify decides, which rounds to six places."""
    if left == right:
        return True
    return None if rounded and abs(left - right) < _ROUNDING else False


@lru_cache(maxsize=_MEMO)
def compare_numeric(gold: str, answer: str, tolerance: float) -> bool | None:
    """Compare two numbers; None where the gold answer is not one.

    Args:
        gold: the gold answer.
        answer: what was read as the answer.
        tolerance: largest relative difference that is still right; at zero only the exact value is.
    """
    expected = read_number(gold)
    if expected is None:
        return None
    given = read_number(answer)
    if given is None:
        return False
    values = [given.value]
    if given.percent and not expected.percent:
        values.append(given.value / 100)
    margin = abs(expected.value) * Fraction(tolerance)
    return any(abs(value - expected.value) <= margin for value in values)


def read_letter(text: str, choices: tuple[str, ...]) -> str | None:
    """Read a choice's letter from ``B``, ``(b)``, ``B) 42`` or the choice's own text; None for anything else."""
    plain = unfont(text).strip().strip("*$.").strip()
    allowed = {chr(ord("A") + place) for place in range(len(choices) or 26)}
    lone = _LETTER.fullmatch(plain)
    if lone and lone[1].upper() in allowed:
        return lone[1].upper()
    same = [place for place, choice in enumerate(choices) if canonical(choice) == canonical(text)]
    if len(same) == 1:
        return chr(ord("A") + same[0])
    lettered = _LETTERED.fullmatch(plain)
    letter = (lettered[1] or lettered[2]) if lettered else None
    return letter if letter in allowed else None


@lru_cache(maxsize=_MEMO)
def compare_choice(gold: str, answer: str, choices: tuple[str, ...]) -> bool | None:
    """Compare two choice letters; None if the gold answer names no choice."""
    expected = read_letter(gold, choices)
    return None if expected is None else read_letter(answer, choices) == expected


def compare_exact(gold: str, answer: str, ignore_case: bool) -> bool:
    """Compare two strings after quotes, emphasis, a full stop, doubled spaces and a letter's brackets are gone."""
    left, right = _plain(gold), _plain(answer)
    return left.casefold() == right.casefold() if ignore_case else left == right


def _plain(text: str) -> str:
    text = " ".join(unfont(text).strip(" \t\n*`\"'.").split())
    # A choice named by its letter, with or without brackets.
    return text[1] if len(text) == 3 and text[0] + text[2] == "()" and text[1].isalpha() else text
