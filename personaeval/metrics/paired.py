"""Paired changes between two checkpoints on the same items and personas, whose difficulty cancels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from personaeval.metrics.change_bounds import change_intervals, mirrored, p_no_change
from personaeval.metrics.inference import Estimate, Floats, finite_or_none
from personaeval.metrics.jackknife import JackknifeResult, jackknife
from personaeval.metrics.sums import Cells


class ClusterSums(Protocol):
    """Sums over clusters, and the estimates computed from them."""

    @property
    def matrix(self) -> Floats:
        """[clusters, k] what each cluster adds to each sum."""
        ...

    @property
    def spans(self) -> Floats:
        """[e] by how much each estimate can change per share of the clusters behind it that change."""
        ...

    @property
    def clusters_are_items(self) -> bool:
        """Whether a cluster is one item, rather than one persona."""
        ...

    def weights(self, sums: Floats) -> Floats:
        """[..., e] each estimate's denominator for [..., k] sums; a cluster with 0 carries no information on it."""
        ...

    def estimate(self, sums: Floats) -> Floats:
        """[..., e] the estimates for [..., k] sums."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """The change of one metric from the base to the candidate.

    Attributes:
        base: the metric's value for the base; None if undefined.
        candidate: its value for the candidate.
        absolute: candidate − base, in the metric's own unit.
        relative: candidate / base − 1; None if the base is not above 0, or 0 is the middle of the metric's scale.
        p: two-sided p-value of the null hypothesis "no change"; None if undefined.
        tested: the jackknife's result for the difference.
        items: number of items it rests on; infinite if the clusters are personas.
    """

    base: float | None
    candidate: float | None
    absolute: Estimate
    relative: Estimate
    p: float | None
    tested: JackknifeResult
    items: float

    def decline(self, better: int) -> JackknifeResult:
        """The change as a decline, above 0 if the candidate is worse; ``better`` is the metric's direction, 1 or -1."""
        return self.tested if better < 0 else mirrored(self.tested)


def changes(base: ClusterSums, candidate: ClusterSums) -> list[Change]:
    """The change of every estimate, with jackknife errors over the clusters; both have the same, in the same order."""
    width = base.matrix.shape[1]

    def both(sums: Floats) -> Floats:
        before, after = base.estimate(sums[..., :width]), candidate.estimate(sums[..., width:])
        ratio = np.where((before > 0) & (after >= 0), after / np.where(before > 0, before, 1), np.nan)
        return np.concatenate([after - before, ratio, before, after], axis=-1)

    matrix = np.hstack([base.matrix, candidate.matrix])
    supporting = ((base.weights(base.matrix) > 0) | (candidate.weights(candidate.matrix) > 0)).sum(axis=0)
    found = jackknife(matrix, both, np.tile(supporting.astype(np.float64), 4), np.tile(base.spans, 4))
    count = len(found.values) // 4
    parts = [found.part(slice(start, start + count)) for start in range(0, 4 * count, count)]
    items = parts[0].clusters if base.clusters_are_items else np.full(count, np.inf)
    return make_changes(parts[0], parts[1], parts[2].values, parts[3].values, items)


def make_changes(
    differences: JackknifeResult, ratios: JackknifeResult | None, before: Floats, after: Floats, items: Floats
) -> list[Change]:
    """Changes from e differences, their ratios, both checkpoints' [e] values, and the [e] items each rests on."""
    absolute = change_intervals(differences, items, ["raw"] * len(items))
    relative = [Estimate(None)] * len(items) if ratios is None else _relative(differences, ratios, before, items)
    p_values = p_no_change(differences, items)
    return [
        Change(
            finite_or_none(before[place]),
            finite_or_none(after[place]),
            interval,
            _consistent(relative[place], interval),
            finite_or_none(p_values[place]),
            differences.part(slice(place, place + 1)),
            float(items[place]),
        )
        for place, interval in enumerate(absolute)
    ]


def _relative(differences: JackknifeResult, ratios: JackknifeResult, before: Floats, items: Floats) -> list[Estimate]:
    """Intervals of candidate / base − 1: those of the ratio, on the log scale."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = replace(ratios, spans=differences.spans / before)
    return [_minus_one(ratio) for ratio in change_intervals(ratios, items, ["log"] * len(items))]


def _consistent(relative: Estimate, absolute: Estimate) -> Estimate:
    """The relative change; its interval holds 0 if that of the absolute one does, whatever the scales make of it."""
    if relative.low is None or relative.high is None or absolute.low is None or absolute.high is None:
        return relative
    if not absolute.low <= 0 <= absolute.high:
        return relative
    return Estimate(relative.value, min(relative.low, 0.0), max(relative.high, 0.0))


def shared(runs: Sequence[Cells]) -> list[Cells]:
    """Cells of the same items and personas, without those that any of the runs did not score."""
    kept = np.logical_and.reduce([cells.is_scored for cells in runs])
    return [_only(cells, kept) for cells in runs]


def _only(cells: Cells, kept: NDArray[np.bool_]) -> Cells:
    return replace(
        cells,
        correct=np.where(kept, cells.correct, 0),
        scored=np.where(kept, cells.scored, 0),
        score_sum=np.where(kept, cells.score_sum, 0.0),
    )


def _minus_one(ratio: Estimate) -> Estimate:
    bounds = (ratio.value, ratio.low, ratio.high)
    return Estimate(*(None if bound is None else bound - 1 for bound in bounds))
