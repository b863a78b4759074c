"""A run on disk: writing its tables, reading them back.

``responses.parquet`` has a row per (task, persona, item, sample), ``cells.parquet`` a row per (task, item, persona):
all stability statistics read only the cells. Rows hold nothing that differs between two runs of the same work, and
every file is written under a temporary name, synced and renamed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from personaeval.errors import StorageError, UsageError

RESPONSES = "responses.parquet"

CELLS = "cells.parquet"

JUDGEMENTS = "judgements.parquet"

LABELS = "labels.parquet"

RUN = "run.json"

SESSIONS = "sessions.json"

SUMMARY = "summary.json"

ITEMS = "items.parquet"

PERSONAS = "personas.parquet"

ALL_FILES = (RESPONSES, CELLS, ITEMS, PERSONAS, JUDGEMENTS, LABELS, RUN, SESSIONS, SUMMARY)

FORMAT = 1

RUN_FORMAT = 2
"""Of run.json; see :func:`personaeval.results.records.upgrade_run`."""

_BATCH = 4096

R = TypeVar("R")


class RowWriter(Generic[R]):
    """Collects rows, dataclasses with the schema's fields, and writes them in batches."""

    def __init__(self, file: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._file = file
        self._schema = schema
        self._rows: list[R] = []

    def add(self, row: R) -> None:
        """Append a row."""
        self._rows.append(row)
        if len(self._rows) >= _BATCH:
            self.write_batch()

    def write_batch(self) -> None:
        """Write the rows collected so far."""
        if self._rows:
            fields = list(self._schema)
            columns = [[getattr(row, field.name) for row in self._rows] for field in fields]
            arrays = [pa.array(c, type=f.type) for c, f in zip(columns, fields, strict=True)]
            self._file.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            self._rows = []


@contextmanager
def row_writer(path: Path, schema: pa.Schema) -> Iterator[RowWriter[Any]]:
    """Write a Parquet file row by row; it appears only when the block ends without an error.

    Raises:
        StorageError: the folder cannot be written.
    """
    with (
        _replacing(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", compression_level=6) as file,
    ):
        rows: RowWriter[Any] = RowWriter(file, schema)
        yield rows
        rows.write_batch()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=str, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with _replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_folder(folder: Path) -> None:
    """Make a folder with its parents, unless it exists.

    Raises:
        StorageError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made ({error.strerror}).") from error


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


def read_json(path: Path, newest: int = RUN_FORMAT) -> dict[str, Any]:
    """Read a JSON file of a run.

    Args:
        path: the file.
        newest: number of the newest format that the caller can read.

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
    if content.get("format", FORMAT) > newest:
        raise UsageError(f"{path}: written by a newer personaeval; upgrade to read it.")
    return content


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file that replaces ``path`` if the block ends without an error."""
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
    """Remove files that a killed process left half written; call it only with the folder's lock held."""
    for name in ALL_FILES:
        for leftover in folder.glob(f".{name}.*"):
            leftover.unlink(missing_ok=True)
