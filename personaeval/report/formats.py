"""Tables of estimates with intervals, and their formats: Markdown, CSV, JSON, HTML, LaTeX."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from personaeval.errors import UsageError, printable, suggest

MARK = 0.05
"""Changes with a p-value below this are marked."""

INTERVAL_NOTE = "±: half of the 95 % interval, [both ends] where it is not symmetric"
"""Beginning of the note on intervals, by which it is found and removed with them."""

_MISSING = "–"

_MOST_ASYMMETRIC = 1.5
"""Largest ratio of an interval's arms at which it is still written with one ±."""

_LARGEST_CHANGE = 10.0
"""Relative changes above this are shown as such, without a figure."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class FormattedEstimate:
    """An estimate as a table shows it, such as ``0.950 [0.800, 0.980]`` or ``+10.0% ±5.0% *``.

    Attributes:
        value: the estimate; None if undefined.
        low: lower end of its interval; None without one.
        high: upper end.
        digits: decimals shown.
        percent: whether it is a change in percent.
        signed: whether a plus sign is shown.
        p: adjusted p-value of "no change"; below ``MARK`` the text ends with a star.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    digits: int = 3
    percent: bool = False
    signed: bool = False
    p: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return _MISSING
        text = f"{self._write(self.value)}{self._interval()}"
        return f"{text} *" if self.p is not None and self.p < MARK else text

    def _interval(self) -> str:
        if self.value is None or self.low is None or self.high is None:
            return ""
        arms = self.value - self.low, self.high - self.value
        if max(arms) <= _MOST_ASYMMETRIC * min(arms):
            return f" ±{self._write((self.high - self.low) / 2).removeprefix('+')}"
        return f" [{self._write(self.low)}, {self._write(self.high)}]"

    def _write(self, value: float) -> str:
        if self.percent and value > _LARGEST_CHANGE:
            return f">{_LARGEST_CHANGE:.0%}"
        sign = "+" if self.signed or self.percent else ""
        return f"{value:{sign}{'.1%' if self.percent else f'.{self.digits}f'}}"


Cell = FormattedEstimate | str | int


@dataclass(frozen=True, slots=True)
class Table:
    """A table: rows that can be compared with each other, and notes on them."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = field(default=())


def without_intervals(tables: Sequence[Table]) -> list[Table]:
    """The same tables without intervals."""

    def bare(cell: Cell) -> Cell:
        return replace(cell, low=None, high=None) if isinstance(cell, FormattedEstimate) else cell

    return [
        replace(
            table,
            rows=tuple(tuple(map(bare, row)) for row in table.rows),
            notes=tuple(note for note in table.notes if not note.startswith(INTERVAL_NOTE)),
        )
        for table in tables
    ]


def render(tables: Sequence[Table], format: str) -> str:
    """Tables as text in one of the formats.

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
    return writers[format]([_clean(table) for table in tables])


def _clean(table: Table) -> Table:
    """A table without control characters: names come from files, answers from models."""
    return Table(
        printable(table.title),
        tuple(map(printable, table.columns)),
        tuple(tuple(printable(cell) if isinstance(cell, str) else cell for cell in row) for row in table.rows),
        tuple(map(printable, table.notes)),
    )


def _tabulated(table: Table, style: str, cell: Callable[[str], str] = str) -> str:
    from tabulate import tabulate

    rows = [[cell(value) if isinstance(value, str) else str(value) for value in row] for row in table.rows]
    alignment = ["left" if isinstance(value, str) else "right" for value in (table.rows[0] if table.rows else ())]
    headers = [cell(column) for column in table.columns]
    return tabulate(rows, headers=headers, tablefmt=style, colalign=alignment or None, disable_numparse=True)


def _markdown(tables: Sequence[Table]) -> str:
    def cell(text: str) -> str:
        # A model's answer may hold HTML or links; where the table is pasted, they must stay text.
        for char in "\\<[`|":
            text = text.replace(char, f"\\{char}")
        return text

    parts = []
    for table in tables:
        notes = "".join(f"\n\n{_without_html(note)}" for note in table.notes)
        parts.append(f"**{_without_html(table.title)}**\n\n{_tabulated(table, 'pipe', cell)}{notes}")
    return "\n\n".join(parts)


def _without_html(text: str) -> str:
    """Prose with HTML elements and links escaped."""
    return re.sub(r"<(?=[A-Za-z/!?])", r"\<", text).replace("](", "]\\(")


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
    """One block per table, its title in every row; intervals and p-values in columns of their own."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for index, table in enumerate(tables):
        if index:
            out.write("\n")
        columns = list(zip(*table.rows, strict=True)) or [() for _ in table.columns]
        shapes = [estimate_fields(column) for column in columns]
        names = [
            f"{name} {field}".removesuffix(" value")
            for name, fields in zip(table.columns, shapes, strict=True)
            for field in fields
        ]
        writer.writerow(["table", *names])
        for row in table.rows:
            cells = [_csv_text(table.title)]
            for value, fields in zip(row, shapes, strict=True):
                cells += _csv_cells(value, fields)
            writer.writerow(cells)
    return out.getvalue().rstrip("\n")


def estimate_fields(column: Sequence[Cell]) -> tuple[str, ...]:
    """The parts of a column's estimates that get columns of their own in CSV files and DataFrames."""
    figures = [cell for cell in column if isinstance(cell, FormattedEstimate)]
    wide = any(cell.low is not None for cell in figures)
    return ("value", *(("low", "high") if wide else ()), *(("p",) if any(c.p is not None for c in figures) else ()))


def _csv_cells(value: Cell, fields: Sequence[str]) -> list[Any]:
    if isinstance(value, FormattedEstimate):
        cells = [getattr(value, field) for field in fields]
        return ["" if cell is None else cell for cell in cells]
    return [_csv_text(value), *[""] * (len(fields) - 1)]


def _csv_text(value: str | int) -> str | int:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def _json(tables: Sequence[Table]) -> str:
    def cell(value: Cell) -> Any:
        if not isinstance(value, FormattedEstimate):
            return value
        if value.low is None and value.p is None:
            return value.value
        tested = {} if value.p is None else {"p": value.p}
        return {"value": value.value, "low": value.low, "high": value.high} | tested

    content = [
        {
            "title": table.title,
            "rows": [dict(zip(table.columns, map(cell, row), strict=True)) for row in table.rows],
            "notes": list(table.notes),
        }
        for table in tables
    ]
    return json.dumps(content, indent=2, ensure_ascii=False)
