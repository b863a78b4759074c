"""Power of a comparison, forecast before anything is generated.

The standard error of a paired decline is measured on two populations (:mod:`personaeval.metrics.population`), one of
which has declined, with the estimators and the jackknife of ``compare`` and ``check``; it scales with 1/√n. A decline d
is detected at a one-sided level α with power 1 − β if d ≥ (t(1−α) + t(1−β)) · error (Cohen 1988, chapter 2).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from personaeval.metrics.catalogue import HEADLINE
from personaeval.metrics.jackknife import zero_event_bound
from personaeval.metrics.noninferiority import ALPHA, POWER
from personaeval.metrics.paired import changes
from personaeval.metrics.population import Declining, Population
from personaeval.metrics.sums import Cells, Ints, item_sums

PLANNED: tuple[Declining, ...] = ("accuracy", "pss")

_CELLS = 400_000

_MOST_ITEMS = 8_000

_SEED = 0

_MOST_NEEDED = 10**9

_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class _UnitError:
    """The standard error of a decline as a function of n.

    Attributes:
        error: standard error × √n.
        freedom: degrees of freedom per item.
        supporting: share of the items that the estimate rests on.
    """

    error: float
    freedom: float
    supporting: float

    def least(self, n: int) -> float:
        """The smallest decline that n items detect, with the test of ``check``."""
        from scipy.special import stdtrit

        freedom, error = max(1.0, min(n - 1, self.freedom * n)), self.error / n**0.5
        shown = max(stdtrit(freedom, 1 - ALPHA) * error, float(zero_event_bound(max(1.0, self.supporting * n))))
        return float(shown + stdtrit(freedom, POWER) * error)

    def items(self, decline: float) -> int:
        """The number of items that detects a decline."""
        return bisect_left(range(_MOST_NEEDED), True, lo=2, key=lambda n: self.least(n) <= decline)


def minimum_detectable_effect(
    population: Population, metric: Declining, n: int, personas: int, samples: int
) -> float | None:
    """The smallest decline that n items detect with a power of 80 % at a one-sided level of 0.025.

    Args:
        population: the base's.
        metric: the metric that declines.
        n: number of items.
        personas: m, without the baseline; at least 2.
        samples: S per cell.

    Returns:
        In the metric's unit; None if the metric cannot fall that far.
    """
    decline = 0.0
    try:
        for _ in range(_ROUNDS):
            decline = _unit_error(population, metric, decline, personas, samples).least(n)
        population.worse(metric, decline)
    except ValueError:
        return None
    return decline


def required_sample_size(
    population: Population, metric: Declining, decline: float, personas: int, samples: int
) -> int | None:
    """The number of items that detects a decline with that power: the inverse of :func:`minimum_detectable_effect`.

    Returns:
        None if the metric cannot fall that far.

    Raises:
        ValueError: ``decline`` is not above 0.
    """
    if decline <= 0:
        raise ValueError(f"decline: must be above 0 (got {decline:g})")
    try:
        return _unit_error(population, metric, decline, personas, samples).items(decline)
    except ValueError:
        return None


def _unit_error(population: Population, metric: Declining, decline: float, personas: int, samples: int) -> _UnitError:
    n = max(200, min(_MOST_ITEMS, _CELLS // (personas + 1)))
    worse = population.worse(metric, decline)
    drawn = population.draw_pair(worse, np.random.default_rng(_SEED), n, personas, samples)
    base, candidate = (item_sums(drawn_cells(correct, samples), "", ()) for correct in drawn)
    found = changes(base, candidate)[HEADLINE.index(metric)].decline(better=1)
    return _UnitError(float(found.errors[0]) * n**0.5, float(found.freedom[0]) / n, float(found.clusters[0]) / n)


def drawn_cells(correct: Ints, samples: int) -> Cells:
    """Cells of a run from [n, 1 + m] numbers of right answers, as :meth:`Population.draw` gives them."""
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
