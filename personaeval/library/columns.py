"""Data files whose columns have other names than a task's templates: mapped as asked, or matched ignoring case.

::

    path, names = split_mapping(Path("test.jsonl?Problem=problem"))  # test.jsonl, {"Problem": "problem"}
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from personaeval.errors import UsageError, suggest
from personaeval.library.items import Row


@dataclass(frozen=True, slots=True)
class Renamed:
    """Rows with the columns that templates ask for; ``columns`` maps each added name to the file's own."""

    rows: list[Row]
    columns: Mapping[str, str]


def split_mapping(data: Path) -> tuple[Path, dict[str, str]]:
    """The file of ``FILE?COLUMN=NAME&…``, and the name by which the task knows each of the file's columns.

    Raises:
        UsageError: a part is not COLUMN=NAME.
    """
    text = str(data)
    file, mark, query = text.partition("?")
    if not mark or data.exists():
        return data, {}
    names: dict[str, str] = {}
    for part in query.split("&"):
        column, equals, name = part.partition("=")
        if not (equals and column and name) or column in names:
            raise UsageError(
                f"--data {text}: {part!r} is not COLUMN=NAME, or repeats a column; write FILE?COLUMN=NAME, with the "
                "file's column first and the task's name for it second."
            )
        names[column] = name
    return Path(file), names


def rename_columns(rows: Sequence[Row], wanted: Collection[str], names: Mapping[str, str], named: str) -> Renamed:
    """Rows that also have the columns under the names that templates use.

    Args:
        rows: of a file.
        wanted: the columns that the task's templates name.
        names: the file's column -> the task's name for it, as the user gave them.
        named: the file, for messages.

    Raises:
        UsageError: a named column is not in the file.
    """
    there = {str(column): None for row in rows for column in row}
    added: dict[str, str] = {}
    for column, name in names.items():
        if column not in there:
            swapped = column in wanted and name in there
            remedy = f" The file's column comes first: ?{name}={column}" if swapped else suggest(column, there)
            raise UsageError(f"{named}: it has no column {column!r}.{remedy}")
        added[name] = column
    for name in wanted:
        if name not in there and name not in added:
            alike = [column for column in there if column.casefold() == name.casefold()]
            # Of two that fit, either could be meant; the template's own error then lists the columns.
            if len(alike) == 1:
                added[name] = alike[0]
    if not added:
        return Renamed(list(rows), {})
    return Renamed(
        [{**row, **{name: row[column] for name, column in added.items() if column in row}} for row in rows], added
    )
