"""All runs of a results folder: finished ones, unfinished ones, and those that cannot be read.

::

    for run in list_runs(Path("results")):
        print(run.folder, run.state)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from personaeval.errors import UsageError
from personaeval.results.files import RUN, SESSIONS, SUMMARY, read_json
from personaeval.results.records import RunRecord
from personaeval.results.runs import open_run
from personaeval.results.summaries import read_summary

_SHOWN = 3
"""Number of runs that are named in a note on what was left out."""


@dataclass(frozen=True)
class ListedRun:
    """One run's folder.

    Attributes:
        folder: where it is.
        record: content of run.json; of an unfinished run, what is known of it; None if nothing is.
        summary: content of summary.json with the key ``folder``; None unless the run is finished and can be read.
        problem: why it cannot be read; empty if it can, or if it is unfinished.
    """

    folder: Path
    record: RunRecord | None = None
    summary: dict[str, Any] | None = None
    problem: str = ""

    @property
    def state(self) -> str:
        """``finished``, ``unfinished``, ``unreadable``, or what a finished run lacks."""
        if self.summary is None:
            return "unreadable" if self.problem else "unfinished"
        if self.record is not None and self.record.counts and self.record.counts.failed:
            return f"{self.record.counts.failed:,} unanswered"
        parts = self.summary["tasks"].values()
        return "not judged" if any(part.get("judged") is False for part in parts) else "finished"


def list_runs(folder: Path) -> list[ListedRun]:
    """The runs below a folder, by their paths. Files of the same names that other tools left are passed over."""
    finished = {path.parent for path in folder.glob(f"**/{SUMMARY}") if (path.parent / RUN).exists()}
    begun = {path.parent for path in folder.glob(f"**/{SESSIONS}")} - finished
    listed = [_finished(own) if own in finished else _unfinished(own) for own in sorted(finished | begun)]
    return [run for run in listed if run is not None]


def _finished(folder: Path) -> ListedRun:
    try:
        summary = {**read_summary(folder).to_json(), "folder": str(folder)}
        return ListedRun(folder, open_run(folder).record, summary)
    except UsageError as error:
        return ListedRun(folder, problem=str(error))


def _unfinished(folder: Path) -> ListedRun | None:
    """A run that has begun; None if the file is another tool's."""
    try:
        content = read_json(folder / SESSIONS)
    except UsageError as error:
        return ListedRun(folder, problem=str(error))
    if not isinstance(content.get("sessions"), list):
        return None
    try:
        return ListedRun(folder, RunRecord.model_validate(content["run"]))
    except (KeyError, ValidationError):
        return ListedRun(folder)  # begun by an earlier version, which did not write it


def left_out(listed: Sequence[ListedRun]) -> list[str]:
    """In one line, the runs that no table shows; nothing if there are none."""
    absent = [run for run in listed if run.summary is None]
    if not absent:
        return []
    reasons = [(run.folder, run.problem.removeprefix(f"{run.folder}/") or run.state) for run in absent]
    shown = ", ".join(f"{folder} ({reason.rstrip('.')})" for folder, reason in reasons[:_SHOWN])
    more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
    return [f"Left out: {shown}{more}. `personaeval runs` lists all."]


def find_summaries(folder: Path) -> list[dict[str, Any]]:
    """Summaries of all finished runs below a results folder; runs that cannot be read hide no others.

    Raises:
        UsageError: the folder is missing or holds no finished run that can be read.
    """
    return summaries_of(folder, list_runs(folder))


def summaries_of(folder: Path, listed: Sequence[ListedRun]) -> list[dict[str, Any]]:
    """Summaries of the finished runs among those listed of a results folder.

    Raises:
        UsageError: the folder is missing or holds no finished run that can be read.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder. `personaeval run … -o {folder}` makes one.")
    found = [run.summary for run in listed if run.summary is not None]
    if found:
        return found
    if problem := next((run.problem for run in listed if run.problem), ""):
        raise UsageError(problem)
    remedy = "pass the results folder of `personaeval run` (its -o)."
    if listed:
        remedy = f"{listed[0].folder} is unfinished: the same `personaeval run` command resumes it."
    raise UsageError(f"{folder}: it holds no finished run; {remedy}")


def load_summaries(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Summaries of runs, each with the key ``folder``.

    Raises:
        UsageError: one is missing, broken, or not a run's.
    """
    return [{**read_summary(folder).to_json(), "folder": str(folder)} for folder in folders]
