"""Power of a comparison, forecast before anything is generated.

The standard error of a paired decline is measured on two populations (:mod:`personaeval.metrics.population`), one of
which has declined, with the estimators and the jackknife of ``compare`` and ``check``; it scales with 1/√n. A decline d
is detected at a one-sided level α with power 1 − β if d ≥ (t(1−α) + t(1−β)) · error (Cohen 1988, chapter 2).

How much two checkpoints share decides the error. It is known from two past runs (:func:`calibrated`): the population
shares as much as they do, and the remaining difference of the errors is a factor. Without them, :data:`NEIGHBOUR` and
:data:`UNRELATED` bound it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from personaeval.metrics.catalogue import HEADLINE
from personaeval.metrics.jackknife import zero_event_bound
from personaeval.metrics.noninferiority import ALPHA, POWER
from personaeval.metrics.paired import changes
from personaeval.metrics.population import Declining, Population
from personaeval.metrics.sums import Cells, Ints, item_sums

PLANNED: tuple[Declining, ...] = ("accuracy", "pss")

NEIGHBOUR = {"kept": 0.95, "kept_noise": 0.95}
"""What checkpoints a few training steps apart share, at most."""

UNRELATED = {"kept": 0.0, "kept_noise": 0.0}
"""What checkpoints of different models may share."""

_CELLS = 400_000

_MOST_ITEMS = 4_000

_SEED = 0

_MOST_NEEDED = 10**9

_ROUNDS = 6

_CLOSE = 0.005


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
    population: Population, metric: Declining, n: int, personas: int, samples: int, factor: float = 1.0
) -> float | None:
    """The smallest decline that n items detect with a power of 80 % at a one-sided level of 0.025.

    Args:
        population: the base's.
        metric: the metric that declines.
        n: number of items.
        personas: m, without the baseline; at least 2.
        samples: S per cell.
        factor: of the population's error, from :func:`calibrated`.

    Returns:
        In the metric's unit; None if the metric cannot fall that far.
    """
    decline, previous = 0.0, -1.0
    try:
        for _ in range(_ROUNDS):
            if abs(decline - previous) < _CLOSE * decline:
                break
            previous = decline
            decline = _unit_error(population, metric, decline, personas, samples, factor).least(n)
        population.worse(metric, decline)
    except ValueError:
        return None
    return decline


def required_sample_size(
    population: Population, metric: Declining, decline: float, personas: int, samples: int, factor: float = 1.0
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
        return _unit_error(population, metric, decline, personas, samples, factor).items(decline)
    except ValueError:
        return None


def calibrated(
    population: Population, errors: Mapping[Declining, float], personas: int, samples: int
) -> tuple[Population, dict[Declining, float]]:
    """The population that differs from another checkpoint as much as two past runs did, and factors of its errors.

    Args:
        population: the base's.
        errors: standard errors × √items of the changes between two past runs: of accuracy at least.
        personas: m of those runs.
        samples: their S.

    Returns:
        The population, and for each metric by what to multiply its errors.
    """
    near = population.with_paired_sd(errors["accuracy"], personas, samples)
    expected = _unit_errors(near, near, personas, samples)
    return near, {
        metric: errors[metric] / expected[metric].error if expected[metric].error > 0 else 1.0 for metric in errors
    }


def detectable_score_decline(error: float, freedom: float, personas: int) -> float:
    """The smallest decline of PersonaScore that so many personas detect with a power of 80 %.

    Args:
        error: standard error × √personas of the change.
        freedom: its degrees of freedom per persona.
        personas: G.
    """
    return _UnitError(error, freedom, np.inf).least(personas)


def required_personas(error: float, freedom: float, decline: float) -> int:
    """The number of personas that detects a decline: the inverse of :func:`detectable_score_decline`."""
    return _UnitError(error, freedom, np.inf).items(decline)


def _unit_error(
    population: Population, metric: Declining, decline: float, personas: int, samples: int, factor: float
) -> _UnitError:
    found = _unit_errors(population, population.worse(metric, decline), personas, samples)[metric]
    return replace(found, error=factor * found.error)


@lru_cache(maxsize=256)
def _unit_errors(base: Population, candidate: Population, personas: int, samples: int) -> dict[str, _UnitError]:
    n = max(200, min(_MOST_ITEMS, _CELLS // (personas + 1)))
    drawn = base.draw_pair(candidate, np.random.default_rng(_SEED), n, personas, samples)
    sums = (item_sums(drawn_cells(correct, samples), "", ()).headline() for correct in drawn)
    found = dict(zip(HEADLINE, changes(*sums), strict=False))
    declines = {name: change.decline(better=1) for name, change in found.items()}
    return {
        name: _UnitError(float(one.errors[0]) * n**0.5, float(one.freedom[0]) / n, float(one.clusters[0]) / n)
        for name, one in declines.items()
    }


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
