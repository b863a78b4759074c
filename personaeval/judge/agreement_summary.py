"""Agreement between judges, and between judges and people, as summary.json holds it: overall and per dimension.

α is Krippendorff's, ordinal, over all raters; κ is Cohen's with quadratic weights and ρ Spearman's, of two raters. All
three come with intervals clustered by persona.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personaeval.judge.judgements import Ratings, mean_scored

LOW, HIGH = 1.0, 5.0

Floats = NDArray[np.float64]


def between_judges(ratings: Ratings) -> dict[str, Any]:
    """α between all judges and κ and ρ of every pair, over first repeats; each also by dimension, with intervals."""
    first = ratings.scores[:, :, 0]
    agreement = agreement_of(first, list(ratings.judges), ratings)
    pairs = [
        {"judges": pair["judges"], "kappa": pair["kappa"]["value"], "responses": pair["responses"]}
        for pair in agreement["pairs"]
    ]
    return {"alpha": agreement["alpha"]["value"] if agreement["alpha"] else None, "kappas": pairs} | (
        {"agreement": agreement} if len(ratings.judges) > 1 else {}
    )


def agreement_of(scores: Floats, names: Sequence[str], ratings: Ratings) -> dict[str, Any]:
    """Agreement of raters, overall and by dimension.

    Args:
        scores: (responses, raters), NaN where a rater gave none.
        names: the raters.
        ratings: the responses' personas and dimensions.
    """
    found = _agreement(scores, names, ratings)
    by_dimension = {name: _agreement(scores, names, ratings, own) for name, own in by_dimensions(ratings)}
    return {**found, "by_dimension": by_dimension}


def by_dimensions(ratings: Ratings) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each dimension, with the responses that are of it."""
    dimensions = np.array(ratings.dimensions)
    for name in sorted(set(ratings.dimensions)):
        yield name, dimensions == name


def _agreement(
    scores: Floats, names: Sequence[str], ratings: Ratings, own: NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    from personaeval.metrics.agreement import krippendorff_alpha

    pairs = [
        {"judges": [names[one], names[other]], **pair_agreement(scores[:, [one, other]], ratings, own)}
        for one, other in combinations(range(len(names)), 2)
    ]
    alpha = estimate(krippendorff_alpha, scores, ratings, own) if len(names) > 1 else None
    return {"alpha": alpha, "pairs": pairs}


def pair_agreement(pair: Floats, ratings: Ratings, own: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    """κ and ρ of two raters of (responses, 2), with intervals, over the responses that both scored."""
    from personaeval.metrics.agreement import paired_kappa, paired_rank_correlation

    both = np.asarray(~np.isnan(pair).any(axis=1))
    if own is not None:
        both = both & own
    return {
        "responses": int(both.sum()),
        "kappa": estimate(paired_kappa(LOW, HIGH), pair, ratings, both),
        "rank_correlation": estimate(paired_rank_correlation, pair, ratings, both),
    }


def estimate(
    statistic: Callable[[Any], float | None], scores: Floats, ratings: Ratings, own: NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    """A coefficient of some of the responses, with its interval clustered by persona."""
    from personaeval.metrics.agreement import clustered

    _, personas = np.unique(np.array(ratings.personas), return_inverse=True)
    chosen = slice(None) if own is None else own
    return clustered(statistic, scores[chosen], personas[chosen]).to_json()


def with_people(ratings: Ratings, labels: Floats, people: Floats) -> Mapping[str, Any]:
    """Agreement of each judge and of the panel with people, and among people, overall and by dimension.

    Args:
        ratings: the judges' scores.
        labels: (responses, annotators) the people's scores; NaN where one gave none.
        people: (responses,) the mean of the people's scores.
    """
    from personaeval.metrics.agreement import krippendorff_alpha

    columns = {name: mean_scored(ratings.scores[:, place]) for name, place in ratings.judges.items()}
    columns |= {"the panel": ratings.panel_scores} if len(columns) > 1 else {}

    def rows(own: NDArray[np.bool_] | None) -> dict[str, Any]:
        judges = {name: pair_agreement(np.stack([one, people], axis=1), ratings, own) for name, one in columns.items()}
        several = labels.shape[1] > 1
        return {"alpha": estimate(krippendorff_alpha, labels, ratings, own) if several else None, "judges": judges}

    return rows(None) | {"by_dimension": {name: rows(own) for name, own in by_dimensions(ratings)}}
