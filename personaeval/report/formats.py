"""Tables as text: Markdown, HTML, LaTeX for people; CSV and JSON for programs."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from personaeval.errors import UsageError, printable, suggest
from personaeval.report import figures
from personaeval.report.estimates import MISSING, FormattedEstimate
from personaeval.report.latex_tables import to_latex
from personaeval.report.table import Cell, Table

FORMATS = ("markdown", "csv", "json", "parquet", "html", "latex")


def render(tables: Sequence[Table], format: str) -> str:
    """Tables as text in one of the formats.

    Raises:
        UsageError: an unknown format, or one that is no text.
    """
    writers: dict[str, Callable[[Sequence[Table]], str]] = {
        "markdown": _markdown,
        "csv": figures.to_csv,
        "json": figures.to_json,
        "html": _html,
        "latex": _latex,
    }
    if format == "parquet":
        raise UsageError("parquet is no text; from Python, write `frame()` with its `to_parquet`.")
    if format not in writers:
        raise UsageError(f"--format {format}: unknown.{suggest(format, FORMATS)}")
    if format in ("csv", "json"):
        return writers[format](tables)
    return writers[format]([for_people(table) for table in tables])


def for_people(table: Table) -> Table:
    """A table without empty columns and without control characters; reasons of missing values become notes."""
    kept = [
        place
        for place in range(len(table.columns))
        if not table.rows or not place or not all(_is_empty(row[place]) for row in table.rows)
    ]
    reasons = {
        f"{table.columns[place]} –: {cell.why}."
        for place in kept
        for row in table.rows
        if isinstance(cell := row[place], FormattedEstimate) and cell.value is None and cell.why
    }
    return replace(
        table,
        title=printable(table.title),
        columns=tuple(printable(table.columns[place]) for place in kept),
        rows=tuple(tuple(_printable(row[place]) for place in kept) for row in table.rows),
        notes=tuple(map(printable, (*table.notes, *sorted(reasons)))),
        legend=tuple(map(printable, table.legend)),
        column_keys=tuple(table.column_keys[place] for place in kept) if table.column_keys else (),
    )


def _is_empty(cell: Cell) -> bool:
    return str(cell) in ("", MISSING) and not (isinstance(cell, FormattedEstimate) and cell.why)


def _printable(cell: Cell) -> Cell:
    if isinstance(cell, str):
        return printable(cell)
    if isinstance(cell, FormattedEstimate) and not cell.persona.isprintable():
        return replace(cell, persona=printable(cell.persona))
    return cell


def legend_of(tables: Sequence[Table]) -> list[str]:
    """The legends of several tables, each line once."""
    return list(dict.fromkeys(line for table in tables for line in table.legend))


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
    return "\n\n".join([*parts, *map(_without_html, legend_of(tables))])


def _without_html(text: str) -> str:
    """Prose with HTML elements and links escaped."""
    return re.sub(r"<(?=[A-Za-z/!?])", r"\<", text).replace("](", "]\\(")


def _html(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        notes = "".join(f"<p>{html.escape(note)}</p>\n" for note in table.notes)
        # tabulate escapes every cell in this style.
        parts.append(f"<h2>{html.escape(table.title)}</h2>\n{_tabulated(table, 'html')}\n{notes}")
    return "\n".join([*parts, *(f"<p>{html.escape(line)}</p>" for line in legend_of(tables))])


def _latex(tables: Sequence[Table]) -> str:
    return to_latex(tables, legend_of(tables))
