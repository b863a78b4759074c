"""responses.parquet: a row per answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from personaeval.errors import UsageError
from personaeval.results.files import _BATCH, RESPONSES, RowWriter, row_writer
from personaeval.types import Response

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
        pa.field("evidence", pa.string()),
        pa.field("suspect", pa.bool_()),
        pa.field("suspect_chance", pa.float64()),
    ]
)


def response_writer(folder: Path) -> AbstractContextManager[RowWriter[Response]]:
    """The writer of a run's responses.parquet."""
    return row_writer(folder / RESPONSES, RESPONSE_SCHEMA)


def read_responses(folder: Path) -> Iterator[Response]:
    """The rows of a run's responses.parquet, in plan order.

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
