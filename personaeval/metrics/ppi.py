"""PersonaScore corrected by human labels: prediction-powered inference with the judge as predictor.

PPI++ (A. Angelopoulos, J. Duchi, T. Zrnic, arXiv 2311.01453) adds to the labels' mean λ times the difference between
the judge's mean on all other responses and on the labelled ones. λ minimises the variance; for an uninformative judge
it is 0. The authors' package, ppi-python, supports neither strata nor clusters, and both are needed here. Valid only if
the labelled responses are a random sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personaeval.metrics.catalogue import PERSONA_SCORE
from personaeval.metrics.fidelity import LOWEST, ROUNDING
from personaeval.metrics.inference import Estimate
from personaeval.metrics.jackknife import zero_event_bound

FEW_LABELS = 30
"""With fewer labels in a dimension, the interval is unreliable."""


Array = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Corrected:
    """PersonaScore corrected by human labels.

    Attributes:
        corrected: the PPI++ estimate.
        labels_alone: the estimate from the labels without the judge.
        weight: λ, from 0 (judge ignored) to 1 (full weight).
        labels: number of labels per dimension.
    """

    corrected: Estimate
    labels_alone: Estimate
    weight: float
    labels: dict[str, int]


def correct(
    judged: Array,
    labelled: Array,
    persona: NDArray[np.integer[Any]],
    dimension: NDArray[np.integer[Any]],
    dimensions: tuple[str, ...],
) -> Corrected | None:
    """Human-corrected mean of the dimensions' means.

    Args:
        judged: (responses,) the judges' score of each response, without NaN.
        labelled: (responses,) the people's score; NaN without a label.
        persona: (responses,) cluster of each response.
        dimension: (responses,) stratum of each response: an index into ``dimensions``.
        dimensions: names of the strata.

    Returns:
        None if a dimension has no label, or all labels belong to one persona.
    """
    has_label = ~np.isnan(labelled)
    strata = len(dimensions)
    counts = np.bincount(dimension[has_label], minlength=strata)
    # The correction rests on the personas with labels, however many others only the judge has seen.
    personas = len(np.unique(persona[has_label]))
    if (counts == 0).any() or personas < 2:
        return None
    rest = ~has_label
    ours = _stratum_means(labelled[has_label], dimension[has_label], strata)
    judge_there = _stratum_means(judged[has_label], dimension[has_label], strata)
    judge_elsewhere = _stratum_means(judged[rest], dimension[rest], strata)
    # If every response of a dimension is labelled, the judge adds no information there.
    known = ~np.isnan(judge_elsewhere)
    of_labels = _influence(labelled, ours, has_label, persona, dimension)
    of_judge = _influence(judged, judge_elsewhere, rest & known[dimension], persona, dimension) - _influence(
        judged, judge_there, has_label & known[dimension], persona, dimension
    )
    crossed, squared = of_labels * of_judge, of_judge**2
    weight = float(_weight(crossed.sum(), squared.sum()))
    # A weight fitted to a persona makes it look closer to the rest than it is: each gets the weight without it.
    weights = _weight(crossed.sum() - crossed, squared.sum() - squared)
    shift = np.where(known, judge_elsewhere - judge_there, 0.0)
    return Corrected(
        corrected=_interval(float((ours + weight * shift).mean()), of_labels + weights * of_judge, personas),
        labels_alone=_interval(float(ours.mean()), of_labels, personas),
        weight=weight,
        labels=dict(zip(dimensions, counts.tolist(), strict=True)),
    )


def _weight(crossed: Array | float, squared: Array | float) -> Array:
    """λ that minimises the variance, from sums over personas of the products of both influences, and of its own."""
    known = np.asarray(squared) > 0
    return np.asarray(np.clip(np.where(known, -np.asarray(crossed) / np.where(known, squared, 1), 0), 0, 1))


def _stratum_means(values: Array, stratum: NDArray[np.integer[Any]], strata: int) -> Array:
    with np.errstate(invalid="ignore"):
        return np.bincount(stratum, values, strata) / np.bincount(stratum, minlength=strata)


def _influence(
    values: Array,
    means: Array,
    chosen: NDArray[np.bool_],
    persona: NDArray[np.integer[Any]],
    dimension: NDArray[np.integer[Any]],
) -> Array:
    """(personas,) by how much the mean over strata of the means falls without each persona's chosen responses."""
    shape = int(persona.max()) + 1, len(means)
    places = np.ravel_multi_index((persona[chosen], dimension[chosen]), shape)
    apart = np.bincount(places, values[chosen] - means[dimension[chosen]], shape[0] * shape[1]).reshape(shape)
    own = np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape)
    others = own.sum(axis=0) - own
    return np.asarray(np.divide(apart, others, out=np.zeros(shape), where=others > 0).mean(axis=1), dtype=float)


def _interval(value: float, added: Array, clusters: int) -> Estimate:
    """The jackknife over personas (CR3 of Bell & McCaffrey 2002), with t(G − 1); on the scale of 1 to 5."""
    from scipy.stats import t

    variance = (clusters - 1) / clusters * float(added @ added)
    half = float(t.ppf(0.975, clusters - 1)) * variance**0.5
    if variance < ROUNDING:
        half = float(zero_event_bound(clusters)) * PERSONA_SCORE.span
    highest = LOWEST + PERSONA_SCORE.span
    # The judges' correction can take an estimate off the scale.
    value = min(max(value, LOWEST), highest)
    return Estimate(value, max(LOWEST, value - half), min(highest, value + half))
