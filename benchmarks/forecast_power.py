"""Does ``plan`` keep its promise of 80 % power, if two past runs show what two checkpoints share::

    python benchmarks/forecast_power.py [--draws 1000] [--seed 0]

A draw is a past pair, the forecast from it by the program's own functions, and a candidate that has declined by what
the forecast calls detectable: is it detected, by the test of ``check`` at max_drop 0? Base, past run and candidate
share equally much, on the same items. Prints power and the spread of the promised decline, per kind of checkpoints.
Kinds outside the latent normal model are reported too. Seeded.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from experiments import DIMENSIONS, QUESTIONS, expected_score

from personaeval.metrics.catalogue import HEADLINE
from personaeval.metrics.fidelity import PersonaSums
from personaeval.metrics.inference import Floats
from personaeval.metrics.jackknife import zero_event_bound
from personaeval.metrics.noninferiority import ALPHA, NonInferiorityTest
from personaeval.metrics.paired import Change, changes
from personaeval.metrics.population import Declining, Population, like
from personaeval.metrics.power import (
    PLANNED,
    calibrated,
    detectable_score_decline,
    drawn_cells,
    minimum_detectable_effect,
)
from personaeval.metrics.sums import Ints, item_sums

PERSONAS, ACCURACY = 8, 0.8
SIZES = (500, 1319)
KINDS = {
    "neighbours": Population(ACCURACY, kept=0.98, kept_noise=0.98),
    "latent normal": Population(ACCURACY),
    "unrelated": Population(ACCURACY, kept=0.0),
}
"""Neighbours share their random numbers, and nearly all of what makes an answer right."""

Draw = Callable[[int, int, Declining, float], list[Ints]]
"""Base, past run and candidate of a seed, n, metric and decline: numbers of right answers. The first two do not depend
on the decline."""


@dataclass(frozen=True)
class Found:
    """One draw: what the forecast promised, and whether the candidate was detected."""

    promised: float
    floor: float
    detected: bool


def of_population(population: Population) -> Draw:
    """Draws of one latent normal kind."""

    def draw(seed: int, n: int, metric: Declining, decline: float) -> list[Ints]:
        others = [population, population.worse(metric, decline)]
        return population.draw_runs(others, np.random.default_rng(seed), n, PERSONAS, 1)

    return draw


def flipping(whole_items: bool) -> Draw:
    """Draws in which 3 % of the answers flip by chance, and the decline is of single answers or of whole items."""

    def draw(seed: int, n: int, metric: Declining, decline: float) -> list[Ints]:
        rng = np.random.default_rng(seed)
        base = Population(ACCURACY).draw(rng, n, PERSONAS, 1)
        # As many gains as losses, so that the past run has the base's accuracy.
        rates = 0.015 / ACCURACY, 0.015 / (1 - ACCURACY)
        runs = [np.where(rng.random(base.shape) < np.where(base == 1, *rates), 1 - base, base) for _ in range(2)]
        lost = rng.random((n, 1) if whole_items else base.shape) < decline / ACCURACY
        return [base, runs[0].astype(np.int32), np.where(lost, 0, runs[1]).astype(np.int32)]

    return draw


def tested(base: Ints, candidate: Ints) -> dict[str, Change]:
    """Changes between two runs of one sample."""
    sums = (item_sums(drawn_cells(correct, 1), "", ()).headline() for correct in (base, candidate))
    return dict(zip(HEADLINE, changes(*sums), strict=False))


def one(draw: Draw, n: int, metric: Declining, seed: int) -> Found | None:
    """One draw; None if the past pair does not allow a forecast."""
    base, past, _ = draw(seed, n, metric, 0.0)
    found = tested(base, past)
    accuracy, pss = found["accuracy"].base, found["pss"].base
    errors: dict[Declining, float] = {name: float(found[name].tested.errors[0]) * n**0.5 for name in PLANNED}
    if accuracy is None or pss is None or min(errors.values()) <= 0:
        return None
    population, factors = calibrated(like(accuracy, pss, None), errors, PERSONAS, 1)
    promised = minimum_detectable_effect(population, metric, n, PERSONAS, 1, factors[metric])
    if promised is None:
        return None
    base, _, candidate = draw(seed, n, metric, promised)
    decline = tested(base, candidate)[metric].decline(1)
    clusters = float(decline.clusters[0])
    detected = NonInferiorityTest(decline, clusters).p_value(0.0) <= ALPHA
    return Found(promised, float(zero_event_bound(clusters)), bool(detected))


def one_judged(personas: int, kept: float, seed: int) -> Found:
    """One draw of a judged task: 5 dimensions, 10 questions a persona; ``kept`` of a response's noise is shared."""
    from scipy.optimize import brentq

    rng, centre = np.random.default_rng(seed), 3.8
    shape = (personas, DIMENSIONS, QUESTIONS)
    parts = rng.standard_normal((3, personas, 1, 1))
    noise = rng.standard_normal((4, *shape))

    def run(number: int, middle: float) -> PersonaSums:
        persona = kept**0.5 * parts[0] + (1 - kept) ** 0.5 * rng.standard_normal((personas, 1, 1))
        own = kept**0.5 * noise[0] + (1 - kept) ** 0.5 * noise[number]
        scores = np.clip(np.rint(middle + 0.3**0.5 * persona + 0.7**0.5 * own), 1, 5)
        return PersonaSums(np.hstack([scores.sum(axis=2), np.full((personas, DIMENSIONS), float(QUESTIONS))]))

    base, past = run(1, centre), run(2, centre)
    tested = changes(base, past)[0].tested
    error, freedom = float(tested.errors[0]) * personas**0.5, float(tested.freedom[0]) / personas
    promised = detectable_score_decline(error, freedom, personas)
    lower = brentq(lambda middle: expected_score(centre) - expected_score(middle) - promised, 0.0, centre)
    fall = NonInferiorityTest(changes(base, run(3, float(lower)))[0].decline(1), math.inf)
    return Found(promised, math.nan, bool(fall.p_value(0.0) <= ALPHA))


def show(name: str, draw: Draw, n: int, metric: Declining, draws: int, seed: int) -> None:
    """Print a row: power, the promised declines, and the least of them over the floor of the check."""
    found = [one(draw, n, metric, seed + place) for place in range(draws)]
    print_row(name, n, metric, [entry for entry in found if entry is not None])


def print_row(name: str, n: int, metric: str, made: Sequence[Found]) -> None:
    """Print what so many draws found."""
    promised: Floats = np.array([entry.promised for entry in made])
    power = float(np.mean([entry.detected for entry in made]))
    low, middle, high = np.quantile(promised, (0.05, 0.5, 0.95))
    least = min(entry.promised / entry.floor for entry in made)
    print(
        f"| {name} | {n} | {metric} | {len(made)} | {100 * power:.1f} % | {middle:.4f} | {low:.4f} to {high:.4f} | "
        f"{least:.2f} |",
        flush=True,
    )


def main() -> None:
    """Run all, print all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", help="only the kinds whose names contain this")
    given = parser.parse_args()
    began = time.perf_counter()
    kinds = {name: of_population(population) for name, population in KINDS.items()}
    others = {
        "neighbours, half as near": of_population(replace(KINDS["neighbours"], kept=0.9, kept_noise=0.5)),
        "3 % of the answers flip; single answers lost": flipping(whole_items=False),
        "3 % of the answers flip; whole items lost": flipping(whole_items=True),
    }
    print("| checkpoints | n | metric | draws | power | promised, median | 5 to 95 % | least, of the floor |")
    print("|---|---:|---|---:|---:|---:|---:|---:|")
    for metric in PLANNED:
        for name, draw in kinds.items():
            for n in SIZES:
                if given.kind is None or given.kind in name:
                    show(name, draw, n, metric, given.draws, given.seed)
    for name, draw in others.items():
        if given.kind is None or given.kind in name:
            show(name, draw, 500, "accuracy", max(10, given.draws // 3), given.seed)
    for name, kept in {"judged, neighbours": 0.95, "judged, unrelated": 0.0}.items():
        if given.kind is None or given.kind in name:
            for personas in (40, 100):
                found = [one_judged(personas, kept, given.seed + place) for place in range(given.draws)]
                print_row(name, personas, "persona_score", found)
    print(f"\n{time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    main()
