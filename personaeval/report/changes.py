"""Paired changes from a group's baseline to its other rows, tested and adjusted over the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from personaeval.analysis.compare import AlignedTask, align
from personaeval.errors import InvalidRunError, UsageError
from personaeval.metrics.inference import holm
from personaeval.metrics.paired import Change
from personaeval.report.entries import Entry
from personaeval.report.estimates import MARK, FormattedEstimate
from personaeval.report.table import count, grouped
from personaeval.results.runs import open_runs


@dataclass(frozen=True)
class Row:
    """Changes of one row.

    Attributes:
        changes: metric -> change; empty for the baseline itself, and for a row that cannot be paired with it.
        p: metric -> p-value of "no change", adjusted over all tests of the table; tested metrics only.
    """

    changes: Mapping[str, Change]
    p: Mapping[str, float]

    def absolute(self, name: str, otherwise: float | None = None) -> FormattedEstimate:
        """A metric's change in its own unit, with its interval and p-value.

        Args:
            name: name of the metric.
            otherwise: shown, without interval and p-value, for a row that cannot be paired.
        """
        change = self.changes.get(name)
        if change is None:
            return FormattedEstimate(otherwise, signed=True)
        own = change.absolute
        return FormattedEstimate(own.value, own.low, own.high, signed=True, p=self.p.get(name))

    def relative(self, name: str, otherwise: float | None = None) -> FormattedEstimate:
        """A metric's relative change with its interval; ``otherwise`` for a row that cannot be paired."""
        change = self.changes.get(name)
        if change is None:
            return FormattedEstimate(otherwise, percent=True)
        own = change.relative
        return FormattedEstimate(own.value, own.low, own.high, percent=True)


@dataclass(frozen=True)
class TableChanges:
    """Changes of a group's rows against its baseline.

    Attributes:
        rows: one for each row of the table.
        notes: what was left out, and what could not be tested.
        legend: what the changes are relative to, and how they were tested.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    legend: tuple[str, ...]


def table_changes(
    entries: Sequence[Entry],
    base: Entry,
    names: Sequence[str],
    tested: Sequence[str],
    generalise_to_personas: bool = False,
) -> TableChanges:
    """Paired changes of a group's rows against its baseline.

    Args:
        entries: the group's rows, with the same prompts and sampling.
        base: the row that the others are compared with.
        names: the rows' names in the table.
        tested: metrics whose changes are tested; p-values are adjusted by Holm over all of them and all rows.
        generalise_to_personas: intervals for other personas as well.
    """
    found: list[Mapping[str, Change]] = []
    notes: list[tuple[str, str]] = []
    for entry, name in zip(entries, names, strict=True):
        if entry is base:
            found.append({})
            continue
        try:
            aligned = _align(base, entry)
        except (InvalidRunError, UsageError) as error:
            notes.append((name, f"its changes are not tested: {error}"))
            found.append({})
            continue
        found.append(aligned.changes(generalise_to_personas and aligned.judged is None))
        notes += [(name, note) for note in aligned.notes]
    rows = _adjusted(found, tested)
    tests = sum(len(row.p) for row in rows)
    legend = []
    if tests:
        reference = names[list(entries).index(base)]
        legend.append(
            f"change: minus {reference}, in the metric's own unit (0.010 is one point); relative: as a share of "
            f"{reference}. Paired on the same items, personas and samples, with 95 % intervals. *: p < {MARK} for no "
            "change, two-sided, adjusted by Holm over the table's tests."
        )
    told = [f"{count(tests, 'test')} of changes, adjusted together."] if tests else []
    return TableChanges(tuple(rows), (*grouped(names, notes), *told), tuple(legend))


def _align(base: Entry, entry: Entry) -> AlignedTask:
    sides = []
    for own in (base, entry):
        if "folder" not in own.summary:
            raise InvalidRunError("no folder with its cells.")
        sides.append(replace(open_runs(str(Path(own.summary["folder"]))), name=own.name))
    # Rows of one group are comparable by its key; the place of the persona has a note of its own.
    return align(sides[0], sides[1], base.task, allow_different_settings=True)


def _adjusted(found: Sequence[Mapping[str, Change]], tested: Sequence[str]) -> list[Row]:
    places = [
        (row, name, changes[name].p)
        for row, changes in enumerate(found)
        for name in tested
        if name in changes and changes[name].p is not None
    ]
    adjusted = holm(np.array([p for _, _, p in places], dtype=np.float64))
    p_values: list[dict[str, float]] = [{} for _ in found]
    for (row, name, _), p in zip(places, adjusted, strict=True):
        p_values[row][name] = float(p)
    return [Row(changes, own) for changes, own in zip(found, p_values, strict=True)]
