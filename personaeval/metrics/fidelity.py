"""PersonaScore, computed from the judges' scores of single responses.

PersonaGym (arXiv 2407.18416): five dimensions, scored from 1 to 5; PersonaScore is the unweighted mean of the
dimensions' means. Responses under one persona resemble each other, so errors are clustered by persona.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personaeval.metrics.catalogue import PERSONA_SCORE
from personaeval.metrics.coverage_warnings import FEW_PERSONAS
from personaeval.metrics.inference import Estimate, Floats
from personaeval.metrics.jackknife import zero_event_bound

Array = NDArray[np.floating[Any]]

LOWEST = 1.0
"""Lowest score; the highest is PersonaScore's span above it."""

ROUNDING = 1e-24
"""A variance below this is 0 but for rounding."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of a task's responses.

    Attributes:
        score: (responses,) mean over the judges; NaN if none of their scores could be read.
        persona: (responses,) index into ``personas``.
        dimension: (responses,) index into ``dimensions``.
        personas: names.
        dimensions: names.
    """

    score: Array
    persona: NDArray[np.integer[Any]]
    dimension: NDArray[np.integer[Any]]
    personas: tuple[str, ...]
    dimensions: tuple[str, ...]


@dataclass(frozen=True)
class PersonaSums:
    """Per persona, [personas, 2 × dimensions]: the sum of scores in each dimension, then the number of scores."""

    matrix: Floats

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]], dimensions: Sequence[str]) -> PersonaSums:
        """Sums of judged responses, personas in the order of their first row.

        Args:
            rows: ``persona``, ``dimension``, ``score_sum`` and ``scored`` of each response.
            dimensions: names of the dimensions, in the order of the columns.
        """
        personas = {name: place for place, name in enumerate(dict.fromkeys(row["persona"] for row in rows))}
        columns = {name: place for place, name in enumerate(dimensions)}
        matrix = np.zeros((len(personas), 2 * len(dimensions)))
        for row in rows:
            place, column = personas[row["persona"]], columns[row["dimension"]]
            matrix[place, column] += row["score_sum"]
            matrix[place, len(dimensions) + column] += row["scored"]
        return cls(matrix)

    @property
    def clusters_are_items(self) -> bool:
        """A cluster is a persona."""
        return False

    @property
    def spans(self) -> Floats:
        """[e] largest possible difference between two values of each estimate."""
        return np.full(1 + self.matrix.shape[1] // 2, PERSONA_SCORE.span)

    def weights(self, sums: Floats) -> Floats:
        """[..., e] number of scores behind each estimate, for [..., k] sums."""
        count = np.split(sums, 2, axis=-1)[1]
        return np.concatenate([count.sum(axis=-1, keepdims=True), count], axis=-1)

    def estimate(self, sums: Floats) -> Floats:
        """[..., e] PersonaScore, then the mean of every dimension, for [..., k] sums."""
        total, count = np.split(sums, 2, axis=-1)
        means = total / count
        return np.concatenate([means.mean(axis=-1, keepdims=True), means], axis=-1)


@dataclass(frozen=True, slots=True)
class FidelitySummary:
    """Scores of one checkpoint on one set of questions."""

    persona_score: Estimate
    dimensions: dict[str, Estimate]
    by_persona: dict[str, float | None]
    personas: int

    def to_json(self) -> dict[str, Any]:
        """Plain values for summary.json."""
        return {
            "persona_score": self.persona_score.to_json(),
            "dimensions": {name: estimate.to_json() for name, estimate in self.dimensions.items()},
            "by_persona": self.by_persona,
            "personas": self.personas,
            "few_personas": self.personas < FEW_PERSONAS,
        }


def summarise(scores: Scores) -> FidelitySummary:
    """PersonaScore, the dimensions' means and each persona's score.

    PersonaScore is None if a dimension has no scored response. A persona's score is the mean over the dimensions in
    which it has scored responses; None without any.
    """
    scored = ~np.isnan(scores.score)
    persona, dimension, score = scores.persona[scored], scores.dimension[scored], scores.score[scored]
    shape = (len(scores.personas), len(scores.dimensions))
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (persona, dimension), score)
    np.add.at(counts, (persona, dimension), 1)
    every = range(len(scores.dimensions))
    with np.errstate(invalid="ignore"):
        means = sums / counts
    by_persona = {
        name: float(np.mean(row[~np.isnan(row)])) if not np.isnan(row).all() else None
        for name, row in zip(scores.personas, means, strict=True)
    }
    return FidelitySummary(
        persona_score=mean_of_means(sums, counts),
        dimensions={scores.dimensions[d]: mean_of_means(sums[:, [d]], counts[:, [d]]) for d in every},
        by_persona=by_persona,
        personas=int((counts.sum(axis=1) > 0).sum()),
    )


def mean_of_means(sums: Array, counts: Array) -> Estimate:
    """Unweighted mean over strata of their means, with its interval clustered by persona.

    The variance is that of the linearised estimator, G / (G − 1) Σ_g u_g², where u_g is the influence of cluster g:
    mean over strata of (its sum − its count × the stratum's mean) / the stratum's count; the quantile is
    Student's t with G − 1 degrees of freedom (C. Cameron and D. Miller, A Practitioner's Guide to Cluster-Robust
    Inference, Journal of Human Resources 50, 2015). If personas do not differ, the interval is the exact one of
    :func:`personaeval.metrics.jackknife.zero_event_bound`. It never leaves the scale of 1 to 5.

    Args:
        sums: (clusters, strata) sums of scores.
        counts: (clusters, strata) numbers of scores.

    Returns:
        None without strata or with an empty one; no bounds with a single cluster.
    """
    totals = counts.sum(axis=0)
    if totals.size == 0 or (totals == 0).any():
        return Estimate(None)
    means = sums.sum(axis=0) / totals
    value = float(means.mean())
    present = counts.sum(axis=1) > 0
    clusters = int(present.sum())
    if clusters < 2:
        return Estimate(value)
    from scipy.stats import t

    influence = ((sums - counts * means) / totals).mean(axis=1)
    variance = clusters / (clusters - 1) * float((influence**2).sum())
    half = float(t.ppf(0.975, clusters - 1)) * variance**0.5
    if variance < ROUNDING:
        half = float(zero_event_bound(clusters)) * PERSONA_SCORE.span
    return Estimate(value, max(LOWEST, value - half), min(LOWEST + PERSONA_SCORE.span, value + half))
