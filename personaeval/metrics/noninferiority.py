"""Non-inferiority: is a candidate worse by no more than a margin?

Bounds and p-values come from the jackknife, with two precautions, because the variance of a sample says little of rare
and large changes (an item lost or gained under every persona): no bound is closer to the estimate than the exact bound
for an event that none of n items shows (:func:`personaeval.metrics.jackknife.zero_event_bound`), and the upper bound,
by which a candidate passes, is raised if losses are the longer tail
(:func:`personaeval.metrics.jackknife.skewness_correction`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personaeval.metrics.inference import Floats
from personaeval.metrics.jackknife import JackknifeResult, intervals, p_above, skewness_correction, zero_event_bound

ALPHA = 0.025
"""One-sided level of every test."""

POWER = 0.8

_REASONABLE = 10
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
        [interval] = intervals(self.result, ["raw"])
        if interval.low is None or interval.high is None:
            return None, None
        floor, up = float(self._floor(self.items)), float(skewness_correction(self.result)[0])
        return min(interval.low, self.decline - floor), max(interval.high + up, self.decline + floor)

    def p_value(self, max_drop: float) -> float:
        """One-sided p-value of the null hypothesis "d ≤ ``max_drop``"; NaN with a single cluster."""
        over = np.clip((self.decline - max_drop) / self.result.spans[0], 0, 1)
        exact = 0.0 if np.isinf(self.items) else float((1 - over) ** self.items)
        return float(np.maximum(p_above(self.result, max_drop)[0], exact))

    def required_multiple(self, max_drop: float, tests: int = 1) -> float | None:
        """The multiple of today's data that decides with a power of 80 %, if the true decline is the observed one.

        Args:
            max_drop: the margin.
            tests: number of tests in Holm's family; the strictest of its steps is assumed.

        Returns:
            From just above 1 to 10; None beyond.
        """
        from scipy.special import stdtrit

        times = np.geomspace(1, _REASONABLE, 4000)[1:]
        gap = max_drop - self.decline
        level = ALPHA if gap > 0 else ALPHA / tests
        freedom = self.result.freedom[0] * times
        shift = float(skewness_correction(self.result)[0]) if gap > 0 else 0.0
        reach = (stdtrit(freedom, 1 - level) + stdtrit(freedom, POWER)) * self.result.errors[0] / np.sqrt(times)
        enough = reach + shift / times <= abs(gap)
        items = self.items if self.result.errors[0] > 0 else float(self.result.clusters[0])
        enough &= self._floor(items * times, level) <= abs(gap)
        return float(times[np.argmax(enough)]) if enough.any() else None

    def is_undecidable(self, max_drop: float) -> bool:
        """Whether even with ten times the items the exact bound alone is wider than the distance to the margin."""
        return bool(self._floor(_REASONABLE * self.items) > abs(max_drop - self.decline))

    def _floor(self, items: Floats | float, level: float = ALPHA) -> Floats:
        return np.asarray(zero_event_bound(items, 1 - 2 * level) * self.result.spans[0])
