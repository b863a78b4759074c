"""Where intervals cover less often than they say, as ``benchmarks/validity.py`` shows: there every table says so."""

from __future__ import annotations

UNSCORED_LIMIT = 0.01

TRUNCATED_LIMIT = 0.05


FEW_ITEMS = 100

FEW_PERSONAS = 40

RARE = 20
"""So many items' worth of right answers, and of wrong ones, are enough for the interval of κ."""


BIASED = 0.003
"""A bias of PSS above this is told."""


def cautions(items: int, accuracy: float | None, bias: float | None = None, solved: int | None = None) -> list[str]:
    """Return what a reader must know of the intervals of a task.

    Args:
        items: n.
        accuracy: mean over personas; None where nothing was scored.
        bias: of PSS as it is shown, by the jackknife; None where it is not known.
        solved: how many items had a right answer under a persona; None where it is not known.
    """
    found = []
    if items < FEW_ITEMS:
        found.append(f"{items} items: with fewer than {FEW_ITEMS}, intervals cover less often than they say")
    elif accuracy is not None and items * min(accuracy, 1 - accuracy) < RARE:
        whose = "κ's interval covers" if accuracy > 0.5 else "the intervals of PSS and κ cover"
        found.append(f"accuracy {accuracy:.3f}: so near to its end, {whose} less often than they say")
    if solved is not None and solved < min(RARE, items):
        found.append(f"PSS and κ rest on the {solved} items that were solved at all")
    if bias is not None and abs(bias) > BIASED:
        found.append(
            f"PSS as shown is off by about {bias:+.3f}, as ratios are with few right answers; its interval is not"
        )
    return found
