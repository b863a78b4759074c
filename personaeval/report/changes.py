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
from personaeval.report.formats import MARK, FormattedEstimate
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

    def relative(self, name: str, otherwise: float | None = None) -> FormattedEstimate:
        """A metric's relative change with its interval and p-value.

        Args:
            name: name of the metric.
            otherwise: shown, without interval and p-value, for a row that cannot be paired.
        """
        change = self.changes.get(name)
        if change is None:
            return FormattedEstimate(otherwise, percent=True)
        own = change.relative
        return FormattedEstimate(own.value, own.low, own.high, percent=True, p=self.p.get(name))


@dataclass(frozen=True)
class TableChanges:
    """Changes of a group's rows against its baseline; ``notes`` say what was tested and what was not."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]


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
    notes = []
    for entry, name in zip(entries, names, strict=True):
        if entry is base:
            found.append({})
            continue
        try:
            aligned = _align(base, entry)
        except (InvalidRunError, UsageError) as error:
            notes.append(f"{name}: its changes are not tested: {error}")
            found.append({})
            continue
        found.append(aligned.changes(generalise_to_personas and aligned.judged is None))
        notes += [f"{name}: {note}" for note in aligned.notes]
    rows = _adjusted(found, tested)
    count = sum(len(row.p) for row in rows)
    if count:
        reference = names[list(entries).index(base)]
        notes.insert(
            0,
            f"Changes are relative to {reference}, paired on the same items, personas and samples, with 95 % "
            f"intervals. *: p < {MARK} for no change, two-sided, adjusted by Holm over the table's {count} tests.",
        )
    return TableChanges(tuple(rows), tuple(dict.fromkeys(notes)))


def _align(base: Entry, entry: Entry) -> AlignedTask:
    checkpoints = []
    for summary, part in (base, entry):
        if "folder" not in summary:
            raise InvalidRunError("no folder with its cells.")
        task = next(name for name, own in summary["tasks"].items() if own is part)
        checkpoints.append((replace(open_runs(str(Path(summary["folder"]))), name=summary["short_name"]), task))
    # Rows of one group are comparable by its key; the place of the persona has a note of its own.
    return align(checkpoints[0][0], checkpoints[1][0], checkpoints[0][1], allow_different_settings=True)


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
