"""Custom scorers: functions behind entry points of the group ``personaeval.scorers``."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from personaeval.errors import UsageError, suggest

GROUP = "personaeval.scorers"


def find_scorer(name: str) -> EntryPoint:
    """Entry point of a scorer.

    Raises:
        UsageError: no installed package has it.
    """
    known = {point.name: point for point in entry_points(group=GROUP)}
    if name not in known:
        raise UsageError(
            f"no installed package has the scorer {name!r} in the entry-point group {GROUP}.{suggest(name, known)}"
        )
    return known[name]


def load_scorer(name: str) -> Callable[[str, str], float]:
    """The scorer's function ``score(gold, text)``."""
    function: Callable[[str, str], float] = find_scorer(name).load()
    return function
