"""Do intervals of a change cover if a checkpoint loses, or gains, a few items under every persona::

    python benchmarks/rare_losses.py [--experiments 4000] [--seed 0]

A sample of a hundred items may hold none of the items of which one in fifty is lost: its variance then knows nothing
of them. Items have a difficulty drawn from beta(0.1, 0.1); 16 personas and 4 samples; the candidate solves none of the
lost items (gained: the base none of them), and is like the base otherwise. Printed in markdown: how often the interval
that ``compare`` shows, and ``check`` decides by, holds the true change, beside the plain Student interval; and how much
wider than the plain one it is in ordinary designs, where nothing rare happens. Seeded; one process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from personaeval.metrics.catalogue import HEADLINE, STABILITY
from personaeval.metrics.inference import Estimate, Floats
from personaeval.metrics.jackknife import intervals
from personaeval.metrics.paired import Change, changes
from personaeval.metrics.population import Population
from personaeval.metrics.power import drawn_cells
from personaeval.metrics.sums import Ints, ItemSums, evaluate, item_sums
from personaeval.metrics.totals import Totals

SETTINGS = ((100, 0.02), (200, 0.02), (100, 0.05), (500, 0.02))
"""Numbers of items, and shares of them that are lost."""
KINDS = ("lost", "gained", "split")
"""The candidate loses the items; the base lacks them; the candidate loses them under a random half of the personas."""
PERSONAS, SAMPLES = 16, 4
SHAPE = 0.1
"""Of the beta distribution of difficulty: most items are always or never solved."""
METRICS = ("accuracy", "baseline_accuracy", "pss", "kappa", "persona_effect", "corrected_pss")
PLACES = [HEADLINE.index(name) for name in METRICS]
CHOSEN = [STABILITY[place] for place in PLACES]
NEEDED = 0.93
"""Smallest coverage of a 95 % interval."""
ORDINARY = (500, 1000)


@dataclass(frozen=True)
class Sums:
    """Sums over items for the metrics looked at alone: the others, and those of single personas, take time."""

    matrix: Floats
    experts: NDArray[np.bool_]
    clusters_are_items: bool = True

    @property
    def spans(self) -> Floats:
        """[e] by how much each metric can change per share of the items that change."""
        return ItemSums(self.matrix, np.zeros((0, len(self.experts))), self.experts).spans[PLACES]

    def weights(self, sums: Floats) -> Floats:
        """[..., e] each metric's denominator."""
        return np.stack([metric.denominator(Totals.unpack(sums, self.experts)) for metric in CHOSEN], axis=-1)

    def estimate(self, sums: Floats) -> Floats:
        """[..., e] the metrics' values."""
        return evaluate(Totals.unpack(sums, self.experts), CHOSEN)


def changes_of(base: Ints, candidate: Ints, samples: int) -> dict[str, Change]:
    """The metrics' changes, as ``compare`` computes them."""
    whole = (item_sums(drawn_cells(correct, samples), "", ()) for correct in (base, candidate))
    return dict(zip(METRICS, changes(*(Sums(own.matrix, own.experts) for own in whole)), strict=True))


def plain(change: Change) -> Estimate:
    """The Student interval without precautions for rare changes."""
    return intervals(change.tested, ["raw"])[0]


def covers(interval: Estimate, truth: float) -> bool:
    """Whether an interval holds the truth; one without bounds does not."""
    return interval.low is not None and interval.high is not None and interval.low <= truth <= interval.high


def draw(n: int, share: float, kind: str, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Numbers of right answers of base and candidate, [n, 1 + personas] each."""
    shape = (n, 1 + PERSONAS)
    rate = np.broadcast_to(rng.beta(SHAPE, SHAPE, (n, 1)), shape)
    changed = np.broadcast_to(rng.random((n, 1)) < share, shape)
    if kind == "split":
        half = rng.permuted(np.broadcast_to(np.arange(PERSONAS) < PERSONAS // 2, (n, PERSONAS)), axis=1)
        changed = changed & np.column_stack([np.zeros(n, dtype=bool), half])
    before, after = (rng.binomial(SAMPLES, own).astype(np.int32) for own in (rate, np.where(changed, 0.0, rate)))
    return (after, before) if kind == "gained" else (before, after)


def values(share: float, kind: str) -> dict[str, float]:
    """The metrics' true values where a share of the items is lost; κ is (PSS − μ) / (1 − μ)."""
    half, m = PERSONAS // 2, PERSONAS
    # Of answers, and of pairs of personas that are both right, what is left in a lost item.
    answers, pairs = (0.5, half * (half - 1) / (m * (m - 1))) if kind == "split" else (0.0, 0.0)
    repeatability = (SHAPE + 1) / (2 * SHAPE + 1)
    accuracy = 0.5 * (1 - share + share * answers)
    stable = repeatability * (1 - share + share * pairs) / (1 - share + share * answers)
    return {
        "accuracy": accuracy,
        "baseline_accuracy": 0.5 if kind == "split" else accuracy,
        "pss": stable,
        "kappa": (stable - accuracy) / (1 - accuracy),
        "persona_effect": repeatability - stable,
        "corrected_pss": stable / repeatability,
    }


def coverage(n: int, share: float, kind: str, experiments: int, seed: int) -> dict[str, tuple[float, float, float]]:
    """Per metric, how often the interval of the change covers: shown, relative, and the plain one."""
    rng = np.random.default_rng(seed)
    both = [values(0.0, kind), values(share, kind)]
    before, after = both[::-1] if kind == "gained" else both
    hits: dict[str, list[tuple[bool, bool, bool]]] = {name: [] for name in METRICS}
    for _ in range(experiments):
        found = changes_of(*draw(n, share, kind, rng), SAMPLES)
        for metric in CHOSEN:
            name, own, truth = metric.name, found[metric.name], after[metric.name] - before[metric.name]
            relative = not metric.is_ratio or covers(own.relative, truth / before[name])
            hits[name].append((covers(own.absolute, truth), relative, covers(plain(own), truth)))
    return {name: tuple(np.mean(own, axis=0).tolist()) for name, own in hits.items()}


def growth(n: int, m: int, samples: int, accuracy: float, experiments: int, seed: int) -> dict[str, float]:
    """Per metric, by what share the shown interval is wider on average than the plain one; nothing rare happens."""
    rng, population = np.random.default_rng(seed), Population(accuracy)
    names = [metric.name for metric in CHOSEN if samples > 1 or not metric.needs_repeats]
    widths: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(experiments):
        found = changes_of(*population.draw_pair(population, rng, n, m, samples), samples)
        for name in names:
            widths[name].append((width(found[name].absolute), width(plain(found[name]))))
    means = {name: np.mean(own, axis=0) for name, own in widths.items()}
    return {name: float(mean[0] / mean[1] - 1) for name, mean in means.items()}


def width(interval: Estimate) -> float:
    """Distance between the two bounds."""
    assert interval.low is not None and interval.high is not None, "hundreds of items give an interval"
    return interval.high - interval.low


def row(head: str, cells: Sequence[str]) -> str:
    """A line of a markdown table."""
    return f"| {head} | {' | '.join(cells)} |"


def main() -> None:
    """Run all, print all, and list what misses."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--experiments", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began, missed = time.perf_counter(), []
    head = [f"{row('design', METRICS)}", f"|---|{'---:|' * len(METRICS)}"]
    print(f"Coverage, {given.experiments} experiments per design: shown / relative / plain.\n", *head, sep="\n")
    for number, (kind, (n, share)) in enumerate(product(KINDS, SETTINGS)):
        found = coverage(n, share, kind, given.experiments, given.seed * 1000 + number)
        where = f"n {n}, {share:.0%} {kind}"
        print(row(where, [" / ".join(f"{one:.4f}" for one in found[name]) for name in METRICS]), flush=True)
        missed += [f"{where}: {name} {found[name][0]:.4f}" for name in METRICS if found[name][0] < NEEDED]
        missed += [f"{where}: relative {name} {found[name][1]:.4f}" for name in METRICS if found[name][1] < NEEDED]
    print("\nGrowth of the interval's width where nothing rare happens.\n", *head, sep="\n")
    designs = product(ORDINARY, (8, 32), (1, 4), (0.8, 0.3))
    for number, (n, m, samples, accuracy) in enumerate(designs):
        more = growth(n, m, samples, accuracy, max(given.experiments // 20, 10), given.seed * 1000 + 100 + number)
        where = f"n {n}, m {m}, S {samples}, accuracy {accuracy}"
        print(row(where, [f"{more[name]:.1%}" if name in more else "" for name in METRICS]), flush=True)
        missed += [f"{where}: {name} {own:.1%} wider" for name, own in more.items() if own >= 0.1]
    print("\nMissed limits: " + ("none." if not missed else ""), *missed, sep="\n- " if missed else "")
    print(f"\n{time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    main()
