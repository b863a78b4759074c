"""A table: what is shown, and what each of its figures is of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from personaeval.errors import UsageError, suggest
from personaeval.report.estimates import FormattedEstimate

INTERVAL_NOTE = "±: half of the 95 % interval, [both ends] where it is not symmetric"
"""Beginning of the note on intervals, by which it is found and removed with them."""

THESE_PERSONAS = f"{INTERVAL_NOTE}; for other items under these personas (judged tasks: for other personas)."
"""What intervals are about, unless asked for otherwise."""

_ROW_NAMES = ("metric", "persona", "item")
"""Columns without which rows have no name."""

Cell = FormattedEstimate | str | int


@dataclass(frozen=True, slots=True)
class Key:
    """What a figure is of, by machine names; the keys of its table, row and column together.

    Attributes:
        view: which of a command's tables it stands in.
        task: name of the task.
        settings: settings in which this table differs from others of the task.
        checkpoint: short name of the checkpoint; of a change, the candidate.
        fingerprint: of the checkpoint.
        run: 8 digits of the plan's hash.
        base: of a change, the checkpoint it is measured from.
        persona: id of the persona.
        category: of personas.
        item: id of the item.
        metric: its name, as in summary.json.
        form: what follows the metric's name, such as ``_change``.
        n: number of clusters (items; for judged tasks, personas).
    """

    view: str | None = None
    task: str | None = None
    settings: str | None = None
    checkpoint: str | None = None
    fingerprint: str | None = None
    run: str | None = None
    base: str | None = None
    persona: str | None = None
    category: str | None = None
    item: str | None = None
    metric: str | None = None
    form: str | None = None
    n: int | None = None

    def __or__(self, other: Key) -> Key:
        return replace(self, **{f.name: value for f in fields(other) if (value := getattr(other, f.name)) is not None})


@dataclass(frozen=True, slots=True)
class Table:
    """A table: rows that can be compared with each other, and notes on them.

    Attributes:
        title: what it shows.
        columns: the headings.
        rows: cells by row.
        notes: what is particular to this table.
        legend: what the headings and signs mean; shown once for several tables.
        key: what all its figures have in common.
        row_keys: what each row is of; empty for a table without figures.
        column_keys: what each column is of; None for a column that only names or repeats.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = field(default=())
    legend: tuple[str, ...] = field(default=())
    key: Key = field(default=Key())
    row_keys: tuple[Key, ...] = field(default=())
    column_keys: tuple[Key | None, ...] = field(default=())


def without_intervals(tables: Sequence[Table]) -> list[Table]:
    """The same tables without intervals."""

    def bare(cell: Cell) -> Cell:
        return replace(cell, low=None, high=None) if isinstance(cell, FormattedEstimate) else cell

    return [
        replace(
            table,
            rows=tuple(tuple(map(bare, row)) for row in table.rows),
            legend=tuple(note for note in table.legend if not note.startswith(INTERVAL_NOTE)),
        )
        for table in tables
    ]


def with_names(table: Table, names: Mapping[str, str]) -> Table:
    """A table with a row per persona, and a column with the personas' names after their ids if any has one."""
    if not names:
        return table
    named = [names.get(key.persona or "", "") for key in table.row_keys]
    return replace(
        table,
        columns=(table.columns[0], "name", *table.columns[1:]),
        rows=tuple((row[0], name, *row[1:]) for row, name in zip(table.rows, named, strict=True)),
        column_keys=(None, None, *table.column_keys[1:]),
    )


def with_columns(tables: Sequence[Table], names: Sequence[str]) -> list[Table]:
    """The same tables with chosen columns alone, beside the names of their rows.

    Args:
        tables: the tables.
        names: headings or names of metrics.

    Raises:
        UsageError: no table has such a column.
    """
    known = {name for table in tables for place in range(len(table.columns)) for name in _column_names(table, place)}
    for name in names:
        if name not in known:
            raise UsageError(f"--columns {name}: no such column.{suggest(name, known - {''})}")
    return [_chosen(table, set(names)) for table in tables]


def _chosen(table: Table, names: set[str]) -> Table:
    kept = [
        place
        for place, heading in enumerate(table.columns)
        if not place or heading in _ROW_NAMES or names & set(_column_names(table, place))
    ]
    return replace(
        table,
        columns=tuple(table.columns[place] for place in kept),
        rows=tuple(tuple(row[place] for place in kept) for row in table.rows),
        column_keys=tuple(table.column_keys[place] for place in kept) if table.column_keys else (),
    )


def _column_names(table: Table, place: int) -> tuple[str, str]:
    """A column's heading, and its metric's name."""
    key = table.column_keys[place] if table.column_keys else None
    return table.columns[place], f"{key.metric}{key.form or ''}" if key is not None and key.metric else ""


def with_remarks(tables: Sequence[Table], lines: Sequence[str]) -> tuple[Table, ...]:
    """The same tables with remarks on all of them at the end."""
    *others, last = tables
    return (*others, replace(last, legend=(*last.legend, *lines)))


def grouped(names: Sequence[str], found: Sequence[tuple[str, str]]) -> list[str]:
    """Notes on rows, each text once: ``all: only 12 items``.

    Args:
        names: the table's rows.
        found: name and text of each note.
    """
    owners: dict[str, list[str]] = {}
    for name, text in found:
        own = owners.setdefault(text, [])
        if name not in own:
            own.append(name)
    rows = len(set(names))
    every = "both" if rows == 2 else "all"
    return [f"{every if 1 < len(own) == rows else ', '.join(own)}: {text}" for text, own in owners.items()]


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: ``1 test``, ``1,200 tests``."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
