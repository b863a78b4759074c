"""Readings: the candidates of a text with their evidence, and the one that counts as its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

STRENGTH = {
    "box": 6,
    "hashes": 5,
    "statement": 4,
    "pattern": 3,
    "letter": 3,
    "words": 2,
    "option_text": 1,
    "last_number": 0,
}
"""Kinds of evidence, and how much each counts; of equals the later one."""

_NEAR_EQUAL = ("statement", "letter", "words", "option_text")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible answer in a text.

    Attributes:
        evidence: why it may be: one of :data:`STRENGTH`.
        start: its place in the text.
        answer: its text, as verdicts show it.
        value: its value, parsed by the task's kind.
        firm: False if the text leaves it open ("41 or 42", "at least 18", "not 42"); such an answer is never right.
        rank: order among candidates of equal evidence, before their place.
    """

    evidence: str
    start: int
    answer: str
    value: str | Fraction | tuple[str, ...] | None = None
    firm: bool = True
    percent: bool = False
    rank: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """Result of reading a text.

    Attributes:
        chosen: the answer; None without one.
        rest: computes the other candidates with evidence, on demand.
    """

    chosen: Candidate | None
    rest: Callable[[], Sequence[Candidate]] = field(default=tuple)


def choose(candidates: Sequence[Candidate], taken_back: Sequence[int] = ()) -> Candidate | None:
    """The candidate with the strongest evidence, of equals the later one.

    Args:
        candidates: in any order.
        taken_back: places of corrections ("wait, …"): what a text says after one outweighs what it said before,
            unless its only evidence is being the last number.
    """
    best: Candidate | None = None
    for candidate in candidates:
        if best is None or _key(candidate) >= _key(best):
            best = candidate
    if best is None or not taken_back:
        return best
    later = [
        candidate
        for candidate in candidates
        if candidate.evidence != "last_number"
        and candidate.start > best.start
        and any(best.start < place <= candidate.start for place in taken_back)
    ]
    return choose(later) or best


def _key(candidate: Candidate) -> tuple[int, int, int]:
    return STRENGTH[candidate.evidence], candidate.rank, candidate.start
