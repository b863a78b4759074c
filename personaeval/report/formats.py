"""A table of numbers with intervals, and the ways to write it down."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from personaeval.errors import UsageError, suggest

_MISSING = "–"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Number:
    """A figure with its interval; None where the quantity is not defined for the data."""

    value: float | None
    low: float | None = None
    high: float | None = None
    digits: int = 3
    percent: bool = False
    signed: bool = False

    def __str__(self) -> str:
        if self.value is None:
            return _MISSING
        if self.percent:
            return f"{self.value:+.1%}"
        text = f"{self.value:{'+' if self.signed else ''}.{self.digits}f}"
        if self.low is None or self.high is None:
            return text
        return f"{text} ±{(self.high - self.low) / 2:.{self.digits}f}"


Cell = Number | str | int


@dataclass(frozen=True, slots=True)
class Table:
    """One table: rows that may be compared with each other, and what a reader must know of them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = field(default=())


def render(tables: Sequence[Table], format: str) -> str:
    """Return tables as text in one of the formats.

    Raises:
        UsageError: an unknown format.
    """
    writers: dict[str, Callable[[Sequence[Table]], str]] = {
        "markdown": _markdown,
        "csv": _csv,
        "json": _json,
        "html": _html,
        "latex": _latex,
    }
    if format not in writers:
        raise UsageError(f"--format {format}: unknown.{suggest(format, writers)}")
    return writers[format](tables)


def _tabulated(table: Table, style: str, cell: Callable[[str], str] = str) -> str:
    from tabulate import tabulate

    rows = [[cell(str(value)) for value in row] for row in table.rows]
    alignment = ["left" if isinstance(value, str) else "right" for value in (table.rows[0] if table.rows else ())]
    headers = [cell(column) for column in table.columns]
    return tabulate(rows, headers=headers, tablefmt=style, colalign=alignment or None, disable_numparse=True)


def _markdown(tables: Sequence[Table]) -> str:
    def cell(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    parts = []
    for table in tables:
        notes = "".join(f"\n\n{note}" for note in table.notes)
        parts.append(f"**{table.title}**\n\n{_tabulated(table, 'pipe', cell)}{notes}")
    return "\n\n".join(parts)


def _html(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        notes = "".join(f"<p>{html.escape(note)}</p>\n" for note in table.notes)
        # tabulate escapes every cell in this style.
        parts.append(f"<h2>{html.escape(table.title)}</h2>\n{_tabulated(table, 'html')}\n{notes}")
    return "\n".join(parts)


def _latex(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        head = "\n".join(f"% {line}" for line in (table.title, *table.notes))
        body = _tabulated(table, "latex_booktabs").replace("±", "$\\pm$").replace("κ", "$\\kappa$").replace("–", "--")
        parts.append(f"{head}\n{body}")
    return "\n\n".join(parts)


def _csv(tables: Sequence[Table]) -> str:
    """One block of lines a table, its title in every row; a figure has its interval in columns of their own."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for index, table in enumerate(tables):
        if index:
            out.write("\n")
        wide = [
            any(isinstance(row[place], Number) and row[place].low is not None for row in table.rows)  # type: ignore[union-attr]
            for place in range(len(table.columns))
        ]
        names = ["table"]
        for name, is_wide in zip(table.columns, wide, strict=True):
            names += [name, f"{name} low", f"{name} high"] if is_wide else [name]
        writer.writerow(names)
        for row in table.rows:
            cells = _csv_cells(table.title, wide=False)
            for value, is_wide in zip(row, wide, strict=True):
                cells += _csv_cells(value, is_wide)
            writer.writerow(cells)
    return out.getvalue().rstrip("\n")


def _csv_cells(value: Cell, wide: bool) -> list[Any]:
    if isinstance(value, Number):
        cells = [value.value, value.low, value.high] if wide else [value.value]
        return ["" if cell is None else cell for cell in cells]
    text = f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value
    return [text, "", ""] if wide else [text]


def _json(tables: Sequence[Table]) -> str:
    def cell(value: Cell) -> Any:
        if not isinstance(value, Number):
            return value
        if value.low is None:
            return value.value
        return {"value": value.value, "low": value.low, "high": value.high}

    content = [
        {
            "title": table.title,
            "rows": [dict(zip(table.columns, map(cell, row), strict=True)) for row in table.rows],
            "notes": list(table.notes),
        }
        for table in tables
    ]
    return json.dumps(content, indent=2, ensure_ascii=False)
