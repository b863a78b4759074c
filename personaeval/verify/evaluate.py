r"""Evaluation: formulas as plain numbers at one point, to tell cheaply that two of them cannot be equal.

Two formulas that are equal have the same value wherever their letters mean the same. So each letter gets a fixed
value, both formulas are worked out in floating point, and where they clearly differ no algebra is needed. The
converse is left to algebra: nothing here ever says that two formulas are equal. What is outside the small grammar
below (words, units, relations, ``\pm``, subscripts, functions) is not evaluated at all.
"""

from __future__ import annotations

import cmath
import math
import re

from personaeval.verify.latex import canonical

_LONGEST = 300

_DEEPEST = 30

_MARGIN = 1e-5


_TOKEN = re.compile(r"\d+(?:\.\d+)?|\.\d+|\\[A-Za-z]+|\\?[^\s]|\s")

_WORDY = re.compile(r"\\(?:text|mbox|math|operatorname|hbox)")

_LETTER_RUN = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2}")

_PERHAPS_UNIT = re.compile(r"[othclsgmdOTHCLSGMD]$")

_PERHAPS_THOUSANDS = re.compile(r"\d,\d{3}(?!\d)")

_ASSIGNMENT = re.compile(r"([A-Za-z])=(.*)")


# Any values would do; these lie where no root or fraction of small numbers is likely to, and E and i mean themselves.
_VALUES: dict[str, complex] = {
    letter: 1.0731907 + place * 0.03712843 for place, letter in enumerate("abcdfghjklmnopqrstuvwxyz")
}

_VALUES |= {"e": cmath.e, "i": 1j, r"\pi": cmath.pi, r"\infty": 76543.21, r"\theta": 1.2345678, r"\alpha": 1.3456789}


class _UnknownError(Exception):
    """The formula is outside the grammar."""


def differ(gold: str, answer: str) -> bool:
    """True if two formulas, or lists of formulas in any order, certainly differ in value; False says nothing."""
    try:
        left, right = _formula(gold), _formula(answer)
        named = [_ASSIGNMENT.fullmatch(left), _ASSIGNMENT.fullmatch(right)]
        if named[0] and named[1] and named[0][1] != named[1][1]:
            return False
        first, second = (_elements(m[2] if m else side) for m, side in zip(named, (left, right), strict=True))
        # As sets, {2, 2} is {2}.
        if not (_are_distinct(first) and _are_distinct(second)):
            return False
        return len(first) != len(second) or any(_far(a, b) for a, b in zip(first, second, strict=True))
    except (_UnknownError, ArithmeticError, ValueError):
        return False


def equal_constants(gold: str, answer: str) -> bool:
    """True if two formulas without letters and decimals have the same value; False says nothing.

    Numbers, roots, π, e and i alone: two such formulas of a few signs agree in twelve figures only if they are equal.
    """
    try:
        left, right = _formula(gold), _formula(answer)
        if max(len(left), len(right)) > 60 or _NOT_CONSTANT.search(left + " " + right):
            return False
        first, second = _Reader(left).value(), _Reader(right).value()
        return abs(first - second) <= 1e-12 * max(1.0, abs(first)) and abs(first) < 1e6
    except (_UnknownError, ArithmeticError, ValueError):
        return False


_NOT_CONSTANT = re.compile(r"[.,=]|(?<![\\A-Za-z])[A-Za-df-hj-z]|\\(?!frac|sqrt|pi|cdot|times)|\d{7}")


def _formula(text: str) -> str:
    if len(text) > _LONGEST or _WORDY.search(text):
        raise _UnknownError
    formula = canonical(text)
    if _LETTER_RUN.search(formula) or _PERHAPS_UNIT.search(formula) or _PERHAPS_THOUSANDS.search(formula):
        raise _UnknownError
    return formula


def _elements(formula: str) -> list[complex]:
    """Sorted values of a list's elements; one value for a single formula."""
    body = formula
    if "," in formula and formula[0] in "([" and formula[-1] in ")]":
        body = formula[1:-1]
    elif formula.startswith(r"\{") and formula.endswith(r"\}"):
        body = formula[2:-2]
    values = [_Reader(part).value() for part in _split(body)]
    return sorted(values, key=lambda value: (round(value.real, 4), round(value.imag, 4)))


def _split(body: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for place, sign in enumerate(body):
        depth += (sign in "([{") - (sign in ")]}")
        if depth < 0:
            raise _UnknownError
        if sign == "," and depth == 0:
            parts.append(body[start:place])
            start = place + 1
    return [*parts, body[start:]]


def _far(left: complex, right: complex) -> bool:
    if cmath.isinf(left) or cmath.isinf(right):
        return cmath.isfinite(left) or cmath.isfinite(right)
    return abs(left - right) > _MARGIN * max(1.0, abs(left), abs(right))


def _are_distinct(values: list[complex]) -> bool:
    return all(_far(a, b) for place, a in enumerate(values) for b in values[:place])


class _Reader:
    """Reads and evaluates one formula by recursive descent."""

    def __init__(self, formula: str) -> None:
        self._tokens = [symbol for symbol in _TOKEN.findall(formula) if not symbol.isspace()]
        self._place = 0
        self._depth = 0

    def value(self) -> complex:
        """Evaluate the whole formula."""
        value = self._sum()
        if self._place < len(self._tokens):
            raise _UnknownError
        return value

    def _peek(self) -> str:
        return self._tokens[self._place] if self._place < len(self._tokens) else ""

    def _take(self) -> str:
        symbol = self._peek()
        self._place += 1
        return symbol

    def _expect(self, symbol: str) -> None:
        if self._take() != symbol:
            raise _UnknownError

    def _sum(self) -> complex:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _UnknownError
        sign = -1 if self._peek() == "-" else 1
        if self._peek() in ("+", "-"):
            self._take()
        total = sign * self._product()
        while self._peek() in ("+", "-"):
            sign = -1 if self._take() == "-" else 1
            total += sign * self._product()
        self._depth -= 1
        return total

    def _product(self) -> complex:
        total = self._power()
        divided = False
        while True:
            symbol = self._peek()
            if symbol in ("*", r"\cdot", r"\times"):
                self._take()
                total *= self._power()
            elif symbol in ("/", r"\div"):
                self._take()
                total /= self._power()
                divided = True
            elif symbol and (symbol in "({" or symbol in (r"\frac", r"\sqrt") or symbol.lower() in _VALUES):
                before = self._tokens[self._place - 1]
                # 1/2x and 3\frac{1}{2} are read in more ways than one.
                if divided or (symbol == r"\frac" and before[-1].isdigit()):
                    raise _UnknownError
                total *= self._power()
            else:
                return total

    def _power(self) -> complex:
        base = self._atom()
        if self._peek() != "^":
            return base
        self._take()
        symbol = self._peek()
        if symbol != "{" and len(symbol) != 1:
            raise _UnknownError
        exponent = self._atom()
        if not isinstance(base, complex) and not isinstance(exponent, complex) and base >= 2 and exponent > 1000:
            # A tower of powers: greater than any gold answer, and no algebra need find out how much.
            return math.inf
        if abs(exponent) > 100 or abs(base) > 1e6 or self._peek() == "^":
            raise _UnknownError
        if not isinstance(base, complex) and base < 0 and exponent != int(exponent.real):
            raise _UnknownError
        return (
            complex(base) ** exponent if isinstance(base, complex) or isinstance(exponent, complex) else base**exponent
        )

    def _atom(self) -> complex:
        symbol = self._take()
        if symbol[:1].isdigit() or (symbol[:1] == "." and len(symbol) > 1):
            return float(symbol)
        if symbol.lower() in _VALUES:
            return _VALUES[symbol.lower()]
        if symbol in ("(", "{"):
            value = self._sum()
            self._expect(")" if symbol == "(" else "}")
            return value
        if symbol == r"\frac":
            return self._group() / self._group()
        if symbol == r"\sqrt":
            return self._root()
        raise _UnknownError

    def _group(self) -> complex:
        self._expect("{")
        value = self._sum()
        self._expect("}")
        return value

    def _root(self) -> complex:
        degree: complex = 2.0
        if self._peek() == "[":
            self._take()
            degree = self._sum()
            self._expect("]")
        inside = self._group()
        if degree == 2:
            root = cmath.sqrt(inside)
            return root.real if root.imag == 0 else root
        if isinstance(inside, complex) or inside < 0:
            raise _UnknownError
        return inside ** (1 / degree)
