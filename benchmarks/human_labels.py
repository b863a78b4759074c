"""Does the interval of the human-corrected PersonaScore cover the score that people would give::

    python benchmarks/human_labels.py [--experiments 4000] [--seed 0]

Personas are drawn from a population; each answers 10 questions in each of 5 dimensions. A person's score of a response
is a normal, rounded to 1 to 5, of its persona's part and its own; a judge sees the same with noise and a bias, or sees
nothing. A random sample of the responses is labelled. Printed in markdown: how often the interval holds the true mean,
and its mean half width. Seeded; one process.
"""

from __future__ import annotations

import argparse
import time
from itertools import product

import numpy as np

from personaeval.metrics.coverage_warnings import FEW_PERSONAS
from personaeval.metrics.ppi import FEW_LABELS, correct

DIMENSIONS = ("a", "b", "c", "d", "e")
QUESTIONS = 10
SHARE_OF_PERSONA = 0.3
LEVELS = {"high": 4.3, "low": 2.4}
JUDGES = {"close": (0.4, 0.3), "loose": (1.0, 0.5), "blind": (None, 0.0)}
"""Noise and bias of the judge; without noise it sees nothing of the response."""
NEEDED = 0.94


def expected_score(centre: float) -> float:
    """Mean of a normal with this centre, rounded and clipped to 1 to 5."""
    from scipy.special import ndtr

    return 1 + float(sum(1 - ndtr(threshold - centre) for threshold in (1.5, 2.5, 3.5, 4.5)))


def coverage(
    personas: int, labels: int, level: str, judge: str, experiments: int, seed: int
) -> tuple[float, float, float]:
    """Coverage of the corrected score and of the labels alone, and the corrected one's mean half width.

    Args:
        personas: their number.
        labels: number of labels in each dimension.
        level: of the people's scores.
        judge: kind of judge.
        experiments: number of draws.
        seed: of the draws.
    """
    rng, centre, truth = np.random.default_rng(seed), LEVELS[level], expected_score(LEVELS[level])
    noise, bias = JUDGES[judge]
    shape = (personas, len(DIMENSIONS), QUESTIONS)
    persona, dimension, _ = (own.ravel() for own in np.indices(shape))
    hits, widths = [], []
    for _ in range(experiments):
        shared, own = rng.standard_normal((personas, 1, 1)), rng.standard_normal(shape)
        latent = centre + SHARE_OF_PERSONA**0.5 * shared + (1 - SHARE_OF_PERSONA) ** 0.5 * own
        seen = (
            rng.standard_normal(shape) + centre if noise is None else latent + bias + noise * rng.standard_normal(shape)
        )
        people, judged = (np.clip(np.rint(one), 1, 5).ravel() for one in (latent, seen))
        labelled = np.full(people.shape, np.nan)
        for place in range(len(DIMENSIONS)):
            chosen = rng.choice(np.flatnonzero(dimension == place), labels, replace=False)
            labelled[chosen] = people[chosen]
        found = correct(judged, labelled, persona, dimension, DIMENSIONS)
        assert found is not None, "every dimension has labels"
        pair = []
        for one in (found.corrected, found.labels_alone):
            assert one.low is not None and one.high is not None
            pair.append(one.low <= truth <= one.high)
        hits.append(pair)
        assert found.corrected.low is not None and found.corrected.high is not None
        widths.append((found.corrected.high - found.corrected.low) / 2)
    corrected, alone = np.mean(hits, axis=0)
    return float(corrected), float(alone), float(np.mean(widths))


def main() -> None:
    """Run all, print all, and list what misses."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--experiments", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began, missed = time.perf_counter(), []
    print(f"{given.experiments} experiments per design.\n")
    print("| personas | labels | level | judge | corrected | labels alone | half width |")
    print("|---:|---:|---|---|---:|---:|---:|")
    designs = product((20, 40, 100), (30, 100), LEVELS, JUDGES)
    for number, (personas, labels, level, judge) in enumerate(designs):
        corrected, alone, half = coverage(personas, labels, level, judge, given.experiments, given.seed * 1000 + number)
        where = f"{personas} | {labels} | {level} | {judge}"
        print(f"| {where} | {corrected:.4f} | {alone:.4f} | {half:.3f} |", flush=True)
        if personas >= FEW_PERSONAS and labels >= FEW_LABELS and corrected < NEEDED:
            missed.append(f"{where}: {corrected:.4f}")
    print("\nMissed limits: " + ("none." if not missed else ""), *missed, sep="\n- " if missed else "")
    print(f"\n{time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    main()
