"""Tables of tasks with right and wrong answers by persona: a row per persona, then per category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personaeval.analysis.against_none import Difference, differences
from personaeval.analysis.compare import counts_of
from personaeval.errors import UsageError
from personaeval.report.entries import Entry, Groups, names_of, title_of
from personaeval.report.estimates import FormattedEstimate, interval, p_value
from personaeval.report.stability_tables import row_notes, sample_legend, title_words
from personaeval.report.table import THESE_PERSONAS, Cell, Key, Table, with_names
from personaeval.results.runs import open_runs

_ALONE = {
    "accuracy": "accuracy",
    "accuracy_against_none": "against none",
    "gained": "gained",
    "lost": "lost",
    "p_adjusted": "p (BH)",
    "no_answer": "no answer",
    "truncated": "truncated",
    "suspect": "suspect",
    "suspect_chance": "by chance",
}
"""Metric -> heading, in the table of one checkpoint."""

_LEGEND = (
    "against none: accuracy minus that of none, on the same items; *: p below 0.05, adjusted over the personas and "
    "over the categories (Benjamini and Hochberg). all of …: about these personas, not about all personas of the kind.",
    "gained: items right under the persona and wrong under none; lost: the reverse.",
)

_SUSPECT = "suspect: wrong, though the text holds the right answer where one would stand; by chance: so many would."


@dataclass(frozen=True)
class _Tests:
    """Differences from the baseline by persona and category; empty if the cells cannot be read."""

    personas: Mapping[str, Difference]
    categories: Mapping[str, Difference]

    @classmethod
    def of(cls, entry: Entry) -> _Tests:
        if "folder" not in entry.summary:
            return cls({}, {})
        try:
            return cls(*differences(counts_of(open_runs(str(Path(entry.summary["folder"]))), entry.task)))
        except UsageError:
            return cls({}, {})


def persona_table(entries: Sequence[Entry], groups: Groups) -> Table:
    """Table of one group: a column per checkpoint; of one checkpoint alone, more about each persona."""
    names, alone = names_of(entries), len(entries) == 1
    rows, keys = _rows_alone(entries[0]) if alone else _rows(entries)
    title, told = title_of(entries, title_words(entries[0]), groups)
    columns: tuple[str, ...] = ("persona", "category", *names)
    column_keys: tuple[Key | None, ...] = (None, None, *(own.key | Key(metric="accuracy") for own in entries))
    if alone:
        columns = ("persona", "category", *_ALONE.values())
        column_keys = (None, None, *(entries[0].key | Key(metric=name) for name in _ALONE))
    legend = (*_LEGEND, *([_SUSPECT] if _suspects(entries[0]) else [])) if alone else ()
    table = Table(
        title,
        columns,
        tuple(rows),
        tuple(row_notes(entries, names)),
        (*sample_legend(entries), *legend, THESE_PERSONAS),
        Key(view="personas", settings=told or None),
        tuple(keys),
        column_keys,
    )
    return with_names(table, entries[0].part.get("persona_names") or {})


def _rows(entries: Sequence[Entry]) -> tuple[list[tuple[Cell, ...]], list[Key]]:
    """Accuracy of each checkpoint. Runs of a group have the same personas, but not in the same order."""
    parts = [{row["persona"]: row for row in entry.part["stability"]["by_persona"]} for entry in entries]
    rows: list[tuple[Cell, ...]] = []
    keys = []
    for persona, first in parts[0].items():
        rows.append((persona, first["category"], *(interval(part[persona]["accuracy"]) for part in parts)))
        keys.append(Key(persona=persona, category=first["category"]))
    by_category = [entry.part["stability"]["by_category"] for entry in entries]
    for category in by_category[0]:
        rows.append((f"all of {category}", category, *(interval(own[category]) for own in by_category)))
        keys.append(Key(category=category))
    return rows, keys


def _rows_alone(entry: Entry) -> tuple[list[tuple[Cell, ...]], list[Key]]:
    """Everything about each persona and category of one checkpoint."""
    tests, suspects = _Tests.of(entry), _suspects(entry)
    by_persona = entry.part["stability"]["by_persona"]
    none = next((row["accuracy"]["value"] for row in by_persona if row["category"] == "baseline"), None)
    rows: list[tuple[Cell, ...]] = []
    keys = []
    for row in by_persona:
        name = row["persona"]
        is_baseline = row["category"] == "baseline"
        apart = "" if is_baseline else _against(tests.personas.get(name), row["accuracy"]["value"], none)
        counts = _counts(row, tests.personas.get(name), suspects.get(name))
        rows.append((name, row["category"], interval(row["accuracy"]), apart, *counts))
        keys.append(Key(persona=name, category=row["category"]))
    for category, accuracy in entry.part["stability"]["by_category"].items():
        test = tests.categories.get(category)
        apart = _against(test, accuracy["value"], none)
        empty: list[Cell] = ["", "", p_value(test.p if test else None), "", "", "", ""]
        rows.append((f"all of {category}", category, interval(accuracy), apart, *empty))
        keys.append(Key(category=category))
    return rows, keys


def _against(test: Difference | None, accuracy: float | None, none: float | None) -> FormattedEstimate:
    """The difference from the baseline; without its test if the cells are not at hand."""
    if test is not None:
        own = test.estimate
        return FormattedEstimate(own.value, own.low, own.high, signed=True, p=test.p)
    if accuracy is None or none is None:
        return FormattedEstimate(None, why="none was not scored")
    return FormattedEstimate(accuracy - none, signed=True)


def _counts(row: Mapping[str, Any], test: Difference | None, suspect: Mapping[str, Any] | None) -> list[Cell]:
    wrong = row["wrong"]
    cells: list[Cell] = [FormattedEstimate(row.get(name), digits=1) for name in ("gained", "lost")]
    cells += [p_value(test.p if test else None), wrong["no_answer"], wrong["truncated"]]
    if suspect is None:
        return [*cells, "", ""]
    return [*cells, suspect["suspect"], FormattedEstimate(suspect["expected"], digits=1)]


def _suspects(entry: Entry) -> Mapping[str, Mapping[str, Any]]:
    return {row["persona"]: row for row in (entry.part.get("readings") or {}).get("by_persona", ())}
