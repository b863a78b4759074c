"""What the starting policy of ``check --init`` says of candidates whose true decline is known::

    python benchmarks/starting_policy.py [--experiments 1000] [--seed 0]

Prints, in markdown, the verdicts by true decline of accuracy (the table in docs/checks.md), and the designs by which
the policy's gates were chosen: κ on saturated tasks, a loss of stability in a quarter of the personas, and swapped
answers. Seeded. Verdicts come from the policy that ``check --init`` writes, with the tests of ``check``.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from simulated import (
    BY_NAME,
    KAPPA_IN_POINTS,
    batch,
    batches,
    decline_test,
    kappa_in_points,
    latent_pair,
    paired_changes,
    sampled,
)

from personaeval.analysis.check import Finding, Outcome, overall
from personaeval.analysis.policy import Gate, Severity, read_policy, write_starting_policy
from personaeval.metrics.catalogue import WORST_PERSONA
from personaeval.metrics.inference import Floats, holm
from personaeval.metrics.jackknife import zero_event_bound
from personaeval.metrics.noninferiority import ALPHA, NonInferiorityTest
from personaeval.metrics.population import Population
from personaeval.metrics.power import drawn_cells
from personaeval.metrics.split_half import worst_persona_change
from personaeval.metrics.sums import Ints

ITEMS, PERSONAS = 500, 16
DECLINES = (0.0, 0.01, 0.025, 0.035, 0.05, 0.075, 0.1)
ACCURACIES, SAMPLES = (0.5, 0.8, 0.95), (1, 4)
NAMES = ("accuracy", "pss", "kappa", "corrected_pss", "persona_effect")
REPEATED = ("corrected_pss", "persona_effect")
SHOWN = (Outcome.PASS, Outcome.REGRESSION, Outcome.INCONCLUSIVE)

Draw = Callable[[np.random.Generator, int], tuple[Ints, Ints]]
"""Base and candidate of so many experiments: [experiments, n, 1 + m] numbers of right answers."""


@dataclass(frozen=True)
class Pair:
    """One experiment: its tests by metric, and its cells for the worst persona."""

    tests: dict[str, NonInferiorityTest]
    base: Ints
    candidate: Ints
    samples: int

    def worst_persona(self, max_drop: float) -> NonInferiorityTest | None:
        """The test of the worst persona's decline; None if its estimate alone shows that it is no REGRESSION.

        The bootstrap behind the test takes most of the time of a check.
        """
        own = drawn_cells(self.base, self.samples), drawn_cells(self.candidate, self.samples)
        base, candidate = (split_half_worst(cells.q[:, 1:]) for cells in own)
        if base - candidate < max_drop + float(zero_event_bound(len(self.base))):
            return None
        change = worst_persona_change(*own)
        return NonInferiorityTest(change.decline(1), float(change.tested.clusters[0]))


def split_half_worst(rates: Floats) -> float:
    """The worst persona's accuracy as :func:`worst_persona_change` estimates it, on the same halves."""
    n, generator = len(rates), np.random.default_rng(0)
    halves = np.zeros((20, n))
    for half in halves:
        half[generator.permutation(n)[: n // 2]] = 1
    means = [(part @ rates) / part.sum(axis=1, keepdims=True) for part in (halves, 1 - halves)]
    rows = np.arange(len(halves))
    chosen = [other[rows, np.argmin(own, axis=1)] for own, other in (means, means[::-1])]
    return float(np.mean(chosen))


def starting_gates(samples: int) -> list[Gate]:
    """The gates that ``check --init`` writes for a base with so many samples, without those of judged tasks."""
    with TemporaryDirectory() as folder:
        write_starting_policy(Path(folder) / "gate.yaml")
        gates = list(read_policy(Path(folder) / "gate.yaml").gates)
    if samples > 1:  # written for a base that has them
        gates.append(Gate(metric="corrected_pss", max_drop=0.05, severity=Severity.SUPPORTING))
    return gates


def older_gates(gates: Sequence[Gate]) -> list[Gate]:
    """The gates as ``check --init`` wrote them before 0.2: κ supporting, the worst persona advisory."""
    changed: dict[str, dict[str, object]] = {
        "kappa": {"severity": Severity.SUPPORTING, "max_drop": 0.1},
        WORST_PERSONA.name: {"severity": Severity.ADVISORY},
    }
    return [gate.model_copy(update=changed.get(gate.metric, {})) for gate in gates]


def verdict(pair: Pair, gates: Sequence[Gate]) -> tuple[Outcome, dict[str, Outcome]]:
    """The overall verdict of ``check``, and that on each gating metric."""
    gating = [gate for gate in gates if gate.severity is not Severity.ADVISORY]
    tests = [
        pair.worst_persona(gate.max_drop) if gate.metric == WORST_PERSONA.name else pair.tests[gate.metric]
        for gate in gating
    ]
    return _verdict(gating, tests)


def overall_verdict(pair: Pair, gates: Sequence[Gate]) -> Outcome:
    """The overall verdict alone: the worst persona is tested only if the other gates do not regress without it."""
    gating = [gate for gate in gates if gate.severity is not Severity.ADVISORY]
    others = [None if gate.metric == WORST_PERSONA.name else pair.tests[gate.metric] for gate in gating]
    # A smaller p-value of one gate raises none that is adjusted by Holm.
    found, _ = _verdict(gating, others)
    return found if found is Outcome.REGRESSION else verdict(pair, gates)[0]


def _verdict(gating: Sequence[Gate], tests: Sequence[NonInferiorityTest | None]) -> tuple[Outcome, dict[str, Outcome]]:
    p_values = [1.0 if test is None else test.p_value(gate.max_drop) for test, gate in zip(tests, gating, strict=True)]
    findings = []
    for gate, test, p in zip(gating, tests, holm(np.array(p_values)), strict=True):
        high = None if test is None else test.bounds[1]
        outcome = Outcome.INCONCLUSIVE
        if p <= ALPHA:
            outcome = Outcome.REGRESSION
        elif high is not None and high <= gate.max_drop:
            outcome = Outcome.PASS
        findings.append(Finding("task", gate.metric, gate.severity, gate.max_drop, outcome))
    return overall(findings), {finding.metric: finding.outcome for finding in findings}


def pairs(draw: Draw, experiments: int, n: int, m: int, samples: int, seed: int) -> Iterator[Pair]:
    """Yield drawn experiments with their tests."""
    rng = np.random.default_rng(seed)
    names = [name for name in NAMES if samples > 1 or not BY_NAME[name].needs_repeats]
    for count in batches(experiments, n, m):
        base, candidate = draw(rng, count)
        sums = batch(base, samples, names), batch(candidate, samples, names)
        in_points = kappa_in_points(*sums)
        for place, found in enumerate(paired_changes(*sums)):
            tests = {name: decline_test(change, name) for name, change in found.items()}
            yield Pair(tests | {KAPPA_IN_POINTS: in_points[place]}, base[place], candidate[place], samples)


def shifted(n: int, before: Floats, after: Floats, samples: int) -> Draw:
    """Draws in which every persona's accuracy is known."""
    pair = Population(0.5), Population(0.5)

    def draw(rng: np.random.Generator, count: int) -> tuple[Ints, Ints]:
        return latent_pair(rng, (count, n), pair, (before, after), samples)

    return draw


def scattered(n: int, accuracy: float, decline: float) -> Draw:
    """Draws in which items are nearly always or nearly never solved, and single answers are lost at random."""

    def draw(rng: np.random.Generator, count: int) -> tuple[Ints, Ints]:
        difficulty = rng.beta(0.2 * accuracy, 0.2 * (1 - accuracy), (count, n, 1))
        rates = np.repeat(difficulty, 1 + PERSONAS, axis=2)
        return sampled(rng, rates, 1), sampled(rng, rates * (1 - decline / accuracy), 1)

    return draw


def less_stable(n: int, accuracy: float, gain: float, fall: float, samples: int) -> Draw:
    """Draws in which PSS falls by ``fall`` while accuracy rises by ``gain``: variance moves from item to cell."""
    base = Population(accuracy)
    candidate = Population(accuracy + gain).worse(
        "pss", Population(accuracy + gain).truth()["pss"] - base.truth()["pss"] + fall
    )

    accuracies = np.full(1 + PERSONAS, accuracy), np.full(1 + PERSONAS, accuracy + gain)

    def draw(rng: np.random.Generator, count: int) -> tuple[Ints, Ints]:
        return latent_pair(rng, (count, n), (base, candidate), accuracies, samples)

    return draw


def share(count: int, of: int) -> str:
    """A share in percent."""
    return f"{100 * count / of:.1f}"


def by_decline(experiments: int, seed: int) -> None:
    """Print the verdicts of the starting policy by true decline of accuracy."""
    print(
        f"\n**Verdicts by true decline of accuracy** ({ITEMS} items, {PERSONAS} personas, {experiments} experiments)\n"
    )
    print(f"| accuracy | samples | | {' | '.join(f'{decline:g}' for decline in DECLINES)} |")
    print(f"|---:|---:|---|{'---:|' * len(DECLINES)}")
    for accuracy in ACCURACIES:
        for samples in SAMPLES:
            gates, columns = starting_gates(samples), []
            for decline in DECLINES:
                before, after = np.full(1 + PERSONAS, accuracy), np.full(1 + PERSONAS, accuracy - decline)
                draw = shifted(ITEMS, before, after, samples)
                drawn = pairs(draw, experiments, ITEMS, PERSONAS, samples, seed)
                columns.append(Counter(overall_verdict(pair, gates) for pair in drawn))
            for outcome in SHOWN:
                row = [share(counts[outcome], experiments) for counts in columns]
                print_row((f"{accuracy:g}", f"{samples}", outcome), row)


def saturated(experiments: int, seed: int) -> None:
    """Print the verdicts on a saturated task under the policy of today, that of before, and a gate that was tried."""
    n, accuracy = 1319, 0.95
    now = starting_gates(1)
    print(
        f"\n**Saturated task** (accuracy {accuracy}, {n} items, {PERSONAS} personas, 1 sample, {experiments} "
        "experiments)\n"
    )
    print(f"| losses | decline | gates | {' | '.join(SHOWN)} |\n|---|---:|---|---:|---:|---:|")
    for decline in (0.01, 0.02):
        before, after = np.full(1 + PERSONAS, accuracy), np.full(1 + PERSONAS, accuracy - decline)
        losses = {"scattered": scattered(n, accuracy, decline), "of the hardest": shifted(n, before, after, 1)}
        for name, draw in losses.items():
            drawn = list(pairs(draw, experiments, n, PERSONAS, 1, seed))
            found = {
                "the starting policy": Counter(overall_verdict(pair, now) for pair in drawn),
                "before 0.2: κ supporting, max_drop 0.10": Counter(
                    verdict(pair, older_gates(now))[0] for pair in drawn
                ),
                "κ alone, max_drop 0.10": Counter(outcome_of(pair.tests["kappa"], 0.1) for pair in drawn),
                "κ in points of PSS alone, max_drop 0.05": Counter(
                    outcome_of(pair.tests[KAPPA_IN_POINTS], 0.05) for pair in drawn
                ),
            }
            for gates, counts in found.items():
                print_row((name, f"{decline:g}", gates), [share(counts[one], experiments) for one in SHOWN])


def loss_in_a_quarter(experiments: int, seed: int) -> None:
    """Print how often a loss of 20 points under a quarter of the personas, ``none`` unchanged, is a REGRESSION."""
    lost = PERSONAS // 4
    metrics = ("accuracy", "pss", WORST_PERSONA.name)
    print(
        f"\n**A quarter of the personas lose 20 points** ({ITEMS} items, {lost} of {PERSONAS} personas, `none` "
        f"unchanged, {experiments} experiments): share of REGRESSION, overall and by gate (adjusted by Holm)\n"
    )
    print(f"| accuracy | samples | starting policy | {' | '.join(metrics)} | before 0.2 |\n{'|---:' * 7}|")
    for accuracy in ACCURACIES:
        for samples in SAMPLES:
            before = np.full(1 + PERSONAS, accuracy)
            after = before - np.where((np.arange(1 + PERSONAS) > 0) & (np.arange(1 + PERSONAS) <= lost), 0.2, 0.0)
            draw, gates = shifted(ITEMS, before, after, samples), starting_gates(samples)
            counts: Counter[str] = Counter()
            for pair in pairs(draw, experiments, ITEMS, PERSONAS, samples, seed):
                outcome, by_metric = verdict(pair, gates)
                counts["overall"] += outcome is Outcome.REGRESSION
                counts["before"] += verdict(pair, older_gates(gates))[0] is Outcome.REGRESSION
                counts.update(metric for metric in metrics if by_metric[metric] is Outcome.REGRESSION)
            names = ("overall", *metrics, "before")
            print_row((f"{accuracy:g}", f"{samples}"), [share(counts[name], experiments) for name in names])


def swapped_answers(experiments: int, seed: int) -> None:
    """Print which gate sees a fall of PSS that accuracy does not show."""
    limits = {
        "accuracy": 0.05,
        "pss": 0.05,
        "kappa": 0.1,
        KAPPA_IN_POINTS: 0.05,
        "corrected_pss": 0.05,
        "persona_effect": 0.05,
    }
    print(
        f"\n**Answers swapped between personas** ({ITEMS} items, {PERSONAS} personas, accuracy 0.8, {experiments} "
        "experiments): share of PASS / REGRESSION of each gate alone\n"
    )
    print(f"| accuracy | PSS | samples | {' | '.join(f'{n}, {d:g}' for n, d in limits.items())} |")
    print(f"|---:|---:|---:|{'---:|' * len(limits)}")
    for gain, fall in ((0.0, 0.05), (0.0, 0.07), (0.05, 0.0)):
        for samples in SAMPLES:
            draw = less_stable(ITEMS, 0.8, gain, fall, samples)
            counts: Counter[tuple[str, Outcome]] = Counter()
            for pair in pairs(draw, experiments, ITEMS, PERSONAS, samples, seed):
                counts.update((name, outcome_of(test, limits[name])) for name, test in pair.tests.items())
            cells = []
            for name in limits:
                told = [share(counts[name, outcome], experiments) for outcome in (Outcome.PASS, Outcome.REGRESSION)]
                cells.append(" / ".join(told) if samples > 1 or name not in REPEATED else "")
            print_row((f"{gain:+g}", f"{-fall:+g}", f"{samples}"), cells)


def print_row(names: Sequence[str], cells: Sequence[str]) -> None:
    """Print one row of a table."""
    print(f"| {' | '.join((*names, *cells))} |", flush=True)


def outcome_of(test: NonInferiorityTest, max_drop: float) -> Outcome:
    """The verdict on a single metric, without adjustment."""
    if test.p_value(max_drop) <= ALPHA:
        return Outcome.REGRESSION
    high = test.bounds[1]
    return Outcome.PASS if high is not None and high <= max_drop else Outcome.INCONCLUSIVE


def main() -> None:
    """Run all, print all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--experiments", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began = time.perf_counter()
    by_decline(given.experiments, given.seed)
    saturated(given.experiments, given.seed)
    swapped_answers(given.experiments, given.seed)
    loss_in_a_quarter(max(10, given.experiments // 10), given.seed)
    print(f"\n{time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    main()
