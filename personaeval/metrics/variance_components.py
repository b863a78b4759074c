"""Variance of correctness between personas and between wordings of one persona; explained in docs/metrics.md.

Wordings are nested in personas: the run has k_a wordings w of each persona a. On item i, the true rate of right
answers is θ[i,a,w] = μ_i + P[i,a] + W[i,a,w], and q[i,a,w], the share of right answers of S samples, has sampling noise
of variance θ (1 − θ) / S on top. The variances σ²_P and σ²_W, means over items, are estimated by the analysis of
variance of nested random effects with its usual form for unequal numbers (Searle, Casella & McCulloch 1992, *Variance
Components*), item by item:

    SSW_i = Σ_aw (q_iaw − q̄_ia)²            with N_i − A_i degrees of freedom
    SSB_i = Σ_a k_ia (q̄_ia − q̄_i)²          with A_i − 1
    σ²_P  = Σ_i [SSB_i − (A_i − 1) MSW_i] / Σ_i (N_i − Σ_a k_ia² / N_i)
    σ²_W  = mean_i (MSW_i − noise_i)

noise_i is the expectation of MSW_i under sampling noise alone, from q (1 − q) / (S − 1), an unbiased estimate of the
variance of q. It needs two samples; with one, wording and noise cannot be separated, and σ²_W includes both. σ²_P does
not depend on that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personaeval.metrics.inference import REPLICATES, Floats, bootstrap
from personaeval.metrics.sums import Ints

_NAMES = ("persona", "wording", "noise", "persona_share")


def decompose(
    correct: Ints, scored: Ints, groups: Sequence[str | None], seed: int = 0, replicates: int = REPLICATES
) -> dict[str, Any] | None:
    """Variance components of correctness, with intervals over items.

    Args:
        correct: [n items, columns] right answers of every wording.
        scored: [n items, columns] scored samples; a cell without any is missing.
        groups: the persona that each column words; None for a column to leave out, such as the baseline's. Personas
            with a single wording are left out.
        seed: seed of the bootstrap.
        replicates: bootstrap resamples.

    Returns:
        ``personas`` and ``wordings`` (numbers), ``persona``, ``wording``, ``noise`` (variances, with intervals; noise
        is None with a single sample), ``persona_share`` (σ²_P / (σ²_P + σ²_W)) and ``noise_separated``. An estimate of
        a variance near 0 can be negative and is reported as it is; the share is then None. None if fewer than two
        personas have two wordings.
    """
    names = [name for name in dict.fromkeys(groups) if name is not None and groups.count(name) > 1]
    if len(names) < 2:
        return None
    member = np.array([[group == name for group in groups] for name in names], dtype=np.float64)
    columns = member.any(axis=0)
    separated = bool((scored[:, columns].max(initial=0)) > 1)
    sums = _item_sums(correct[:, columns], scored[:, columns], member[:, columns], separated)
    intervals = bootstrap(sums, _estimate, seed, replicates)
    found: dict[str, Any] = {name: interval.to_json() for name, interval in zip(_NAMES, intervals, strict=True)}
    if not separated:
        found["noise"] = None
    return {"personas": len(names), "wordings": int(columns.sum()), "noise_separated": separated, **found}


def _item_sums(correct: Ints, scored: Ints, member: Floats, separated: bool) -> Floats:
    """[n, 5] each item's contribution to numerator and denominator of σ²_P, to σ²_W and to noise; whether it counts."""
    # If noise is separated, a cell with a single sample has no estimate of its noise.
    present = (scored >= (2 if separated else 1)).astype(np.float64)
    q = np.divide(correct, scored, out=np.zeros(correct.shape), where=present > 0)
    size = present @ member.T
    total = size.sum(axis=1)
    personas = (size > 0).sum(axis=1)
    mean = _ratio(q @ member.T, size)
    overall = _ratio((q * present).sum(axis=1), total)
    within = ((q - mean @ member) ** 2 * present).sum(axis=1)
    between = (size * (mean - overall[:, None]) ** 2).sum(axis=1)
    usable = (total - personas > 0) & (personas > 1)
    mean_square = _ratio(within, total - personas, usable)
    of_cell = np.divide(q * (1 - q), scored - 1, out=np.zeros(q.shape), where=scored > 1) if separated else q * 0
    of_group = (of_cell * present) @ member.T
    noise = _ratio((of_group * (1 - _ratio(np.ones(size.shape), size))).sum(axis=1), total - personas, usable)
    above = np.where(usable, between - (personas - 1) * mean_square, 0)
    below = np.where(usable, total - _ratio((size**2).sum(axis=1), total), 0)
    return np.column_stack([above, below, mean_square - noise, noise, usable]).astype(np.float64)


def _ratio(above: Floats, below: NDArray[Any], where: NDArray[np.bool_] | None = None) -> Floats:
    quotient = np.divide(above, below, out=np.zeros(np.shape(above)), where=below > 0 if where is None else where)
    return np.asarray(quotient, dtype=np.float64)


def _estimate(sums: Floats) -> Floats:
    """[..., 4] estimates in the order of ``_NAMES``, for [..., 5] sums."""
    above, below, wording, noise, items = np.moveaxis(sums, -1, 0)
    persona, wording, noise = above / below, wording / items, noise / items
    # A share is meaningful only if neither variance estimate is negative.
    share = np.where((persona >= 0) & (wording >= 0), persona / (persona + wording), np.nan)
    return np.stack([persona, wording, noise, share], axis=-1)
