"""Inter-rater agreement: between judges, of a judge with itself, between judges and people."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Level = Literal["nominal", "ordinal", "interval"]

Array = NDArray[np.floating[Any]]


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
