"""Two-way bootstrap of items and personas, for claims about other personas as well.

Every replicate draws item weights v and persona weights w (Owen 2007). A persona drawn twice would pair with its own
copy and make every metric look more stable; those pairs are excluded:

    c*[i] = ((Σ w q)² − Σ w² q²) / ((Σ w)² − Σ w²)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personaeval.metrics.catalogue import GENERALISED, HEADLINE
from personaeval.metrics.inference import REPLICATES, Floats, drawn_counts, skewness
from personaeval.metrics.jackknife import JackknifeResult
from personaeval.metrics.sums import Cells, evaluate, item_sums, pair_products
from personaeval.metrics.totals import Totals

RESAMPLED = tuple(metric.name for metric in GENERALISED)

_PLACES = [HEADLINE.index(name) for name in RESAMPLED]

_Ratio = tuple[Floats, Floats]
"""Numerator and denominator."""

_CHUNK = 2_000_000


def estimates(cells: Cells, seed: int = 0, replicates: int = REPLICATES) -> JackknifeResult:
    """Estimates of the ``RESAMPLED`` metrics with two-way bootstrap errors.

    The degrees of freedom are those of the smaller sample, items or personas, minus one.

    Args:
        cells: a run's cells.
        seed: seed of the weights.
        replicates: number of resamples.
    """
    [drawn] = _replicates([cells], seed, replicates)
    return _estimates(_point(cells), drawn, [cells])


def changes(
    base: Cells, candidate: Cells, seed: int = 0, replicates: int = REPLICATES
) -> tuple[JackknifeResult, JackknifeResult, Floats, Floats, Floats]:
    """Estimates of candidate − base and of candidate / base, the [e] values of both, the [e] items each rests on.

    Args:
        base: cells of the base.
        candidate: cells of the same items and personas; both get the same weights.
        seed: seed of the weights.
        replicates: number of resamples.
    """
    before, after, both = _point(base), _point(candidate), (base, candidate)
    drawn = _replicates(both, seed, replicates)
    differences = _estimates(after - before, drawn[1] - drawn[0], both)
    return differences, _estimates(_ratio(before, after), _ratio(*drawn), both), before, after, _supporting(both)


def _ratio(before: Floats, after: Floats) -> Floats:
    known = (before > 0) & (after >= 0)
    return np.where(known, after / np.where(known, before, 1), np.nan)


def _replicates(runs: Sequence[Cells], seed: int, replicates: int) -> list[Floats]:
    """[replicates, e] estimates of each run under the same weights; [0, e] with fewer than two items or personas."""
    n, m = runs[0].q[:, 1:].shape
    if n < 2 or m < 2:
        return [np.full((0, len(RESAMPLED)), np.nan) for _ in runs]
    parts = [_Part(cells) for cells in runs]
    generator = np.random.default_rng(seed)
    drawn: list[list[Floats]] = [[] for _ in runs]
    rows = max(1, _CHUNK // n)
    for start in range(0, replicates, rows):
        size = min(rows, replicates - start)
        items, personas = drawn_counts(generator, size, n), drawn_counts(generator, size, m)
        for part, found in zip(parts, drawn, strict=True):
            found.append(part.replicate(items, personas))
    return [np.concatenate(found) for found in drawn]


def _estimates(values: Floats, drawn: Floats, runs: Sequence[Cells]) -> JackknifeResult:
    n, m = runs[0].q[:, 1:].shape
    known = np.isfinite(drawn)
    count = known.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(known, drawn, 0).sum(axis=0) / count
        squares = np.where(known, (drawn - mean) ** 2, 0).sum(axis=0) / (count - 1)
    errors = np.where((count > max(len(drawn) / 2, 1)) & np.isfinite(values), np.sqrt(squares), np.nan)
    supporting = _supporting(runs)
    spans = np.array([metric.span for metric in GENERALISED])
    freedom = np.full(len(values), max(min(n, m) - 1.0, 1.0))
    skewed = np.array([skewness(column[np.isfinite(column)]) for column in drawn.T])
    return JackknifeResult(values, values, errors, freedom, skewed, np.clip(supporting, 1.0, float(m)), spans)


def _supporting(runs: Sequence[Cells]) -> Floats:
    """[e] number of items that each estimate rests on; at least 1."""
    sums = [item_sums(cells, "", ()) for cells in runs]
    carrying = np.any([own.weights(own.matrix) > 0 for own in sums], axis=0)[:, _PLACES]
    return np.asarray(np.maximum(carrying.sum(axis=0), 1.0), dtype=np.float64)


def _point(cells: Cells) -> Floats:
    """[e] estimates from all items and personas."""
    sums = item_sums(cells, "", ())
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums.estimate(sums.matrix.sum(axis=0))[_PLACES]


@dataclass(frozen=True)
class _Arrays:
    """[n, m] shares of right answers and presence of the cells that a metric uses."""

    q: Floats
    present: Floats

    def sums(self, personas: Floats) -> tuple[Floats, Floats]:
        """[n, replicates] numerator and denominator of PSS under [replicates, m] persona weights."""
        total, squares = self.q @ personas.T, self.q**2 @ (personas**2).T
        count, own = self.present @ personas.T, self.present @ (personas**2).T
        pairs = count**2 - own
        enough = pairs > 0
        return (
            np.divide(total**2 - squares, pairs, out=np.zeros(total.shape), where=enough),
            np.divide(total, count, out=np.zeros(total.shape), where=enough),
        )


class _Part:
    """One run's arrays, prepared for many weights."""

    def __init__(self, cells: Cells) -> None:
        present = cells.is_scored
        self._none = np.column_stack([cells.q[:, 0], present[:, 0]])
        self.q = cells.q[:, 1:]
        twice = cells.scored[:, 1:] >= 2
        self._all = _Arrays(self.q, present[:, 1:].astype(np.float64))
        common = twice & (twice.sum(axis=1) >= 2)[:, None]
        self._common = _Arrays(np.where(common, self.q, 0), common.astype(np.float64))
        correct, scored = cells.correct[:, 1:], cells.scored[:, 1:]
        self._pairs = pair_products(correct, scored, twice)
        self._pairs_q = np.where(twice, self.q, 0)
        self._repeated = bool(twice.any())
        self._complete = bool(present.all()) and bool(twice.all() or not twice.any())

    def replicate(self, items: Floats, personas: Floats) -> Floats:
        """[replicates, e] estimates under weights [replicates, n] and [replicates, m]."""
        totals = (self._totals_if_complete if self._complete else self._weighted_totals)(items, personas)
        with np.errstate(divide="ignore", invalid="ignore"):
            return evaluate(totals, GENERALISED)

    def _totals_if_complete(self, items: Floats, personas: Floats) -> Totals:
        """Weighted sums if no cell is missing: m is the same for all items, and most sums are linear in the weights."""

        def whole(values: Floats, weights: Floats) -> Floats:
            return np.asarray(np.einsum("bp,bp->b", items @ values, weights))

        squared, weight = personas**2, personas.sum(axis=1)
        right = whole(self.q, personas)
        right_squared = self.q @ personas.T
        right_squared *= right_squared
        both = np.einsum("bi,ib->b", items, right_squared) - whole(self.q**2, squared)
        pairs = weight**2 - squared.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            stable = both / np.where(pairs > 0, pairs, np.nan), right / weight
        repeated = (whole(self._pairs, personas), right) if self._repeated else self._undefined(items)
        return self._totals(items, (right / weight, items.sum(axis=1)), stable, repeated, stable, repeated)

    def _weighted_totals(self, items: Floats, personas: Floats) -> Totals:
        """Weighted sums, [replicates] each."""

        def whole(by_item: Floats) -> Floats:
            return np.asarray(np.einsum("bi,ib->b", items, by_item))

        numerator, denominator = self._all.sums(personas)
        stable = whole(numerator), whole(denominator)
        accuracy = whole(self._all.q @ personas.T), whole(self._all.present @ personas.T)
        if not self._repeated:
            undefined = self._undefined(items)
            return self._totals(items, accuracy, stable, undefined, undefined, undefined)
        repeated = whole(self._pairs @ personas.T), whole(self._pairs_q @ personas.T)
        numerator, denominator = self._common.sums(personas)
        pairs = np.where(self._common.present > 0, self._pairs, 0)
        again = whole(pairs @ personas.T), whole(self._common.q @ personas.T)
        return self._totals(items, accuracy, stable, repeated, (whole(numerator), whole(denominator)), again)

    def _totals(
        self,
        items: Floats,
        accuracy: _Ratio,
        pss: _Ratio,
        repeat: _Ratio,
        common_pss: _Ratio,
        common_repeat: _Ratio,
    ) -> Totals:
        """Replicates by name; sums that no generalising metric uses are NaN."""
        none, unused = items @ self._none, np.full(len(items), np.nan)
        return Totals(
            pss_numerator=pss[0],
            pss_denominator=pss[1],
            right=accuracy[0],
            cells=accuracy[1],
            repeat_numerator=repeat[0],
            repeat_denominator=repeat[1],
            common_pss_numerator=common_pss[0],
            common_pss_denominator=common_pss[1],
            common_repeat_numerator=common_repeat[0],
            common_repeat_denominator=common_repeat[1],
            score=unused,
            samples=unused,
            persona_right=none[:, :1],
            persona_cells=none[:, 1:],
            experts=np.zeros(0, dtype=bool),
        )

    def _undefined(self, items: Floats) -> _Ratio:
        undefined = np.full(len(items), np.nan)
        return undefined, undefined
