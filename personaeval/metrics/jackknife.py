"""The jackknife over clusters: bias, standard error, degrees of freedom, and Student intervals on a fitting scale.

It is exact arithmetic (no resampling), and for the estimators here as good as the bootstraps it was compared with in
``benchmarks/validity.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from personaeval.metrics.inference import CONFIDENCE, Estimate, Estimators, Floats

Scale = Literal["raw", "logit", "fisher", "log"]
"""On which scale an estimate is about normal: as it is; between 0 and 1; between -1 and 1; above 0."""

_CHUNK_VALUES = 8_000_000


@dataclass(frozen=True, slots=True)
class JackknifeResult:
    """Estimates with their standard errors; [e] each.

    Attributes:
        values: the estimates as they are defined.
        corrected: with the bias of order 1/n taken out (Quenouille 1956).
        errors: standard errors (Tukey 1958).
        freedom: degrees of freedom of the squared errors, from the kurtosis of the clusters' influences. Where few
            clusters carry all that varies, the error itself is uncertain, and the interval gets wider.
        skewness: of the estimates: that of the clusters' influences / √n. It is above 0 where few clusters can raise an
            estimate much.
        clusters: how many of them each rests on: items that nobody solves say nothing of PSS.
        spans: how far apart two values of each can be, in its unit.
    """

    values: Floats
    corrected: Floats
    errors: Floats
    freedom: Floats
    skewness: Floats
    clusters: Floats
    spans: Floats

    def part(self, places: slice) -> JackknifeResult:
        """Return some of them."""
        return JackknifeResult(*(getattr(self, entry.name)[places] for entry in fields(self)))


def jackknife(
    sums: Floats, estimators: Estimators, carriers: Floats | None = None, spans: Floats | float = 1.0
) -> JackknifeResult:
    """Return estimates with jackknife errors.

    Args:
        sums: [n clusters, k] what each cluster adds to each sum.
        estimators: from sums to e estimates; not defined (NaN) without some cluster means no error.
        carriers: [e] how many of the clusters each estimate rests on; all, if not given.
        spans: [e] how far apart two values of each can be.
    """
    n = len(sums)
    total = sums.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = estimators(total)
        if n < 2:
            empty = np.full(values.shape, np.nan)
            return JackknifeResult(
                values, values, empty, empty, np.zeros(values.shape), *_reach(values, n, carriers, spans)
            )
        rows = max(1, _CHUNK_VALUES // sums.shape[1])
        left_out = np.concatenate([estimators(total - sums[start : start + rows]) for start in range(0, n, rows)])
        mean = left_out.mean(axis=0)
        apart = left_out - mean
        # What rounding leaves of equal clusters is no variance.
        apart[np.abs(apart) < 1e-12] = 0
        cubes = np.einsum("ne,ne,ne->e", apart, apart, apart)
        apart *= apart
        squares = np.sum(apart, axis=0)
        apart *= apart
        kurtosis = n * np.sum(apart, axis=0) / squares**2
        # 2 σ⁴ / Var(s²), Var(s²) = σ⁴ (κ / n − (n − 3) / (n (n − 1))); n − 1 for the normal's κ of 3 (n large).
        freedom = 2 / (kurtosis / n - (n - 3) / (n * (n - 1)))
        freedom = np.where(squares > 0, np.clip(freedom, 1, n - 1), n - 1)
        # An estimate without a cluster is low where the cluster raises it.
        skewness = np.where(squares > 0, -cubes / squares**1.5, 0)
        corrected, errors = n * values - (n - 1) * mean, np.sqrt((n - 1) / n * squares)
        return JackknifeResult(values, corrected, errors, freedom, skewness, *_reach(values, n, carriers, spans))


def _reach(values: Floats, n: int, carriers: Floats | None, spans: Floats | float) -> tuple[Floats, Floats]:
    resting = np.full(values.shape, float(n)) if carriers is None else np.minimum(carriers, n)
    return np.maximum(resting, 1.0), np.broadcast_to(np.asarray(spans, dtype=np.float64), values.shape)


def quantiles(freedom: Floats, confidence: float = CONFIDENCE) -> Floats:
    """Return the two-sided Student quantiles."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(freedom, (1 + confidence) / 2), dtype=np.float64)


def unseen(clusters: Floats | float, confidence: float = CONFIDENCE) -> Floats:
    """Return the largest share of clusters that could differ though none seen does (Clopper & Pearson 1934)."""
    return np.asarray(1 - ((1 - confidence) / 2) ** (1 / np.asarray(clusters, dtype=np.float64)))


def lean(found: JackknifeResult, confidence: float = CONFIDENCE) -> Floats:
    """Return how much farther the upper bounds of skewed estimates reach (Johnson 1978).

    error × skewness × (1 + 2 z²) / 6 where the upper tail is the longer one, of which a sample may hold too little; a
    bound is left as it is where the lower one is, which errs on the safe side.
    """
    from scipy.special import ndtri

    z = ndtri((1 + confidence) / 2)
    return np.maximum(found.errors * found.skewness * (1 + 2 * z**2) / 6, 0)


def p_above(found: JackknifeResult, threshold: Floats | float) -> Floats:
    """Return one-sided p-values of "not above the threshold", one for each estimate; they fit the intervals' bounds.

    Where nothing varies between clusters: the chance to see none of the clusters that would have to differ.
    """
    from scipy.special import stdtr

    over = found.corrected - threshold
    with np.errstate(divide="ignore", invalid="ignore"):
        student = stdtr(found.freedom, -over / found.errors)
    exact = (1 - np.clip((found.values - threshold) / found.spans, 0, 1)) ** found.clusters
    return np.asarray(np.where(found.errors > 0, student, np.where(found.errors == 0, exact, np.nan)))


def p_equal(found: JackknifeResult) -> Floats:
    """Return two-sided p-values of "is zero"."""
    from scipy.special import stdtr

    with np.errstate(divide="ignore", invalid="ignore"):
        student = 2 * stdtr(found.freedom, -np.abs(found.corrected / found.errors))
    exact = np.minimum(1, 2 * (1 - np.clip(np.abs(found.values) / found.spans, 0, 1)) ** found.clusters)
    return np.asarray(np.where(found.errors > 0, student, np.where(found.errors == 0, exact, np.nan)))


def intervals(found: JackknifeResult, scales: Sequence[Scale], confidence: float = CONFIDENCE) -> list[Estimate]:
    """Return the estimates with Student intervals on their scales, around the bias-corrected estimate.

    Where nothing varies between clusters there is no standard error; the interval then reaches as far as clusters not
    seen could take the estimate over its span.
    """
    made = []
    reaches = unseen(found.clusters, confidence) * found.spans
    columns = zip(
        found.values, found.corrected, found.errors, quantiles(found.freedom, confidence), reaches, scales, strict=True
    )
    for value, corrected, error, quantile, reach, scale in columns:
        if not np.isfinite(value):
            made.append(Estimate(None))
        elif not np.isfinite(error):
            made.append(Estimate(float(value)))
        elif error == 0:
            floor, ceiling = _ENDS[scale]
            low, high = max(floor, float(value - reach)), min(ceiling, float(value + reach))
            made.append(Estimate(float(value), low, high))
        else:
            made.append(Estimate(float(value), *_bounds(float(corrected), float(value), error * quantile, scale)))
    return made


_ENDS: dict[str, tuple[float, float]] = {
    "raw": (-np.inf, np.inf),
    "logit": (0.0, 1.0),
    "fisher": (-1.0, 1.0),
    "log": (0.0, np.inf),
}


def _bounds(corrected: float, value: float, half: float, scale: Scale) -> tuple[float, float]:
    """Return the bounds of a delta-method interval: the half width is divided by the scale's derivative there."""
    floor, ceiling = _ENDS[scale]
    centre = corrected if floor < corrected < ceiling else value
    if scale == "raw" or not floor < centre < ceiling:
        return max(floor, centre - half), min(ceiling, centre + half)
    if scale == "log":
        # Past this the bound says nothing any more, and is no number.
        spread = np.exp(min(half / centre, 50.0))
        return float(centre / spread), float(centre * spread)
    # Between two ends, by the logit of the share of the way from one to the other; Fisher's z is half of that.
    share = (centre - floor) / (ceiling - floor)
    step = half / (ceiling - floor) / (share * (1 - share))
    odds = share / (1 - share)
    low, high = odds * np.exp(-step), odds * np.exp(step)
    return float(floor + (ceiling - floor) * low / (1 + low)), float(floor + (ceiling - floor) * high / (1 + high))
