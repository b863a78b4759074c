"""Warnings where answers are missing or 95 % intervals are known to cover less often than 95 %.

``benchmarks/validity.py`` measures the coverage.
"""

from __future__ import annotations

from personaeval.metrics.inference import Estimate

UNSCORED_LIMIT = 0.01
"""Largest share of unscored answers without a warning."""

TOLERATED = 0.15
"""Shift of accuracy, in half widths of its interval, by unscored answers without a warning: coverage stays 94 %."""

TRUNCATED_LIMIT = 0.05
"""Largest share of answers cut off at ``max_tokens`` without a warning."""

EMPTY_LIMIT = 0.02
"""Largest share of empty answers without a warning."""

FEW_ITEMS = 100

FEW_PERSONAS = 40
"""Of a judged task, whose clusters are personas."""

RARE = 20
"""Right answers, and wrong ones, worth this many items are enough for the interval of κ."""

BIASED = 0.003
"""Largest bias of PSS without a warning."""


def coverage_warnings(
    items: int, accuracy: float | None, bias: float | None = None, solved: int | None = None
) -> list[str]:
    """Warnings on a task's intervals, without a full stop.

    Args:
        items: number of items.
        accuracy: mean over personas; None if nothing was scored.
        bias: jackknife estimate of the bias of PSS as shown; None if unknown.
        solved: number of items with a right answer under any persona; None if unknown.
    """
    found = []
    if items < FEW_ITEMS:
        found.append(f"only {_items(items)}: below {FEW_ITEMS}, 95 % intervals are somewhat too narrow")
    elif accuracy is not None and items * min(accuracy, 1 - accuracy) < RARE:
        end, which = (1, "interval of κ is") if accuracy > 0.5 else (0, "intervals of PSS and κ are")
        found.append(f"accuracy {accuracy:.3f} is close to {end}: the 95 % {which} somewhat too narrow")
    if solved == 0:
        found.append("no item has a right answer: PSS and κ are undefined")
    elif solved is not None and solved < min(RARE, items):
        found.append(f"only {_items(solved)} with a right answer: PSS and κ rest on these alone")
    if bias is not None and abs(bias) > BIASED:
        found.append(
            f"PSS as shown is biased by about {bias:+.3f}, as ratios are with few right answers; its interval is "
            "corrected for that"
        )
    return found


def unscored_warning(share: float, accuracy: Estimate) -> str | None:
    """The warning that few unscored answers, if all are wrong or all right, matter to the interval of accuracy.

    Args:
        share: of the answers that are unscored.
        accuracy: over the scored ones.

    Returns:
        None if they move it little, and above the limit for a warning of its own.
    """
    if accuracy.value is None or accuracy.low is None or accuracy.high is None or not 0 < share <= UNSCORED_LIMIT:
        return None
    what, moved = ("wrong", -accuracy.value) if accuracy.value >= 0.5 else ("right", 1 - accuracy.value)
    if share * abs(moved) <= TOLERATED * (accuracy.high - accuracy.low) / 2:
        return None
    return (
        f"{share:.1%} of the completions are unscored: if all of them are {what}, accuracy is "
        f"{accuracy.value + share * moved:.3f}, which its interval does not allow for"
    )


def _items(count: int) -> str:
    return f"{count} item" if count == 1 else f"{count} items"


def empty_warnings(
    empty: int, with_reasoning: int, answers: int, *, is_endpoint: bool, whose: str = "the "
) -> list[str]:
    """Warnings on answers without text that were not cut off, without a full stop.

    Args:
        empty: how many there are.
        with_reasoning: those of them that came with reasoning.
        answers: all answers.
        is_endpoint: whether a server told reasoning and text apart.
        whose: determiner of "answers", a checkpoint's name where several are shown.
    """
    found = []
    if is_endpoint and with_reasoning:
        found.append(
            f"the server's reasoning parser may be swallowing answers: {with_reasoning:,} of {whose}{answers:,} "
            "answers came empty with reasoning beside them; check the server's --reasoning-parser and chat template"
        )
        empty -= with_reasoning
    if empty > EMPTY_LIMIT * answers:
        found.append(f"{empty / answers:.1%} of {whose}answers are empty")
    return found


def few_personas_warning(personas: int) -> str | None:
    """The warning on the intervals of a judged task, without a full stop; None with enough personas."""
    if personas >= FEW_PERSONAS:
        return None
    return f"only {personas} personas: below {FEW_PERSONAS}, 95 % intervals are somewhat too narrow"
