"""Verdicts: what verification says of one completion."""

from __future__ import annotations

from personaeval.types import Status, Verdict

VERSION = 2
"""Version of the scorer. It is part of the verdict key: raise it when any verdict can change."""


def judged(right: bool, answer: str) -> Verdict:
    """Return the verdict on an answer that was compared."""
    return Verdict(1.0, answer, Status.CORRECT) if right else Verdict(0.0, answer, Status.WRONG)


def graded(score: float, answer: str | None) -> Verdict:
    """Return the verdict on an answer that may be partly right; the status is that of the whole."""
    return Verdict(score, answer, Status.CORRECT if score >= 1 else Status.WRONG)


def unscored(reason: str, answer: str | None = None) -> Verdict:
    """Return the verdict on an answer that could not be compared."""
    return Verdict(None, answer, Status.UNSCORED, reason)
