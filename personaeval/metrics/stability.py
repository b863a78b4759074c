"""Stability: how much correctness depends on the persona. docs/metrics.md explains the formulas.

Arrays are [n, 1 + m] for n items and m personas; column 0 is the baseline ``none``, which is not one of the m. q[i, p]
is the share of right answers to item i under persona p among the scored samples; a cell without any is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personaeval.metrics.catalogue import HEADLINE, STABILITY
from personaeval.metrics.inference import Estimate, Floats, benjamini_hochberg, finite_or_none, mcnemar, sign_flip
from personaeval.metrics.jackknife import Scale, intervals, jackknife
from personaeval.metrics.sums import Cells, Ints, item_sums, pair_sums, pss, repeat_sums

__all__ = [
    "Cells",
    "StabilitySummary",
    "lottery",
    "pair_sums",
    "prompt_sensitivity",
    "pss",
    "repeat_sums",
    "sd_between",
    "summarise",
]


_SPLITS = 20

_PSS = HEADLINE.index("pss")


def prompt_sensitivity(q: Floats, present: NDArray[np.bool_]) -> float | None:
    """ProSA's PromptSensiScore: the mean over items and pairs a < b of |q_a − q_b|; lower is more stable.

    With one sample it equals 2 μ (1 − PSS); with more, sampling noise inflates it. None if no item has two personas.

    Source: J. Zhuo et al., ProSA (arXiv 2410.12405).
    """
    m = present.sum(axis=1)
    ordered = np.sort(np.where(present, q, np.inf), axis=1)
    rank = np.arange(q.shape[1])
    # The k-th of the sorted values is the larger of k pairs and the smaller of m - 1 - k.
    weight = np.where(rank < m[:, None], 2.0 * rank - m[:, None] + 1, 0)
    sums = (weight * np.where(np.isfinite(ordered), ordered, 0)).sum(axis=1)
    enough = m >= 2
    pairs = m * (m - 1) / 2
    return float(np.mean(sums[enough] / pairs[enough])) if enough.any() else None


def lottery(accuracies: Floats) -> list[float]:
    """Expected best accuracy of k personas drawn without replacement, for k = 1..m.

    Σ_{j=k..m} acc_(j) C(j − 1, k − 1) / C(m, k), acc sorted ascending. Weights are updated from one k to the next, so
    that no binomial coefficient overflows.
    """
    ordered = np.sort(accuracies)
    m = len(ordered)
    place = np.arange(1, m + 1)
    weight = np.full(m, 1 / max(m, 1))
    expected = []
    for k in range(1, m + 1):
        expected.append(float(weight @ ordered))
        # w_j(k + 1) / w_j(k) = (j - k) / k · (k + 1) / (m - k)
        weight = weight * np.maximum(place - k, 0) / k * (k + 1) / max(m - k, 1)
    return expected


def sd_between(q: Floats, present: NDArray[np.bool_]) -> tuple[float | None, float | None]:
    """Standard deviation of accuracy over personas: raw, and without the variance due to the sampling of items.

    The second is √max(0, Var_p(acc_p) − MS_item×persona / n), from the two-way layout of the items that every persona
    answered. None with fewer than two of either.
    """
    whole = q[present.all(axis=1)]
    n, m = whole.shape
    if m < 2 or n < 2:
        return None, None
    variance = float(np.var(whole.mean(axis=0), ddof=1))
    residual = whole - whole.mean(axis=1, keepdims=True) - whole.mean(axis=0, keepdims=True) + whole.mean()
    interaction = float(np.sum(residual**2) / ((n - 1) * (m - 1)))
    return variance**0.5, max(0.0, variance - interaction / n) ** 0.5


@dataclass(frozen=True)
class StabilitySummary:
    """All stability metrics of one task."""

    content: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; an undefined number is None, never NaN."""
        return self.content


def summarise(cells: Cells, domain: str, seed: int = 0) -> StabilitySummary:
    """All stability metrics of one task.

    Args:
        cells: the counts.
        domain: the task's domain, whose experts are its in-domain experts.
        seed: seed of splits and sign flips.
    """
    names = cells.category_names
    sums = item_sums(cells, domain, names)
    supporting = (sums.weights(sums.matrix) > 0).sum(axis=0, dtype=np.float64)
    found = jackknife(sums.matrix, sums.estimate, supporting, sums.spans)
    width = len(HEADLINE)
    scales: list[Scale] = [metric.scale for metric in STABILITY]
    scales += ["logit"] * (len(found.values) - width)
    made = intervals(found, scales)
    headline = dict(zip(HEADLINE, made[:width], strict=True))
    by_persona = made[width : width + len(cells.persona_ids)]
    by_category = made[width + len(cells.persona_ids) :]
    own, present = cells.q[:, 1:], cells.is_scored[:, 1:]
    raw_sd, sd = sd_between(own, present)
    whole = own[present.all(axis=1)]
    has_both = len(whole) > 0 and whole.shape[1] > 0
    return StabilitySummary(
        {
            "items": len(cells.q),
            "personas": own.shape[1],
            "samples": int(cells.scored.max(initial=0)),
            **{name: interval.to_json() for name, interval in headline.items()},
            "pss_bias": finite_or_none(found.values[_PSS] - found.corrected[_PSS]),
            "complete_items": len(whole),
            "sd_raw": raw_sd,
            "sd": sd,
            "prompt_sensitivity": prompt_sensitivity(own, present),
            "all_personas_accuracy": float(np.mean(np.prod(whole, axis=1))) if has_both else None,
            "any_persona_accuracy": float(1 - np.mean(np.prod(1 - whole, axis=1))) if has_both else None,
            **_extremes(cells, by_persona),
            "split_half": _split_half(cells, seed),
            "lottery": lottery(np.array([entry.value for entry in by_persona[1:] if entry.value is not None])),
            "wrong": _wrong(cells, slice(1, None)),
            "by_category": {name: interval.to_json() for name, interval in zip(names, by_category, strict=True)},
            "by_persona": _by_persona(cells, by_persona, seed),
        }
    )


def _extremes(cells: Cells, accuracies: Sequence[Estimate]) -> dict[str, Any]:
    """The worst and best persona. Descriptive: biased by the selection, and therefore without an interval."""
    known = [
        (entry.value, name)
        for entry, name in zip(accuracies[1:], cells.persona_ids[1:], strict=True)
        if entry.value is not None
    ]
    if not known:
        return {"worst": None, "best": None, "spread": None, "worst_case_utility": None}
    (low, worst), (high, best) = min(known), max(known, key=lambda pair: pair[0])
    none = accuracies[0].value
    return {
        "worst": {"persona": worst, "accuracy": low},
        "best": {"persona": best, "accuracy": high},
        "spread": high - low,
        "worst_case_utility": None if none is None else low - none,
    }


def _split_half(cells: Cells, seed: int) -> dict[str, float | None]:
    """Worst, best, spread and worst-case utility without selection bias: chosen on one half, measured on the other.

    The mean over 20 seeded splits of the items and both directions.
    """
    names = ("worst", "best", "spread", "worst_case_utility")
    q, present = np.where(cells.is_scored, cells.q, 0), cells.is_scored
    n = len(q)
    if n < 2 or q.shape[1] < 2:
        return dict.fromkeys(names)
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(_SPLITS):
        half = np.zeros(n, dtype=bool)
        half[generator.permutation(n)[: n // 2]] = True
        for chosen, measured in ((half, ~half), (~half, half)):
            with np.errstate(divide="ignore", invalid="ignore"):
                first = q[chosen].sum(axis=0) / present[chosen].sum(axis=0)
                second = q[measured].sum(axis=0) / present[measured].sum(axis=0)
            if np.isfinite(first).all() and np.isfinite(second).all():
                worst, best = second[1 + np.argmin(first[1:])], second[1 + np.argmax(first[1:])]
                found.append((worst, best, best - worst, worst - second[0]))
    if not found:
        return dict.fromkeys(names)
    return dict(zip(names, map(float, np.mean(found, axis=0)), strict=True))


def _wrong(cells: Cells, columns: slice | int) -> dict[str, int]:
    """Numbers of wrong answers: all, without an answer found, cut off, mostly in another script."""

    def total(counts: Ints) -> int:
        return int(counts[:, columns].sum())

    return {
        "wrong": total(cells.scored) - total(cells.correct),
        "no_answer": total(cells.no_answer),
        "truncated": total(cells.wrong_truncated),
        "other_script": total(cells.other_script),
    }


def _by_persona(cells: Cells, accuracies: Sequence[Estimate], seed: int) -> list[dict[str, Any]]:
    """Per persona: accuracy and flips against the baseline, with p-values corrected over personas."""
    q, present = cells.q, cells.is_scored
    both = present[:, 1:] & present[:, :1]
    gained = np.where(both, q[:, 1:] * (1 - q[:, :1]), 0)
    lost = np.where(both, q[:, :1] * (1 - q[:, 1:]), 0)
    single = int(cells.scored.max(initial=0)) <= 1
    if single:
        counts = zip(gained.sum(axis=0), lost.sum(axis=0), strict=True)
        p_values = np.array([mcnemar(round(g), round(b)) for g, b in counts])
    else:
        p_values = sign_flip(np.where(both, q[:, 1:] - q[:, :1], 0), seed)
    adjusted = benjamini_hochberg(p_values)
    entries = []
    for column, (name, category) in enumerate(zip(cells.persona_ids, cells.categories, strict=True)):
        entry: dict[str, Any] = {
            "persona": name,
            "category": category,
            "accuracy": accuracies[column].to_json(),
            "wrong": _wrong(cells, column),
            "unscored": int(cells.unscored[:, column].sum()),
        }
        if column:
            entry |= {
                "gained": float(gained[:, column - 1].sum()),
                "lost": float(lost[:, column - 1].sum()),
                "test": "mcnemar" if single else "sign_flip",
                "p": float(p_values[column - 1]),
                "p_adjusted": float(adjusted[column - 1]),
            }
        entries.append(entry)
    return entries
