"""By how much a candidate is worse, and whether that is within what is allowed: the tests behind a verdict.

Bounds and p-values are the jackknife's, with two precautions, for a sample's variance tells little of what is rare and
large (an item lost or gained under every persona): no bound is nearer than what none of n items shows
(:func:`personaeval.metrics.jackknife.unseen`), and the upper one, by which a candidate passes, reaches farther where
losses are the longer tail (:func:`personaeval.metrics.jackknife.lean`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personaeval.metrics.inference import Floats
from personaeval.metrics.jackknife import JackknifeResult, intervals, lean, p_above, unseen

ALPHA = 0.025
"""One-sided."""

POWER = 0.8

_REASONABLE = 10


@dataclass(frozen=True, slots=True)
class Decline:
    """A decline: above 0 is worse, whichever direction of the metric is better.

    Attributes:
        found: its one estimate.
        items: how many items it rests on; infinite where personas are the clusters, whose variance is no such trap:
            none of them stands for one question.
    """

    found: JackknifeResult
    items: float

    @property
    def value(self) -> float:
        """The decline itself."""
        return float(self.found.values[0]) + 0.0  # never -0.0

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Both bounds, each one-sided at 97.5 %; none with a single cluster."""
        [interval] = intervals(self.found, ["raw"])
        if interval.low is None or interval.high is None:
            return None, None
        floor, up = float(self._floor(self.items)), float(lean(self.found)[0])
        return min(interval.low, self.value - floor), max(interval.high + up, self.value + floor)

    def p_worse(self, max_drop: float) -> float:
        """Return the one-sided p-value of "worse by no more than ``max_drop``"; NaN with a single cluster."""
        over = np.clip((self.value - max_drop) / self.found.spans[0], 0, 1)
        unseen_p = 0.0 if np.isinf(self.items) else float((1 - over) ** self.items)
        return float(np.maximum(p_above(self.found, max_drop)[0], unseen_p))

    def times_needed(self, max_drop: float, tests: int = 1) -> float | None:
        """Return how many times the data would decide with a power of 80 %, if the decline is the one observed.

        Args:
            max_drop: what is allowed.
            tests: for how many a REGRESSION is adjusted; the strictest of Holm's steps is taken.

        Returns:
            From just above 1 to 10; None beyond.
        """
        from scipy.special import stdtrit

        times = np.geomspace(1, _REASONABLE, 4000)[1:]
        gap = max_drop - self.value
        level = ALPHA if gap > 0 else ALPHA / tests
        freedom = self.found.freedom[0] * times
        shift = float(lean(self.found)[0]) if gap > 0 else 0.0
        reach = (stdtrit(freedom, 1 - level) + stdtrit(freedom, POWER)) * self.found.errors[0] / np.sqrt(times)
        enough = reach + shift / times <= abs(gap)
        items = self.items if self.found.errors[0] > 0 else float(self.found.clusters[0])
        enough &= self._floor(items * times, level) <= abs(gap)
        return float(times[np.argmax(enough)]) if enough.any() else None

    def is_hidden(self, max_drop: float) -> bool:
        """Return whether ten times the items could still hide what would decide it."""
        return bool(self._floor(_REASONABLE * self.items) > abs(max_drop - self.value))

    def _floor(self, items: Floats | float, level: float = ALPHA) -> Floats:
        return np.asarray(unseen(items, 1 - 2 * level) * self.found.spans[0])
