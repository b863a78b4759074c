"""Does every row draw random numbers of its own, and do the estimates hold then::

    python benchmarks/draws.py [--experiments 2000] [--shared]
    python benchmarks/draws.py --model transformers:DIR [--dtype float32]     # or vllm:DIR

Without ``--model``: populations without any persona effect, drawn at temperature 1 by the product's own sampler and
seeds. Each experiment draws its items anew; an item's prompts differ by persona, as in a run. It prints, for 1, 2 and 4
samples, the mean of PSS beside the truth, how often its 95 % interval covers that, and the mean of corrected PSS, whose
truth is 1. ``--shared`` gives all rows of a sample one seed, as versions before 0.2 did. Exit status 1 where a figure
misses its limit. Seeded.

With ``--model``: a real run of 20 items under four personas, ten samples at temperature 1. With random numbers of
their own, the samples of a cell are exchangeable: the variance of accuracy between sample indices must lie inside what
permuting the samples of each cell gives.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
from tabulate import tabulate

from personaeval.config import make_config
from personaeval.generation.plan import draw_seed
from personaeval.metrics.catalogue import HEADLINE, STABILITY
from personaeval.metrics.inference import Floats
from personaeval.metrics.jackknife import Scale, intervals, jackknife
from personaeval.metrics.population import Population
from personaeval.metrics.power import drawn_cells
from personaeval.metrics.sums import Ints, item_sums
from personaeval.types import Sampling

ITEMS, PERSONAS, SAMPLES = 100, 8, (1, 2, 4)
POPULATION = Population(accuracy=0.5, item=0.6, cell=0.0)
SAMPLING = Sampling(temperature=1.0, max_tokens=1)
PERMUTATIONS = 9999
PSS_LIMIT, COVERAGE_LIMIT, CORRECTED_LIMIT, P_LIMIT = 0.01, 0.93, 0.02, 0.01


def main() -> int:
    """Run one of the two parts and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--shared", action="store_true", help="one seed for all rows of a sample")
    parser.add_argument("--model", help="ENGINE:DIR, a real checkpoint")
    parser.add_argument("--dtype", default="auto", help="float32 where the processor has no bfloat16 instructions")
    options = parser.parse_args()
    return real(options.model, options.dtype) if options.model else simulated(options.experiments, options.shared)


def simulated(experiments: int, shared: bool) -> int:
    """Print what the estimates make of populations without a persona effect."""
    truth = POPULATION.truth()
    rows, missed = [], 0
    for samples in SAMPLES:
        values, covered, corrected = [], [], []
        for experiment in range(experiments):
            sums = item_sums(drawn_cells(drawn(experiment, samples, shared), samples), "", ())
            per_persona: list[Scale] = ["logit"] * (1 + PERSONAS)
            scales = [*(metric.scale for metric in STABILITY), *per_persona]
            found = intervals(jackknife(sums.matrix, sums.estimate), scales)
            pss = found[HEADLINE.index("pss")]
            values.append(pss.value)
            covered.append(pss.low is not None and pss.high is not None and pss.low <= truth["pss"] <= pss.high)
            corrected.append(found[HEADLINE.index("corrected_pss")].value)
        mean, coverage = float(np.mean(np.array(values, float))), float(np.mean(covered))
        purged = float(np.mean(np.array(corrected, float))) if samples > 1 else math.nan
        bad = [
            abs(mean - truth["pss"]) > PSS_LIMIT,
            coverage < COVERAGE_LIMIT,
            samples > 1 and abs(purged - 1) > CORRECTED_LIMIT,
        ]
        missed += sum(bad)
        rows.append([samples, truth["pss"], mean, f"{coverage:.1%}", "–" if samples == 1 else f"{purged:.3f}"])
    header = ["samples", "true PSS", "mean PSS", "95 % interval covers", "corrected PSS (truth 1)"]
    print(f"{experiments} experiments, {ITEMS} items, {PERSONAS} personas, {'one seed a sample' if shared else 'own'}")
    print(tabulate(rows, header, tablefmt="github", floatfmt=".3f"))
    return int(missed > 0)


def drawn(experiment: int, samples: int, shared: bool) -> Ints:
    """[items, 1 + personas] numbers of right answers; the baseline is column 0."""
    import torch
    from scipy.special import ndtri
    from scipy.stats import norm

    from personaeval.models.engines.token_sampler import TokenSampler

    rng = np.random.default_rng(experiment)
    spread = math.sqrt(POPULATION.item)
    level = ndtri(POPULATION.accuracy) + spread * rng.normal(size=ITEMS)
    rate = norm.cdf(level / math.sqrt(1 - POPULATION.item))
    cell = [(item, persona) for item in range(ITEMS) for persona in range(1 + PERSONAS)]
    seeds = [
        sample if shared else draw_seed(SAMPLING, 0, sample, f"persona {persona}, item {experiment}.{item}".encode())
        for item, persona in cell
        for sample in range(samples)
    ]
    right = np.repeat(rate, (1 + PERSONAS) * samples)
    logits = torch.tensor(np.log(np.stack([right, 1 - right], axis=1)))
    tokens = TokenSampler(SAMPLING, seeds, 1, "cpu")(logits, 0).numpy()
    counts: Ints = (tokens == 0).reshape(ITEMS, 1 + PERSONAS, samples).sum(axis=2).astype(np.int32)
    return counts


def real(model: str, dtype: str) -> int:
    """Print the variance between sample indices of a real run, and where among its permutations it lies."""
    from personaeval.pipeline.run import run
    from personaeval.progress import open_progress
    from personaeval.results.responses import read_responses

    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "model": [model],
            "tasks": ["mini-arith"],
            "personas": ["core/pirate", "core/mathematics-professor", "core/romantic-poet"],
            "limit": 20,
            "samples": 10,
            "temperature": 1.0,
            "max_tokens": 24,
            "dtype": dtype,
            "output": Path(folder),
        }
        [result] = run(make_config(None, settings), open_progress(quiet=False))
        assert result.folder is not None, result.engine_error
        answers = [(row.persona, row.item, row.sample, row.score) for row in read_responses(result.folder)]
    found = {(persona, item) for persona, item, _, _ in answers}
    table: Floats = np.array([score for *_, score in sorted(answers)], float).reshape(len(found), 10)
    observed = table.mean(axis=0).var()
    rng = np.random.default_rng(0)
    permuted = np.array([rng.permuted(table, axis=1).mean(axis=0).var() for _ in range(PERMUTATIONS)])
    p = (1 + int((permuted >= observed).sum())) / (1 + PERMUTATIONS)
    by_sample = ", ".join(f"{value:.3f}" for value in table.mean(axis=0))
    print(f"{model}: accuracy by sample index {by_sample}")
    print(f"variance between sample indices {observed:.6f}, permuted {permuted.mean():.6f} on average, p = {p:.4f}")
    return int(p <= P_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
