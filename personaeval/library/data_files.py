"""Rows of JSONL, JSON, CSV and Parquet files, with errors that name the row."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from personaeval.errors import UsageError
from personaeval.library.items import Row


def read_file(path: Path) -> tuple[list[Row], dict[str, Any], str]:
    """Rows of a JSONL, JSON, CSV or Parquet file, the record of what was read, and the name for messages.

    Raises:
        UsageError: the file is missing or broken; names the row.
    """
    if not path.is_file():
        raise UsageError(f"data file {path}: no such file (looked for {path.absolute()}).")
    readers = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}
    if path.suffix not in readers:
        raise UsageError(f"data file {path}: its suffix must be one of {', '.join(readers)}.")
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"data file {path}: cannot be read ({error.strerror}); check its permissions.") from error
    rows = readers[path.suffix](path)
    return rows, {"kind": "file", "file": path.name, "sha256": sha256}, str(path)


def read_jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield place (file and row, for messages) and value of every line of a JSONL file; blank lines are skipped.

    Raises:
        UsageError: the file cannot be read, or a line is not JSON.
    """
    row = 0
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                row += 1
                where = f"{path}, row {row}" + (f" (line {number})" if number != row else "")
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise UsageError(f"{where}: broken JSON ({error}).") from error
                yield where, value
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 after row {row} ({error.reason}).") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}).") from error


def _jsonl(path: Path) -> list[Row]:
    rows: list[Row] = []
    for where, row in read_jsonl(path):
        if not isinstance(row, dict):
            raise UsageError(f"{where}: expected a JSON object, found {type(row).__name__}.")
        rows.append(row)
    return rows


def _json(path: Path) -> list[Row]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: broken JSON ({error}).") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{path}: expected a JSON list of objects.")
    return rows


def _csv(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines, strict=True, restkey="")
        try:
            rows: list[Row] = list(reader)
        except (csv.Error, UnicodeDecodeError) as error:
            raise UsageError(f"{path}, line {reader.line_num}: broken CSV ({error}).") from error
    for number, row in enumerate(rows, start=1):
        if "" in row or None in row.values():
            raise UsageError(f"{path}, row {number}: it has more or fewer fields than the header.")
    return rows


def _parquet(path: Path) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[Row] = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path}: not a readable Parquet file ({error}).") from error
    return rows


@contextmanager
def without_hub_bars() -> Iterator[None]:
    """Keep the hub's libraries from drawing progress bars: a run shows its own, and says what takes long."""
    import huggingface_hub.utils

    hub: Any = huggingface_hub.utils
    libraries = [one for one in (hub, sys.modules.get("datasets")) if one is not None]
    drawing = [one for one in libraries if not one.are_progress_bars_disabled()]
    with warnings.catch_warnings():
        # Both warn where an environment variable has decided already.
        warnings.simplefilter("ignore")
        for one in drawing:
            one.disable_progress_bars()
        try:
            yield
        finally:
            for one in drawing:
                one.enable_progress_bars()


def hub_revision(dataset: Any, name: str) -> str | None:
    """Commit of the hub dataset ``name`` that was read: every address in the download record holds it."""
    for address in dataset.info.download_checksums or {}:
        _, at, rest = address.partition(f"{name}@")
        if at:
            return str(rest.split("/", 1)[0])
    return None
