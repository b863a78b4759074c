r"""Forms: answers that say the same in another form, where Math-Verify passes over it.

Times of day, ratios, intervals as inequalities, choice letters; a set is not a pair, and cents are not dollars.
"""

from __future__ import annotations

import re

from personaeval.verify.latex import canonical, unfont
from personaeval.verify.number import parse_number
from personaeval.verify.tidy import UNITS

_TIME = re.compile(r"(\d{1,2}):(\d{2})\s?(?:([ap])\.?\s?m\.?)?", re.IGNORECASE)

_RATIO = re.compile(r"(\d{1,9}):(\d{1,9})")

_SET = re.compile(r"\\\{(.*)\\\}", re.DOTALL)

_PAIR = re.compile(r"[(\[](.*)[)\]]", re.DOTALL)

_LETTER = re.compile(r"\(?\s?([A-Z])\s?\)?\.?")

_BOUND = r"([-+]?[^<>=,]{1,60}?)"

_LOW, _HIGH = r"(<|\\le(?:q|qslant)?(?![a-z])|≤)", r"(>|\\ge(?:q|qslant)?(?![a-z])|≥)"

_BETWEEN = re.compile(rf"{_BOUND}{_LOW}([a-z]){_LOW}{_BOUND}")

_ONE_SIDED = re.compile(rf"([a-z])(?:{_LOW}|{_HIGH}){_BOUND}")

_TURNED = re.compile(rf"{_BOUND}(?:{_LOW}|{_HIGH})([a-z])")


def compare_forms(gold: str, answer: str) -> bool | None:
    """Compare two answers by what their form alone tells; None where it tells nothing."""
    left, right = unfont(gold).strip(" $."), unfont(answer).strip(" $.")
    for compare in (_times, _letters, _ratios, _kinds):
        outcome = compare(left, right)
        if outcome is not None:
            return outcome
    return False if _other_unit(gold, answer) else None


def as_interval(text: str) -> str:
    r"""An inequality in one letter as the interval it means (``x<2`` is ``(-\infty,2)``); all else as it is."""
    if not re.search(r"[<>≤≥]|\\[lg]e", text):
        return text
    parts = re.split(r"\s*(?:\\text\{\s?or\s?\}|(?<![a-z\\])or(?![a-z])|\\vee|\\lor)\s*", text)
    intervals = [_interval(canonical(part).replace(" ", "")) for part in parts]
    return r"\cup".join(one for one in intervals if one) if all(intervals) else text


def _interval(formula: str) -> str | None:
    if between := _BETWEEN.fullmatch(formula):
        return f"{_open(between[2])}{between[1]},{between[5]}{_close(between[4])}"
    if one := _ONE_SIDED.fullmatch(formula):
        return rf"(-\infty,{one[4]}{_close(one[2])}" if one[2] else rf"{_open(one[3])}{one[4]},\infty)"
    if turned := _TURNED.fullmatch(formula):
        return rf"{_open(turned[2])}{turned[1]},\infty)" if turned[2] else rf"(-\infty,{turned[1]}{_close(turned[3])}"
    return None


def _open(sign: str) -> str:
    return "(" if sign in "<>" else "["


def _close(sign: str) -> str:
    return ")" if sign in "<>" else "]"


def _times(left: str, right: str) -> bool | None:
    gold, answer = _TIME.fullmatch(left), _TIME.fullmatch(right)
    if not (gold and answer and (gold[3] or answer[3])):
        return None
    minutes = [_minutes(time) for time in (gold, answer)]
    if gold[3] and answer[3]:
        return minutes[0] == minutes[1]
    return minutes[0] == minutes[1] or (
        min(int(gold[1]), int(answer[1])) == max(int(gold[1]), int(answer[1])) and gold[2] == answer[2]
    )


def _minutes(time: re.Match[str]) -> int:
    hour = int(time[1]) % 12 + 12 * (time[3] in "pP") if time[3] else int(time[1])
    return hour * 60 + int(time[2])


def _letters(left: str, right: str) -> bool | None:
    """``(B)`` against ``B``, ``(B) Paris``: a choice's letter."""
    bracketed = re.fullmatch(r"\(\s?([A-Z])\s?\)", left)
    given = _LETTER.fullmatch(right) or re.match(r"\(([A-Z])\)(?=\s|$)|([A-Z])[).:](?=\s|$)", right)
    if not (bracketed and given):
        return None
    return bracketed[1] == next(group for group in given.groups() if group)


def _ratios(left: str, right: str) -> bool | None:
    ratio = _RATIO.fullmatch(left.replace(" ", ""))
    if not ratio or not int(ratio[2]):
        return None
    other = _RATIO.fullmatch(right.replace(" ", ""))
    if other:
        return int(ratio[1]) * int(other[2]) == int(ratio[2]) * int(other[1])
    number = parse_number(right)
    return number.value * int(ratio[2]) == int(ratio[1]) if number else None


def _kinds(left: str, right: str) -> bool | None:
    """A set and a pair or an interval are not the same, whatever they hold."""
    gold, answer = canonical(left), canonical(right)
    if "," not in gold or "," not in answer:
        return None
    sets = [bool(_SET.fullmatch(side)) for side in (gold, answer)]
    pairs = [bool(_PAIR.fullmatch(side)) for side in (gold, answer)]
    if (sets[0] and pairs[1]) or (pairs[0] and sets[1]):
        return False
    if (
        pairs == [True, True]
        and gold.count(",") == answer.count(",") == 1
        and (gold[0] + gold[-1] != answer[0] + answer[-1])
    ):
        return False
    return None


def _other_unit(gold: str, answer: str) -> bool:
    wanted, given = _units(gold), _units(answer)
    return any(wanted.get(dimension, unit) != unit for dimension, unit in given.items())


def _units(text: str) -> dict[str, str]:
    if "\\text" not in text and "\\mbox" not in text and "\\mathrm" not in text:
        return {}
    words = re.findall(r"\\(?:text(?:rm)?|mbox|mathrm)\s?\{\s?([A-Za-z¢]{1,20})", text)
    return dict(UNITS[word.lower()] for word in words if word.lower() in UNITS)
