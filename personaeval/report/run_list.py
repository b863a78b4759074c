"""The list of a results folder's runs: settings, number of answers, finished or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from personaeval.analysis.run_settings import OF_THE_CHECKPOINT, Settings, differing, settings_of
from personaeval.errors import UsageError
from personaeval.report.estimates import MISSING
from personaeval.report.table import Cell, Key, Table, count
from personaeval.results.listing import ListedRun
from personaeval.results.records import RunRecord

_COLUMNS = ("checkpoint", "run", "state", "tasks", "answers")


def run_table(results: Path, listed: Sequence[ListedRun]) -> Table:
    """A row per run, with a column for each setting in which runs of one task differ.

    Args:
        results: the results folder, for the title.
        listed: its runs.

    Raises:
        UsageError: there are none.
    """
    if not listed:
        where = "no such folder" if not results.is_dir() else "it holds no run"
        raise UsageError(f"{results}: {where}; pass the results folder of `personaeval run` (its -o).")
    settings = _differing([run.record for run in listed if run.record is not None])
    rows: list[tuple[Cell, ...]] = []
    for run in listed:
        record = run.record
        own: list[Cell] = [
            run.folder.parent.name.rpartition("-")[0] or run.folder.name if record is None else record.short_name,
            run.folder.name[:8] if record is None else record.plan[:8],
            run.state,
            MISSING if record is None else ", ".join(record.tasks),
            MISSING if record is None else record.rows,
        ]
        rows.append((*own, *(_value(record, name) for name in settings)))
    finished = sum(run.summary is not None for run in listed)
    notes = [f"{run.folder}: {run.problem.removeprefix(f'{run.folder}/')}" for run in listed if run.problem]
    if any(run.state == "unfinished" for run in listed):
        notes.append("unfinished: the same `personaeval run` command resumes it; what is answered is kept.")
    return Table(
        f"{results}: {count(len(listed), 'run')}, {finished} finished",
        (*_COLUMNS, *settings),
        tuple(rows),
        tuple(notes),
        ("answers: number of answers that the run asks for. The other columns are settings in which runs differ.",)
        if settings
        else ("answers: number of answers that the run asks for.",),
        Key(view="runs"),
        tuple(_key(run) for run in listed),
        (None, None, Key(metric="state"), Key(metric="tasks"), Key(metric="answers"))
        + tuple(Key(metric=name.replace(" ", "_")) for name in settings),
    )


def _key(run: ListedRun) -> Key:
    record = run.record
    if record is None:
        return Key(checkpoint=run.folder.parent.name, run=run.folder.name[:8])
    return Key(checkpoint=record.short_name, fingerprint=record.model.fingerprint, run=record.plan[:8])


def _differing(records: Sequence[RunRecord]) -> list[str]:
    """Settings in which some runs of the same task differ; the engine and the like too."""
    names: dict[str, None] = {}
    for task in dict.fromkeys(task for record in records for task in record.tasks):
        own: list[Settings] = [settings_of(record, task) for record in records if task in record.tasks]
        names |= dict.fromkeys(differing(own))
    kept = [name for name in names if name not in OF_THE_CHECKPOINT]
    return kept + [name for name in OF_THE_CHECKPOINT if name in names]


def _value(record: RunRecord | None, name: str) -> str:
    """A setting's value in a run; several where its tasks differ in it."""
    if record is None:
        return MISSING
    values = (settings_of(record, task).get(name, MISSING) for task in record.tasks)
    return " / ".join(dict.fromkeys(values))
