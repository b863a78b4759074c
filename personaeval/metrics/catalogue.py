"""The metrics that are compared and gated: what they are called, which direction is better, on what scale they live."""

from __future__ import annotations

from dataclasses import dataclass

from personaeval.metrics.jackknife import Scale
from personaeval.metrics.sums import HEADLINE


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a task.

    Attributes:
        name: in policies and files.
        title: in tables.
        better: 1 where higher is better, -1 where lower is.
        scale: on which its interval is made.
        span: how far apart two values can be.
    """

    name: str
    title: str
    better: int
    scale: Scale
    span: float = 1.0


STABILITY = (
    Metric("accuracy", "accuracy", 1, "logit"),
    Metric("baseline_accuracy", "accuracy of none", 1, "logit"),
    Metric("pss", "PSS", 1, "logit"),
    Metric("kappa", "κ", 1, "fisher", span=2.0),
    Metric("repeatability", "repeatability", 1, "logit"),
    Metric("persona_effect", "persona effect", -1, "raw"),
    Metric("corrected_pss", "corrected PSS", 1, "log"),
    Metric("mean_score", "mean score", 1, "raw"),
    Metric("expertise_advantage", "expertise advantage", 1, "raw"),
)
assert tuple(metric.name for metric in STABILITY) == HEADLINE

WORST = Metric("worst_persona", "worst persona (split halves)", 1, "logit")
"""Accuracy of the worst persona, chosen on one half of the items and measured on the other."""

PERSONA_SCORE = Metric("persona_score", "PersonaScore", 1, "raw", span=4.0)

METRICS = {metric.name: metric for metric in (*STABILITY, WORST, PERSONA_SCORE)}
