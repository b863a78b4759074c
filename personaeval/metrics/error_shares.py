"""Which part of a change's squared error falls with more personas or samples.

With n items, m personas and S samples, the variance of a paired change is about
(V_item + V_cell / m + V_noise / (m S)) / n. The parts are measured on the runs themselves: on each half of the
personas, and on half of each cell's samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from personaeval.metrics.catalogue import StabilityMetric
from personaeval.metrics.inference import Floats
from personaeval.metrics.jackknife import jackknife
from personaeval.metrics.sums import Cells, evaluate, item_sums
from personaeval.metrics.totals import Totals

_SPLITS = 4

_LABELS = ("persona_ids", "categories", "domains")

Pair = tuple[Cells, Cells]
"""Cells of base and candidate."""


@dataclass(frozen=True, slots=True)
class ErrorShares:
    """Shares of a change's squared error.

    Attributes:
        personas: share that falls as 1 / m: what personas add to items, sampling noise included. None if unknown.
        samples: share that falls as 1 / S: sampling noise. None if unknown.
    """

    personas: float | None = None
    samples: float | None = None

    def with_personas_resampled(self, items_alone: float) -> ErrorShares:
        """The shares if personas are resampled as well.

        Args:
            items_alone: the squared error without that, as a share of the one with it.
        """
        kept = min(max(items_alone, 0.0), 1.0)
        return ErrorShares(
            None if self.personas is None else 1 - kept * (1 - self.personas),
            None if self.samples is None else kept * self.samples,
        )


def error_shares(pair: Pair, metric: StabilityMetric, domain: str, greedy: bool, seed: int = 0) -> ErrorShares:
    """Shares of the squared error of a metric's paired change.

    With one sample, cell and noise cannot be told apart: half of what falls with personas is then taken as noise, as in
    the forecast of ``plan``; none of it if decoding is greedy.

    Args:
        pair: cells that both runs scored.
        metric: the metric.
        domain: the task's domain.
        greedy: whether answers are decoded at temperature 0.
        seed: of the halves.
    """
    whole = _squared_error(pair, metric, domain)
    if not whole > 0:
        return ErrorShares()
    generator = np.random.default_rng(seed)
    personas = _of_personas(pair, metric, domain, whole, generator)
    samples = int(max(cells.scored.max(initial=0) for cells in pair))
    if samples >= (4 if metric.needs_repeats else 2):
        noise = _of_samples(pair, metric, domain, whole, samples, generator)
    else:
        # A metric on which personas have no part rests on the baseline's single cell, or on a few experts.
        noise = 0.0 if greedy else personas / 2 if personas and not metric.needs_repeats else None
    return ErrorShares(personas, noise)


def _of_personas(
    pair: Pair, metric: StabilityMetric, domain: str, whole: float, generator: np.random.Generator
) -> float | None:
    m = len(pair[0].persona_ids) - 1
    if m < 4:
        return None
    errors, factors = [], []
    for _ in range(_SPLITS):
        order = 1 + generator.permutation(m)
        for half in (order[: m // 2], order[m // 2 :]):
            part = [_columns(cells, [0, *sorted(half.tolist())]) for cells in pair]
            errors.append(_squared_error(part, metric, domain) / whole)
            factors.append(m / len(half))
    return _share(errors, factors)


def _of_samples(
    pair: Pair, metric: StabilityMetric, domain: str, whole: float, samples: int, generator: np.random.Generator
) -> float | None:
    if metric.name == "mean_score" and not all(np.array_equal(cells.score_sum, cells.correct) for cells in pair):
        return None
    kept = samples // 2
    errors = [
        _squared_error([_thinned(cells, kept, generator) for cells in pair], metric, domain) / whole
        for _ in range(_SPLITS)
    ]
    return _share(errors, [samples / kept])


def _share(errors: Sequence[float], factors: Sequence[float]) -> float | None:
    """The share s for which errors are 1 + s (factor − 1) on average; None if any error is undefined."""
    grown = float(np.mean(errors))
    return min(max((grown - 1) / (float(np.mean(factors)) - 1), 0.0), 1.0) if np.isfinite(grown) else None


def _squared_error(pair: Sequence[Cells], metric: StabilityMetric, domain: str) -> float:
    base, candidate = (item_sums(cells, domain, ()) for cells in pair)
    width = base.matrix.shape[1]

    def change(sums: Floats) -> Floats:
        before, after = (
            evaluate(Totals.unpack(own, base.experts), [metric]) for own in (sums[..., :width], sums[..., width:])
        )
        return after - before

    return float(jackknife(np.hstack([base.matrix, candidate.matrix]), change).errors[0] ** 2)


def _columns(cells: Cells, kept: Sequence[int]) -> Cells:
    found: dict[str, Any] = {}
    for entry in fields(Cells):
        values = getattr(cells, entry.name)
        found[entry.name] = tuple(values[place] for place in kept) if entry.name in _LABELS else values[:, kept]
    return Cells(**found)


def _thinned(cells: Cells, kept: int, generator: np.random.Generator) -> Cells:
    """Cells with at most so many of each cell's samples, drawn without replacement."""
    scored = np.minimum(cells.scored, kept)
    wrong = cells.scored - cells.correct
    drawn = generator.hypergeometric(cells.correct, wrong, scored).astype(np.int32)
    return replace(cells, correct=drawn, scored=scored, score_sum=drawn.astype(np.float64))
