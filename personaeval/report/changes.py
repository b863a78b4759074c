"""What changed from a group's baseline to its other rows: paired by item, tested, corrected over the table."""

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
    """What changed in one row.

    Attributes:
        changes: metric -> change; empty for the baseline itself, and where nothing could be paired.
        p: metric -> p-value of no change, adjusted over all tests of the table; of those that are tested.
    """

    changes: Mapping[str, Change]
    p: Mapping[str, float]

    def relative(self, name: str, otherwise: float | None = None) -> FormattedEstimate:
        """Return a metric's relative change with its interval and p-value.

        Args:
            name: of the metric.
            otherwise: shown without both where nothing could be paired.
        """
        change = self.changes.get(name)
        if change is None:
            return FormattedEstimate(otherwise, percent=True)
        own = change.relative
        return FormattedEstimate(own.value, own.low, own.high, percent=True, p=self.p.get(name))


@dataclass(frozen=True)
class TableChanges:
    """The rows of a group against its baseline; ``notes`` say what was tested and what was not."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def against(
    entries: Sequence[Entry], base: Entry, names: Sequence[str], tested: Sequence[str], generalise: bool = False
) -> TableChanges:
    """Return the paired changes of a group.

    Args:
        entries: its rows, whose prompts and sampling are the same.
        base: the one the others are compared with.
        names: what the table calls the rows.
        tested: the metrics whose changes are tested: Holm over all of them and all rows.
        generalise: claim something about personas that were not tried, too.
    """
    found: list[Mapping[str, Change]] = []
    notes = []
    for entry, name in zip(entries, names, strict=True):
        if entry is base:
            found.append({})
            continue
        try:
            pair = _pair(base, entry)
        except (InvalidRunError, UsageError) as error:
            notes.append(f"{name}: its changes are not tested: {error}")
            found.append({})
            continue
        found.append(pair.changes(generalise and pair.judged is None))
        notes += [f"{name}: {note}" for note in pair.notes]
    rows = _adjusted(found, tested)
    count = sum(len(row.p) for row in rows)
    if count:
        whose = names[list(entries).index(base)]
        notes.insert(
            0,
            f"Changes are relative to {whose}, paired on the same items, personas and samples, with 95 % intervals. "
            f"* p < {MARK} of no change, two-sided, adjusted by Holm over the table's {count} tests.",
        )
    return TableChanges(tuple(rows), tuple(dict.fromkeys(notes)))


def _pair(base: Entry, entry: Entry) -> AlignedTask:
    sides = []
    for summary, part in (base, entry):
        if "folder" not in summary:
            raise InvalidRunError("no folder with its cells.")
        task = next(name for name, own in summary["tasks"].items() if own is part)
        sides.append((replace(open_runs(str(Path(summary["folder"]))), name=summary["label"]), task))
    # The rows of a group are comparable, which its key says; the place of the persona has a note of its own.
    return align(sides[0][0], sides[1][0], sides[0][1], allow_different_settings=True)


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
