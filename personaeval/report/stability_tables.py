"""Tables of tasks with right and wrong answers: a row per checkpoint, or a row per persona."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from personaeval.analysis.compare import interpret_pss_change
from personaeval.metrics.catalogue import STABILITY
from personaeval.report.changes import Row, table_changes
from personaeval.report.entries import (
    Entry,
    Groups,
    Summary,
    absolute,
    drawn,
    group,
    names_of,
    relative,
    role_notes,
    setting_columns,
    title_of,
)
from personaeval.report.estimates import FormattedEstimate, interval
from personaeval.report.table import INTERVAL_NOTE, THESE_PERSONAS, Cell, Key, Table, count, grouped

_INTERPRETATION = (
    "interpretation: a change of PSS is one of stability only if κ changed significantly in the same direction, or the "
    "persona effect in the opposite one (p < 0.05 each)."
)

_ONE_SAMPLE = "One sample: the persona effect and sampling noise are not separated (corrected PSS needs two)."

_SHOWN = {metric.name: metric.column for metric in STABILITY if metric.column is not None}

_CHANGED = {"accuracy": "accuracy", "pss": "PSS"}


def groups(summaries: Sequence[Summary], task: str | None) -> Groups:
    """Comparable groups of tasks with right and wrong answers: same prompts, sampling and gold answers."""
    return group(summaries, "stability", task, lambda part: interval(part["stability"]["pss"]))


def table(
    entries: Sequence[Entry],
    groups: Groups,
    base: Entry | None = None,
    more_notes: Sequence[str] = (),
    generalise_to_personas: bool = False,
    names: Sequence[str] = (),
) -> Table:
    """Table of one group, a row per checkpoint.

    Args:
        entries: the rows.
        groups: the rows of all tables, which the title tells apart.
        base: the row against which changes are shown.
        more_notes: further notes on this table.
        generalise_to_personas: whether the intervals hold for other personas as well.
        names: of the rows; by default, the shortest that are distinct.
    """
    names, settings = names or names_of(entries), setting_columns(entries)
    compared = None
    if base is not None:
        compared = table_changes(entries, base, names, tuple(_CHANGED), generalise_to_personas)
    rows = []
    for place, (name, entry) in enumerate(zip(names, entries, strict=True)):
        row: list[Cell] = [name, entry.run, *(entry.settings.get(own, "not recorded") for own in settings)]
        row += figures_of(entry.part)
        if base is not None and compared is not None:
            row += _changes(entry, base, compared.rows[place])
        rows.append(tuple(row))
    wide = f"{INTERVAL_NOTE}; for other items and other personas like these."
    title, told = title_of(entries, title_words(entries[0]), groups)
    headings, keys = _columns(settings, base)
    return Table(
        title,
        headings,
        tuple(rows),
        (
            *row_notes(entries, names),
            *more_notes,
            *_reader_notes(entries, groups),
            *(compared.notes if compared is not None else ()),
        ),
        (
            *sample_legend(entries),
            *((*compared.legend, _INTERPRETATION) if compared is not None else ()),
            wide if generalise_to_personas else THESE_PERSONAS,
        ),
        Key(view="leaderboard", settings=told or None),
        tuple(entry.key for entry in entries),
        keys,
    )


def figures_of(part: Mapping[str, Any]) -> list[Cell]:
    """The figures of one row."""
    numbers, counts = part["stability"], part["counts"]
    worst = numbers["worst"]
    # Where no persona ever answers right, none is worse than another.
    told = worst and numbers["best"]["accuracy"] > 0
    return [
        *(interval(numbers[metric], metric) for metric in _SHOWN),
        FormattedEstimate(worst["accuracy"], persona=worst["persona"]) if told else FormattedEstimate(None),
        FormattedEstimate(numbers["spread"]),
        FormattedEstimate(counts["unscored"] / max(counts["total"], 1)),
    ]


FIGURES = {**_SHOWN, "worst_persona": "worst persona", "spread": "spread", "unscored": "unscored"}
"""Metric -> heading, of the cells of :func:`figures_of`."""


def _columns(settings: Sequence[str], base: Entry | None) -> tuple[tuple[str, ...], tuple[Key | None, ...]]:
    """Headings and keys."""
    headings = ["checkpoint", "run", *settings, *FIGURES.values()]
    keys: list[Key | None] = [*[None] * (2 + len(settings)), *(Key(metric=name) for name in FIGURES)]
    if base is not None:
        for metric, words in _CHANGED.items():
            headings += [f"{words} change", f"{words} relative"]
            keys += [Key(metric=metric, form=form, base=base.name) for form in ("_change", "_relative_change")]
        headings.append("interpretation")
        keys.append(Key(metric="interpretation", base=base.name))
    return tuple(headings), tuple(keys)


def _changes(entry: Entry, base: Entry, row: Row) -> list[Cell]:
    if entry is base:
        return [*[FormattedEstimate(None, word="baseline"), FormattedEstimate(None)] * 2, ""]
    numbers, before = entry.part["stability"], base.part["stability"]
    cells: list[Cell] = []
    for metric in _CHANGED:
        cells.append(row.absolute(metric, absolute(numbers[metric], before[metric])))
        cells.append(row.relative(metric, relative(numbers[metric], before[metric])))
    return [*cells, interpret_pss_change(row.changes, row.p.get("pss"))]


def title_words(entry: Entry) -> str:
    """A table's title without the settings in which it differs from others."""
    part = entry.part
    asked = f"{count(part['items'], 'item')} × none and {count(part['personas'], 'persona')}"
    return f"{part['title']}: {asked} × {drawn(part)}"


def sample_legend(entries: Sequence[Entry]) -> list[str]:
    """What one sample leaves open."""
    return [_ONE_SAMPLE] if any(entry.part["samples"] == 1 for entry in entries) else []


def row_notes(entries: Sequence[Entry], names: Sequence[str]) -> list[str]:
    """Warnings on each row."""
    found = []
    for name, entry in zip(names, entries, strict=True):
        found += [(name, f"{warning}.") for warning in entry.part["warnings"]]
        found += [(name, line) for line in _wording_note(entry.part.get("wording"))]
    return [*grouped(names, found), *role_notes(entries, names)]


def _wording_note(wording: Mapping[str, Any] | None) -> list[str]:
    if wording is None or wording["persona_share"]["value"] is None:
        return []
    whose = "wording" if wording["noise_separated"] else "wording and sampling noise"
    share = wording["persona_share"]["value"]
    return [
        f"{share:.0%} of the variance of correctness within an item is between personas, {1 - share:.0%} is "
        f"{whose} ({count(wording['personas'], 'persona')}, {count(wording['wordings'], 'wording')})."
    ]


def _reader_notes(entries: Sequence[Entry], groups: Groups) -> list[str]:
    """Say so where another table of the same task differs in the version of the program that read its answers."""
    own = entries[0]
    others = [other[0] for other in groups if other is not entries and other[0].part["title"] == own.part["title"]]
    versions = sorted({_reader(entry) for entry in others} - {_reader(own)})
    if not versions:
        return []
    told = ", ".join(f"version {version}" if version else "an older version" for version in versions)
    return [
        f"Answers read by version {_reader(own) or 'older'} of the reader; runs of this task read by {told} stand in a "
        "table of their own: personaeval score RUN reads a run's answers again, and generates nothing."
    ]


def _reader(entry: Entry) -> int:
    return int(entry.part.get("reader") or 0)
