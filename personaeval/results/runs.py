"""Finding finished runs and reading them back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from personaeval.errors import UsageError, suggest
from personaeval.results.cells import COUNTS
from personaeval.results.files import CELLS, RUN, SUMMARY, read_json

_KEYS = {"label", "model", "tasks", "personas", "config"}

_COLUMNS = {"item", "persona", "digest", "dimension", "score_sum", *COUNTS}


@dataclass(frozen=True)
class CheckpointRuns:
    """One checkpoint: the run that has each of its tasks.

    Attributes:
        name: as tables show it.
        fingerprint: of the checkpoint.
        verifiable: whether the fingerprint tells it from another checkpoint.
        folders: task -> folder of the run.
        records: task -> content of its run.json.
    """

    name: str
    fingerprint: str
    verifiable: bool
    folders: dict[str, Path]
    records: dict[str, dict[str, Any]]

    def cells(self, task: str) -> pa.Table:
        """Return the rows of a task in cells.parquet.

        Raises:
            UsageError: the file cannot be read.
        """
        path = self.folders[task] / CELLS
        try:
            table = pq.read_table(path, filters=[("task", "=", task)])
        except (OSError, pa.ArrowException) as error:
            raise UsageError(f"{path}: cannot be read ({error}); personaeval score writes it anew.") from error
        if lacking := sorted(_COLUMNS - set(table.column_names)):
            raise UsageError(f"{path}: it lacks {', '.join(lacking)}; personaeval score writes it anew.")
        record = self.records[task]
        own = record["tasks"][task]
        expected = own["items"] * (1 if "personas" in own else len(record["personas"]))
        if len(table) != expected:
            raise UsageError(
                f"{path}: it holds {len(table)} rows of {task}, and {expected} belong there; personaeval score writes "
                "it anew."
            )
        return table


def open_sides(texts: Sequence[str]) -> list[CheckpointRuns]:
    """Return the sides by what the user called them, with names that differ.

    Raises:
        UsageError: as :func:`open_runs`.
    """
    sides = [open_runs(text) for text in texts]
    names = [side.name for side in sides]
    if len(set(names)) < len(names):
        names = [f"{side.name}-{side.fingerprint[:8]}" for side in sides]
    if len(set(names)) < len(names):
        names = [f"{name} ({place})" for place, name in enumerate(names, start=1)]
    return [
        CheckpointRuns(name, side.fingerprint, side.verifiable, side.folders, side.records)
        for name, side in zip(names, sides, strict=True)
    ]


def open_runs(text: str) -> CheckpointRuns:
    """Return a side: a run's or a baseline's folder, a checkpoint's folder, or RESULTS/NAME as tables show it.

    Raises:
        UsageError: nothing there, several checkpoints of the name, or a task that several of its runs have.
    """
    if not text.strip():
        raise UsageError("an empty name: a run's folder, a baseline's or RESULTS/NAME is expected.")
    path = Path(text)
    if (path / RUN).is_file():
        return _side([path], text)
    if path.is_dir():
        folders = sorted(found.parent for found in path.glob(f"*/{RUN}"))
        if folders:
            return _side(folders, text)
    if not path.parent.is_dir() or text.endswith(".."):
        raise UsageError(f"{text}: no such folder. A run's folder, a baseline's or RESULTS/NAME is expected.")
    records = _readable(sorted(path.parent.glob(f"*/*/{RUN}")))
    chosen = [folder for folder, record in records.items() if path.name in _names(record)]
    if not chosen:
        known = {record["label"] for record in records.values()}
        raise UsageError(
            f"{text}: neither the folder of a finished run nor a checkpoint's name.{suggest(path.name, known)}"
        )
    return _side(chosen, text)


def _readable(files: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    """Return the records of runs by folder; a broken one of another checkpoint is no reason not to find this one."""
    records = {}
    for file in files:
        try:
            record = read_json(file)
        except UsageError:
            continue
        if record.keys() >= _KEYS:
            records[file.parent] = record
    return records


def _names(record: dict[str, Any]) -> tuple[str, str]:
    return record["label"], f"{record['label']}-{record['model']['fingerprint'][:8]}"


def _side(folders: Sequence[Path], text: str) -> CheckpointRuns:
    where: dict[str, Path] = {}
    records: dict[str, dict[str, Any]] = {}
    found = {folder: read_json(folder / RUN) for folder in folders}
    for folder, record in found.items():
        if not record.keys() >= _KEYS:
            raise UsageError(f"{folder / RUN}: not the record of a personaeval run.")
    names = sorted({_names(record)[1] for record in found.values()})
    if len({record["model"]["fingerprint"] for record in found.values()}) > 1:
        raise UsageError(f"{text}: several checkpoints have this name: {', '.join(names)}. Name one of them.")
    for folder, record in found.items():
        for task in record["tasks"]:
            if task in where:
                raise UsageError(f"{text}: {task} was run more than once; name one folder: {where[task]} or {folder}.")
            where[task], records[task] = folder, record
    record = next(iter(found.values()))
    fingerprint = record["model"]["fingerprint"]
    return CheckpointRuns(
        record["label"], fingerprint, bool(record["model"].get("fingerprint_verifiable")), where, records
    )


def step_of(name: str) -> int | None:
    """The training step in a checkpoint's name, such as checkpoint-500 or global_step_500; None without."""
    found = re.search(r"(?:checkpoint|ckpt|step|iter)[-_]?(\d+)", name)
    return int(found.group(1)) if found else None


def find_summaries(folder: Path) -> list[dict[str, Any]]:
    """Return the summaries of all finished runs below a results folder.

    Raises:
        UsageError: the folder is missing or holds no finished run.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder. `personaeval run … -o {folder}` makes one.")
    # Other tools leave files of this name too; beside theirs there is no run.json of ours.
    folders = sorted(path.parent for path in folder.glob(f"**/{SUMMARY}") if (path.parent / RUN).exists())
    if not folders:
        raise UsageError(f"{folder}: it holds no finished run.")
    return load_summaries(folders)


def load_summaries(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the summaries of runs, each with its folder under ``folder``.

    Raises:
        UsageError: one is missing, broken, or not a run's.
    """
    summaries = [{**read_json(folder / SUMMARY), "folder": str(folder)} for folder in folders]
    for summary in summaries:
        if not {"format", "label", "tasks"} <= summary.keys():
            raise UsageError(f"{summary['folder']}/{SUMMARY}: not the summary of a personaeval run.")
    return summaries
