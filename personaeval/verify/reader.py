"""The reader: a completion and a task's kind in, candidates out; and what of a gold answer they say.

One design for all kinds: the text is normalised, candidates are collected with their evidence, each is parsed by the
task's kind, and the strongest counts. The gold answer only tells what kind of thing is looked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from personaeval.library.tasks import ChoiceScorer, ExactScorer, ExtractingScorer, GymScorer, NumericScorer
from personaeval.verify import read_choice, read_exact, read_math, read_numeric
from personaeval.verify.boxes import without_empty
from personaeval.verify.choices import lettered
from personaeval.verify.equivalence import compare_math, read_letter
from personaeval.verify.forms import as_interval
from personaeval.verify.normalise import unify, window
from personaeval.verify.number import Number, parse_number, read_number
from personaeval.verify.reading import STRENGTH, Candidate, Reading
from personaeval.verify.tidy import tidy

_OPTION = re.compile(r"\(?([A-Z])\)?")

_TAGGED = re.compile(r"<answer>([^<]{1,2000})</answer>", re.IGNORECASE)

# No problem has a longer formula for an answer; what a model loops on is not worth a comparison.
_LONGEST = 10_000


def read(scorer: ExtractingScorer, gold: str, text: str, choices: tuple[str, ...]) -> Reading:
    """The answer that a completion gives, thinking taken out, and its other candidates."""
    text = without_empty(unify(window(text)))
    match scorer:
        case NumericScorer():
            return read_numeric.read(text)
        case ChoiceScorer():
            return read_choice.read(text, choices)
        case ExactScorer():
            return _exact(text, gold)
        case GymScorer():
            return _entry(text, gold)
        case _:
            return read_math.read(text, gold)


def _exact(text: str, gold: str) -> Reading:
    """Read an exact answer; a gold answer that is a choice's letter or a number is read as in tasks of that kind."""
    if _OPTION.fullmatch(gold.strip()):
        reading = read_choice.read(text, ())
        if reading.chosen is not None:
            return reading
    elif parse_number(gold) is not None:
        reading = read_numeric.read(text)
        if reading.chosen is not None:
            return reading
    return read_exact.read(text, gold)


def _entry(text: str, gold: str) -> Reading:
    """An answer to an entry of reasoning-gym, as the string that its own scorer is given."""
    wanted = str(json.loads(gold).get("answer") or "") if gold.startswith("{") else ""
    reading = _exact(text, wanted) if wanted else read_math.read(text, "")
    chosen = reading.chosen
    if chosen is None:
        return reading
    answer = _written(chosen, wanted)
    if answer != wanted and (tagged := _TAGGED.findall(text)):
        # The tag's content is the whole answer, such as an expression of the same value; it is for the entry's
        # own scorer to judge.
        answer = tagged[-1].strip()
    return Reading(replace(chosen, answer=answer), reading.rest)


def _written(candidate: Candidate, wanted: str) -> str:
    value = candidate.value
    if isinstance(value, Fraction):
        number = parse_number(wanted)
        same = number is not None and number.value == value
        return wanted if same else str(value)
    if isinstance(value, tuple):
        return wanted if read_exact.same(wanted, value, True) else candidate.answer.strip(" .,;:!?\"'*_")
    return candidate.answer


def with_pattern(
    scorer: ExtractingScorer, gold: str, reading: Reading, found: str, choices: tuple[str, ...]
) -> Reading:
    """A reading with what the task's own patterns found as one more candidate."""
    if reading.chosen is not None and STRENGTH[reading.chosen.evidence] > STRENGTH["pattern"]:
        return reading
    parsed = _parse(scorer, gold, unify(found), choices)
    if parsed is None:
        return reading
    candidate = Candidate("pattern", 0, found, parsed.value, parsed.firm, parsed.percent)
    earlier = reading.rest
    return Reading(candidate, lambda: [*earlier(), candidate])


def _parse(scorer: ExtractingScorer, gold: str, found: str, choices: tuple[str, ...]) -> Candidate | None:
    match scorer:
        case NumericScorer():
            return read_numeric.read_box(found, None, ("en",))
        case ChoiceScorer():
            return read_choice.read_short(found, lettered(choices), choices)
        case ExactScorer():
            letter = _OPTION.fullmatch(gold.strip()) and _OPTION.fullmatch(found.strip())
            return Candidate("pattern", 0, found, letter[1] if letter else (found,))
        case _:
            answer, firm = tidy(found, gold)
            return Candidate("pattern", 0, found, answer, firm)


def needs_patterns(reading: Reading) -> bool:
    """Whether a task's own patterns could still change what is read."""
    return reading.chosen is None or STRENGTH[reading.chosen.evidence] <= STRENGTH["pattern"]


def compare(scorer: ExtractingScorer, gold: str, candidate: Candidate, choices: tuple[str, ...]) -> bool | None:
    """Whether a candidate is the gold answer; None where only Math-Verify can tell.

    Raises:
        ValueError: the gold answer is none of the scorer's kind.
    """
    match scorer:
        case NumericScorer():
            expected = read_number(gold)
            if expected is None:
                raise ValueError("a number; kind: math compares formulas")
            return candidate.firm and _is_number(candidate, expected, scorer.tolerance)
        case ChoiceScorer():
            letter = read_letter(gold, choices)
            if letter is None:
                raise ValueError("the letter or the text of a choice")
            return candidate.firm and candidate.value == letter
        case ExactScorer():
            return candidate.firm and _is_string(candidate, gold, scorer.ignore_case)
        case _:
            return _is_formula(candidate, gold)


def _is_number(candidate: Candidate, expected: Number, tolerance: float) -> bool:
    value = candidate.value
    if not isinstance(value, Fraction):
        return False
    given = [value]
    if candidate.percent and not expected.percent:
        given.append(value / 100)
    if not tolerance:
        return expected.value in given
    margin = abs(expected.value) * Fraction(tolerance)
    return any(abs(one - expected.value) <= margin for one in given)


def _is_string(candidate: Candidate, gold: str, ignore_case: bool) -> bool:
    value = candidate.value
    if isinstance(value, Fraction):
        number = parse_number(gold)
        return number is not None and _is_number(candidate, number, 0.0)
    if isinstance(value, str):
        option = _OPTION.fullmatch(gold.strip())
        return option is not None and option[1] == value
    return isinstance(value, tuple) and read_exact.same(gold, value, ignore_case)


def _is_formula(candidate: Candidate, gold: str) -> bool | None:
    value = str(candidate.value)
    if not candidate.firm:
        return False
    if len(value) > _LONGEST and value != gold:
        return False
    return compare_math(*pair(gold, value))


def pair(gold: str, answer: str) -> tuple[str, str]:
    """Two formulas, inequalities as intervals where only one of them is one."""
    if any(sign in gold + answer for sign in "<>≤≥") or "\\l" in answer + gold or "\\g" in answer + gold:
        intervals = as_interval(gold), as_interval(answer)
        if (intervals[0] == gold) != (intervals[1] == answer):
            return intervals
    return gold, answer


def states(scorer: ExtractingScorer, target: str, candidates: Sequence[Candidate], choices: tuple[str, ...]) -> bool:
    """Whether any candidate surely is an answer; what only Math-Verify could tell counts as no."""
    return any(candidate.firm and compare(scorer, target, candidate, choices) is True for candidate in candidates)
