"""From a task's cells to sums over items, from which every stability metric with an interval is computed.

Arrays are [n, 1 + m] for n items and m personas; column 0 is the baseline ``none``, which is not one of the m. q[i, p]
is the share of right answers to item i under persona p among the scored samples; a cell without any is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from personaeval.metrics.catalogue import STABILITY, StabilityMetric
from personaeval.metrics.inference import Floats
from personaeval.metrics.totals import Totals

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Cells:
    """Counts of one task per (item, persona) cell.

    Attributes:
        persona_ids: 1 + m ids, the baseline's first.
        categories: of each persona.
        domains: of each persona; None without one.
        correct: [n, 1 + m] right answers; the other counts and ``score_sum`` have the same shape.
        scored: samples with a score.
        score_sum: sum of the samples' scores.
        no_answer: samples in which no answer was found.
        truncated: samples cut off at ``max_tokens``.
        wrong_truncated: those of them that are wrong.
        unscored: samples without a score.
        other_script: wrong samples mostly in another script than the question.
    """

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
        """Distinct categories of the personas, in their order, without the baseline's."""
        return tuple(dict.fromkeys(self.categories[1:]))

    @property
    def solved(self) -> int:
        """Number of items with a right answer under any persona."""
        return int(self.correct[:, 1:].any(axis=1).sum())

    @property
    def is_scored(self) -> NDArray[np.bool_]:
        """[n, 1 + m] whether a cell has a scored sample."""
        return self.scored > 0

    @property
    def q(self) -> Floats:
        """[n, 1 + m] share of right answers; 0 in a missing cell."""
        return np.divide(self.correct, self.scored, out=np.zeros(self.scored.shape), where=self.scored > 0)


def pair_sums(q: Floats, present: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """[n] numerators and [n] denominators of PSS.

    c[i] = ((Σ_p q)² − Σ_p q²) / (m_i (m_i − 1)), and mean_p q[i, p], over the m_i personas present; an item with fewer
    than two adds 0 to both.
    """
    m = present.sum(axis=1).astype(np.float64)
    enough = m >= 2
    total = np.where(present, q, 0).sum(axis=1)
    squares = np.where(present, q**2, 0).sum(axis=1)
    numerator = np.divide(total**2 - squares, m * (m - 1), out=np.zeros(len(m)), where=enough)
    return numerator, np.divide(total, m, out=np.zeros(len(m)), where=enough)


def pss(q: Floats, present: NDArray[np.bool_] | None = None) -> float | None:
    """Persona stability score of q [n, m]: Σ_i c[i] / Σ_i mean_p q. None if m < 2 or nothing is solved."""
    numerator, denominator = pair_sums(q, np.ones(q.shape, dtype=bool) if present is None else present)
    return float(numerator.sum() / denominator.sum()) if denominator.sum() > 0 else None


def repeat_sums(correct: Ints, scored: Ints, counted: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """[n] numerators and [n] denominators of repeatability.

    Over the counted cells, which have S ≥ 2 scored samples: ((Σ_s y)² − Σ_s y²) / (S (S − 1)), and q. As y is 0 or 1,
    Σ y² = Σ y.
    """
    pairs = pair_products(correct, scored, counted)
    return pairs.sum(axis=1), np.divide(correct, scored, out=np.zeros(pairs.shape), where=counted).sum(axis=1)


def pair_products(correct: Ints, scored: Ints, counted: NDArray[np.bool_]) -> Floats:
    """[n, m] share of pairs of a cell's samples that are both right, k (k − 1) / (s (s − 1)); 0 where not counted."""
    k, s = correct.astype(np.float64), scored.astype(np.float64)
    return np.divide(k * (k - 1), s * (s - 1), out=np.zeros(k.shape), where=counted)


def repeated_sums(correct: Ints, scored: Ints, q: Floats) -> Sequence[Floats]:
    """Six [n] sums: those of repeatability; then those of PSS and of repeatability over the cells that both can use."""
    twice = scored >= 2
    if not twice.any():
        return [np.zeros(len(q))] * 6
    # PSS and R are compared on what both have: cells with two samples, of items with two such personas.
    common = twice & (twice.sum(axis=1) >= 2)[:, None]
    return [*repeat_sums(correct, scored, twice), *pair_sums(q, common), *repeat_sums(correct, scored, common)]


def evaluate(totals: Totals, metrics: Sequence[StabilityMetric] = STABILITY) -> Floats:
    """[..., e] the metrics' values, in their order."""
    return np.stack([metric.estimate(totals) for metric in metrics], axis=-1)


@dataclass(frozen=True)
class ItemSums:
    """What every item adds to the sums behind a task's estimates.

    The e estimates are those of :data:`personaeval.metrics.catalogue.STABILITY`, then the accuracy of every persona,
    the baseline's first, then that of every category.

    Attributes:
        matrix: [n, k] packed :class:`Totals` of each item.
        groups: [categories, m] 1 where a persona is in a category.
        experts: [m] whether a persona is an expert of the task's domain.
    """

    matrix: Floats
    groups: NDArray[np.float64]
    experts: NDArray[np.bool_]

    @property
    def clusters_are_items(self) -> bool:
        """A cluster is an item."""
        return True

    @property
    def spans(self) -> Floats:
        """[e] by how much each estimate can change per share of the items behind it that change; at most its span."""
        totals = Totals.unpack(self.matrix.sum(axis=0), self.experts)
        items = np.maximum((self.weights(self.matrix) > 0).sum(axis=0), 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            reaches = [
                metric.span if metric.reach is None else np.fmin(metric.span, metric.reach(totals, items[place]))
                for place, metric in enumerate(STABILITY)
            ]
        return np.array([*reaches, *[1.0] * (1 + len(self.experts) + len(self.groups))])

    def weights(self, sums: Floats) -> Floats:
        """[..., e] each estimate's denominator for [..., k] sums; a cluster with 0 carries no information on it."""
        totals = Totals.unpack(sums, self.experts)
        headline = np.stack([metric.denominator(totals) for metric in STABILITY], axis=-1)
        cells = totals.persona_cells
        return np.concatenate([headline, cells, cells[..., 1:] @ self.groups.T], axis=-1)

    def estimate(self, sums: Floats) -> Floats:
        """[..., e] the estimates for [..., k] sums."""
        totals = Totals.unpack(sums, self.experts)
        right, cells = totals.persona_right, totals.persona_cells
        by_category = (right[..., 1:] @ self.groups.T) / (cells[..., 1:] @ self.groups.T)
        return np.concatenate([evaluate(totals), right / cells, by_category], axis=-1)

    def headline(self) -> ItemSums:
        """The same without the personas' own columns: no accuracies by persona or category, no expertise advantage."""
        width = 1 + len(self.experts)
        scalars = self.matrix.shape[1] - 2 * width
        kept = [*range(scalars + 1), scalars + width]
        return ItemSums(self.matrix[:, kept], np.zeros((0, 0)), np.zeros(0, dtype=bool))


def item_sums(cells: Cells, domain: str, names: Sequence[str]) -> ItemSums:
    """Sums of a task's cells.

    Args:
        cells: the counts.
        domain: the task's domain, whose experts are its in-domain experts.
        names: the categories that get an accuracy of their own.
    """
    q, present = cells.q, cells.is_scored
    own, own_present = q[:, 1:], present[:, 1:]
    pss_numerator, pss_denominator = pair_sums(own, own_present)
    repeated = repeated_sums(cells.correct[:, 1:], cells.scored[:, 1:], own)
    fields = zip(cells.categories[1:], cells.domains[1:], strict=True)
    experts = np.array([category == "expert" and field == domain for category, field in fields], dtype=bool)
    totals = Totals(
        pss_numerator=pss_numerator,
        pss_denominator=pss_denominator,
        right=np.where(own_present, own, 0).sum(axis=1),
        cells=own_present.sum(axis=1).astype(np.float64),
        repeat_numerator=repeated[0],
        repeat_denominator=repeated[1],
        common_pss_numerator=repeated[2],
        common_pss_denominator=repeated[3],
        common_repeat_numerator=repeated[4],
        common_repeat_denominator=repeated[5],
        score=cells.score_sum[:, 1:].sum(axis=1),
        samples=cells.scored[:, 1:].sum(axis=1).astype(np.float64),
        persona_right=np.where(present, q, 0),
        persona_cells=present.astype(np.float64),
        experts=experts,
    )
    groups = np.array([[category == name for category in cells.categories[1:]] for name in names], dtype=np.float64)
    return ItemSums(totals.pack(), groups.reshape(len(names), q.shape[1] - 1), experts)
