"""Non-inferiority: is a candidate worse by no more than a margin?

Bounds and p-values are those of every table that shows the change (:mod:`personaeval.metrics.change_bounds`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personaeval.metrics.change_bounds import change_intervals, lean, p_above
from personaeval.metrics.inference import Floats
from personaeval.metrics.jackknife import JackknifeResult, zero_event_bound

ALPHA = 0.025
"""One-sided level of every test."""

POWER = 0.8

REASONABLE = 10
"""A larger multiple of today's data is not suggested."""


@dataclass(frozen=True, slots=True)
class NonInferiorityTest:
    """Tests of one decline d: above 0 the candidate is worse, whichever direction of the metric is better.

    Attributes:
        result: the jackknife's result for d alone.
        items: number of items it rests on. Infinite if the clusters are personas: no persona stands for one question,
            so that the precaution for rare changes does not apply.
    """

    result: JackknifeResult
    items: float

    @property
    def decline(self) -> float:
        """The estimate of d."""
        return float(self.result.values[0]) + 0.0  # never -0.0

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Lower and upper bound of d, each one-sided at 97.5 %; None with a single cluster."""
        [interval] = change_intervals(self.result, np.array([self.items]), ["raw"])
        return interval.low, interval.high

    def p_value(self, max_drop: float) -> float:
        """One-sided p-value of the null hypothesis "d ≤ ``max_drop``"; NaN with a single cluster."""
        return float(p_above(self.result, max_drop, self.items)[0])

    def required_multiple(self, max_drop: float, tests: int = 1) -> float | None:
        """The multiple of today's data that decides with a power of 80 %, if the true decline is the observed one.

        Args:
            max_drop: the margin.
            tests: number of tests in Holm's family; the strictest of its steps is assumed.

        Returns:
            From just above 1 to 10; None beyond.
        """
        times = np.geomspace(1, REASONABLE, 4000)[1:]
        items = self.items if self.result.errors[0] > 0 else float(self.result.clusters[0])
        enough = self._is_decided(max_drop, tests, 1 / times, times, items * times)
        return float(times[np.argmax(enough)]) if enough.any() else None

    def is_decided(self, max_drop: float, tests: int, squared: float) -> bool:
        """Whether a squared error of so many times today's decides likewise, with the same number of items."""
        return bool(self._is_decided(max_drop, tests, np.array(squared), np.ones(()), np.array(self.items)))

    def _is_decided(self, max_drop: float, tests: int, squared: Floats, times: Floats, items: Floats) -> Floats:
        """Whether it decides with so many times the squared error, the clusters, and with so many items."""
        from scipy.special import stdtrit

        gap = max_drop - self.decline
        level = ALPHA if gap > 0 else ALPHA / tests
        freedom = self.result.freedom[0] * times
        error = self.result.errors[0] * np.sqrt(squared)
        # Skewness falls as 1 / √n beside the error.
        shift = float(lean(self.result, 1 if gap > 0 else -1)[0]) * np.sqrt(squared / times)
        reach = (stdtrit(freedom, 1 - level) + stdtrit(freedom, POWER)) * error + shift
        return np.asarray((reach <= abs(gap)) & (self._floor(items, level) <= abs(gap)))

    def is_undecidable(self, max_drop: float) -> bool:
        """Whether even with ten times the items the exact bound alone is wider than the distance to the margin."""
        return bool(self._floor(REASONABLE * self.items) > abs(max_drop - self.decline))

    def _floor(self, items: Floats | float, level: float = ALPHA) -> Floats:
        return np.asarray(zero_event_bound(items, 1 - 2 * level) * self.result.spans[0])
