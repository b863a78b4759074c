"""Accuracy of personas, and of their kinds, against the baseline ``none`` on the same items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from personaeval.metrics.catalogue import METRICS
from personaeval.metrics.change_bounds import change_intervals, p_no_change
from personaeval.metrics.inference import Estimate, Floats, benjamini_hochberg, finite_or_none
from personaeval.metrics.jackknife import jackknife
from personaeval.metrics.sums import Cells


@dataclass(frozen=True)
class Difference:
    """A difference of accuracy from the baseline.

    Attributes:
        estimate: the difference with its 95 % interval; items are the clusters.
        p: two-sided p-value of "no difference", adjusted by Benjamini and Hochberg over the differences of its kind.
    """

    estimate: Estimate
    p: float | None


def differences(cells: Cells) -> tuple[Mapping[str, Difference], Mapping[str, Difference]]:
    """Differences of each persona and of each category; the claims are about these personas."""
    if len(cells.persona_ids) == 1:
        # The baseline was run alone.
        return {}, {}
    both = cells.is_scored[:, 1:] & cells.is_scored[:, :1]
    apart = np.where(both, cells.q[:, 1:] - cells.q[:, :1], 0.0)
    personas = np.eye(apart.shape[1])
    categories = np.array([[own == name for name in cells.category_names] for own in cells.categories[1:]], dtype=float)
    by_persona = _tested(apart @ personas, both @ personas)
    by_category = _tested(apart @ categories, both @ categories)
    return (
        dict(zip(cells.persona_ids[1:], by_persona, strict=True)),
        dict(zip(cells.category_names, by_category, strict=True)),
    )


def _tested(apart: Floats, counts: Floats) -> list[Difference]:
    """Differences from [items, e] sums of them and numbers of cells."""
    width = apart.shape[1]

    def mean(sums: Floats) -> Floats:
        return np.asarray(sums[..., :width] / sums[..., width:])

    items = (counts > 0).sum(axis=0).astype(np.float64)
    # As between two checkpoints: an item moves the difference of two accuracies by 1 at most.
    found = jackknife(np.hstack([apart, counts]), mean, items, METRICS["accuracy"].span)
    p_values = p_no_change(found, items)
    adjusted = benjamini_hochberg(np.nan_to_num(p_values, nan=1.0))
    made = change_intervals(found, items, ["raw"] * width)
    return [Difference(own, finite_or_none(float(p))) for own, p in zip(made, adjusted, strict=True)]
