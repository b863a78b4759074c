"""Find finished runs and read them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from personaeval.errors import UsageError, suggest
from personaeval.results.cells import COUNTS, with_readings
from personaeval.results.files import CELLS, RUN
from personaeval.results.persona_table import PersonaRow, read_personas
from personaeval.results.records import Personas, RunRecord, TaskRecord, read_record

_COLUMNS = {"item", "persona", "digest", "dimension", "score_sum", *COUNTS}


@dataclass(frozen=True)
class FinishedRun:
    """One run on disk.

    Attributes:
        folder: where it is.
        record: content of run.json.
        listed: personas that run.json itself holds (before format 2); None: they are in personas.parquet.
    """

    folder: Path
    record: RunRecord
    listed: Personas | None = None

    @cached_property
    def persona_rows(self) -> tuple[PersonaRow, ...]:
        """All personas, read when they are first asked for.

        Raises:
            UsageError: personas.parquet is missing or broken.
        """
        if self.listed is None:
            return tuple(read_personas(self.folder))
        return tuple(PersonaRow.of_record(task, entry) for task, own in self.listed.items() for entry in own)

    def personas(self, task: str | None = None) -> list[PersonaRow]:
        """The personas of a task; without ``task``, those that tasks are crossed with."""
        owner = None if task is None or self.record.tasks[task].personas is None else task
        return [row for row in self.persona_rows if row.task == owner]


@dataclass(frozen=True)
class CheckpointRuns:
    """One checkpoint: the run that has each of its tasks.

    Attributes:
        name: as tables show it.
        fingerprint: of the checkpoint.
        verifiable: whether the fingerprint tells it from another checkpoint.
        runs: task -> the run that has it.
    """

    name: str
    fingerprint: str
    verifiable: bool
    runs: dict[str, FinishedRun]

    @property
    def folders(self) -> dict[str, Path]:
        """Task -> folder of the run."""
        return {task: run.folder for task, run in self.runs.items()}

    @property
    def records(self) -> dict[str, RunRecord]:
        """Task -> content of the run's run.json."""
        return {task: run.record for task, run in self.runs.items()}

    def task_record(self, task: str) -> TaskRecord:
        """What run.json says of a task."""
        return self.runs[task].record.tasks[task]

    def cells(self, task: str) -> pa.Table:
        """The rows of a task in cells.parquet.

        Raises:
            UsageError: the file cannot be read.
        """
        run = self.runs[task]
        path = run.folder / CELLS
        try:
            table = pq.read_table(path, filters=[("task", "=", task)])
        except (OSError, pa.ArrowException) as error:
            raise UsageError(f"{path}: cannot be read ({error}); personaeval score rewrites it.") from error
        if lacking := sorted(_COLUMNS - set(table.column_names)):
            raise UsageError(f"{path}: it lacks {', '.join(lacking)}; personaeval score rewrites it.")
        own = run.record.tasks[task]
        expected = own.items * (1 if own.is_judged else run.record.personas.count)
        if len(table) != expected:
            raise UsageError(
                f"{path}: it holds {len(table)} rows of {task}, and {expected} belong there; personaeval score writes "
                "it again."
            )
        return with_readings(table)


def open_run(folder: Path) -> FinishedRun:
    """The run in a folder.

    Raises:
        UsageError: run.json is missing, broken, or not a run's.
    """
    if not (folder / RUN).is_file():
        runs = sorted(path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{RUN}"))
        remedy = "Pass a run's folder, RESULTS/CHECKPOINT/PLAN, as `personaeval run` shows it."
        if runs:
            remedy = f"Did you mean {' or '.join(map(str, runs[:3]))}?"
        raise UsageError(f"{folder}: not the folder of a finished run (no {RUN} in it). {remedy}")
    return FinishedRun(folder, *read_record(folder / RUN))


def find_run(place: Path) -> FinishedRun:
    """One run, by its folder or by RESULTS/NAME if the checkpoint has one run there.

    Raises:
        UsageError: no such run, or several of the name.
    """
    if (place / RUN).is_file():
        return open_run(place)
    inside = [open_run(path.parent) for path in sorted(place.glob(f"*/{RUN}"))]
    found = inside or [run for run in finished_runs(place.parent) if place.name in _names(run.record)]
    if len(found) > 1:
        folders = sorted(str(run.folder) for run in found)
        raise UsageError(f"{place}: {len(found)} runs have this name: {', '.join(folders)}. Pass one of these folders.")
    return found[0] if found else open_run(place)


def finished_runs(results: Path) -> Iterator[FinishedRun]:
    """The runs of a results folder, the newest first; broken ones are skipped."""
    for path in sorted(results.glob(f"*/*/{RUN}"), key=_written, reverse=True):
        try:
            yield open_run(path.parent)
        except UsageError:
            continue


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed meanwhile
        return 0.0


def open_checkpoints(texts: Sequence[str]) -> list[CheckpointRuns]:
    """Several checkpoints, with names that differ.

    Raises:
        UsageError: as :func:`open_runs`.
    """
    sides = [open_runs(text) for text in texts]
    names = [side.name for side in sides]
    if len(set(names)) < len(names):
        names = [f"{side.name}-{side.fingerprint[:8]}" for side in sides]
    if len(set(names)) < len(names):
        names = [f"{name} ({place})" for place, name in enumerate(names, start=1)]
    return [replace(side, name=name) for name, side in zip(names, sides, strict=True)]


def numbered_names(checkpoints: Sequence[CheckpointRuns]) -> list[str]:
    """What "(1)" and "(2)" stand for, where checkpoints of one name are numbered."""
    return [
        f"{own.name}: {', '.join(dict.fromkeys(str(folder) for folder in own.folders.values()))}."
        for own in checkpoints
        if re.search(r" \(\d+\)$", own.name)
    ]


def open_runs(text: str) -> CheckpointRuns:
    """One checkpoint, by the folder of a run, a baseline or a checkpoint, or by RESULTS/NAME as tables show it.

    Raises:
        UsageError: nothing there, several checkpoints of the name, or a task that several of its runs have.
    """
    if not text.strip():
        raise UsageError("an empty name: a run's folder, a baseline's or RESULTS/NAME is expected.")
    path = Path(text)
    if (path / RUN).is_file():
        return _checkpoint([open_run(path)], text)
    if path.is_dir():
        folders = sorted(found.parent for found in path.glob(f"*/{RUN}"))
        if folders:
            return _checkpoint([open_run(folder) for folder in folders], text)
    if not path.parent.is_dir() or text.endswith(".."):
        raise UsageError(f"{text}: no such folder. A run's folder, a baseline's or RESULTS/NAME is expected.")
    runs = sorted(finished_runs(path.parent), key=lambda run: run.folder)
    chosen = [run for run in runs if path.name in _names(run.record)]
    if not chosen:
        known = {run.record.short_name for run in runs}
        raise UsageError(
            f"{text}: neither the folder of a finished run nor a checkpoint's name.{suggest(path.name, known)} "
            "Pass a run's folder, a baseline's or RESULTS/NAME."
        )
    return _checkpoint(chosen, text)


def _names(record: RunRecord) -> tuple[str, str]:
    return record.short_name, record.checkpoint


def _checkpoint(found: Sequence[FinishedRun], text: str) -> CheckpointRuns:
    names = sorted({run.record.checkpoint for run in found})
    if len({run.record.model.fingerprint for run in found}) > 1:
        raise UsageError(f"{text}: several checkpoints have this name: {', '.join(names)}. Name one of them.")
    runs: dict[str, FinishedRun] = {}
    for run in found:
        for task in run.record.tasks:
            if task in runs:
                other = runs[task].folder
                raise UsageError(f"{text}: {task} was run more than once; name one folder: {other} or {run.folder}.")
            runs[task] = run
    record = found[0].record
    return CheckpointRuns(record.short_name, record.model.fingerprint, record.model.fingerprint_verifiable, runs)


def step_of(name: str) -> int | None:
    """The training step in a checkpoint's name, such as checkpoint-500 or global_step_500; None without."""
    found = re.search(r"(?:checkpoint|ckpt|step|iter)[-_]?(\d+)", name)
    return int(found.group(1)) if found else None
