"""Suspect readings: the share of answers that may be right but misread, beyond what chance gives.

A wrong verdict is suspect when the text holds the right answer where an answer would stand. A model that weighs
several answers and picks a wrong one writes such texts too; how often is measured on answers that are not the right
one, and subtracted. The formula is in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from personaeval.metrics.inference import Estimate, Floats, benjamini_hochberg
from personaeval.metrics.jackknife import zero_event_bound

Counts = NDArray[np.int32] | Floats

OVERALL_LIMIT = 0.01

PERSONA_LIMIT = 0.03

_LEVEL = 0.025


@dataclass(frozen=True, slots=True)
class Excess:
    """Suspect answers beyond chance, as a share of all scored ones.

    Attributes:
        share: with the bounds of a 95 % interval; each bound holds with 97.5 %.
        suspect: number of suspect answers.
        expected: how many chance gives.
        is_high: whether the share is significantly above its limit.
    """

    share: Estimate
    suspect: int
    expected: float
    is_high: bool


def overall_excess(suspect: Counts, chance: Floats, scored: Counts) -> Excess:
    """The excess over all answers of a task; items are the clusters.

    Args:
        suspect: [n items, p personas] number of suspect answers.
        chance: [n, p] sum over wrong answers of how likely each was to be suspect by chance.
        scored: [n, p] number of scored answers.
    """
    estimate, _ = _excess(suspect.sum(axis=1), chance.sum(axis=1), scored.sum(axis=1), OVERALL_LIMIT)
    is_high = estimate.low is not None and estimate.low > OVERALL_LIMIT
    return Excess(estimate, int(suspect.sum()), float(chance.sum()), is_high)


def excess_by_persona(suspect: Counts, chance: Floats, scored: Counts) -> list[Excess]:
    """The excess of each persona; those that are high after Benjamini and Hochberg's correction."""
    columns = range(suspect.shape[1])
    found = [_excess(suspect[:, p], chance[:, p], scored[:, p], PERSONA_LIMIT) for p in columns]
    adjusted = benjamini_hochberg(np.array([p_value for _, p_value in found]))
    return [
        Excess(estimate, int(suspect[:, p].sum()), float(chance[:, p].sum()), bool(adjusted[p] <= _LEVEL))
        for p, (estimate, _) in enumerate(found)
    ]


def suspect_cautions(overall: Excess, by_persona: Sequence[Excess], personas: Sequence[str]) -> list[str]:
    """Warnings on readings that are suspect significantly more often than chance explains."""
    found = []
    if overall.is_high and overall.share.high is not None:
        found.append(
            f"up to {_percent(overall.share.high)} of the answers may be right but misread "
            "(column suspect of responses.parquet)"
        )
    high = [
        f"{name}: up to {_percent(own.share.high)} of its answers may be right but misread"
        for name, own in sorted(zip(personas, by_persona, strict=True), key=lambda pair: -(pair[1].share.value or 0))
        if own.is_high and own.share.high is not None
    ]
    return [
        *found,
        *high[:5],
        *([f"{len(high) - 5} more personas have such readings"] if len(high) > 5 else []),
    ]


def _excess(suspect: Counts, chance: Floats, scored: Counts, limit: float) -> tuple[Estimate, float]:
    """The share with its interval, and the p-value of its being no more than a limit."""
    from scipy.stats import t as student

    total = float(scored.sum())
    n = int(np.sum(scored > 0))
    if total == 0:
        return Estimate(None), 1.0
    difference = suspect - chance
    share = float(difference.sum() / total)
    if n < 2:
        return Estimate(share), 1.0
    residuals = difference - share * scored
    error = float(np.sqrt(n / (n - 1) * np.sum(residuals**2)) / total)
    if error == 0:
        # All items alike: what none of them shows may still be there.
        margin = float(zero_event_bound(n))
        return Estimate(share, share - margin, min(share + margin, 1.0)), (1 - max(share - limit, 0.0)) ** n
    margin = float(student.ppf(1 - _LEVEL, n - 1)) * error
    p_value = float(student.sf((share - limit) / error, n - 1))
    return Estimate(share, share - margin, min(share + margin, 1.0)), p_value


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
