"""Populations that the latent normal model does not have: rates of right answers under which intervals may fail.

Each gives, for items drawn at random, the probability of a right answer in every cell, of a base and of a candidate;
samples of a cell are independent given it. True values follow from many such items, without drawing answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from personaeval.metrics.inference import Floats
from personaeval.metrics.population import Population
from personaeval.metrics.sums import Ints

Rates = NDArray[np.float32]

Draw = Callable[[np.random.Generator, int, int], tuple[Rates, Rates]]
"""From a generator, a number of items and m personas: [items, 1 + m] rates of base and candidate."""

METRICS = ("accuracy", "pss", "kappa", "corrected_pss")

_ACCURACY = 0.8

_TRUTH_CELLS = 6_000_000


@dataclass(frozen=True)
class Drawn:
    """Experiments of a base and a candidate; [experiments, n, 1 + m] each: right answers, and scored samples."""

    correct: tuple[Ints, Ints]
    scored: tuple[Ints, Ints]


@dataclass(frozen=True)
class Further:
    """One such population.

    Attributes:
        name: in tables.
        rates: of base and candidate.
        coupled: whether base and candidate share the random number of every sample.
        unscored: share of the wrong answers that are not scored.
    """

    name: str
    rates: Draw
    coupled: bool = False
    unscored: float = 0.0

    def truth(self, m: int, seed: int = 0) -> tuple[dict[str, float], dict[str, float]]:
        """True values of base and candidate, if every answer were scored."""
        rng, count = np.random.default_rng(seed), 0
        sums = np.zeros((2, 3))
        while count < _TRUTH_CELLS:
            for place, rates in enumerate(self.rates(rng, 50_000, m)):
                own = rates[:, 1:].astype(np.float64)
                total, squares = own.sum(axis=1), np.sum(own**2, axis=1)
                sums[place] += [np.sum(total**2 - squares) / (m * (m - 1)), np.sum(squares) / m, np.sum(total) / m]
            count += 50_000 * m
        items = count / m
        return _metrics(sums[0] / items), _metrics(sums[1] / items)

    def draw(self, rng: np.random.Generator, experiments: int, n: int, m: int, samples: int) -> Drawn:
        """Draw answers of so many experiments."""
        rates = self.rates(rng, experiments * n, m)
        shape = (experiments, n, 1 + m)
        correct = [np.zeros(rates[0].shape, dtype=np.int32) for _ in rates]
        scored = [np.full(rates[0].shape, samples, dtype=np.int32) for _ in rates]
        for _ in range(samples):
            drawn = rng.random(rates[0].shape, dtype=np.float32)
            for place, own in enumerate(rates):
                if place and not self.coupled:
                    drawn = rng.random(own.shape, dtype=np.float32)
                right = drawn < own
                correct[place] += right
                if self.unscored:
                    scored[place] -= ~right & (rng.random(own.shape, dtype=np.float32) < self.unscored)
        found = [array.reshape(shape) for array in (*correct, *scored)]
        return Drawn((found[0], found[1]), (found[2], found[3]))


def _metrics(means: Floats) -> dict[str, float]:
    pairs, squares, accuracy = map(float, means)
    pss, repeatability = pairs / accuracy, squares / accuracy
    return {
        "accuracy": accuracy,
        "pss": pss,
        "kappa": (pss - accuracy) / (1 - accuracy),
        "corrected_pss": pss / repeatability,
    }


def _wide(item: NDArray[np.floating], m: int) -> Rates:
    return np.repeat(item.astype(np.float32)[:, None], 1 + m, axis=1)


def _beta(rng: np.random.Generator, items: int, m: int) -> Rates:
    # Beta(a, a) for small a by its quotient of gammas underflows in float32.
    return _wide(rng.beta(0.1, 0.1, items), m)


def _scaled(factor: float) -> Draw:
    def rates(rng: np.random.Generator, items: int, m: int) -> tuple[Rates, Rates]:
        base = _beta(rng, items, m)
        return base, base * np.float32(factor)

    return rates


def _whole_items(lost: float, gained: float) -> Draw:
    def rates(rng: np.random.Generator, items: int, m: int) -> tuple[Rates, Rates]:
        base, chosen = _beta(rng, items, m), rng.random((items, 1))
        candidate = np.where(chosen < lost, np.float32(0), np.where(chosen > 1 - gained, np.float32(1), base))
        return base, candidate

    return rates


def _live(share: float) -> Draw:
    """Most items are always or never solved; of the live ones, half as many answers are right in the candidate."""

    def rates(rng: np.random.Generator, items: int, m: int) -> tuple[Rates, Rates]:
        fixed = rng.random(items) < 0.6
        live = rng.random(items) < share
        base = _wide(np.where(live, rng.random(items), fixed), m)
        return base, np.where(live[:, None], base * np.float32(0.5), base)

    return rates


def _latent(
    decline: float = 0.0,
    on_topic: float = 0.0,
    of_one: float = 0.0,
    below: float = 0.0,
    shares: Population | None = None,
) -> Draw:
    """Latent normal rates with an accuracy of 0.8.

    Args:
        decline: the candidate's, everywhere.
        on_topic: its further decline on a tenth of the items.
        of_one: its further decline under one persona.
        below: by how much the base is worse under that persona.
        shares: of the latent variance.
    """
    own = shares or Population(_ACCURACY)

    def rates(rng: np.random.Generator, items: int, m: int) -> tuple[Rates, Rates]:
        from scipy.special import ndtr, ndtri

        width = 1 + m
        kept, fresh = own.kept**0.5, (1 - own.kept) ** 0.5
        common = rng.standard_normal((items, 1)), rng.standard_normal((items, width), dtype=np.float32)
        first = np.arange(width) == 1
        before = _ACCURACY - below * first
        topic = rng.random((items, 1)) < 0.1
        after = before - decline - of_one * first - on_topic * topic
        found = []
        for target in (before, after):
            parts = rng.standard_normal((items, 1)), rng.standard_normal((items, width), dtype=np.float32)
            item, cell = (kept * one + fresh * two for one, two in zip(common, parts, strict=True))
            latent = ndtri(target) + own.item**0.5 * item + own.cell**0.5 * cell
            found.append(np.asarray(ndtr(latent / own.noise**0.5), dtype=np.float32))
        return found[0], found[1]

    return rates


def _swaps(rng: np.random.Generator, items: int, m: int) -> tuple[Rates, Rates]:
    """One right answer in ten is lost, as many are gained elsewhere: accuracy stays, PSS falls."""
    base, _ = _latent()(rng, items, m)
    share = np.float32(0.1)
    return base, base * (1 - share) + (1 - base) * np.float32(0.1 * _ACCURACY / (1 - _ACCURACY))


POPULATIONS = (
    Further("beta(.1, .1)", _scaled(0.96)),
    Further("3 % of the items live", _live(0.03)),
    Further("10 % of the items live", _live(0.1)),
    Further("one bad persona", _latent(of_one=0.1, below=0.3)),
    Further("one topic lost", _latent(on_topic=0.3)),
    Further("2 % of the items lost whole", _whole_items(0.02, 0.0)),
    Further("5 % of the items lost whole", _whole_items(0.05, 0.0)),
    Further("2 % of the items gained whole", _whole_items(0.0, 0.02)),
    Further("answers swapped", _swaps),
    Further("correlated samples", _latent(0.03, shares=Population(_ACCURACY, item=0.5, cell=0.45))),
    Further("0.8 % unscored, all of them wrong", _latent(0.03), unscored=0.04),
    Further("4 % unscored, all of them wrong", _latent(0.03), unscored=0.2),
    Further("unrelated difficulty", _latent(0.03, shares=Population(_ACCURACY, kept=0.0))),
    Further("shared random numbers", _latent(0.02, shares=Population(_ACCURACY, kept=0.98)), coupled=True),
)
