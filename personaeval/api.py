"""The functions behind ``import personaeval``: what each command does, from Python.

Nothing is printed unless ``progress=True``; what a command would end with as an error is raised as an exception of
:mod:`personaeval.errors`, with the same text.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from personaeval.results.frames import Results

__all__ = ["load"]


def load(results: str | Path | Iterable[str | Path] = "results") -> Results:
    """The finished runs of a results folder, of one run's folder, or of a list of either, as pandas DataFrames.

    Raises:
        UsageError: a folder is missing, or holds no finished run.
    """
    from personaeval.results.frames import open_results

    return open_results(results)
