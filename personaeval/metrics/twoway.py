"""Resampling of items and personas at once, for claims about personas that were not tried.

Every replicate draws item weights v and persona weights w (Owen 2007). Naive duplication would pair a persona with its
own copy and make every metric look more stable; so the pairs of one persona are taken out:

    c*[i] = ((Σ w q)² − Σ w² q²) / ((Σ w)² − Σ w²)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personaeval.metrics.inference import REPLICATES, Floats
from personaeval.metrics.jackknife import Estimates
from personaeval.metrics.sums import Cells, item_sums, pair_products

RESAMPLED = ("accuracy", "baseline_accuracy", "pss", "kappa", "repeatability", "persona_effect", "corrected_pss")
_CHUNK = 2_000_000


def estimates(base: Cells, candidate: Cells | None, seed: int = 0, replicates: int = REPLICATES) -> Estimates:
    """Return the metrics of ``RESAMPLED`` with two-way bootstrap errors: of one run, or of what changed.

    Args:
        base: the cells of a run, or of the baseline.
        candidate: cells of the same items and personas; then everything is candidate minus base.
        seed: of the weights.
        replicates: number of resamples.

    The degrees of freedom are those of the smaller of the two samples, items and personas.
    """
    runs = [base] if candidate is None else [base, candidate]
    parts = [_Part(cells) for cells in runs]
    n, m = parts[0].q.shape
    values = _difference([_point(cells) for cells in runs])
    if n < 2 or m < 2:
        empty = np.full(len(RESAMPLED), np.nan)
        return Estimates(values, values, empty, empty, n)
    generator = np.random.default_rng(seed)
    drawn = []
    rows = max(1, _CHUNK // n)
    for start in range(0, replicates, rows):
        size = min(rows, replicates - start)
        items = generator.multinomial(n, np.full(n, 1 / n), size=size).astype(np.float64)
        personas = generator.multinomial(m, np.full(m, 1 / m), size=size).astype(np.float64)
        drawn.append(_difference([part.replicate(items, personas) for part in parts]))
    replicated = np.concatenate(drawn)
    known = np.isfinite(replicated)
    with np.errstate(invalid="ignore", divide="ignore"):
        count = known.sum(axis=0)
        mean = np.where(known, replicated, 0).sum(axis=0) / count
        squares = np.where(known, (replicated - mean) ** 2, 0).sum(axis=0) / (count - 1)
    errors = np.where((count > replicates / 2) & np.isfinite(values), np.sqrt(squares), np.nan)
    return Estimates(values, values, errors, np.full(len(values), min(n, m) - 1.0), n)


def _difference(found: Sequence[Floats]) -> Floats:
    return found[0] if len(found) == 1 else found[1] - found[0]


def _point(cells: Cells) -> Floats:
    """Return the estimates as every other part of the program defines them."""
    sums = item_sums(cells, "", ())
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums.estimate(sums.matrix.sum(axis=0))[: len(RESAMPLED)]


@dataclass(frozen=True)
class _Arrays:
    """q and what is present, of the cells that one metric uses; [n, m]."""

    q: Floats
    present: Floats

    def sums(self, personas: Floats) -> tuple[Floats, Floats]:
        """Return [n, replicates] numerator and denominator of PSS under persona weights."""
        total, squares = self.q @ personas.T, self.q**2 @ (personas**2).T
        count, own = self.present @ personas.T, self.present @ (personas**2).T
        pairs = count**2 - own
        enough = pairs > 0
        return (
            np.divide(total**2 - squares, pairs, out=np.zeros(total.shape), where=enough),
            np.divide(total, count, out=np.zeros(total.shape), where=enough),
        )


class _Part:
    """One run's arrays, ready for many weights."""

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

    def replicate(self, items: Floats, personas: Floats) -> Floats:
        """Return [replicates, e] estimates under weights [replicates, n] and [replicates, m]."""

        def whole(by_item: Floats) -> Floats:
            return np.asarray(np.einsum("bi,ib->b", items, by_item))

        with np.errstate(divide="ignore", invalid="ignore"):
            numerator, denominator = map(whole, self._all.sums(personas))
            accuracy = whole(self._all.q @ personas.T) / whole(self._all.present @ personas.T)
            none = items @ self._none
            stable = numerator / denominator
            columns = [accuracy, none[:, 0] / none[:, 1], stable, (stable - accuracy) / (1 - accuracy)]
            if not self._repeated:
                return np.column_stack([*columns, *[np.full(len(items), np.nan)] * 3])
            repeated = whole(self._pairs @ personas.T) / whole(self._pairs_q @ personas.T)
            numerator, denominator = map(whole, self._common.sums(personas))
            common = numerator / denominator
            same = self._common.present > 0
            again = whole(np.where(same, self._pairs, 0) @ personas.T) / whole(self._common.q @ personas.T)
            return np.column_stack([*columns, repeated, again - common, common / again])
