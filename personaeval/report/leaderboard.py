"""Leaderboard and tables by persona, from the summaries of finished runs.

Runs share a table if prompts, sampling and gold answers are the same; for judged tasks, also rubrics and panel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from personaeval.analysis.compare import interpret_pss_change
from personaeval.metrics.catalogue import STABILITY
from personaeval.report import judged_tables
from personaeval.report.changes import Row, table_changes
from personaeval.report.entries import (
    Entry,
    Groups,
    Summary,
    bases_of,
    drawn,
    group,
    interval,
    names_of,
    relative,
    role_notes,
)
from personaeval.report.formats import INTERVAL_NOTE, Cell, FormattedEstimate, Table, render
from personaeval.report.generalised import generalised

_INTERPRETATION = (
    "interpretation: a change of PSS is one of stability only if κ changed significantly in the same direction, or the "
    "persona effect in the opposite one (p < 0.05 each)."
)


__all__ = ["leaderboard", "persona_tables", "render"]


def leaderboard(
    summaries: Sequence[Summary],
    baseline: str | None = None,
    task: str | None = None,
    generalise_to_personas: bool = False,
) -> list[Table]:
    """A table per comparable group, a row per checkpoint; the highest PSS or PersonaScore first.

    Args:
        summaries: summaries of finished runs.
        baseline: name of the checkpoint against which relative changes are shown.
        task: only this task; None for all.
        generalise_to_personas: intervals for other personas as well.

    Raises:
        UsageError: no run has the task, or the baseline.
    """
    if generalise_to_personas:
        summaries = [generalised(summary) for summary in summaries]
    stability, judged = _groups(summaries, task), judged_tables.groups(summaries, task)
    bases = (
        bases_of([*stability, *judged], baseline) if baseline is not None else [None] * (len(stability) + len(judged))
    )
    tables = []
    for number, (entries, base) in enumerate(zip([*stability, *judged], bases, strict=True)):
        absent = (f"No run of {baseline} is comparable with these.",) if baseline is not None and base is None else ()
        if number < len(stability):
            more = (*absent, *_reader_notes(entries, stability))
            tables.append(_leaderboard_table(entries, base, more, generalise_to_personas))
        else:
            tables.append(judged_tables.table(entries, base, absent))
    return tables


def persona_tables(summaries: Sequence[Summary], task: str | None = None) -> list[Table]:
    """A table per comparable group, a row per persona; with flips against ``none`` if it has one checkpoint."""
    stability = [_persona_table(entries) for entries in _groups(summaries, task)]
    return [*stability, *(judged_tables.persona_table(entries) for entries in judged_tables.groups(summaries, task))]


def _reader_notes(entries: Sequence[Entry], groups: Groups) -> list[str]:
    """Say so where another table of the same task differs in the version of the program that read its answers."""
    own = entries[0][1]
    others = [
        part for other in groups if other is not entries for _, part in other[:1] if part["title"] == own["title"]
    ]
    versions = sorted({_reader(part) for part in others} - {_reader(own)})
    if not versions:
        return []
    told = ", ".join(f"version {version}" if version else "an older version" for version in versions)
    return [
        f"Answers read by version {_reader(own) or 'older'} of the reader; runs of this task read by {told} stand in a "
        "table of their own: personaeval score RUN reads a run's answers again, and generates nothing."
    ]


def _reader(part: Mapping[str, Any]) -> int:
    return int(part.get("reader") or 0)


def _groups(summaries: Sequence[Summary], task: str | None) -> Groups:
    return group(summaries, "stability", task, lambda part: interval(part["stability"]["pss"]))


def _leaderboard_table(
    entries: Sequence[Entry], base: Entry | None, more_notes: Sequence[str], generalise_to_personas: bool
) -> Table:
    names = names_of(entries)
    compared = (
        table_changes(entries, base, names, ("accuracy", "pss"), generalise_to_personas) if base is not None else None
    )
    shown = {metric.name: metric.column for metric in STABILITY if metric.column is not None}
    columns = ["checkpoint", *shown.values(), "worst persona", "spread", "unscored"]
    if base is not None:
        columns += ["accuracy change", "PSS change", "interpretation"]
    rows = []
    for place, (name, (_, part)) in enumerate(zip(names, entries, strict=True)):
        numbers, counts = part["stability"], part["counts"]
        worst = numbers["worst"]
        row: list[Cell] = [
            name,
            *(interval(numbers[metric]) for metric in shown),
            f"{worst['persona']} {worst['accuracy']:.3f}" if worst else "–",
            FormattedEstimate(numbers["spread"]),
            FormattedEstimate(counts["unscored"] / max(counts["total"], 1), percent=False),
        ]
        if base is not None and compared is not None:
            is_base = entries[place] is base
            row += ["baseline"] * 2 + [""] if is_base else _changes(numbers, base[1]["stability"], compared.rows[place])
        rows.append(tuple(row))
    notes = [*_notes(entries, names), *more_notes]
    if compared is not None:
        notes += [*compared.notes, _INTERPRETATION]
    about = (
        "other items and other personas like these" if generalise_to_personas else "other items, under these personas"
    )
    notes.append(f"{INTERVAL_NOTE}, for {about}.")
    return Table(_title(entries[0]), tuple(columns), tuple(rows), tuple(notes))


def _changes(numbers: dict[str, Any], base: dict[str, Any], row: Row) -> list[Cell]:
    return [
        row.relative("accuracy", relative(numbers["accuracy"], base["accuracy"])),
        row.relative("pss", relative(numbers["pss"], base["pss"])),
        interpret_pss_change(row.changes, row.p.get("pss")),
    ]


def _persona_table(entries: Sequence[Entry]) -> Table:
    names = names_of(entries)
    # Runs of a group have the same personas, but not in the same order.
    parts = [{row["persona"]: row for row in part["stability"]["by_persona"]} for _, part in entries]
    alone = len(entries) == 1
    columns = ["persona", "category", *([] if alone else names)]
    columns += ["accuracy", "gained", "lost", "p (BH)", "no answer", "truncated"] if alone else []
    suspects = {row["persona"]: row for row in (entries[0][1].get("readings") or {}).get("by_persona", ())}
    columns += ["suspect"] if alone and suspects else []
    rows = []
    for persona, first in parts[0].items():
        row = [part[persona] for part in parts]
        cells: list[Cell] = [first["persona"], first["category"]]
        cells += [interval(entry["accuracy"]) for entry in row]
        if alone:
            wrong = first["wrong"]
            cells += [FormattedEstimate(first.get("gained"), digits=1), FormattedEstimate(first.get("lost"), digits=1)]
            cells += [FormattedEstimate(first.get("p_adjusted")), wrong["no_answer"], wrong["truncated"]]
            cells += [_suspect(suspects[persona])] if persona in suspects else []
        rows.append(tuple(cells))
    notes = _notes(entries, names)
    if alone:
        notes.append(
            "gained: items right under the persona and wrong under none; lost: the reverse; p: for no difference."
        )
    if alone and suspects:
        notes.append("suspect: wrong, though the text holds the right answer where one would stand (by chance).")
    return Table(_title(entries[0]), tuple(columns), tuple(rows), tuple(notes))


def _suspect(row: Mapping[str, Any]) -> str:
    return f"{row['suspect']} ({row['expected']:.1f})" if row["suspect"] else "0"


def _title(entry: Entry) -> str:
    _, part = entry
    return f"{part['title']}: {part['items']} items × none and {part['personas']} personas × {drawn(part)}"


def _notes(entries: Sequence[Entry], names: Sequence[str]) -> list[str]:
    notes = []
    if any(part["samples"] == 1 for _, part in entries):
        notes.append("One sample: the persona effect and sampling noise are not separated (corrected PSS needs two).")
    for name, (_, part) in zip(names, entries, strict=True):
        notes += [f"{name}: {warning}." for warning in part["warnings"]]
        notes += _wording_note(name, part.get("wording"))
    notes += role_notes(entries, names)
    return notes


def _wording_note(name: str, wording: dict[str, Any] | None) -> list[str]:
    if wording is None or wording["persona_share"]["value"] is None:
        return []
    whose = "wording" if wording["noise_separated"] else "wording and sampling noise"
    share = wording["persona_share"]["value"]
    return [
        f"{name}: {share:.0%} of the variance of correctness within an item is between personas, {1 - share:.0%} is "
        f"{whose} ({wording['personas']} personas, {wording['wordings']} wordings)."
    ]
