"""Bounds and p-values of a change between two checkpoints: the same for every table that shows one and for ``check``.

They come from the jackknife, with two precautions on both sides, because the variance of a sample says little of rare
and large changes (an item lost or gained under every persona): no bound is closer to the estimate than the exact bound
for an event that none of n items shows (:func:`personaeval.metrics.jackknife.zero_event_bound`), and the bound towards
the longer tail is moved out by Johnson's correction (:func:`lean`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from personaeval.metrics.inference import CONFIDENCE, Estimate, Floats
from personaeval.metrics.jackknife import ENDS, JackknifeResult, Scale, intervals, zero_event_bound

_FURTHEST = 8.0
"""Normal quantile beyond which p-values are not told apart (6e-16)."""

_HALVINGS = 40


def change_intervals(
    found: JackknifeResult, items: Floats, scales: Sequence[Scale], confidence: float = CONFIDENCE
) -> list[Estimate]:
    """Estimates of changes with their intervals; each bound is one-sided at (1 + confidence) / 2.

    Args:
        found: the jackknife's results for e changes.
        items: [e] number of items each rests on. Infinite if the clusters are personas: no persona stands for one
            question, so that the exact bound does not apply.
        scales: raw for differences, log for ratios.
        confidence: nominal coverage.
    """
    # An estimate that rests on no item is undefined and gets no bound.
    with np.errstate(invalid="ignore"):
        floors = zero_event_bound(np.maximum(items, 1), confidence) * found.spans
    down, up = (lean(found, sign, confidence) for sign in (-1, 1))
    made = []
    for place, interval in enumerate(intervals(found, scales, confidence)):
        if interval.value is None or interval.low is None or interval.high is None:
            made.append(interval)
            continue
        floor, (lowest, highest) = float(floors[place]), ENDS[scales[place]]
        low = min(interval.low - float(down[place]), interval.value - floor)
        high = max(interval.high + float(up[place]), interval.value + floor)
        made.append(Estimate(interval.value, float(max(lowest, low)), float(min(highest, high))))
    return made


def lean(found: JackknifeResult, sign: int, confidence: float = CONFIDENCE) -> Floats:
    """[e] distances by which upper (sign 1) or lower (−1) bounds move out: error × skewness × (1 + 2 z²) / 6.

    A sample may underrepresent a long tail (Johnson 1978). The bound towards the shorter tail stays, which is
    conservative.
    """
    from scipy.special import ndtri

    z = ndtri((1 + confidence) / 2)
    return np.maximum(sign * found.errors * found.skewness * (1 + 2 * z**2) / 6, 0)


def p_above(found: JackknifeResult, threshold: Floats | float, items: Floats | float) -> Floats:
    """[e] one-sided p-values of the null hypothesis "not above the threshold", consistent with the lower bounds.

    If the clusters do not vary: the probability of seeing none of the clusters that would have to differ. NaN without
    a standard error.
    """
    share = np.clip((found.values - threshold) / found.spans, 0, 1)
    counts = np.broadcast_to(np.asarray(items, dtype=np.float64), share.shape)
    exact = np.where(np.isinf(counts), 0, (1 - share) ** np.where(np.isinf(counts), 1, counts))
    with np.errstate(divide="ignore", invalid="ignore"):
        student = _student(found, (found.corrected - threshold) / found.errors)
    unvaried = (1 - share) ** found.clusters
    p_values = np.where(found.errors > 0, student, np.where(found.errors == 0, unvaried, np.nan))
    return np.asarray(np.maximum(p_values, exact))


def p_no_change(found: JackknifeResult, items: Floats | float) -> Floats:
    """[e] two-sided p-values of the null hypothesis "no change", consistent with the intervals; or NaN."""
    sides = p_above(found, 0.0, items), p_above(mirrored(found), 0.0, items)
    return np.asarray(np.minimum(1, 2 * np.minimum(*sides)), dtype=np.float64)


def mirrored(found: JackknifeResult) -> JackknifeResult:
    """The result for the changes in the other direction."""
    return replace(found, values=-found.values, corrected=-found.corrected, skewness=-found.skewness)


def _student(found: JackknifeResult, distance: Floats) -> Floats:
    """[e] level at which the lower bound, so many standard errors below the estimate, meets the threshold."""
    from scipy.special import ndtr, stdtr, stdtrit

    tail = np.maximum(-found.skewness, 0) / 6
    levels = np.asarray(stdtr(found.freedom, tail - distance))
    leaning = (tail > 0) & (distance > tail)
    if leaning.any():
        freedom, tail, distance = found.freedom[leaning], tail[leaning], distance[leaning]
        near, far = np.zeros(len(tail)), np.full(len(tail), _FURTHEST)
        for _ in range(_HALVINGS):
            z = (near + far) / 2
            beyond = tail * (1 + 2 * z**2) - stdtrit(freedom, ndtr(-z)) > distance
            near, far = np.where(beyond, near, z), np.where(beyond, z, far)
        levels[leaning] = ndtr(-far)
    return levels
