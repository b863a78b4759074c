"""Everything that tables show as one long table: a row per figure, columns typed and with machine names.

CSV, JSON, Parquet and DataFrames are all made from it::

    pd.read_csv(io.StringIO(to_csv(tables)))
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from personaeval.errors import printable
from personaeval.report.estimates import FormattedEstimate
from personaeval.report.table import Cell, Key, Table

if TYPE_CHECKING:
    import pandas as pd

_TEXT, _NUMBER = pa.string(), pa.float64()

SCHEMA = pa.schema(
    [
        ("view", _TEXT),
        ("task", _TEXT),
        ("settings", _TEXT),
        ("checkpoint", _TEXT),
        ("fingerprint", _TEXT),
        ("run", _TEXT),
        ("base", _TEXT),
        ("persona", _TEXT),
        ("category", _TEXT),
        ("item", _TEXT),
        ("metric", _TEXT),
        ("value", _NUMBER),
        ("low", _NUMBER),
        ("high", _NUMBER),
        ("p", _NUMBER),
        ("n", pa.int64()),
        ("text", _TEXT),
    ]
)
"""Columns of the long table. ``text`` is what a cell says beside its value, or why it has none."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def figures(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """A row for each figure of the tables."""
    return [row for table in tables for row in _of_table(table)]


def _of_table(table: Table) -> Iterator[dict[str, Any]]:
    for row_key, row in zip(table.row_keys, table.rows, strict=True):
        for column_key, cell in zip(table.column_keys, row, strict=True):
            word = cell.word if isinstance(cell, FormattedEstimate) else ""
            if column_key is not None and cell != "" and not word:
                yield _figure(table.key | row_key | column_key, cell)


def _figure(key: Key, cell: Cell) -> dict[str, Any]:
    found: dict[str, Any] = {name: getattr(key, name, None) for name in SCHEMA.names}
    found["metric"] = f"{key.metric}{key.form or ''}"
    if isinstance(cell, FormattedEstimate):
        found |= {"value": cell.value, "low": cell.low, "high": cell.high, "p": cell.p, "text": cell.why or None}
        found |= {"persona": cell.persona} if cell.persona else {}
    elif isinstance(cell, int):
        found["value"] = float(cell)
    else:
        found["text"] = cell or None
    return {name: printable(value) if isinstance(value, str) else value for name, value in found.items()}


def to_arrow(tables: Sequence[Table]) -> pa.Table:
    """The long table as an Arrow table."""
    return pa.Table.from_pylist(figures(tables), schema=SCHEMA)


def to_pandas(tables: Sequence[Table]) -> pd.DataFrame:
    """The long table as a DataFrame with typed columns."""
    import pandas as pd

    kinds: dict[Any, Any] = {pa.string(): pd.StringDtype("pyarrow"), pa.int64(): pd.Int64Dtype()}
    frame: pd.DataFrame = to_arrow(tables).to_pandas(types_mapper=kinds.get)
    return frame


def to_parquet(tables: Sequence[Table]) -> bytes:
    """The long table as a Parquet file."""
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(to_arrow(tables), out, compression="zstd")
    return out.getvalue()


def to_csv(tables: Sequence[Table]) -> str:
    """The long table as CSV; texts that a spreadsheet would run as formulas begin with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(SCHEMA.names)
    for row in figures(tables):
        writer.writerow(["" if value is None else _harmless(value) for value in row.values()])
    return out.getvalue().rstrip("\n")


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def to_json(tables: Sequence[Table]) -> str:
    """The long table as a JSON list of objects."""
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in figures(tables))
    return "[\n" + ",\n".join(lines) + "\n]"
