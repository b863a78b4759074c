"""A run on disk: writing its tables, reading them back.

``responses.parquet`` has a row per (task, persona, item, sample), ``cells.parquet`` a row per (task, item, persona):
all stability statistics read only the cells. Rows hold nothing that differs between two runs of the same work, and
every file is written under a temporary name, synced and renamed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from personaeval.errors import StorageError, UsageError
from personaeval.personas import Persona
from personaeval.scripts import script
from personaeval.tasks import Item, Task
from personaeval.verify import Status, Verdict

RESPONSES = "responses.parquet"
CELLS = "cells.parquet"
JUDGEMENTS = "judgements.parquet"
LABELS = "labels.parquet"
RUN = "run.json"
SESSIONS = "sessions.json"
SUMMARY = "summary.json"
FORMAT = 1
_BATCH = 4096
R = TypeVar("R")

RESPONSE_SCHEMA = pa.schema(
    [
        pa.field("task", pa.string(), False),
        pa.field("persona", pa.string(), False),
        pa.field("item", pa.string(), False),
        pa.field("sample", pa.int16(), False),
        pa.field("key", pa.binary(16), False),
        pa.field("gold", pa.string(), False),
        pa.field("text", pa.string()),
        pa.field("thinking", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("status", pa.string(), False),
        pa.field("score", pa.float64()),
        pa.field("truncated", pa.bool_(), False),
        pa.field("prompt_tokens", pa.int32(), False),
        pa.field("completion_tokens", pa.int32(), False),
        pa.field("reason", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Response:
    """One row of responses.parquet.

    ``text`` is None where the engine gave none; ``reason`` says why a row is unscored.
    """

    task: str
    persona: str
    item: str
    sample: int
    key: bytes
    gold: str
    text: str | None
    thinking: str | None
    answer: str | None
    status: str
    score: float | None
    truncated: bool
    prompt_tokens: int
    completion_tokens: int
    reason: str | None


COUNTS = ("scored", "correct", "no_answer", "truncated", "wrong_truncated", "unscored", "other_script")


class CellTable:
    """Counts of one task per (item, persona); personas in the run's order, the baseline first."""

    def __init__(self, task: str, items: Sequence[Item], personas: Sequence[str], correct_at: float) -> None:
        self.task = task
        self.items = tuple(items)
        self.personas = tuple(personas)
        self._correct_at = correct_at
        self.counts = {name: np.zeros((len(items), len(personas)), dtype=np.int32) for name in COUNTS}
        self.score_sum = np.zeros((len(items), len(personas)))

    def count(self, item: int, persona: int, response: Response, question: str) -> None:
        """Add one response of item number ``item`` under persona number ``persona``."""
        counts = self.counts
        if response.truncated:
            counts["truncated"][item, persona] += 1
        if response.score is None:
            counts["unscored"][item, persona] += 1
            return
        counts["scored"][item, persona] += 1
        self.score_sum[item, persona] += response.score
        if response.score >= self._correct_at:
            counts["correct"][item, persona] += 1
            return
        counts["wrong_truncated"][item, persona] += response.truncated
        counts["no_answer"][item, persona] += response.status == Status.NO_ANSWER
        written = script(response.text or "")
        if written is not None and written != script(question):
            counts["other_script"][item, persona] += 1

    def to_arrow(self) -> pa.Table:
        """Return the cells as rows, item by item."""
        items, personas = len(self.items), len(self.personas)
        columns: dict[str, Any] = {
            "task": pa.array([self.task] * (items * personas)),
            "item": pa.array(np.repeat(np.array([item.id for item in self.items], dtype=object), personas)),
            "persona": pa.array(list(self.personas) * items),
        }
        columns |= {name: pa.array(values.ravel()) for name, values in self.counts.items()}
        columns["score_sum"] = pa.array(self.score_sum.ravel())
        columns["dimension"] = pa.nulls(items * personas, pa.string())
        columns["digest"] = _digests(self.items, personas)
        return pa.table(columns)


class JudgedCells:
    """Counts of one judged task per item, each under its own persona; there is no right or wrong to count.

    ``score_sum`` adds up the panel's scores.
    """

    def __init__(self, task: str, items: Sequence[Item]) -> None:
        self.task = task
        self.items = tuple(items)
        self.counts = {name: np.zeros(len(items), dtype=np.int32) for name in ("scored", "truncated", "unscored")}
        self.score_sum = np.zeros(len(items))

    def count(self, item: int, persona: int, response: Response, question: str) -> None:
        """Add one response to item number ``item``, whose persona and question are its own."""
        self.counts["truncated"][item] += response.truncated
        self.counts["unscored" if response.score is None else "scored"][item] += 1
        self.score_sum[item] += response.score or 0.0

    def to_arrow(self) -> pa.Table:
        """Return the cells as rows; what is not counted is null."""
        columns: dict[str, Any] = {
            "task": pa.array([self.task] * len(self.items)),
            "item": pa.array([item.id for item in self.items]),
            "persona": pa.array([item.persona for item in self.items]),
        }
        absent = pa.nulls(len(self.items), pa.int32())
        columns |= {name: pa.array(self.counts[name]) if name in self.counts else absent for name in COUNTS}
        columns["score_sum"] = pa.array(self.score_sum)
        columns["dimension"] = pa.array([item.dimension for item in self.items])
        columns["digest"] = _digests(self.items, 1)
        return pa.table(columns)


def _digests(items: Sequence[Item], times: int) -> pa.Array:
    """Return what tells an item from another of its id, so many rows for each."""
    digests = np.repeat(np.array([item.digest for item in items], dtype=object), times)
    return pa.array(digests, type=pa.binary(8))


Cells = CellTable | JudgedCells


def empty_cells(task: Task, items: Sequence[Item], personas: Sequence[Persona]) -> Cells:
    """Return the cells of a task before any response is counted."""
    if task.is_judged:
        return JudgedCells(task.name, items)
    return CellTable(task.name, items, [persona.id for persona in personas], task.correct_at)


class RowWriter(Generic[R]):
    """Writes a Parquet file in batches of rows, dataclasses with the schema's fields; it appears only when complete.

    Raises:
        StorageError: the folder cannot be written.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._context = _replacing(path)
        self._temporary = self._context.__enter__()
        self._writer = pq.ParquetWriter(self._temporary, schema, compression="zstd", compression_level=6)
        self._rows: list[R] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._write_batch()
            self._writer.close()
        except OSError as failure:
            error = error or failure
        self._context.__exit__(type(error) if error else None, error, trace)

    def add(self, row: R) -> None:
        """Append a row."""
        self._rows.append(row)
        if len(self._rows) >= _BATCH:
            self._write_batch()

    def _write_batch(self) -> None:
        if self._rows:
            fields = list(self._schema)
            columns = [[getattr(row, field.name) for row in self._rows] for field in fields]
            arrays = [pa.array(c, type=f.type) for c, f in zip(columns, fields, strict=True)]
            self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            self._rows = []


def response_writer(folder: Path) -> RowWriter[Response]:
    """Return the writer of a run's responses.parquet."""
    return RowWriter(folder / RESPONSES, RESPONSE_SCHEMA)


def read_responses(folder: Path) -> Iterator[Response]:
    """Yield the rows of a run's responses.parquet, in plan order.

    Raises:
        UsageError: the folder holds no finished run.
    """
    try:
        file = pq.ParquetFile(folder / RESPONSES)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(
            f"{folder / RESPONSES}: cannot be read ({error}); is this the folder of a finished run?"
        ) from error
    with file:
        for batch in file.iter_batches(batch_size=_BATCH):
            for row in batch.to_pylist():
                yield Response(**row)


def write_cells(folder: Path, tables: Sequence[Cells]) -> None:
    """Write cells.parquet."""
    with _replacing(folder / CELLS) as temporary:
        pq.write_table(pa.concat_tables(table.to_arrow() for table in tables), temporary, compression="zstd")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=str, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with _replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def append_text(path: Path, text: str) -> None:
    """Append to a text file that others write to as well.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}).") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run.

    Raises:
        UsageError: it is missing, broken, or of a newer format.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file; {path.parent} is not the folder of a finished run.") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be read ({error}).") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: not of personaeval (no JSON object).")
    if content.get("format", FORMAT) > FORMAT:
        raise UsageError(f"{path}: written by a newer personaeval; upgrade to read it.")
    return content


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file that takes the place of ``path`` when all went well."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(descriptor)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}). Choose another folder with -o.") from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror or error}). Free some space and run the same command again: "
            "the completions are in the ledger."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left half written; only for who holds the folder."""
    for name in (RESPONSES, CELLS, JUDGEMENTS, LABELS, RUN, SESSIONS, SUMMARY):
        for leftover in folder.glob(f".{name}.*"):
            leftover.unlink(missing_ok=True)


def unscored(reason: str) -> Verdict:
    """Return the verdict of a completion that could not be scored."""
    return Verdict(score=None, answer=None, status=Status.UNSCORED, reason=reason)


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
