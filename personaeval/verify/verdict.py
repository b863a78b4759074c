"""Verdicts: what verification says of one completion."""

from __future__ import annotations

from personaeval.types import Status, Verdict

VERSION = 3
"""Version of the scorer. It is part of the verdict key: raise it when any verdict can change."""


def judged(right: bool, answer: str, evidence: str | None, suspicion: tuple[bool, float] = (False, 0.0)) -> Verdict:
    """The verdict on an answer that was compared."""
    if right:
        return Verdict(1.0, answer, Status.CORRECT, evidence=evidence)
    return Verdict(0.0, answer, Status.WRONG, None, evidence, *suspicion)


def graded(score: float, answer: str | None, evidence: str | None = None) -> Verdict:
    """The verdict on an answer that may be partly right; the status is that of the whole."""
    return Verdict(score, answer, Status.CORRECT if score >= 1 else Status.WRONG, evidence=evidence)


def unscored(reason: str, answer: str | None = None, evidence: str | None = None) -> Verdict:
    """The verdict on an answer that could not be compared."""
    return Verdict(None, answer, Status.UNSCORED, reason, evidence)
