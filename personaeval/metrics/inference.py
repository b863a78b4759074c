"""Bootstrap intervals, exact tests and corrections for multiple testing.

Items are the clusters: all personas answer the same items, so an item is resampled with all its answers. Every
estimator is a function of sums over items. A bootstrap replicate is therefore a vector of counts times a matrix, and
leaving an item out is a subtraction: no loop over items or replicates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Estimators = Callable[[Floats], Floats]
"""From sums over items, [..., k], to estimates, [..., e]; NaN where an estimate is undefined."""


REPLICATES = 2000

CONFIDENCE = 0.95

_FLIPS = 9999

_CHUNK_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate with its confidence interval. Undefined: all None; a single item: a value without bounds."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, float | None]:
        """The three numbers by name; None for one that is not finite, which JSON cannot hold."""
        return {name: finite_or_none(getattr(self, name)) for name in ("value", "low", "high")}


def finite_or_none(value: float | None) -> float | None:
    """The value as JSON can hold it: None for NaN and infinity."""
    return None if value is None or not np.isfinite(value) else float(value)


def bootstrap(
    sums: Floats, estimators: Estimators, seed: int, replicates: int = REPLICATES, confidence: float = CONFIDENCE
) -> list[Estimate]:
    """BCa intervals under resampling of items (Efron 1987; acceleration from the jackknife).

    Args:
        sums: [n items, k] what each item adds to each sum.
        estimators: from sums to e estimates.
        seed: seed of the resampling.
        replicates: number of resamples.
        confidence: nominal coverage.

    Returns:
        e estimates. One that is undefined in half of the resamples has no bounds.
    """
    from scipy.special import ndtr, ndtri

    n = len(sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = estimators(sums.sum(axis=0))
        if n < 2:
            return [Estimate(finite_or_none(value)) for value in values]
        drawn = estimators(resampled_sums(sums, seed, replicates))
        left_out = estimators(sums.sum(axis=0) - sums)
    intervals = []
    for value, column, jackknife in zip(values, drawn.T, left_out.T, strict=True):
        draws = column[np.isfinite(column)]
        if not np.isfinite(value) or len(draws) < replicates / 2:
            intervals.append(Estimate(finite_or_none(value)))
            continue
        below = (np.mean(draws < value) + np.mean(draws <= value)) / 2
        edge = 1 / (len(draws) + 1)
        bias = ndtri(np.clip(below, edge, 1 - edge))
        acceleration = _acceleration(jackknife[np.isfinite(jackknife)])
        shifted = bias + ndtri([(1 - confidence) / 2, (1 + confidence) / 2])
        levels = ndtr(bias + shifted / (1 - acceleration * shifted))
        low, high = np.quantile(draws, np.clip(levels, 0, 1))
        # A correction for bias can take both bounds to one side of the estimate.
        intervals.append(Estimate(float(value), min(float(low), float(value)), max(float(high), float(value))))
    return intervals


def resampled_sums(sums: Floats, seed: int, replicates: int) -> Floats:
    """[replicates, k] sums over n items drawn with replacement."""
    return np.concatenate([counts @ sums for counts in resampled_counts(len(sums), seed, replicates)])


def resampled_counts(n: int, seed: int, replicates: int) -> Iterator[Floats]:
    """Yield [rows, n] counts of how often each item is drawn, in chunks; their rows add up to ``replicates``."""
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK_CELLS // n)
    for start in range(0, replicates, rows):
        yield drawn_counts(generator, min(rows, replicates - start), n)


def drawn_counts(generator: np.random.Generator, rows: int, n: int) -> Floats:
    """[rows, n] counts of how often each of n is drawn in n draws with replacement."""
    # Three times as fast as numpy's multinomial, which draws one binomial per item.
    places = generator.integers(0, n, size=(rows, n))
    places += np.arange(rows)[:, None] * n
    return np.bincount(places.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def skewness(drawn: Floats) -> float:
    """Sample skewness; 0 if the values do not vary."""
    apart = drawn - drawn.mean() if len(drawn) else np.zeros(1)
    spread = float(np.mean(apart**2))
    return float(np.mean(apart**3) / spread**1.5) if spread > 0 else 0.0


def _acceleration(jackknife: Floats) -> float:
    apart = jackknife.mean() - jackknife if len(jackknife) else np.zeros(1)
    spread = float(np.sum(apart**2))
    return float(np.sum(apart**3) / (6 * spread**1.5)) if spread > 0 else 0.0


def mcnemar(gained: int, lost: int) -> float:
    """Two-sided p-value of the exact McNemar test for one pair of answers per item (McNemar 1947); 1 without flips."""
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def sign_flip(differences: Floats, seed: int, flips: int = _FLIPS) -> Floats:
    """[columns] two-sided p-values of the sign-flip test: are item-level differences symmetric about zero?

    Args:
        differences: [n items, columns]; each column is tested separately, with the same random signs.
        seed: seed of the signs.
        flips: number of random sign vectors. The observed one counts as one more (Phipson & Smyth 2010).
    """
    generator = np.random.default_rng(seed)
    n, columns = differences.shape
    observed = np.abs(differences.sum(axis=0))
    reached = np.zeros(columns)
    rows = max(1, _CHUNK_CELLS // max(n, 1))
    for start in range(0, flips, rows):
        signs = generator.integers(0, 2, size=(min(rows, flips - start), n)) * 2.0 - 1.0
        # Equal sums may differ by rounding; ties count.
        reached += np.sum(np.abs(signs @ differences) >= observed - 1e-9, axis=0)
    return np.asarray((reached + 1) / (flips + 1), dtype=np.float64)


def benjamini_hochberg(p_values: Floats) -> Floats:
    """p-values adjusted for the false discovery rate (Benjamini & Hochberg 1995)."""
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p_values), dtype=np.float64) if len(p_values) else p_values


def holm(p_values: Floats) -> Floats:
    """p-values adjusted for the family-wise error rate (Holm 1979); NaN marks a test that could not be made."""
    adjusted = np.full(len(p_values), np.nan)
    order = np.argsort(p_values)
    made = order[: int(np.sum(np.isfinite(p_values)))]
    # The family includes tests that could not be made.
    factors = len(p_values) - np.arange(len(made))
    adjusted[made] = np.minimum(1, np.maximum.accumulate(p_values[made] * factors))
    return adjusted
