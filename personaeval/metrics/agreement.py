"""Inter-rater agreement: between judges, of a judge with itself, between judges and people.

    estimate = clustered(krippendorff_alpha, ratings, clusters)
    estimate.value, estimate.low, estimate.high

Responses of one persona are no independent units. So intervals leave out one persona after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from personaeval.metrics.inference import Estimate, Floats
from personaeval.metrics.jackknife import intervals, jackknife

Level = Literal["nominal", "ordinal", "interval"]

Array = NDArray[np.floating[Any]]

_BLOCKS = 60
"""More clusters are left out in this many groups: the error hardly gains, and the time grows with their number."""


def krippendorff_alpha(ratings: Array, level: Level = "ordinal") -> float | None:
    """Krippendorff's α: 1 is perfect agreement, 0 is chance.

    Source: K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011): one minus observed over expected
    disagreement, both from the matrix of coincidences of values within units.

    Args:
        ratings: (units, raters), NaN for a missing rating. Units with fewer than two ratings are left out.
        level: level of measurement; it defines the distance between two values.

    Returns:
        None if no unit has two ratings, or all ratings are equal.
    """
    present = ~np.isnan(ratings)
    pairable = ratings[present.sum(axis=1) >= 2]
    values = np.unique(pairable[~np.isnan(pairable)])
    if len(values) < 2:
        return None
    counts = (pairable[:, :, None] == values).sum(axis=1).astype(float)
    of_unit = counts.sum(axis=1)
    weighted = counts / (of_unit - 1)[:, None]
    coincidences = weighted.T @ counts - np.diag(weighted.sum(axis=0))
    totals = coincidences.sum(axis=1)
    distance = _distances(values, totals, level)
    expected = float(totals @ distance @ totals) / (totals.sum() - 1)
    return float(1 - (coincidences * distance).sum() / expected)


def _distances(values: Array, totals: Array, level: Level) -> Array:
    """(values, values) squared distances."""
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "interval":
        return np.asarray((values[:, None] - values[None, :]) ** 2)
    # The distance of two ranks: the ratings between them, plus half of those at either end.
    middle = np.cumsum(totals) - totals / 2
    return np.asarray((middle[:, None] - middle[None, :]) ** 2)


def weighted_kappa(one: Array, other: Array, low: float, high: float) -> float | None:
    """Cohen's κ with quadratic weights between two raters of the same units.

    Source: J. Cohen, Weighted kappa (Psychological Bulletin 70, 1968). With quadratic weights it is one minus the mean
    squared difference, divided by its expectation for independent raters, var(a) + var(b) + (mean a − mean b)².

    Args:
        one: (units,), no NaN.
        other: (units,), no NaN.
        low: the scale's lowest value.
        high: the scale's highest value.

    Returns:
        None without units, or if all ratings are equal.

    Raises:
        ValueError: a rating is off the scale.
    """
    both = np.concatenate([one, other])
    if len(both) == 0:
        return None
    if both.min() < low or both.max() > high:
        raise ValueError(f"ratings from {both.min():g} to {both.max():g} on a scale from {low:g} to {high:g}")
    expected = float(one.var() + other.var() + (one.mean() - other.mean()) ** 2)
    if expected == 0:
        return None
    return float(1 - np.mean((one - other) ** 2) / expected)


def rank_correlation(one: Array, other: Array) -> float | None:
    """Spearman's rank correlation of two raters of the same units; None if either does not vary."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)


def clustered(statistic: Callable[[Array], float | None], ratings: Array, clusters: NDArray[np.int_]) -> Estimate:
    """A coefficient of agreement with a 95 % interval: jackknife over clusters, on Fisher's scale.

    Args:
        statistic: the coefficient of (units, raters).
        ratings: (units, raters), NaN for a missing rating.
        clusters: (units,) the cluster of each, such as its persona.

    Returns:
        No interval with fewer than three clusters, or if the coefficient is undefined without one of them.
    """
    known = (~np.isnan(ratings)).sum(axis=1) >= 2
    # In an order of their own, so that sums are the same to the last bit whatever the order of the units.
    order = np.lexsort((*ratings[known].T, clusters[known]))
    ratings, clusters = ratings[known][order], clusters[known][order]
    names, place = np.unique(clusters, return_inverse=True)
    blocks = min(len(names), _BLOCKS)
    if blocks < 3:
        return Estimate(statistic(ratings))
    block = place % blocks

    def of(present: Floats) -> Floats:
        rows = np.atleast_2d(present)
        values = [statistic(ratings[row[block] > 0]) for row in rows]
        found = np.array([[np.nan if value is None else value] for value in values])
        return found if present.ndim > 1 else found[0]

    # Each cluster adds itself alone to a sum of its own: what is left of the sums says who is there.
    found = jackknife(np.eye(blocks), of, spans=2.0)
    return intervals(found, ["fisher"])[0]


def paired_kappa(low: float, high: float) -> Callable[[Array], float | None]:
    """:func:`weighted_kappa` of the two columns of (units, 2), without NaN."""
    return lambda ratings: weighted_kappa(ratings[:, 0], ratings[:, 1], low, high)


def paired_rank_correlation(ratings: Array) -> float | None:
    """:func:`rank_correlation` of the two columns of (units, 2), without NaN."""
    return rank_correlation(ratings[:, 0], ratings[:, 1])
