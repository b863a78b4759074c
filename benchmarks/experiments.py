"""The experiments of ``validity.py``: each draws checkpoints whose truth is known, and counts what the program says."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from populations import METRICS, POPULATIONS, Further
from simulated import BY_NAME, Batch, batch, batches, latent_pair, paired_changes

from personaeval.metrics import fidelity, power, two_way_bootstrap
from personaeval.metrics.catalogue import STABILITY, WORST_PERSONA
from personaeval.metrics.coverage_warnings import FEW_PERSONAS, UNSCORED_LIMIT, coverage_warnings, unscored_warning
from personaeval.metrics.fidelity import PersonaSums
from personaeval.metrics.inference import Estimate
from personaeval.metrics.jackknife import intervals
from personaeval.metrics.noninferiority import ALPHA, POWER
from personaeval.metrics.paired import Change, changes
from personaeval.metrics.population import Declining, Population
from personaeval.metrics.split_half import worst_persona_change
from personaeval.metrics.sums import Ints

ACCURACIES = {"high": 0.8, "low": 0.3}
NEAR_AN_END = {"near 1": 0.97, "near 0": 0.03}
LEVEL = 0.95
DIMENSIONS, QUESTIONS = 5, 10
SCALES = {metric.name: metric.scale for metric in STABILITY}

COVERAGE = "coverage"
COVERAGE_OF_A_CHANGE = "coverage of a difference of d"
FALSE_REGRESSION = "false REGRESSION at max_drop = d"
FALSE_PASS = "false PASS at max_drop = d"
FURTHER = ", further populations"


@dataclass(frozen=True)
class Cell:
    """One design of an experiment."""

    n: int
    m: int
    samples: int
    level: str

    @property
    def population(self) -> Population:
        """What checkpoints are drawn from."""
        return Population((ACCURACIES | NEAR_AN_END)[self.level])

    @property
    def promised(self) -> bool:
        """Whether the program gives its intervals without a warning."""
        return not coverage_warnings(self.n, self.population.accuracy)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Those that are defined with so many samples."""
        return tuple(name for name in METRICS if self.samples > 1 or not BY_NAME[name].needs_repeats)

    def __str__(self) -> str:
        return f"n {self.n}, m {self.m}, S {self.samples}, {self.level}"


@dataclass(frozen=True)
class Result:
    """One figure of one design: a frequency or a mean error.

    Attributes:
        promised: whether a limit is claimed for it.
        cautioned: share of the experiments in which the program adds a caution.
    """

    what: str
    metric: str
    cell: str
    promised: bool
    value: float
    error: float
    expected: float = math.nan
    cautioned: float = 0.0
    items: int = 0


def share(hits: Sequence[bool] | NDArray[np.bool_]) -> tuple[float, float]:
    """A share with its Monte-Carlo standard error."""
    value = float(np.mean(hits))
    return value, math.sqrt(max(value * (1 - value), 1e-9) / len(hits))


def decline_bounds(change: Change) -> tuple[float, float]:
    """Bounds of the decline of a metric of which more is better; ``check`` decides by these (a test compares them)."""
    low, high = change.absolute.low, change.absolute.high
    return (-math.inf, math.inf) if low is None or high is None else (-high, -low)


def covers(interval: Estimate, truth: float) -> bool:
    """Whether an interval holds the truth; one without bounds does not."""
    return interval.low is not None and interval.high is not None and interval.low <= truth <= interval.high


def one_run(cell: Cell, experiments: int, seed: int) -> list[Result]:
    """Coverage and bias of a run's own numbers, and coverage of differences that are truly zero."""
    truth, rng = cell.population.truth(), np.random.default_rng(seed)
    hits: dict[tuple[str, str], list[bool]] = defaultdict(list)
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for count in batches(experiments, cell.n, cell.m):
        base, candidate = _drawn(cell, cell.population, cell.population, rng, count)
        estimates = base.run()
        found = intervals(estimates, [SCALES[name] for name in cell.metrics] * count)
        for place, (interval, corrected) in enumerate(zip(found, estimates.corrected, strict=True)):
            name = cell.metrics[place % len(cell.metrics)]
            hits[COVERAGE, name].append(covers(interval, truth[name]))
            values["bias as defined", name].append(math.nan if interval.value is None else interval.value - truth[name])
            values["bias, corrected by the jackknife", name].append(float(corrected) - truth[name])
        for moved in paired_changes(base, candidate):
            for name, change in moved.items():
                hits["coverage of a difference of 0", name].append(covers(change.absolute, 0.0))
    results = [Result(what, name, str(cell), cell.promised, *share(own), LEVEL) for (what, name), own in hits.items()]
    for (what, name), own in values.items():
        spread = float(np.nanstd(own) / math.sqrt(len(own)))
        results.append(Result(what, name, str(cell), cell.promised, float(np.nanmean(own)), spread, 0.0))
    return results


def _drawn(
    cell: Cell, base: Population, candidate: Population, rng: np.random.Generator, count: int
) -> tuple[Batch, Batch]:
    if base.kept_noise > 0:
        drawn = base.draw_pair(candidate, rng, count * cell.n, cell.m, cell.samples)
    else:
        accuracies = np.full(1 + cell.m, base.accuracy), np.full(1 + cell.m, candidate.accuracy)
        drawn = latent_pair(rng, (count, cell.n), (base, candidate), accuracies, cell.samples)
    first, second = (batch(own.reshape(count, cell.n, -1), cell.samples, cell.metrics) for own in drawn)
    return first, second


def verdicts(cell: Cell, metric: Declining, experiments: int, seed: int, coupled: bool = False) -> list[Result]:
    """Error rates of the verdicts on one metric, and its power, at the decline that ``plan`` calls detectable.

    The candidate's true decline is d. Against max_drop = d a REGRESSION is false, against d / 2 a PASS is; against 0 a
    REGRESSION is right, and ``plan`` says how often it comes. ``coupled``: both checkpoints share random numbers, which
    makes the difference more certain than ``plan`` assumes.
    """
    base = cell.population
    decline = power.minimum_detectable_effect(base, metric, cell.n, cell.m, cell.samples)
    if decline is None:
        return []
    if coupled:
        base = replace(base, kept_noise=1.0)
    worse = base.worse(metric, decline)
    rng = np.random.default_rng(seed)
    covered, regressed, passed, detected = [], [], [], []
    for count in batches(experiments, cell.n, cell.m):
        for found in paired_changes(*_drawn(cell, base, worse, rng, count)):
            low, high = decline_bounds(found[metric])
            covered.append(low <= decline <= high)
            regressed.append(low >= decline)
            detected.append(low >= 0)
            passed.append(high <= decline / 2)
    rows = {
        COVERAGE_OF_A_CHANGE: (covered, LEVEL),
        FALSE_REGRESSION: (regressed, ALPHA),
        "false PASS at max_drop = d / 2": (passed, ALPHA),
        "power": (detected, POWER),
    }
    suffix = ", random numbers shared" if coupled else ""
    return [
        Result(what + suffix, metric, str(cell), cell.promised, *share(hits), expected)
        for what, (hits, expected) in rows.items()
    ]


def further(name: str, n: int, m: int, samples: int, experiments: tuple[int, int], seed: int) -> list[Result]:
    """Coverage and wrong verdicts on a population outside the latent normal model.

    ``experiments``: so many first; if any figure is further from nominal than three Monte-Carlo errors, so many anew.
    """
    [population] = [one for one in POPULATIONS if one.name == name]
    cell = Cell(n, m, samples, name)
    found = _further(population, cell, experiments[0], seed)
    if any(is_flagged(one) for one in found):
        found = _further(population, cell, experiments[1], seed + 1)
    return found


def is_flagged(one: Result) -> bool:
    """Whether a figure is worse than nominal by more than three Monte-Carlo errors, or an interval covers < 93 %."""
    if one.what.startswith(COVERAGE):
        return one.value < LEVEL - 3 * one.error or (one.items >= 100 and one.value < 0.93)
    return one.value > one.expected + 3 * one.error


def _further(population: Further, cell: Cell, experiments: int, seed: int) -> list[Result]:
    before, after = population.truth(cell.m)
    rng = np.random.default_rng(seed)
    hits: dict[tuple[str, str], list[bool]] = defaultdict(list)
    cautions: dict[bool, list[bool]] = {False: [], True: []}
    for count in batches(experiments, cell.n, cell.m):
        drawn = population.draw(rng, count, cell.n, cell.m, cell.samples)
        base = batch(drawn.correct[0], drawn.scored[0], cell.metrics)
        estimates = base.run()
        found = intervals(estimates, [SCALES[name] for name in cell.metrics] * count)
        for place, interval in enumerate(found):
            name = cell.metrics[place % len(cell.metrics)]
            hits[COVERAGE, name].append(covers(interval, before[name]))
        # A pair of runs is compared on the cells that both scored.
        both = (drawn.scored[0] > 0) & (drawn.scored[1] > 0)
        sums = [
            batch(np.where(both, drawn.correct[one], 0), np.where(both, drawn.scored[one], 0), cell.metrics)
            for one in (0, 1)
        ]
        for place, moved in enumerate(paired_changes(sums[0], sums[1])):
            own = found[place * len(cell.metrics)]
            cautions[False].append(_is_cautioned(drawn.correct[0][place], drawn.scored[0][place], cell.samples, own))
            runs = zip(drawn.correct, drawn.scored, strict=True)
            cautions[True].append(any(_is_cautioned(right[place], of[place], cell.samples) for right, of in runs))
            for name, change in moved.items():
                (low, high), decline = decline_bounds(change), before[name] - after[name]
                hits[COVERAGE_OF_A_CHANGE, name].append(low <= decline <= high)
                hits[FALSE_REGRESSION, name].append(low >= decline)
                hits[FALSE_PASS, name].append(high <= decline)
    return [
        Result(
            what + FURTHER,
            name,
            str(cell),
            False,
            *share(own),
            LEVEL if what.startswith(COVERAGE) else ALPHA,
            float(np.mean(cautions[what != COVERAGE])),
            cell.n,
        )
        for (what, name), own in hits.items()
    ]


def _is_cautioned(correct: Ints, scored: Ints, samples: int, accuracy: Estimate | None = None) -> bool:
    """Whether the program adds a caution under a run's table, or under a comparison's for one of its two runs."""
    own, present = correct[:, 1:], scored[:, 1:]
    rates = own / np.maximum(present, 1)
    mean = float(rates[present > 0].mean()) if present.any() else 0.0
    warnings = coverage_warnings(len(own), mean, solved=int(own.any(axis=1).sum()))
    unscored = float(1 - scored.mean() / samples)
    few = None if accuracy is None else unscored_warning(unscored, accuracy)
    return bool(warnings) or unscored > UNSCORED_LIMIT or few is not None


def two_way(cell: Cell, experiments: int, seed: int) -> list[Result]:
    """Coverage of two-way intervals when personas are drawn too, from a population with persona effects."""
    population = Population(ACCURACIES[cell.level], persona=0.05, cell=0.15)
    truth, rng = population.truth(), np.random.default_rng(seed)
    covered: dict[str, list[bool]] = {name: [] for name in cell.metrics}
    places = [two_way_bootstrap.RESAMPLED.index(name) for name in cell.metrics]
    scales = [SCALES[name] for name in two_way_bootstrap.RESAMPLED]
    for trial in range(experiments):
        correct = population.draw(rng, cell.n, cell.m, cell.samples)
        cells = power.drawn_cells(correct, cell.samples)
        found = intervals(two_way_bootstrap.estimates(cells, seed=trial, replicates=500), scales)
        for name, place in zip(cell.metrics, places, strict=True):
            covered[name].append(covers(found[place], truth[name]))
    return [
        Result("two-way coverage", name, str(cell), cell.promised, *share(covered[name]), LEVEL)
        for name in cell.metrics
    ]


def rare_losses(n: int, max_drop: float, is_worst: bool, experiments: int, seed: int) -> list[Result]:
    """How often a candidate passes that is worse by exactly max_drop because it loses whole items.

    Accuracy 0.9 under 8 personas, independent; one answer in a hundred flips; the rest of the decline are items that
    the candidate loses under every persona: so few that a sample may hold none.
    """
    rng = np.random.default_rng(seed)
    metric = WORST_PERSONA.name if is_worst else "accuracy"
    accuracy, flipped = 0.9, 0.01
    after_flips = accuracy + flipped * (1 - 2 * accuracy)
    lost = 1 - (accuracy - max_drop) / after_flips
    passed = []
    for count in batches(experiments, n, 8):
        before = rng.binomial(1, accuracy, (count, n, 9)).astype(np.int32)
        after = np.where(rng.random(before.shape) < flipped, 1 - before, before).astype(np.int32)
        after[rng.random((count, n)) < lost] = 0
        if is_worst:
            runs = ([power.drawn_cells(one, 1) for one in own] for own in (before, after))
            found = [worst_persona_change(first, second) for first, second in zip(*runs, strict=True)]
            passed += [decline_bounds(change)[1] <= max_drop for change in found]
        else:
            moved = paired_changes(batch(before, 1, [metric]), batch(after, 1, [metric]))
            passed += [decline_bounds(change[metric])[1] <= max_drop for change in moved]
    what, where = "false PASS at max_drop = d, items lost as a whole", f"n {n}, max_drop {max_drop}"
    return [Result(what, metric, where, False, *share(passed), ALPHA)]


def rare_gains(n: int, max_drop: float, experiments: int, seed: int) -> list[Result]:
    """How often a candidate that is worse by exactly max_drop, but gains a few whole items, is falsely a REGRESSION.

    A tenth of the items is never solved by the base; the candidate solves one in ten of those under every persona, and
    loses answers to the others here and there.
    """
    rng = np.random.default_rng(seed)
    solvable, gained = 0.9, 0.01
    regressed = []
    for count in batches(experiments, n, 8):
        solved = rng.random((count, n)) < solvable
        before = np.repeat(solved[..., None], 9, axis=2).astype(np.int32)
        after = np.where(rng.random(before.shape) < (max_drop + gained) / solvable, 0, before).astype(np.int32)
        after[~solved & (rng.random((count, n)) < gained / (1 - solvable))] = 1
        moved = paired_changes(batch(before, 1, ["accuracy"]), batch(after, 1, ["accuracy"]))
        regressed += [decline_bounds(change["accuracy"])[0] >= max_drop for change in moved]
    what, where = "false REGRESSION at max_drop = d, items gained as a whole", f"n {n}, max_drop {max_drop}"
    return [Result(what, "accuracy", where, False, *share(regressed), ALPHA)]


def worst(cell: Cell, experiments: int, seed: int) -> list[Result]:
    """Coverage of the change of the worst persona's accuracy when all personas are truly equal.

    Whichever is chosen on one half then has the population's accuracy on the other, so that the truth is known.
    """
    drop, rng = 0.05, np.random.default_rng(seed)
    worse = cell.population.worse("accuracy", drop)
    covered = []
    for trial in range(experiments):
        drawn = cell.population.draw_pair(worse, rng, cell.n, cell.m, cell.samples)
        base, candidate = (power.drawn_cells(correct, cell.samples) for correct in drawn)
        change = worst_persona_change(base, candidate, seed=trial)
        covered.append(covers(change.absolute, -drop))
    return [
        Result("coverage of the worst persona's change", WORST_PERSONA.name, str(cell), False, *share(covered), LEVEL)
    ]


def judged(personas: int, level: str, experiments: int, seed: int) -> list[Result]:
    """Coverage of PersonaScore and of its paired differences.

    A response's score is 1 to 5: a normal, cut at four thresholds, of its persona's part (shared by both checkpoints),
    and of its own.
    """
    rng = np.random.default_rng(seed)
    middle, share_of_persona, drop = {"high": 4.3, "low": 2.4}[level], 0.3, 0.3

    def draw(parts: NDArray[np.float64], centre: float) -> PersonaSums:
        own = rng.standard_normal((personas, DIMENSIONS, QUESTIONS))
        latent = centre + share_of_persona**0.5 * parts[:, :, None] + (1 - share_of_persona) ** 0.5 * own
        scores = np.clip(np.rint(latent), 1, 5)
        return PersonaSums(np.hstack([scores.sum(axis=2), np.full((personas, DIMENSIONS), float(QUESTIONS))]))

    truth, lower = expected_score(middle), expected_score(middle - drop)
    own, apart, regressed, passed = [], [], [], []
    for _ in range(experiments):
        parts = np.repeat(rng.standard_normal((personas, 1)), DIMENSIONS, axis=1)
        base, candidate = draw(parts, middle), draw(parts, middle - drop)
        sums, counts = np.split(base.matrix, 2, axis=1)
        estimate = fidelity.mean_of_means(sums, counts)
        own.append(covers(Estimate(estimate.value, estimate.low, estimate.high), truth))
        change = changes(base, candidate)[0]
        apart.append(covers(change.absolute, lower - truth))
        low, high = decline_bounds(change)
        regressed.append(low >= truth - lower)
        passed.append(high <= (truth - lower) / 2)
    where = f"{personas} personas, {level}"
    rows: dict[str, tuple[list[bool], float]] = {
        COVERAGE: (own, LEVEL),
        COVERAGE_OF_A_CHANGE: (apart, LEVEL),
        FALSE_REGRESSION: (regressed, ALPHA),
        "false PASS at max_drop = d / 2": (passed, ALPHA),
    }
    return [
        Result(what, "persona_score", where, personas >= FEW_PERSONAS, *share(hits), expected)
        for what, (hits, expected) in rows.items()
    ]


def expected_score(centre: float) -> float:
    """Mean of a normal with this centre, rounded and clipped to 1 to 5."""
    from scipy.special import ndtr

    return 1 + float(sum(1 - ndtr(threshold - centre) for threshold in (1.5, 2.5, 3.5, 4.5)))
