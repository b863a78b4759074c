"""The worst persona without selection bias: chosen on one half of the items, measured on the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from personaeval.metrics.inference import Floats, resampled_counts, skewness
from personaeval.metrics.jackknife import JackknifeResult
from personaeval.metrics.paired import Change, make_changes
from personaeval.metrics.sums import Cells

_SPLITS = 20

_REPLICATES = 1000


def worst_persona_change(base: Cells, candidate: Cells, seed: int = 0) -> Change:
    """Change of the worst persona's split-half accuracy, with a bootstrap standard error over items.

    The mean over 20 seeded splits and both directions. An item keeps its half in every resample, so that no item both
    selects and measures; the selection is repeated in every resample.

    Args:
        base: cells of the base.
        candidate: cells of the same items and personas.
        seed: seed of splits and resamples.
    """
    n = base.q.shape[0]
    runs = [np.column_stack([cells.q[:, 1:], cells.is_scored[:, 1:]]).astype(np.float64) for cells in (base, candidate)]
    generator = np.random.default_rng(seed)
    halves = np.zeros((_SPLITS, n, 1))
    for half in halves:
        half[generator.permutation(n)[: n // 2]] = 1
    values = _over_splits(np.ones((1, n)), runs, halves)[:, 0]
    parts = [_over_splits(counts, runs, halves) for counts in resampled_counts(n, seed, _REPLICATES)]
    drawn = np.concatenate(parts, axis=1)
    difference = drawn[1] - drawn[0]
    known = difference[np.isfinite(difference)]
    error = float(np.std(known, ddof=1)) if len(known) > _REPLICATES / 2 and n > 1 else float("nan")
    value = values[1:] - values[:1]
    freedom, clusters = np.array([max(n - 1.0, 1.0)]), np.array([float(n)])
    found = JackknifeResult(value, value, np.array([error]), freedom, np.array([skewness(known)]), clusters, np.ones(1))
    return make_changes(found, None, values[:1], values[1:], clusters)[0]


def _over_splits(counts: Floats, runs: Sequence[Floats], halves: Floats) -> Floats:
    """[2, rows] both runs' worst persona's accuracy, averaged over splits, for [rows, n] counts of items."""
    found = np.zeros((2, len(counts)))
    for place, own in enumerate(runs):
        right, scored = np.split(own, 2, axis=1)
        if scored.all():
            scored = scored[:, :1]  # the same number under every persona
        columns = np.hstack([right, scored])
        for half in halves:
            sums = counts @ np.hstack([columns * half, columns * (1 - half)])
            found[place] += _worst(sums, right.shape[1]) / len(halves)
    return found


def _worst(sums: Floats, personas: int) -> Floats:
    """[r] the worst persona's accuracy from sums of one half: right under each, scored; then of the other half."""
    with np.errstate(invalid="ignore", divide="ignore"):
        halves = [own[:, :personas] / own[:, personas:] for own in np.split(sums, 2, axis=1)]
    rows = np.arange(len(sums))
    found = np.zeros(len(sums))
    for chosen, measured in (halves, halves[::-1]):
        found += measured[rows, np.argmin(np.where(np.isfinite(chosen), chosen, np.inf), axis=1)] / 2
    return found
