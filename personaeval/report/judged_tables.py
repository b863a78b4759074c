"""Tables of judged tasks: PersonaScore, its dimensions, the judges and how reliable they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from personaeval.metrics.catalogue import PERSONA_SCORE
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
    setting_columns,
    title_of,
)
from personaeval.report.estimates import FormattedEstimate, interval
from personaeval.report.judged_personas import with_dimensions
from personaeval.report.judging_notes import notes, words_of
from personaeval.report.table import THESE_PERSONAS, Cell, Key, Table, count, with_names

_SCORE = PERSONA_SCORE.name


def groups(summaries: Sequence[Summary], task: str | None) -> Groups:
    """Comparable groups of judged tasks: same questions, sampling, rubrics and panel."""
    return group(summaries, "fidelity", task, persona_score)


def persona_score(part: Mapping[str, Any]) -> FormattedEstimate:
    """PersonaScore of a run's task; empty if it is not judged yet."""
    if not part["judged"]:
        return FormattedEstimate(None, why="not judged yet")
    return interval(part["fidelity"]["persona_score"], _SCORE)


def table(
    entries: Sequence[Entry],
    base: Entry | None = None,
    more_notes: Sequence[str] = (),
    groups: Groups | None = None,
    names: Sequence[str] = (),
) -> Table:
    """Table of one group, a row per checkpoint.

    Args:
        entries: the rows.
        base: the row against which changes are shown.
        more_notes: further notes on this table.
        groups: the rows of all tables, which the title tells apart.
        names: of the rows; by default, the shortest that are distinct.
    """
    names = names or names_of(entries)
    dimensions = _dimensions(entries)
    settings = setting_columns(entries)
    corrected = any(_corrected(entry.part).value is not None for entry in entries)
    compared = table_changes(entries, base, names, (_SCORE,)) if base is not None else None
    rows = []
    for place, (name, entry) in enumerate(zip(names, entries, strict=True)):
        row: list[Cell] = [name, entry.run, *(entry.settings.get(own, "not recorded") for own in settings)]
        row += _scores(entry.part, dimensions, corrected)
        if base is not None and compared is not None:
            row += _changes(entry, base, compared.rows[place])
        rows.append(tuple(row))
    title, told = title_of(entries, _title(entries[0]), groups or [list(entries)])
    columns, keys = _columns(dimensions, settings, corrected, base)
    return Table(
        title,
        columns,
        tuple(rows),
        (*notes(entries, names), *more_notes, *(compared.notes if compared is not None else ())),
        (*(compared.legend if compared is not None else ()), THESE_PERSONAS),
        Key(view="leaderboard", settings=told or None),
        tuple(entry.key for entry in entries),
        keys,
    )


def _scores(part: Mapping[str, Any], dimensions: Sequence[str], corrected: bool) -> list[Cell]:
    cells: list[Cell] = [persona_score(part), *([_corrected(part)] if corrected else [])]
    if not part["judged"]:
        return cells + [FormattedEstimate(None)] * (len(dimensions) + 3)
    cells += [interval(part["fidelity"]["dimensions"][dimension], _SCORE) for dimension in dimensions]
    judgements = part["judgements"]
    shares = (part["refusal"], part["ai_admission"], judgements["unscored"] / max(judgements["total"], 1))
    return [*cells, *map(FormattedEstimate, shares)]


def _columns(
    dimensions: Sequence[str], settings: Sequence[str], corrected: bool, base: Entry | None
) -> tuple[tuple[str, ...], tuple[Key | None, ...]]:
    """Headings and keys."""
    metrics = [("PersonaScore", _SCORE), *([("human-corrected", "human_corrected")] if corrected else [])]
    metrics += [(words_of(dimension), dimension) for dimension in dimensions]
    metrics += [("refusal", "refusal"), ("says AI", "ai_admission"), ("unscored", "unscored")]
    headings = ["checkpoint", "run", *settings, *(heading for heading, _ in metrics)]
    keys: list[Key | None] = [*[None] * (2 + len(settings)), *(Key(metric=metric) for _, metric in metrics)]
    if base is not None:
        headings += ["PersonaScore change", "PersonaScore relative"]
        keys += [Key(metric=_SCORE, form=form, base=base.name) for form in ("_change", "_relative_change")]
    return tuple(headings), tuple(keys)


def _changes(entry: Entry, base: Entry, row: Row) -> list[Cell]:
    if entry is base:
        return [FormattedEstimate(None, word="baseline"), FormattedEstimate(None)]
    if not entry.part["judged"] or not base.part["judged"]:
        return [row.absolute(_SCORE), row.relative(_SCORE)]
    now, before = (own.part["fidelity"]["persona_score"] for own in (entry, base))
    return [row.absolute(_SCORE, absolute(now, before)), row.relative(_SCORE, relative(now, before))]


def persona_table(entries: Sequence[Entry], groups: Groups | None = None) -> Table:
    """Table of one group: a row per persona, then per category; a column per checkpoint."""
    names = names_of(entries)
    judged = [(name, entry) for name, entry in zip(names, entries, strict=True) if entry.part["judged"]]
    rows: list[tuple[Cell, ...]] = []
    keys = []
    for view, words in (("by_persona", "{}"), ("by_category", "all of {}")):
        for name in dict.fromkeys(name for _, entry in judged for name in entry.part[view]):
            rows.append((words.format(name), *(FormattedEstimate(entry.part[view].get(name)) for _, entry in judged)))
            keys.append(Key(persona=name) if view == "by_persona" else Key(category=name))
    title, told = title_of(entries, _title(entries[0]), groups or [list(entries)])
    table = Table(
        title,
        ("persona", *(name for name, _ in judged)),
        tuple(rows),
        tuple(notes(entries, names)),
        (),
        Key(view="personas", settings=told or None),
        tuple(keys),
        (None, *(entry.key | Key(metric=_SCORE) for _, entry in judged)),
    )
    if len(judged) == 1:
        table = with_dimensions(table, judged[0][1])
    return with_names(table, entries[0].part.get("persona_names") or {})


def _corrected(part: Mapping[str, Any]) -> FormattedEstimate:
    found = (part.get("people") or {}).get("corrected")
    return interval(found["persona_score"], _SCORE) if found else FormattedEstimate(None)


def _dimensions(entries: Sequence[Entry]) -> list[str]:
    judged = (entry.part for entry in entries if entry.part["judged"])
    return list(dict.fromkeys(name for part in judged for name in part["fidelity"]["dimensions"]))


def _title(entry: Entry) -> str:
    part = entry.part
    asked = f"{count(part['items'], 'question')} to {count(part['personas'], 'persona')}"
    return f"{part['title']}: {asked} × {drawn(part)}, scored 1 to 5"
