"""Populations of items with known true values, for forecasts of power and tests of validity.

Correctness follows a latent normal model: an answer is right if a level plus shared parts (item, persona, cell) plus a
part drawn anew for every sample is above 0. The true accuracy, PSS and repeatability follow from the bivariate normal
distribution; no simulation is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from personaeval.metrics.inference import Floats
from personaeval.metrics.sums import Ints

_NEAREST = 1.9999
"""2 would be a checkpoint that differs in nothing."""

Declining = Literal["accuracy", "pss", "corrected_pss"]
"""Metrics that :meth:`Population.worse` can lower."""


@dataclass(frozen=True, slots=True)
class Population:
    """Shares of the latent variance; the rest, up to 1, is drawn anew for every sample.

    Attributes:
        accuracy: probability that an answer is right.
        item: share of the item, common to all personas: the latent correlation of two personas.
        cell: share of the (item, persona) cell.
        persona: share of the persona, common to all items.
        kept: share of the item's and the cell's parts that another checkpoint shares with this one.
        kept_noise: share of what is drawn anew that another checkpoint shares, sample by sample: with the same seeds,
            much of it between neighbours.
    """

    accuracy: float
    item: float = 0.6
    cell: float = 0.2
    persona: float = 0.0
    kept: float = 0.8
    kept_noise: float = 0.0

    @property
    def noise(self) -> float:
        """Share of the variance drawn anew for every sample."""
        return max(0.0, 1 - self.item - self.cell - self.persona)

    def truth(self) -> dict[str, float]:
        """True values of the metrics, by name."""
        pss = _both_right(self.accuracy, self.item) / self.accuracy
        repeatability = _both_right(self.accuracy, self.item + self.cell + self.persona) / self.accuracy
        return {
            "accuracy": self.accuracy,
            "baseline_accuracy": self.accuracy,
            "pss": pss,
            "kappa": (pss - self.accuracy) / (1 - self.accuracy),
            "repeatability": repeatability,
            "persona_effect": repeatability - pss,
            "corrected_pss": pss / repeatability,
        }

    def draw(self, rng: np.random.Generator, n: int, m: int, samples: int) -> Ints:
        """[n, 1 + m] numbers of right answers out of ``samples``; the baseline in column 0."""
        return self.draw_pair(self, rng, n, m, samples)[0]

    def draw_pair(self, other: Population, rng: np.random.Generator, n: int, m: int, samples: int) -> tuple[Ints, Ints]:
        """Numbers of right answers, as :meth:`draw`, of two checkpoints on the same items under the same personas."""
        first, second = self.draw_runs([other], rng, n, m, samples)
        return first, second

    def draw_runs(
        self, others: Sequence[Population], rng: np.random.Generator, n: int, m: int, samples: int
    ) -> list[Ints]:
        """As :meth:`draw_pair` for any number of checkpoints; any two share ``kept`` of their parts."""
        shape = (n, 1 + m)
        noise = rng.standard_normal((*shape, samples)) if self.kept_noise > 0 else None
        parts = [rng.standard_normal(size) for size in ((n, 1), shape, (1, 1 + m))]
        drawn = []
        for population in (self, *others):
            own = [rng.standard_normal(size) for size in ((n, 1), shape)]
            kept, fresh = population.kept**0.5, (1 - population.kept) ** 0.5
            latent = (
                population.item**0.5 * (kept * parts[0] + fresh * own[0])
                + population.cell**0.5 * (kept * parts[1] + fresh * own[1])
                + population.persona**0.5 * parts[2]
            )
            drawn.append(_sampled(rng, latent, population, samples, noise))
        return drawn

    def paired_sd(self, m: int, samples: int) -> float:
        """Standard deviation over items of the difference of two such checkpoints' mean over m personas."""
        accuracy, of_cell = self.accuracy, self.item + self.cell
        same_sample, other_sample = 1 / samples, 1 - 1 / samples
        within = same_sample * accuracy + other_sample * _both_right(accuracy, of_cell)
        kept = self.kept * of_cell
        across = same_sample * _both_right(accuracy, kept + self.kept_noise * self.noise)
        across += other_sample * _both_right(accuracy, kept)
        by_item = _both_right(accuracy, self.item) - _both_right(accuracy, self.kept * self.item)
        return float(max(0.0, 2 * ((within - across) / m + (1 - 1 / m) * by_item)) ** 0.5)

    def with_paired_sd(self, sd: float, m: int, samples: int) -> Population:
        """The population that shares so much with another checkpoint that :meth:`paired_sd` is ``sd``, if possible.

        Item and cell are shared first; the noise of samples only if sharing them entirely is not enough.
        """
        from scipy.optimize import brentq

        def at(nearness: float) -> Population:
            return replace(self, kept=min(nearness, 1.0), kept_noise=max(nearness - 1.0, 0.0))

        def distance(nearness: float) -> float:
            return at(nearness).paired_sd(m, samples) - sd

        if distance(0.0) <= 0:
            return at(0.0)
        return at(_NEAREST if distance(_NEAREST) >= 0 else float(brentq(distance, 0.0, _NEAREST, xtol=1e-6)))

    def worse(self, metric: Declining, drop: float) -> Population:
        """The population whose ``metric`` is lower by ``drop``.

        Accuracy falls by lowering the level; PSS and corrected PSS fall at constant accuracy by moving variance from
        the item to the cell.

        Raises:
            ValueError: the metric cannot fall that far.
        """
        if drop == 0:
            return self
        if metric == "accuracy":
            if drop >= self.accuracy:
                raise ValueError(f"an accuracy of {self.accuracy} cannot fall by {drop}")
            return replace(self, accuracy=self.accuracy - drop)
        from scipy.optimize import brentq

        target = self.truth()[metric] - drop
        whole = self.item + self.cell

        def distance(item: float) -> float:
            return replace(self, item=item, cell=whole - item).truth()[metric] - target

        item = float(brentq(distance, 0.0, self.item))
        return replace(self, item=item, cell=whole - item)


def like(accuracy: float, pss: float, repeatability: float | None) -> Population:
    """The population whose true values are closest to these.

    Without repeatability, half of the variance that is not the item's is assumed to be sampling noise.
    """
    accuracy = min(max(accuracy, 0.01), 0.99)
    item = _share(accuracy, pss)
    whole = (1 + item) / 2 if repeatability is None else max(item, _share(accuracy, repeatability))
    return Population(accuracy=accuracy, item=item, cell=whole - item)


def _share(accuracy: float, pss: float) -> float:
    from scipy.optimize import brentq

    low, high = 0.0, 0.99
    target = pss * accuracy
    if target <= _both_right(accuracy, low):
        return low
    if target >= _both_right(accuracy, high):
        return high
    return float(brentq(lambda share: _both_right(accuracy, share) - target, low, high))


def _both_right(accuracy: float, correlation: float) -> float:
    """P(X > 0, Y > 0) of two correlated normals with the same mean, by Owen's T function (Owen 1956)."""
    from scipy.special import ndtri, owens_t

    slope = (max(0.0, 1 - correlation) / (1 + correlation)) ** 0.5
    return float(accuracy - 2 * owens_t(ndtri(accuracy), slope))


def _sampled(
    rng: np.random.Generator, latent: Floats, population: Population, samples: int, common: Floats | None
) -> Ints:
    from scipy.special import ndtr, ndtri

    share, level = population.noise, ndtri(population.accuracy) + latent
    if share <= 0:
        return np.where(level > 0, samples, 0).astype(np.int32)
    if common is None and samples > 1:
        return np.asarray(rng.binomial(samples, ndtr(level / share**0.5)), dtype=np.int32)
    if common is None:
        noise = rng.standard_normal((*level.shape, 1))
    elif population.kept_noise < 1:
        own = rng.standard_normal((*level.shape, samples))
        noise = population.kept_noise**0.5 * common + (1 - population.kept_noise) ** 0.5 * own
    else:
        noise = common
    right: Ints = np.sum(level[..., None] + share**0.5 * noise > 0, axis=-1, dtype=np.int32)
    return right
