"""How a table is laid out in a given width: as it is, turned over, or in blocks of columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from personaeval.report.folding import fold, narrowest, width_of
from personaeval.report.table import Cell, Table

_GAPS = (2, 1)
"""Spaces between columns: two, or one if the table fits only then."""

_SHORT = 16
"""Texts are not folded to less than this."""

_MOST_TURNED = 6
"""Tables of more rows are not turned over."""


@dataclass(frozen=True)
class Column:
    """A column as texts; a text of several lines is a folded one.

    Attributes:
        heading: of the column.
        cells: below it.
        is_text: aligned to the left, and may be folded.
        gap: spaces before it.
    """

    heading: str
    cells: tuple[str, ...]
    is_text: bool
    gap: int = 0

    @property
    def width(self) -> int:
        """Width of its longest line."""
        return max(map(width_of, (self.heading, *self.cells)))

    @property
    def least(self) -> int:
        """The width to which it can be folded."""
        cells = max((_least(cell) if self.is_text else width_of(cell) for cell in self.cells), default=0)
        return max(cells, narrowest(self.heading), 1)

    def folded(self, width: int) -> Column:
        """The column in a smaller width."""
        cells = tuple(fold(cell, width) if self.is_text else cell for cell in self.cells)
        return replace(self, heading=fold(self.heading, width), cells=cells)


def _least(text: str) -> int:
    return min(width_of(text), max(_SHORT, narrowest(text)))


def blocks_of(table: Table, width: int) -> list[list[Column]]:
    """The table in a width: one block of columns as it is or turned over, or else as few lines as blocks allow."""
    columns, turned = _columns(table), _turned(table)
    for candidate in (columns, turned):
        if candidate and (fitted := _fitted(candidate, width)):
            return [fitted]
    candidates = [_split(own, width) for own in (columns, turned) if own]
    return min(candidates, key=lambda blocks: sum(len(block[0].cells) + 3 for block in blocks))


def _columns(table: Table) -> list[Column]:
    columns = []
    for place, heading in enumerate(table.columns):
        cells = [row[place] for row in table.rows]
        is_text = not place or all(isinstance(cell, str) for cell in cells)
        columns.append(Column(heading, tuple(map(_text, cells)), is_text))
    return columns


def _turned(table: Table) -> list[Column]:
    """The table with its columns as rows; nothing if that makes no sense."""
    if not 0 < len(table.rows) <= _MOST_TURNED or len(table.columns) <= len(table.rows):
        return []
    first = Column(table.columns[0], table.columns[1:], is_text=True)
    return [first, *(Column(_text(row[0]), tuple(map(_text, row[1:])), is_text=False) for row in table.rows)]


def _text(cell: Cell) -> str:
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def _fitted(columns: Sequence[Column], width: int) -> list[Column] | None:
    """The columns in a width, folded as little as possible; None if they do not fit."""
    for gap in _GAPS:
        room = width - gap * (len(columns) - 1)
        widths = [column.least for column in columns]
        spare = room - sum(widths)
        if spare < 0:
            continue
        for place, column in enumerate(columns):
            more = min(spare, column.width - widths[place])
            widths[place] += more
            spare -= more
        folded = [column.folded(own) for column, own in zip(columns, widths, strict=True)]
        return [replace(column, gap=gap if place else 0) for place, column in enumerate(folded)]
    return None


def _split(columns: Sequence[Column], width: int) -> list[list[Column]]:
    """Blocks of as many columns as fit, each beginning with the names of the rows."""
    fixed = 1 if len(set(columns[0].cells)) == len(columns[0].cells) else 2
    names, blocks = list(columns[:fixed]), []
    block: list[Column] = []
    for column in columns[fixed:]:
        if block and _fitted([*names, *block, column], width) is None:
            blocks.append(block)
            block = []
        block.append(column)
    blocks.append(block)
    return [_fitted([*names, *own], width) or _narrowed([*names, *own], width) for own in blocks]


def _narrowed(columns: Sequence[Column], width: int) -> list[Column]:
    """Columns that are too wide even alone: broken at any place."""
    own = max(1, (width - len(columns)) // len(columns))
    forced = [replace(column, is_text=True).folded(own) for column in columns]
    return [replace(column, gap=1 if place else 0) for place, column in enumerate(forced)]
