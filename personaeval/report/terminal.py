"""Tables fitted to a terminal: no line longer than its width, nothing cut.

A table that is too wide is turned over, its columns becoming rows, or else split into blocks of columns; long names and
texts are folded within their cells::

    print(to_terminal(tables, width=80))
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from personaeval.report.folding import hanging
from personaeval.report.formats import for_people, legend_of
from personaeval.report.layout import Column, blocks_of
from personaeval.report.table import Table

_NARROWEST = 40
"""Terminals that claim to be narrower are treated as this wide."""

_HOISTED = ("task", "severity", "category", "run")
"""Columns that are told once, above the table, where all rows agree."""

_BELOW = ("why", "who")
"""Columns of sentences: they go below the table, after the names of their rows."""

_STYLES = {"PASS": "bold green", "REGRESSION": "bold red", "INCONCLUSIVE": "bold yellow", "INVALID": "bold magenta"}


def to_terminal(tables: Sequence[Table], width: int, styled: bool = False) -> str:
    """Tables as text of a width, with the notes below each and the legend once at the end.

    Args:
        tables: the tables.
        width: number of columns of the terminal.
        styled: with ANSI colours.
    """
    out = io.StringIO()
    console = Console(
        file=out, width=max(width, _NARROWEST), force_terminal=styled, no_color=not styled, legacy_windows=False
    )
    shown = [for_people(table) for table in tables]
    for table in shown:
        _print_table(console, table)
    if legend := legend_of(shown):
        _print_lines(console, legend, "dim")
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()).strip("\n")


def terminal_width() -> int:
    """Number of columns of the terminal, or of ``COLUMNS``."""
    return shutil.get_terminal_size().columns


def _print_table(console: Console, table: Table) -> None:
    table, above, below = _simplified(table)
    _print_lines(console, [table.title], "bold")
    if above:
        _print_lines(console, [above])
    for number, block in enumerate(blocks_of(table, console.width)):
        if number:
            console.print()
        console.print(_drawn(block), crop=False, overflow="ignore", no_wrap=True)
    if lines := [*below, *table.notes]:
        console.print()
        _print_lines(console, lines)
    console.print()


def _print_lines(console: Console, lines: Sequence[str], style: str = "") -> None:
    for line in lines:
        text = Text(hanging(line, console.width), style=style)
        console.print(text, crop=False, overflow="ignore", no_wrap=True)


def _simplified(table: Table) -> tuple[Table, str, list[str]]:
    """The table without columns that say one thing or sentences; what they say, for above and below the table."""
    rows = table.rows
    hoisted = [
        place
        for place, heading in enumerate(table.columns)
        if heading in _HOISTED and rows and len({row[place] for row in rows}) == 1 and len(table.columns) > 2
    ]
    below = [place for place, heading in enumerate(table.columns) if heading in _BELOW]
    kept = [place for place in range(len(table.columns)) if place not in (*hoisted, *below)]
    above = ", ".join(f"{table.columns[place]} {rows[0][place]}" for place in hoisted)
    names = [place for place in kept if table.columns[place] in ("task", "metric", "checkpoint", "persona")]
    told = [
        f"{' '.join(str(row[name]) for name in names)}: {row[place]}" for place in below for row in rows if row[place]
    ]
    smaller = replace(
        table,
        columns=tuple(table.columns[place] for place in kept),
        rows=tuple(tuple(row[place] for place in kept) for row in rows),
    )
    return smaller, above, told


def _drawn(columns: Sequence[Column]) -> RichTable:
    drawn = RichTable(
        box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, columns[-1].gap - 1, 0, 0), header_style="bold"
    )
    for column in columns:
        drawn.add_column(
            Text(column.heading),
            justify="left" if column.is_text else "right",
            no_wrap=True,
            min_width=column.width,
            width=column.width,
            vertical="bottom",
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        drawn.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))
    return drawn
