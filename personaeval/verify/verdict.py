"""Verdicts: what verification says of one completion."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

VERSION = 2
"""Version of the scorer. It is part of the verdict key: raise it when any verdict can change."""


class Status(StrEnum):
    """What became of an answer."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    ANSWERED = "answered"
    """For judges to score, who have not been asked."""
    JUDGED = "judged"
    """Scored by judges; there is no right or wrong."""
    UNSCORED = "unscored"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The score of one completion.

    Attributes:
        score: 1.0 correct, 0.0 wrong or no answer, None unscored.
        answer: what was read as the final answer, None where nothing was.
        status: what became of the answer.
        reason: why it is unscored, else None.
    """

    score: float | None
    answer: str | None
    status: Status
    reason: str | None = None


def judged(right: bool, answer: str) -> Verdict:
    """Return the verdict on an answer that was compared."""
    return Verdict(1.0, answer, Status.CORRECT) if right else Verdict(0.0, answer, Status.WRONG)


def graded(score: float, answer: str | None) -> Verdict:
    """Return the verdict on an answer that may be partly right; the status is that of the whole."""
    return Verdict(score, answer, Status.CORRECT if score >= 1 else Status.WRONG)


def unscored(reason: str, answer: str | None = None) -> Verdict:
    """Return the verdict on an answer that could not be compared."""
    return Verdict(None, answer, Status.UNSCORED, reason)


ANSWERED = Verdict(None, None, Status.ANSWERED)
"""The verdict on an answer that is for judges to score."""
NO_ANSWER = Verdict(0.0, None, Status.NO_ANSWER)
"""Nothing in the text reads as an answer: wrong, and counted apart."""
