"""Do the intervals cover, do the verdicts err as rarely as they claim, does the forecast of power hold::

    python benchmarks/validity.py [--experiments 4000] [--processes 2] [--first N] [--seed 0] [--long]

Draws checkpoints from populations whose truth is known (:mod:`personaeval.metrics.population`), puts each drawn run
through the estimators, intervals and tests that the program itself uses, and counts. It prints, in markdown: coverage
and bias of every number; coverage of its paired difference; how often a metric is falsely called a REGRESSION at a
decline of just max_drop, and falsely a PASS at twice that; how often the decline that ``plan`` calls detectable is
detected; and two-way and PersonaScore intervals. Then the same for populations that the model does not have
(``populations.py``): an eighth of the experiments a design, and all of them where a figure is more than three
Monte-Carlo errors from nominal; ``--long`` adds larger and smaller designs of these. At the end, what misses a limit,
and whether the program adds a caution there. Seeded.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from experiments import (
    ACCURACIES,
    COVERAGE,
    FURTHER,
    LEVEL,
    NEAR_AN_END,
    Cell,
    Result,
    further,
    is_flagged,
    judged,
    one_run,
    rare_gains,
    rare_losses,
    two_way,
    verdicts,
    worst,
)
from populations import METRICS, POPULATIONS

from personaeval.metrics.catalogue import WORST_PERSONA
from personaeval.metrics.population import Declining

ITEMS, PERSONAS, SAMPLES = (50, 100, 500), (8, 32), (1, 4)
RARE = (
    (60, 0.05),
    (100, 0.05),
    (100, 0.02),
    (150, 0.02),
    (200, 0.02),
    (300, 0.02),
    (500, 0.02),
    (1000, 0.02),
    (2000, 0.01),
)
"""Items and max_drop where the candidate loses few items, but those as a whole."""
GATED: tuple[Declining, ...] = ("accuracy", "pss", "corrected_pss")
SIZES = ((30, 8, 1), (100, 2, 1), (100, 16, 4), (500, 8, 1))
"""n, m and S of the further populations."""
LONG_SIZES = ((30, 2, 8), (200, 200, 1), (500, 16, 8), (1000, 50, 2), (5000, 8, 1))
"""Those that ``--long`` adds."""
FIRST = 8
"""The further populations get 1/8 of the experiments first."""
CAUTIONED = 0.95
"""Share of the experiments with a caution that counts as a caution on the design."""

Job = tuple[Callable[..., list[Result]], tuple[object, ...]]


def jobs(experiments: int, seed: int) -> Iterator[Job]:
    """Yield the experiments on the model's own populations, the longest first, each with its own seed."""
    designs = [Cell(*design) for design in product(sorted(ITEMS, reverse=True), PERSONAS, SAMPLES, ACCURACIES)]
    number = seed * 1000
    for cell in designs:
        yield one_run, (cell, experiments, number := number + 1)
        for metric in GATED:
            if cell.samples > 1 or metric != "corrected_pss":
                yield verdicts, (cell, metric, experiments, number := number + 1)
    for n, level in product((100, 500), NEAR_AN_END):
        yield one_run, (Cell(n, 8, 1, level), experiments, number := number + 1)
    for cell in designs:
        if cell.n == 100:
            yield two_way, (cell, experiments // 2, number := number + 1)
    for n, m in product((100, 500), PERSONAS):
        yield worst, (Cell(n, m, 1, "high"), experiments // 10, number := number + 1)
    for n, max_drop in ((100, 0.05), (300, 0.02), (500, 0.02)):
        yield rare_losses, (n, max_drop, True, experiments // 5, number := number + 1)
    for n, max_drop in RARE:
        yield rare_losses, (n, max_drop, False, experiments, number := number + 1)
        yield rare_gains, (n, max_drop, experiments, number := number + 1)
    for personas, level in product((20, 40, 100), ACCURACIES):
        yield judged, (personas, level, experiments, number := number + 1)
    for cell, metric in product(designs, GATED):
        if cell.n == 100 and (cell.samples > 1 or metric != "corrected_pss"):
            yield verdicts, (cell, metric, experiments, number := number + 1, True)


def further_jobs(experiments: int, seed: int, long: bool) -> Iterator[Job]:
    """Yield the experiments on further populations."""
    number = seed * 1000 + 500
    for size, population in product(SIZES + LONG_SIZES if long else SIZES, POPULATIONS):
        yield further, (population.name, *size, (experiments // FIRST, experiments), number := number + 2)


def call(job: Job) -> list[Result]:
    """Run one job in a worker."""
    function, arguments = job
    return function(*arguments)


def run(wanted: Sequence[Job], processes: int, kept: Path | None) -> list[list[Result]]:
    """Results of every job; ``kept``, a file of finished ones, is read first and added to."""
    names = [f"{function.__name__}{arguments}" for function, arguments in wanted]
    known: dict[str, list[Result]] = {}
    if kept is not None and kept.exists():
        lines = (json.loads(line) for line in kept.read_text().splitlines())
        known = {name: [Result(**one) for one in results] for name, results in lines}
    missing = [(name, job) for name, job in zip(names, wanted, strict=True) if name not in known]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for (name, _), results in zip(missing, pool.map(call, [job for _, job in missing]), strict=True):
            known[name] = results
            if kept is not None:
                with kept.open("a") as file:
                    file.write(json.dumps([name, [asdict(one) for one in results]]) + "\n")
    return [known[name] for name in names]


def run_in_stages(given: argparse.Namespace) -> list[Result]:
    """Results of all experiments: with ``--first`` so many of each, and anew with all where a limit is missed."""

    def wanted(experiments: int, seed: int) -> list[Job]:
        return [job for job in jobs(experiments, seed) if (given.only or "") in job[0].__name__]

    found = run(wanted(given.first or given.experiments, given.seed), given.processes, given.keep)
    if given.first:
        flagged = [place for place, results in enumerate(found) if any(map(is_missed, results))]
        again = wanted(given.experiments, given.seed + 1)
        for place, results in zip(
            flagged, run([again[place] for place in flagged], given.processes, given.keep), strict=True
        ):
            found[place] = results
        print(f"{given.first} experiments per design; {given.experiments} in the {len(flagged)} that missed a limit.")
    more = further_jobs(given.experiments, given.seed, given.long)
    found += run([job for job in more if (given.only or "") in job[0].__name__], given.processes, given.keep)
    return [one for results in found for one in results]


def show(results: Sequence[Result]) -> None:
    """Print a table per kind of figure: a row per design, a column per metric."""
    for what in dict.fromkeys(result.what for result in results):
        own = [result for result in results if result.what == what]
        names = [
            name
            for name in (*METRICS, WORST_PERSONA.name, "persona_score")
            if any(result.metric == name for result in own)
        ]
        by_place = {(result.cell, result.metric): result for result in own}
        error = np.median([result.error for result in own])
        print(f"\n**{what}** (expected {own[0].expected:g}; Monte-Carlo error about {error:.4f})\n")
        print(f"| design | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")
        for cell in dict.fromkeys(result.cell for result in own):
            row = [by_place.get((cell, name)) for name in names]
            cells = (f"{'' if one is None else format(one.value, '.4f')}" for one in row)
            print(f"| {cell} | {' | '.join(cells)} |")


def is_missed(one: Result) -> bool:
    """Whether a figure misses its limit in a design where the program promises coverage."""
    if not one.promised:
        return False
    if one.what.startswith("coverage"):
        # Floors make a change's interval wide if it rests on few items; the check is as conservative.
        return one.value < 0.93 or (one.what == COVERAGE and one.value > 0.97)
    if one.what == "two-way coverage":
        return one.value < 0.935
    if one.what.startswith("bias"):
        return one.metric == "pss" and abs(one.value) > max(0.003, 2 * one.error)
    if one.what == "power, random numbers shared":
        return one.value < one.expected - 0.03
    if one.what == "power":
        return abs(one.value - one.expected) > 0.03
    return one.value > one.expected + 2 * one.error


def misses(results: Sequence[Result]) -> list[str]:
    """Results that miss their limit, in lines; prints how many intervals are close to nominal."""
    own = [one for one in results if one.promised and one.what.startswith("coverage")]
    near = sum(0.935 <= one.value <= 0.965 for one in own)
    wide = sum(one.value > 0.965 for one in own)
    print(f"\nIntervals within 93.5 to 96.5 %: {near} of {len(own)}; wider: {wide}.")
    return [line_of(one) for one in results if is_missed(one)]


def line_of(one: Result) -> str:
    """A figure in a line."""
    return f"{one.what}, {one.metric}, {one.cell}: {one.value:.4f}"


def show_further(results: Sequence[Result]) -> None:
    """Print what the further populations show: misses with and without a caution, and over-coverage."""
    own = [one for one in results if one.what.endswith(FURTHER)]
    if not own:
        return
    missed = [one for one in own if is_flagged(one)]
    bare = [one for one in missed if one.cautioned < CAUTIONED]
    covered = [one for one in missed if one.cautioned >= CAUTIONED]
    for title, part in (("Missed without a caution", bare), ("Missed with a caution", covered)):
        lines = [f"{line_of(one)} (caution in {one.cautioned:.0%})" for one in part]
        print(f"\n{title}, further populations: {len(part)}.", *lines, sep="\n- ")
    wide = [one for one in own if one.what.startswith("coverage") and one.value > LEVEL + 3 * one.error]
    print(f"\nIntervals that cover more than 95 % by three Monte-Carlo errors, further populations: {len(wide)}.")
    for metric, count in Counter(one.metric for one in wide).items():
        print(f"- {metric}: {count}, up to {max(one.value for one in wide if one.metric == metric):.4f}")


def main() -> None:
    """Run all, print all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--experiments", type=int, default=4000)
    parser.add_argument("--first", type=int, help="so many at first; all of them only where a limit is missed")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--long", action="store_true", help="more sizes of the further populations")
    parser.add_argument("--only", help="only the experiments whose name contains this, such as further")
    parser.add_argument("--keep", type=Path, help="file of finished experiments; the same command then resumes")
    given = parser.parse_args()
    if given.experiments < 10:
        parser.error(f"--experiments {given.experiments}: at least 10, of which some designs take a tenth.")
    began = time.perf_counter()
    # As many processes as cores, a thread each: read by the numpy of a process that starts anew.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    results = run_in_stages(given)
    show(results)
    found = misses(results)
    print("Missed limits: " + ("none." if not found else ""), *found, sep="\n- " if found else "")
    show_further(results)
    print(f"\n{given.experiments} experiments per design, {time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    main()
