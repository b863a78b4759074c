"""The metrics that are compared and gated: what they are called, which direction is better, on what scale they live."""

from __future__ import annotations

from dataclasses import dataclass

from personaeval.metrics.jackknife import Scale


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a task.

    Attributes:
        name: in policies and files.
        title: in tables.
        better: 1 where higher is better, -1 where lower is.
        scale: on which its interval is made.
        span: how far apart two values can be.
        is_ratio: whether "a tenth more" means anything: not where 0 is the middle of the scale.
    """

    name: str
    title: str
    better: int
    scale: Scale
    span: float = 1.0
    is_ratio: bool = True


STABILITY = (
    Metric("accuracy", "accuracy", 1, "logit"),
    Metric("baseline_accuracy", "accuracy of none", 1, "logit"),
    Metric("pss", "PSS", 1, "logit"),
    Metric("kappa", "κ", 1, "fisher", span=2.0, is_ratio=False),
    Metric("repeatability", "repeatability", 1, "logit"),
    Metric("persona_effect", "persona effect", -1, "raw", is_ratio=False),
    Metric("corrected_pss", "corrected PSS", 1, "log"),
    Metric("mean_score", "mean score", 1, "raw"),
    Metric("expertise_advantage", "expertise advantage", 1, "raw", span=2.0, is_ratio=False),
)
"""Of tasks with right and wrong answers, in the order of :meth:`personaeval.metrics.sums.ItemSums.estimate`."""


WORST = Metric("worst_persona", "worst persona (split halves)", 1, "logit")
"""Accuracy of the worst persona, chosen on one half of the items and measured on the other."""


PERSONA_SCORE = Metric("persona_score", "PersonaScore", 1, "raw", span=4.0)


METRICS = {metric.name: metric for metric in (*STABILITY, WORST, PERSONA_SCORE)}
