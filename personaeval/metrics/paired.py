"""Paired changes between two checkpoints on the same items and personas, whose difficulty cancels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from personaeval.metrics.inference import Estimate, Floats, finite_or_none
from personaeval.metrics.jackknife import JackknifeResult, intervals, jackknife, p_equal
from personaeval.metrics.sums import Cells


class ClusterSums(Protocol):
    """Sums over clusters, and the estimates computed from them."""

    @property
    def matrix(self) -> Floats:
        """[clusters, k] what each cluster adds to each sum."""
        ...

    @property
    def spans(self) -> Floats:
        """[e] largest possible difference between two values of each estimate."""
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
    """

    base: float | None
    candidate: float | None
    absolute: Estimate
    relative: Estimate
    p: float | None
    tested: JackknifeResult

    def decline(self, better: int) -> JackknifeResult:
        """The change as a decline, above 0 if the candidate is worse; ``better`` is the metric's direction, 1 or -1."""
        found = self.tested
        if better < 0:
            return found
        return replace(found, values=-found.values, corrected=-found.corrected, skewness=-found.skewness)


def changes(base: ClusterSums, candidate: ClusterSums) -> list[Change]:
    """The change of every estimate, with jackknife errors over the clusters; both have the same, in the same order."""
    width = base.matrix.shape[1]

    def both(sums: Floats) -> Floats:
        before, after = base.estimate(sums[..., :width]), candidate.estimate(sums[..., width:])
        ratio = np.where((before > 0) & (after >= 0), after / np.where(before > 0, before, 1), np.nan)
        return np.concatenate([after - before, ratio, before, after], axis=-1)

    matrix = np.hstack([base.matrix, candidate.matrix])
    supporting = (base.weights(base.matrix) > 0) | (candidate.weights(candidate.matrix) > 0)
    found = jackknife(matrix, both, np.tile(supporting.sum(axis=0, dtype=np.float64), 4), np.tile(base.spans, 4))
    count = len(found.values) // 4
    ratios = intervals(found.part(slice(count, 2 * count)), ["log"] * count)
    return make_changes(
        found.part(slice(0, count)), ratios, found.values[2 * count : 3 * count], found.values[3 * count :]
    )


def make_changes(
    differences: JackknifeResult, ratios: Sequence[Estimate | None], before: Floats, after: Floats
) -> list[Change]:
    """Changes from the estimates of e differences, the intervals of e ratios, and both checkpoints' [e] values."""
    absolute = intervals(differences, ["raw"] * len(differences.values))
    p_values = p_equal(differences)
    made = []
    for place, interval in enumerate(absolute):
        ratio = ratios[place]
        made.append(
            Change(
                finite_or_none(before[place]),
                finite_or_none(after[place]),
                interval,
                Estimate(None) if ratio is None else _minus_one(ratio),
                finite_or_none(p_values[place]),
                differences.part(slice(place, place + 1)),
            )
        )
    return made


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
