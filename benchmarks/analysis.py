"""How fast the statistics are, and how much memory they take::

    python benchmarks/analysis.py [--replicates 10000] [--runs 50]

Three parts, each of which prints what it saw. (1) Bootstrap replicates of all stability metrics, those of every persona
included, for 1 319 items × 200 personas × 4 samples: items resampled, then items and personas together; with the peak
memory of a process that does nothing else. (2) The same numbers of 400 items × 100 personas × 4 samples by
``scipy.stats.bootstrap`` with a vectorised statistic, side by side, and how far the intervals are apart. (3)
``personaeval leaderboard``, the whole command, over 50 finished runs of 100 320 rows each; also with ``--baseline``,
which tests every row.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personaeval.library.personas import BASELINE, Category, Persona
from personaeval.library.tasks import Item
from personaeval.metrics import two_way_bootstrap
from personaeval.metrics.catalogue import HEADLINE
from personaeval.metrics.inference import Estimate, bootstrap, resampled_sums
from personaeval.metrics.population import Population
from personaeval.metrics.power import drawn_cells
from personaeval.metrics.sums import Cells, item_sums
from personaeval.pipeline.summary import summarise_run
from personaeval.results.cells import CellTable, write_cells
from personaeval.results.files import RUN, write_json
from personaeval.results.runs import open_run

LARGE, SMALL = (1319, 200, 4), (400, 100, 4)
RUN_SIZE = (1320, 18, 4)
ROUNDS = 5
PEERED = ("accuracy", "pss", "kappa", "repeatability", "persona_effect", "corrected_pss")
Floats = NDArray[np.float64]


def draw(n: int, m: int, samples: int, seed: int = 0) -> Cells:
    """The cells of a run from a population with an accuracy of 0.7."""
    return drawn_cells(Population(0.7).draw(np.random.default_rng(seed), n, m, samples), samples)


def by_items(cells: Cells, replicates: int) -> list[Estimate]:
    """BCa intervals of everything in a task's summary that has one."""
    sums = item_sums(cells, "", ())
    return bootstrap(sums.matrix, sums.estimate, seed=0, replicates=replicates)


def by_items_and_personas(cells: Cells, replicates: int) -> Any:
    """Two-way errors of the headline metrics."""
    return two_way_bootstrap.estimates(cells, replicates=replicates)


def timed(function: Any, replicates: int) -> tuple[float, float]:
    """Seconds and the process's peak memory in GB."""
    cells = draw(*LARGE)
    began = time.perf_counter()
    function(cells, replicates)
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def by_scipy(cells: Cells, replicates: int) -> tuple[Floats, Floats]:
    """Percentile bounds by scipy of the metrics in ``PEERED``, then of each persona's accuracy."""
    from scipy.stats import bootstrap as peer

    correct, samples = cells.correct[:, 1:].astype(np.float64), float(cells.scored.max())
    m = correct.shape[1]

    def statistic(rows: NDArray[np.int64], axis: int) -> Floats:
        k = correct[rows]
        q = k / samples
        mean = q.mean(axis=(-1, -2))
        both = ((q.sum(axis=-1) ** 2 - (q**2).sum(axis=-1)) / (m * (m - 1))).mean(axis=-1)
        again = (k * (k - 1) / (samples * (samples - 1))).mean(axis=(-1, -2))
        stable, repeated = both / mean, again / mean
        headline = [mean, stable, (stable - mean) / (1 - mean), repeated, repeated - stable, stable / repeated]
        return np.concatenate([np.stack(headline), np.moveaxis(q.mean(axis=-2), -1, 0)])

    found = peer(
        (np.arange(len(correct)),),
        statistic,
        n_resamples=replicates,
        batch=200,
        vectorized=True,
        axis=-1,
        method="percentile",
        rng=0,
    )
    return np.asarray(found.confidence_interval.low), np.asarray(found.confidence_interval.high)


def by_us(cells: Cells, replicates: int) -> tuple[Floats, Floats]:
    """The same bounds of the same numbers by our replicates."""
    sums = item_sums(cells, "", ())
    drawn = sums.estimate(resampled_sums(sums.matrix, 0, replicates))
    # Accuracy per persona follows the headline, that of the baseline first.
    first = len(HEADLINE) + 1
    places = [*map(HEADLINE.index, PEERED), *range(first, first + cells.correct.shape[1] - 1)]
    low, high = np.quantile(drawn[:, places], [0.025, 0.975], axis=0)
    return low, high


def against_scipy(replicates: int) -> None:
    """Print how many times as fast, in rounds side by side, and how far apart the bounds are, in the interval's widths.

    Both draw the same items from the same seed, so the bounds should be equal but for rounding.
    """
    cells = draw(*SMALL)
    seconds: dict[Any, list[float]] = {by_us: [], by_scipy: []}
    bounds: dict[Any, tuple[Floats, Floats]] = {}
    for _ in range(ROUNDS):
        for function, taken in seconds.items():
            began = time.perf_counter()
            bounds[function] = function(cells, replicates)
            taken.append(time.perf_counter() - began)
    low, high = bounds[by_scipy]
    apart = np.max(np.abs(np.subtract(bounds[by_us], bounds[by_scipy])) / (high - low))
    ratios = np.divide(seconds[by_scipy], seconds[by_us])
    theirs, ours = np.median(seconds[by_scipy]), np.median(seconds[by_us])
    print(
        f"scipy.stats.bootstrap, {SMALL[0]} items × {SMALL[1]} personas × {SMALL[2]}, {replicates:,} percentile "
        f"replicates of {len(low)} numbers: {theirs:.2f} s; ours {ours:.3f} s; "
        f"{np.median(ratios):.0f} times as fast (median of {ROUNDS} rounds, {min(ratios):.0f} to {max(ratios):.0f}). "
        f"Bounds at most {apart:.1e} of an interval's width apart."
    )


def write_runs(folder: Path, count: int) -> None:
    """Write finished runs of a checkpoint each, as ``personaeval run`` leaves them, without texts."""
    n, m, samples = RUN_SIZE
    personas = [BASELINE]
    personas += [Persona(id=f"p{k}", text=f"a person with {k} books", category=Category.IRRELEVANT) for k in range(m)]
    for number in range(count):
        correct = Population(0.5 + 0.3 * number / count).draw(np.random.default_rng(number), n, m, samples)
        items = [Item(id=f"i{k}", prompt="?", gold="0") for k in range(n)]
        table = CellTable("sums", items, [persona.id for persona in personas], 1.0)
        table.counts["correct"][:] = correct
        table.counts["scored"][:] = samples
        table.score_sum[:] = correct
        record = make_record(f"checkpoint-{number}", n, samples, personas)
        own = folder / f"checkpoint-{number}" / "plan"
        own.mkdir(parents=True)
        write_json(own / RUN, record)
        summarise_run(open_run(own).record, [table], {"sums": personas}).write(own)
        write_cells(own, [table])


def make_record(label: str, n: int, samples: int, personas: list[Persona]) -> dict[str, Any]:
    """What tables and comparisons read of run.json."""
    task = {
        "title": "Sums",
        "work": "w",
        "revision": "1",
        "prompts_hash": "p",
        "gold_hash": "g",
        "scorer": {"kind": "numeric"},
        "correct_at": 1.0,
        "items": n,
        "samples": samples,
        "template": "You are {{ persona }}.",
        "domain": "mathematics",
        "sampling": {"temperature": 0.7, "top_p": 1.0, "max_tokens": 512},
    }
    return {
        "format": 1,
        "label": label,
        "plan": "0" * 16,
        "model": {"fingerprint": label.ljust(32, "0"), "fingerprint_verifiable": True, "engine": "vllm"},
        "placement": {"role": "system", "verified": True},
        "config": {"persona_role": "auto", "seed": 0},
        "panel": None,
        "tasks": {"sums": task},
        "personas": [
            {"id": one.id, "text": one.text, "category": one.category.value, "domain": one.domain} for one in personas
        ],
    }


def time_leaderboard(count: int) -> None:
    """Print how long the command takes, with and without tests."""
    with TemporaryDirectory() as folder:
        write_runs(Path(folder), count)
        rows = RUN_SIZE[0] * (1 + RUN_SIZE[1]) * RUN_SIZE[2]
        for more in ([], ["--baseline", "checkpoint-0"]):
            command = [sys.executable, "-m", "personaeval", "leaderboard", folder, *more]
            began = time.perf_counter()
            shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            seconds = time.perf_counter() - began
            shown_rows = shown.count("| checkpoint-")
            print(f"leaderboard {' '.join(more)}: {shown_rows} runs of {rows:,} rows: {seconds:.2f} s, start included.")


def main() -> None:
    """Run the three parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--replicates", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=50)
    given = parser.parse_args()
    size = " × ".join(f"{number:,}" for number in LARGE)
    for name, function in (("items", by_items), ("items and personas", by_items_and_personas)):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            seconds, memory = alone.submit(timed, function, given.replicates).result()
        print(f"{given.replicates:,} replicates, {name} resampled, {size}: {seconds:.1f} s, peak {memory:.2f} GB.")
    against_scipy(given.replicates)
    time_leaderboard(given.runs)


if __name__ == "__main__":
    main()
