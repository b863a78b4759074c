"""Every metric that tables show and policies gate: name, direction, scale and formula in one place.

To add a metric of tasks with right and wrong answers, add one entry to :data:`STABILITY`. Summaries, comparisons,
the policy's list of names and the JSON Schema follow from it. A formula that needs a new sum adds a field to
:class:`personaeval.metrics.totals.Totals`, which :func:`personaeval.metrics.sums.item_sums` fills.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from personaeval.metrics.inference import Floats
from personaeval.metrics.jackknife import Scale
from personaeval.metrics.totals import Totals

Formula = Callable[[Totals], Floats]


@dataclass(frozen=True, slots=True)
class Metric:
    """What tables, policies and intervals need to know of a metric.

    Attributes:
        name: in policies and files.
        title: in tables.
        better: 1 if higher is better, -1 if lower is.
        scale: the scale on which the estimate is about normal; its interval is computed there.
        span: largest possible difference between two values.
        is_ratio: whether a relative change is meaningful; not where 0 is the middle of the scale.
        judged: whether judged tasks have it, rather than tasks with right and wrong answers.
    """

    name: str
    title: str
    better: int
    scale: Scale
    span: float = 1.0
    is_ratio: bool = True
    judged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StabilityMetric(Metric):
    """A metric computed from sums over items.

    Attributes:
        estimate: the formula; NaN or infinite where it is undefined.
        denominator: what the formula divides by. An item for which it is 0 carries no information on the metric.
        column: heading in the leaderboard; None if the leaderboard leaves the metric out.
        needs_repeats: whether it needs two samples per cell.
        reach: by how much the estimate can change per share of the items behind it that change, given their number; at
            most ``span``, which is taken if None.
        generalises: whether the two-way bootstrap, which resamples personas too, can estimate it.
    """

    estimate: Formula
    denominator: Formula
    column: str | None = None
    needs_repeats: bool = False
    reach: Callable[[Totals, Floats], Floats] | None = None
    generalises: bool = True


def _ratio_reach(ratio: Floats, mean: Floats) -> Floats:
    """Reach of a ratio of pairs of right answers to right ones, given the mean of what it divides by.

    An item right under a share f of the personas adds f² − ratio × f to the estimate, over the mean: at most 0 or
    1 − ratio, at least −ratio² / 4 (if the ratio is above 2: 1 − ratio).
    """
    # By chance the ratio can be above 1.
    lowest = np.where(ratio < 2, -(ratio**2) / 4, 1 - ratio)
    return np.asarray((np.maximum(1 - ratio, 0) - lowest) / mean)


def _corrected_reach(sums: Totals, items: Floats) -> Floats:
    scale = sums.common_repeatability * sums.common_pss_denominator / items
    return _ratio_reach(sums.common_pss / sums.common_repeatability, scale)


def _effect_reach(sums: Totals, items: Floats) -> Floats:
    """That of e = R − PSS, to which such an item adds f − f² − e f: at most (1 − e)² / 4, at least 0 or −e."""
    # By chance it can be below 0.
    effect = sums.common_repeatability - sums.common_pss
    most = (1 - effect) ** 2 / 4 + np.maximum(effect, 0)
    return np.asarray(most * items / sums.common_pss_denominator)


STABILITY = (
    StabilityMetric(
        "accuracy",
        "accuracy",
        1,
        "logit",
        estimate=lambda sums: sums.accuracy,
        denominator=lambda sums: sums.cells,
        column="accuracy",
    ),
    StabilityMetric(
        "baseline_accuracy",
        "accuracy of none",
        1,
        "logit",
        estimate=lambda sums: sums.persona_right[..., 0] / sums.persona_cells[..., 0],
        denominator=lambda sums: sums.persona_cells[..., 0],
        column="none",
    ),
    StabilityMetric(
        "pss",
        "PSS",
        1,
        "logit",
        estimate=lambda sums: sums.pss,
        denominator=lambda sums: sums.pss_denominator,
        column="PSS",
    ),
    StabilityMetric(
        "kappa",
        "κ",
        1,
        "fisher",
        span=2.0,
        is_ratio=False,
        estimate=lambda sums: (sums.pss - sums.accuracy) / (1 - sums.accuracy),
        denominator=lambda sums: sums.pss_denominator,
        column="κ",
    ),
    StabilityMetric(
        "repeatability",
        "repeatability",
        1,
        "logit",
        estimate=lambda sums: sums.repeat_numerator / sums.repeat_denominator,
        denominator=lambda sums: sums.repeat_denominator,
        needs_repeats=True,
    ),
    StabilityMetric(
        "persona_effect",
        "persona effect",
        -1,
        "raw",
        is_ratio=False,
        estimate=lambda sums: sums.common_repeatability - sums.common_pss,
        denominator=lambda sums: sums.common_pss_denominator,
        needs_repeats=True,
        reach=_effect_reach,
    ),
    StabilityMetric(
        "corrected_pss",
        "corrected PSS",
        1,
        "log",
        estimate=lambda sums: sums.common_pss / sums.common_repeatability,
        denominator=lambda sums: sums.common_pss_denominator,
        column="corrected PSS",
        needs_repeats=True,
        reach=_corrected_reach,
    ),
    StabilityMetric(
        "mean_score",
        "mean score",
        1,
        "raw",
        estimate=lambda sums: sums.score / sums.samples,
        denominator=lambda sums: sums.samples,
        generalises=False,
    ),
    StabilityMetric(
        "expertise_advantage",
        "expertise advantage",
        1,
        "raw",
        span=2.0,
        is_ratio=False,
        estimate=lambda sums: sums.expert_accuracy - sums.persona_right[..., 0] / sums.persona_cells[..., 0],
        denominator=lambda sums: sums.persona_cells[..., 0],
        generalises=False,
    ),
)
"""Metrics of tasks with right and wrong answers, in the order of summaries, tables and estimates."""

HEADLINE = tuple(metric.name for metric in STABILITY)

GENERALISED = tuple(metric for metric in STABILITY if metric.generalises)
"""Metrics with intervals for other personas, in the order of the two-way bootstrap's estimates."""

WORST_PERSONA = Metric("worst_persona", "worst persona (split halves)", 1, "logit")
"""Accuracy of the worst persona, chosen on one half of the items and measured on the other
(:mod:`personaeval.metrics.split_half`)."""

PERSONA_SCORE = Metric("persona_score", "PersonaScore", 1, "raw", span=4.0, judged=True)
"""Unweighted mean of the dimensions' mean scores (:mod:`personaeval.metrics.fidelity`)."""

METRICS: dict[str, Metric] = {metric.name: metric for metric in (*STABILITY, WORST_PERSONA, PERSONA_SCORE)}
"""All metrics by name, in the order of the policy's schema."""
