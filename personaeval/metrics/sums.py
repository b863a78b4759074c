"""Sums over items: what every stability metric with an interval is made of.

Arrays are [n items, 1 + m]: column 0 is the baseline ``none``, which is not among the m personas. q[i, p] is the share
of right answers to item i under persona p, over the scored samples; a cell with none scored is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from personaeval.metrics.catalogue import STABILITY
from personaeval.metrics.inference import Floats

Ints = NDArray[np.int32]

_SUMS = 12


HEADLINE = tuple(metric.name for metric in STABILITY)
"""The names of the first estimates, in their order; then accuracy per persona, then per category."""


@dataclass(frozen=True)
class Cells:
    """Counts of one task per (item, persona), and what the personas are."""

    persona_ids: tuple[str, ...]
    categories: tuple[str, ...]
    domains: tuple[str | None, ...]
    correct: Ints
    scored: Ints
    score_sum: Floats
    no_answer: Ints
    truncated: Ints
    wrong_truncated: Ints
    unscored: Ints
    other_script: Ints

    @property
    def category_names(self) -> tuple[str, ...]:
        """The categories of the personas, in their order; the baseline is in none."""
        return tuple(dict.fromkeys(self.categories[1:]))

    @property
    def solved(self) -> int:
        """How many items had a right answer under a persona."""
        return int(self.correct[:, 1:].any(axis=1).sum())

    @property
    def is_scored(self) -> NDArray[np.bool_]:
        """[n, 1 + m] whether a cell has a scored sample."""
        return self.scored > 0

    @property
    def q(self) -> Floats:
        """[n, 1 + m] share of right answers, 0 where missing."""
        return np.divide(self.correct, self.scored, out=np.zeros(self.scored.shape), where=self.scored > 0)


def pair_sums(q: Floats, present: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return per item the numerator and denominator of PSS.

    c[i] = ((Σ_p q)² − Σ_p q²) / (m_i (m_i − 1)), and mean_p q[i, p], over the m_i personas present; an item with fewer
    than two adds nothing to either.
    """
    m = present.sum(axis=1).astype(np.float64)
    enough = m >= 2
    total = np.where(present, q, 0).sum(axis=1)
    squares = np.where(present, q**2, 0).sum(axis=1)
    numerator = np.divide(total**2 - squares, m * (m - 1), out=np.zeros(len(m)), where=enough)
    return numerator, np.divide(total, m, out=np.zeros(len(m)), where=enough)


def pss(q: Floats, present: NDArray[np.bool_] | None = None) -> float | None:
    """Return the persona stability score of q [n, m]: Σ_i c[i] / Σ_i mean_p q. None if m < 2 or nothing is solved."""
    numerator, denominator = pair_sums(q, np.ones(q.shape, dtype=bool) if present is None else present)
    return float(numerator.sum() / denominator.sum()) if denominator.sum() > 0 else None


def repeat_sums(correct: Ints, scored: Ints, counted: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return per item the numerator and denominator of repeatability.

    Over cells with S ≥ 2 scored samples: ((Σ_s y)² − Σ_s y²) / (S (S − 1)) and q. For answers that are right or wrong,
    Σ y² = Σ y.
    """
    pairs = pair_products(correct, scored, counted)
    return pairs.sum(axis=1), np.divide(correct, scored, out=np.zeros(pairs.shape), where=counted).sum(axis=1)


def pair_products(correct: Ints, scored: Ints, counted: NDArray[np.bool_]) -> Floats:
    """Return per cell how often two of its samples are both right: k (k − 1) / (s (s − 1)); 0 where not counted."""
    k, s = correct.astype(np.float64), scored.astype(np.float64)
    return np.divide(k * (k - 1), s * (s - 1), out=np.zeros(k.shape), where=counted)


@dataclass(frozen=True)
class ItemSums:
    """What every item adds to the sums that the headline numbers are made of, and where each stands."""

    matrix: Floats
    personas: int
    groups: NDArray[np.float64]
    experts: NDArray[np.float64]

    @property
    def spans(self) -> Floats:
        """[e] how far apart two values of each estimate can be."""
        spans = np.ones(len(STABILITY) + 1 + self.personas + len(self.groups))
        spans[: len(STABILITY)] = [metric.span for metric in STABILITY]
        return spans

    def weights(self, sums: Floats) -> Floats:
        """Return what each estimate is divided by, for sums [..., k]; without any, a cluster says nothing of it."""
        parts = np.moveaxis(sums[..., :_SUMS], -1, 0)
        _, mean, _, cells, _, pairs_q, _, again_mean, _, _, _, scored = parts
        count = sums[..., _SUMS + 1 + self.personas :]
        headline = [cells, count[..., 0], mean, mean, pairs_q, again_mean, again_mean, scored, count[..., 0]]
        return np.concatenate([np.stack(headline, axis=-1), count, count[..., 1:] @ self.groups.T], axis=-1)

    def estimate(self, sums: Floats) -> Floats:
        """Return the estimates for sums [..., k]; the order is that of ``summarise``."""
        parts = np.moveaxis(sums[..., :_SUMS], -1, 0)
        c, mean, total, cells, pairs, pairs_q, again_c, again_mean, repeat, repeat_q, score, scored = parts
        right, count = np.split(sums[..., _SUMS:], [1 + self.personas], axis=-1)
        accuracy = right / count
        stable, mu = c / mean, total / cells
        common_pss, common_r = again_c / again_mean, repeat / repeat_q
        headline = [
            mu,
            accuracy[..., 0],
            stable,
            (stable - mu) / (1 - mu),
            pairs / pairs_q,
            common_r - common_pss,
            common_pss / common_r,
            score / scored,
            _weighted(accuracy[..., 1:], self.experts) - accuracy[..., 0],
        ]
        by_category = (right[..., 1:] @ self.groups.T) / (count[..., 1:] @ self.groups.T)
        return np.concatenate([np.stack(headline, axis=-1), accuracy, by_category], axis=-1)


def _weighted(values: Floats, weights: Floats) -> Floats:
    if not weights.any():
        return np.full(values.shape[:-1], np.nan)
    return np.asarray(values[..., weights > 0].mean(axis=-1))


def item_sums(cells: Cells, domain: str, names: Sequence[str]) -> ItemSums:
    """Return the sums of a task's cells; ``names`` are the categories that get an accuracy of their own."""
    q, present = cells.q, cells.is_scored
    own, own_present = q[:, 1:], present[:, 1:]
    c, mean = pair_sums(own, own_present)
    twice = cells.scored[:, 1:] >= 2
    pairs, pairs_q = repeat_sums(cells.correct[:, 1:], cells.scored[:, 1:], twice)
    # PSS and R are compared on what both have: cells with two samples, of items with two such personas.
    twice = twice & (twice.sum(axis=1) >= 2)[:, None]
    again_c, again_mean = pair_sums(own, twice)
    repeat, repeat_q = repeat_sums(cells.correct[:, 1:], cells.scored[:, 1:], twice)
    columns = [
        c,
        mean,
        np.where(own_present, own, 0).sum(axis=1),
        own_present.sum(axis=1),
        pairs,
        pairs_q,
        again_c,
        again_mean,
        repeat,
        repeat_q,
        cells.score_sum[:, 1:].sum(axis=1),
        cells.scored[:, 1:].sum(axis=1),
    ]
    matrix = np.column_stack([*columns, np.where(present, q, 0), present]).astype(np.float64)
    groups = np.array([[category == name for category in cells.categories[1:]] for name in names], dtype=np.float64)
    fields = zip(cells.categories[1:], cells.domains[1:], strict=True)
    experts = np.array([category == "expert" and field == domain for category, field in fields], dtype=np.float64)
    groups = groups.reshape(len(names), q.shape[1] - 1)
    return ItemSums(matrix, q.shape[1] - 1, groups, experts)
