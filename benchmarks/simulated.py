"""Many simulated experiments at once, through the program's own estimators, intervals and tests.

The jackknife leaves out one cluster at a time. Experiments of one size can therefore stand side by side: row i of the
matrix holds item i of every experiment, and one call gives the estimates of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from personaeval.metrics.catalogue import STABILITY, StabilityMetric
from personaeval.metrics.inference import Floats
from personaeval.metrics.jackknife import JackknifeResult, jackknife
from personaeval.metrics.noninferiority import NonInferiorityTest
from personaeval.metrics.paired import Change, changes
from personaeval.metrics.population import Population
from personaeval.metrics.power import drawn_cells
from personaeval.metrics.sums import Ints, item_sums
from personaeval.metrics.totals import Totals

BY_NAME = {metric.name: metric for metric in STABILITY}

KAPPA_IN_POINTS = "kappa, in points of PSS"
"""The gap (κ of the base − κ of the candidate) (1 − accuracy of the base): a gate that was tried."""

_NO_EXPERTS = np.zeros(0, dtype=bool)

_WIDTH = 14
"""Sums of an item: 12 of all personas, and the right answers and cells of the baseline."""

_CELLS = 1_500_000
"""Cells drawn at a time."""


def batches(experiments: int, n: int, m: int) -> Iterator[int]:
    """Yield numbers of experiments that fit into memory together."""
    size = max(1, _CELLS // (n * (m + 1)))
    for start in range(0, experiments, size):
        yield min(size, experiments - start)


@dataclass(frozen=True)
class Batch:
    """The sums over items of several experiments (:class:`personaeval.metrics.paired.ClusterSums`).

    Estimates are in the order of the experiments; each has those of ``metrics``.

    Attributes:
        matrix: [n, experiments × 14].
        metrics: those to estimate.
    """

    matrix: Floats
    metrics: tuple[StabilityMetric, ...]

    @property
    def clusters_are_items(self) -> bool:
        """Whether a cluster is one item."""
        return True

    @property
    def spans(self) -> Floats:
        """[e] by how much each estimate can change per share of the items behind it that change; at most its span."""
        totals = self.totals(self.matrix.sum(axis=0))
        count = len(self.metrics)
        items = np.maximum((self.weights(self.matrix) > 0).sum(axis=0), 1).reshape(-1, count)
        with np.errstate(divide="ignore", invalid="ignore"):
            reaches = [
                np.full(len(items), metric.span)
                if metric.reach is None
                else np.fmin(metric.span, metric.reach(totals, items[:, place]))
                for place, metric in enumerate(self.metrics)
            ]
        return np.stack(reaches, axis=-1).ravel()

    def weights(self, sums: Floats) -> Floats:
        """[..., e] each estimate's denominator."""
        totals = self.totals(sums)
        return self._flat([metric.denominator(totals) for metric in self.metrics])

    def estimate(self, sums: Floats) -> Floats:
        """[..., e] the estimates."""
        totals = self.totals(sums)
        return self._flat([metric.estimate(totals) for metric in self.metrics])

    def totals(self, sums: Floats) -> Totals:
        """[..., experiments] named sums."""
        return Totals.unpack(sums.reshape(*sums.shape[:-1], -1, _WIDTH), _NO_EXPERTS)

    def run(self) -> JackknifeResult:
        """The estimates of single runs."""
        supporting = (self.weights(self.matrix) > 0).sum(axis=0, dtype=np.float64)
        return jackknife(self.matrix, self.estimate, supporting, self.spans)

    def _flat(self, found: Sequence[Floats]) -> Floats:
        stacked = np.stack(found, axis=-1)
        return stacked.reshape(*stacked.shape[:-2], -1)


def batch(correct: Ints, scored: Ints | int, names: Sequence[str]) -> Batch:
    """The sums of [experiments, n, 1 + m] numbers of right answers out of the scored samples."""
    experiments, n, width = correct.shape
    cells = drawn_cells(correct.reshape(-1, width), scored if isinstance(scored, int) else 1)
    if not isinstance(scored, int):
        cells = replace(cells, scored=scored.reshape(-1, width))
    matrix = item_sums(cells, "", ()).headline().matrix
    by_item = matrix.reshape(experiments, n, _WIDTH).transpose(1, 0, 2).reshape(n, experiments * _WIDTH)
    return Batch(by_item, tuple(BY_NAME[name] for name in names))


def paired_changes(base: Batch, candidate: Batch) -> list[dict[str, Change]]:
    """The change of every metric, per experiment."""
    found, count = changes(base, candidate), len(base.metrics)
    names = [metric.name for metric in base.metrics]
    return [dict(zip(names, found[start : start + count], strict=True)) for start in range(0, len(found), count)]


def decline_test(change: Change, metric: str) -> NonInferiorityTest:
    """The test of ``check`` for one metric's change."""
    return NonInferiorityTest(change.decline(BY_NAME[metric].better), float(change.tested.clusters[0]))


def kappa_in_points(base: Batch, candidate: Batch) -> list[NonInferiorityTest]:
    """The test of the gap in κ times (1 − accuracy of the base), per experiment."""
    width = base.matrix.shape[1]
    kappa = BY_NAME["kappa"]

    def gap(sums: Floats) -> Floats:
        before, after = base.totals(sums[..., :width]), candidate.totals(sums[..., width:])
        return np.asarray((kappa.estimate(before) - kappa.estimate(after)) * (1 - before.accuracy))

    solved = base.totals(base.matrix).pss_denominator + candidate.totals(candidate.matrix).pss_denominator > 0
    found = jackknife(np.hstack([base.matrix, candidate.matrix]), gap, solved.sum(axis=0, dtype=np.float64))
    places = range(len(found.values))
    return [NonInferiorityTest(found.part(slice(place, place + 1)), float(found.clusters[place])) for place in places]


def latent_pair(
    rng: np.random.Generator,
    shape: tuple[int, int],
    pair: tuple[Population, Population],
    accuracies: tuple[Floats, Floats],
    samples: int,
) -> tuple[Ints, Ints]:
    """[*shape, 1 + m] numbers of right answers of two checkpoints.

    As :meth:`Population.draw_pair`, several times as fast and with an accuracy of its own for every persona, [1 + m].
    """
    from scipy.special import ndtr, ndtri

    width = len(accuracies[0])
    common, drawn = _normals(rng, shape, width), []
    for population, own in zip(pair, accuracies, strict=True):
        kept, fresh = np.float32(population.kept**0.5), np.float32((1 - population.kept) ** 0.5)
        item, cell = (
            kept * one + fresh * other for one, other in zip(common, _normals(rng, shape, width), strict=True)
        )
        level = np.float32(population.item**0.5) * item + np.float32(population.cell**0.5) * cell
        level += ndtri(own).astype(np.float32)
        drawn.append(sampled(rng, ndtr(level / np.float32(population.noise**0.5)), samples))
    return drawn[0], drawn[1]


def _normals(
    rng: np.random.Generator, shape: tuple[int, int], width: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return (
        rng.standard_normal((*shape, 1), dtype=np.float32),
        rng.standard_normal((*shape, width), dtype=np.float32),
    )


def sampled(rng: np.random.Generator, rates: NDArray[np.floating], samples: int) -> Ints:
    """Numbers of right answers out of independent samples."""
    right = np.zeros(rates.shape, dtype=np.int32)
    for _ in range(samples):
        right += rng.random(rates.shape, dtype=np.float32) < rates
    return right
