"""Do the intervals of agreement between raters cover? Raters with known agreement score simulated responses.

    python benchmarks/agreement.py [REPLICATES]

A response's quality is its persona's plus its own; each rater sees it with noise and rounds to 1 to 5. The truth is the
coefficient of a population of 20 000 personas. Prints the share of 95 % intervals that hold it.
"""

from __future__ import annotations

import sys

import numpy as np

from personaeval.metrics.agreement import (
    clustered,
    krippendorff_alpha,
    paired_kappa,
    paired_rank_correlation,
)

STATISTICS = {"α": krippendorff_alpha, "κ": paired_kappa(1, 5), "ρ": paired_rank_correlation}


def draw(
    rng: np.random.Generator, personas: int, responses: int, between: float, noise: float, missing: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two raters, and each response's persona.

    Args:
        rng: of the drawing.
        personas: number of clusters.
        responses: of each persona.
        between: standard deviation between personas.
        noise: of each rater.
        missing: share of the scores that a rater does not give.
    """
    persona = np.repeat(np.arange(personas), responses)
    quality = 3.2 + between * rng.standard_normal(personas)[persona] + 0.8 * rng.standard_normal(len(persona))
    bias = np.array([0.0, 0.4])
    seen = quality[:, None] + bias + noise * rng.standard_normal((len(persona), 2))
    scores = np.clip(np.round(seen), 1, 5)
    scores[rng.random(scores.shape) < missing] = np.nan
    return scores, persona


def coverage(
    name: str, personas: int, responses: int, between: float, noise: float, replicates: int, seed: int = 0
) -> tuple[float, float]:
    """The share of intervals that hold the population's coefficient, and that coefficient."""
    statistic = STATISTICS[name]
    truth = statistic(draw(np.random.default_rng(10**6), 20_000, responses, between, noise)[0])
    assert truth is not None
    rng = np.random.default_rng(seed)
    held = 0
    for _ in range(replicates):
        found = clustered(statistic, *draw(rng, personas, responses, between, noise))
        held += found.low is not None and found.high is not None and found.low <= truth <= found.high
    return held / replicates, truth


def main() -> None:
    """Print a table."""
    replicates = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print("| personas × responses | between personas | noise | coefficient | truth | coverage |")
    print("|---|---|---|---|---|---|")
    for personas, responses in ((8, 4), (20, 4), (41, 4), (100, 4)):
        for between, noise in ((0.3, 0.4), (0.9, 0.9)):
            for name in STATISTICS:
                share, truth = coverage(name, personas, responses, between, noise, replicates)
                print(
                    f"| {personas} × {responses} | {between} | {noise} | {name} | {truth:.3f} | {share:.3f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
