"""Results of the Python API's leaderboard, compare and check: they display as Markdown and give DataFrames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from personaeval.analysis.check import Outcome, Report
from personaeval.report import figures
from personaeval.report.estimates import FormattedEstimate
from personaeval.report.formats import render
from personaeval.report.table import Cell, Table, with_columns, without_intervals
from personaeval.report.verdicts import to_json, to_junit, to_markdown, verdict_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Tables:
    """Tables of estimates; rows of one table can be compared with each other.

    Prints and displays as Markdown; ``frames()`` gives the numbers.

    Attributes:
        tables: titles, columns, rows and notes.
    """

    tables: tuple[Table, ...]

    def __len__(self) -> int:
        return len(self.tables)

    def __iter__(self) -> Iterator[Table]:
        return iter(self.tables)

    def __str__(self) -> str:
        return self.render()

    def _repr_markdown_(self) -> str:
        return self.render()

    def render(self, format: str = "markdown", intervals: bool = True) -> str:
        """The tables as text: markdown, html or latex; csv and json are one long table, as :meth:`frame` gives it.

        Raises:
            UsageError: an unknown format.
        """
        return render(self.tables if intervals else without_intervals(self.tables), format)

    def for_terminal(self, width: int | None = None, intervals: bool = True) -> str:
        """The tables fitted to a terminal: no line longer than its width, nothing cut.

        Args:
            width: number of columns; None: those of the terminal, with colours.
            intervals: with intervals.
        """
        from personaeval.report.terminal import terminal_width, to_terminal

        shown = self.tables if intervals else without_intervals(self.tables)
        return to_terminal(shown, width or terminal_width(), styled=width is None)

    def choose(self, columns: Sequence[str]) -> Tables:
        """The same tables with some columns alone, by heading or metric, beside the names of their rows.

        Raises:
            UsageError: no table has such a column.
        """
        return Tables(tuple(with_columns(self.tables, columns)))

    @property
    def notes(self) -> tuple[str, ...]:
        """Every table's notes and legend, each once."""
        notes = [note for table in self.tables for note in table.notes]
        return tuple(dict.fromkeys([*notes, *(line for table in self.tables for line in table.legend)]))

    def frame(self) -> pd.DataFrame:
        """Every figure of all tables in one long DataFrame, a row each, as ``-f csv`` and ``-f parquet`` write it."""
        return figures.to_pandas(self.tables)

    def to_parquet(self, intervals: bool = True) -> bytes:
        """The long table as the content of a Parquet file."""
        return figures.to_parquet(self.tables if intervals else without_intervals(self.tables))

    def frames(self) -> list[pd.DataFrame]:
        """One DataFrame per table, with its title in ``attrs``.

        An estimate's interval is in ``NAME low`` and ``NAME high``, its p-value in ``NAME p``.
        """
        return [_frame(table) for table in self.tables]


@dataclass(frozen=True)
class CheckResult:
    """A check's verdict on a candidate; prints and displays as Markdown.

    Attributes:
        report: the findings in full.
    """

    report: Report = field(repr=False)

    def __str__(self) -> str:
        return to_markdown(self.report)

    def _repr_markdown_(self) -> str:
        return to_markdown(self.report)

    @property
    def outcome(self) -> Outcome:
        """PASS, REGRESSION, INCONCLUSIVE or INVALID; a string."""
        return self.report.outcome

    @property
    def passed(self) -> bool:
        """Whether the candidate is shown to be no worse than the policy allows."""
        return self.outcome is Outcome.PASS

    @property
    def exit_code(self) -> int:
        """The command's exit code: 0 PASS, 1 REGRESSION, 3 INCONCLUSIVE, 4 INVALID."""
        return self.report.exit_code

    def frame(self) -> pd.DataFrame:
        """One row per gated metric: task, metric, severity, max_drop, outcome, reason, base, candidate, decline, …"""
        import pandas as pd

        rows = [asdict(finding) for finding in self.report.findings]
        frame = pd.DataFrame(
            [{**row, "severity": row["severity"].value, "outcome": row["outcome"].value} for row in rows]
        )
        numbers = ["max_drop", "base", "candidate", "decline", "low", "high", "p", "low_if_wrong", "high_if_wrong"]
        texts = ["task", "metric", "severity", "outcome", "reason"]
        return frame.astype(dict.fromkeys(numbers, "float64") | dict.fromkeys(texts, "string"))

    @property
    def tables(self) -> Tables:
        """The findings as a table, in any format of tables."""
        return Tables((verdict_table(self.report),))

    def to_json(self) -> str:
        """The report that ``personaeval check --json`` prints."""
        return to_json(self.report)

    def to_junit(self) -> str:
        """The report that ``personaeval check --junit`` writes."""
        return to_junit(self.report)


def _frame(table: Table) -> pd.DataFrame:
    import pandas as pd

    columns: dict[str, Any] = {}
    for place, name in enumerate(table.columns):
        cells = [row[place] for row in table.rows]
        if any(isinstance(cell, FormattedEstimate) for cell in cells):
            columns |= _figures(name, cells)
        else:
            whole = all(isinstance(cell, int) for cell in cells)
            columns[name] = pd.array(cells, dtype="Int64" if whole else "string")  # type: ignore[call-overload]
    frame = pd.DataFrame(columns)
    frame.attrs["title"] = table.title
    return frame


def _figures(name: str, cells: Sequence[Any]) -> Mapping[str, Any]:
    """The columns of an estimate; a word in its place (such as "baseline") becomes NaN."""
    import pandas as pd

    return {
        f"{name} {own}".removesuffix(" value"): pd.array(
            [getattr(cell, own) if isinstance(cell, FormattedEstimate) else None for cell in cells], dtype="Float64"
        ).to_numpy("float64", na_value=float("nan"))
        for own in _estimate_fields(cells)
    }


def _estimate_fields(column: Sequence[Cell]) -> tuple[str, ...]:
    """The parts of a column's estimates that get columns of their own."""
    own = [cell for cell in column if isinstance(cell, FormattedEstimate)]
    wide = any(cell.low is not None for cell in own)
    return ("value", *(("low", "high") if wide else ()), *(("p",) if any(c.p is not None for c in own) else ()))
