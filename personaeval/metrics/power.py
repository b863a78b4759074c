"""What a comparison can find, told before anything is generated.

The standard error of a paired change is measured on a drawn population of known truth (:mod:`population`), by the same
estimators and the same jackknife that compare and check use, and scales with 1/√n. A change d is detected at a
one-sided level α with power 1 − β where d ≥ (z(1−α) + z(1−β)) · error (Cohen 1988, chapter 2).
"""

from __future__ import annotations

import math

import numpy as np

from personaeval.metrics.paired import changes
from personaeval.metrics.population import Population
from personaeval.metrics.sums import HEADLINE, Cells, Ints, item_sums

ALPHA = 0.025
POWER = 0.8
PLANNED = ("accuracy", "pss")
_CELLS = 400_000
_MOST_ITEMS = 8_000
_SEED = 0


def unit_errors(population: Population, personas: int, samples: int) -> dict[str, float]:
    """Return for each planned metric the standard error of its paired change times √n.

    Args:
        population: what both checkpoints are drawn from.
        personas: m, without the baseline; at least 2.
        samples: S.
    """
    n = max(200, min(_MOST_ITEMS, _CELLS // (personas + 1)))
    drawn = population.draw_pair(population, np.random.default_rng(_SEED), n, personas, samples)
    base, candidate = (item_sums(_cells(correct, samples), "", ()) for correct in drawn)
    found = dict(zip(HEADLINE, changes(base, candidate), strict=False))
    return {name: float(found[name].tested.errors[0]) * n**0.5 for name in PLANNED}


def detectable(unit_error: float, n: int) -> float:
    """Return the smallest change that n items show with a power of 80 % at a one-sided level of 0.025."""
    return float(_quantiles() * unit_error / n**0.5)


def items_needed(unit_error: float, change: float) -> int:
    """Return how many items show a change with that power: the inverse of :func:`detectable`.

    Raises:
        ValueError: a change that is not above 0.
    """
    if change <= 0:
        raise ValueError("a change to be detected is above 0")
    return max(2, math.ceil((_quantiles() * unit_error / change) ** 2))


def _quantiles() -> float:
    from scipy.special import ndtri

    return float(ndtri(1 - ALPHA) + ndtri(POWER))


def _cells(correct: Ints, samples: int) -> Cells:
    n, width = correct.shape
    none = np.zeros((n, width), dtype=np.int32)
    return Cells(
        persona_ids=tuple(str(column) for column in range(width)),
        categories=("",) * width,
        domains=(None,) * width,
        correct=correct,
        scored=np.full((n, width), samples, dtype=np.int32),
        score_sum=correct.astype(np.float64),
        no_answer=none,
        truncated=none,
        wrong_truncated=none,
        unscored=none,
        other_script=none,
    )
