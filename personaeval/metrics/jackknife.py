"""The jackknife over clusters: bias, standard error, degrees of freedom, and Student intervals on the metric's scale.

It needs no resampling. In ``benchmarks/validity.py`` its intervals cover as well as the bootstrap intervals tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from personaeval.metrics.inference import CONFIDENCE, Estimate, Estimators, Floats

Scale = Literal["raw", "logit", "fisher", "log"]
"""The scale on which an estimate is about normal: raw; logit in [0, 1]; Fisher's z in [-1, 1]; log above 0."""

_CHUNK_VALUES = 8_000_000

_LONGEST_STEP = 600.0
"""Of a bound, on the logit scale: there the bound is at the scale's end, and exp(710) overflows."""

_LONGEST_LOG = 50.0
"""Of a bound, on the log scale: exp(50) is beyond any use."""


@dataclass(frozen=True, slots=True)
class JackknifeResult:
    """Estimates with their standard errors; [e] each.

    Attributes:
        values: the estimates as their formulas define them.
        corrected: the estimates without their bias of order 1/n (Quenouille 1956).
        errors: standard errors (Tukey 1958).
        freedom: degrees of freedom of the squared errors, from the kurtosis of the clusters' influences. If few
            clusters carry the variance, the error itself is uncertain and the interval is wider.
        skewness: skewness of the estimates: that of the clusters' influences / √n. Positive if few clusters can raise
            an estimate much.
        clusters: number of clusters each estimate rests on; unsolved items, for example, carry no information on PSS.
        spans: largest possible difference between two values of each, in its unit.
    """

    values: Floats
    corrected: Floats
    errors: Floats
    freedom: Floats
    skewness: Floats
    clusters: Floats
    spans: Floats

    def part(self, places: slice) -> JackknifeResult:
        """The estimates at these places."""
        return JackknifeResult(*(getattr(self, entry.name)[places] for entry in fields(self)))


def jackknife(
    sums: Floats, estimators: Estimators, supporting: Floats | None = None, spans: Floats | float = 1.0
) -> JackknifeResult:
    """Estimates with jackknife errors.

    Args:
        sums: [n clusters, k] what each cluster adds to each sum.
        estimators: from sums to e estimates. One that is undefined (NaN) without some cluster gets no error.
        supporting: [e] number of clusters each estimate rests on; by default all n.
        spans: [e] largest possible difference between two values of each.
    """
    n = len(sums)
    total = sums.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = estimators(total)
        if n < 2:
            empty = np.full(values.shape, np.nan)
            return JackknifeResult(
                values, values, empty, empty, np.zeros(values.shape), *_support(values, n, supporting, spans)
            )
        rows = max(1, _CHUNK_VALUES // sums.shape[1])
        left_out = np.concatenate([estimators(total - sums[start : start + rows]) for start in range(0, n, rows)])
        mean = left_out.mean(axis=0)
        apart = left_out - mean
        # Differences between equal clusters are rounding.
        apart[np.abs(apart) < 1e-12] = 0
        cubes = np.einsum("ne,ne,ne->e", apart, apart, apart)
        apart *= apart
        squares = np.sum(apart, axis=0)
        apart *= apart
        kurtosis = n * np.sum(apart, axis=0) / squares**2
        # 2 σ⁴ / Var(s²), Var(s²) = σ⁴ (κ / n − (n − 3) / (n (n − 1))); n − 1 for the normal's κ of 3 (n large).
        freedom = 2 / (kurtosis / n - (n - 3) / (n * (n - 1)))
        freedom = np.where(squares > 0, np.clip(freedom, 1, n - 1), n - 1)
        # Leaving out a cluster that raises the estimate lowers it: hence the minus.
        skewness = np.where(squares > 0, -cubes / squares**1.5, 0)
        corrected, errors = n * values - (n - 1) * mean, np.sqrt((n - 1) / n * squares)
        return JackknifeResult(values, corrected, errors, freedom, skewness, *_support(values, n, supporting, spans))


def _support(values: Floats, n: int, supporting: Floats | None, spans: Floats | float) -> tuple[Floats, Floats]:
    clusters = np.full(values.shape, float(n)) if supporting is None else np.minimum(supporting, n)
    return np.maximum(clusters, 1.0), np.broadcast_to(np.asarray(spans, dtype=np.float64), values.shape)


def quantiles(freedom: Floats, confidence: float = CONFIDENCE) -> Floats:
    """Two-sided Student quantiles."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(freedom, (1 + confidence) / 2), dtype=np.float64)


def zero_event_bound(clusters: Floats | float, confidence: float = CONFIDENCE) -> Floats:
    """Upper confidence bound of a proportion with no event among so many clusters (Clopper & Pearson 1934)."""
    return np.asarray(1 - ((1 - confidence) / 2) ** (1 / np.asarray(clusters, dtype=np.float64)))


def intervals(found: JackknifeResult, scales: Sequence[Scale], confidence: float = CONFIDENCE) -> list[Estimate]:
    """Estimates with Student intervals on their scales, around the bias-corrected estimates.

    If the clusters do not vary, the standard error is 0; the bounds are then :func:`zero_event_bound` × span away.
    """
    made = []
    exact = zero_event_bound(found.clusters, confidence) * found.spans
    columns = zip(
        found.values, found.corrected, found.errors, quantiles(found.freedom, confidence), exact, scales, strict=True
    )
    for value, corrected, error, quantile, half, scale in columns:
        if not np.isfinite(value):
            made.append(Estimate(None))
        elif not np.isfinite(error):
            made.append(Estimate(float(value)))
        elif error == 0:
            floor, ceiling = ENDS[scale]
            low, high = max(floor, float(value - half)), min(ceiling, float(value + half))
            made.append(Estimate(float(value), low, high))
        else:
            low, high = _bounds(float(corrected), float(value), error * quantile, scale)
            # With a handful of clusters the correction can be larger than the interval.
            made.append(Estimate(float(value), min(low, float(value)), max(high, float(value))))
    return made


ENDS: dict[str, tuple[float, float]] = {
    "raw": (-np.inf, np.inf),
    "logit": (0.0, 1.0),
    "fisher": (-1.0, 1.0),
    "log": (0.0, np.inf),
}


def _bounds(corrected: float, value: float, half: float, scale: Scale) -> tuple[float, float]:
    """Bounds of a delta-method interval: computed on the scale, where its half width is ``half`` × the derivative."""
    floor, ceiling = ENDS[scale]
    centre = corrected if floor < corrected < ceiling else value
    if scale == "raw" or not floor < centre < ceiling:
        return max(floor, centre - half), min(ceiling, centre + half)
    if scale == "log":
        spread = np.exp(min(half / centre, _LONGEST_LOG))
        return float(centre / spread), float(centre * spread)
    # Fisher's z is half the logit of the position between the scale's ends.
    share = (centre - floor) / (ceiling - floor)
    if not 0 < share < 1:  # By rounding, next to an end.
        return max(floor, centre - half), min(ceiling, centre + half)
    step = min(half / (ceiling - floor) / (share * (1 - share)), _LONGEST_STEP)
    odds = share / (1 - share)
    low, high = odds * np.exp(-step), odds * np.exp(step)
    return float(floor + (ceiling - floor) * low / (1 + low)), float(floor + (ceiling - floor) * high / (1 + high))
