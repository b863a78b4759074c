"""The leaderboard and its views, from the summaries of finished runs.

Only like is ranked with like: runs share a table if they put the same prompts to the model with the same sampling and
compare with the same gold answers; of a judged task, by the same rubrics and panel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from personaeval.report import fidelity
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
from personaeval.report.formats import Cell, Number, Table, render

__all__ = ["leaderboard", "persona_tables", "render"]


def leaderboard(summaries: Sequence[Summary], baseline: str | None = None, task: str | None = None) -> list[Table]:
    """Return a table per comparable group, a row per checkpoint, the most stable or most faithful first.

    Args:
        summaries: of finished runs.
        baseline: name of the checkpoint against which relative changes are shown.
        task: only this task.

    Raises:
        UsageError: no run has the task, or the baseline.
    """
    stability, judged = _groups(summaries, task), fidelity.groups(summaries, task)
    bases = (
        bases_of([*stability, *judged], baseline) if baseline is not None else [None] * (len(stability) + len(judged))
    )
    tables = []
    for number, (entries, base) in enumerate(zip([*stability, *judged], bases, strict=True)):
        absent = (f"No run of {baseline} is comparable with these.",) if baseline is not None and base is None else ()
        make = _leaderboard_table if number < len(stability) else fidelity.table
        tables.append(make(entries, base, absent))
    return tables


def persona_tables(summaries: Sequence[Summary], task: str | None = None) -> list[Table]:
    """Return a table per comparable group, a row per persona; flips against ``none`` where one checkpoint is shown."""
    stability = [_persona_table(entries) for entries in _groups(summaries, task)]
    return [*stability, *(fidelity.persona_table(entries) for entries in fidelity.groups(summaries, task))]


def _groups(summaries: Sequence[Summary], task: str | None) -> Groups:
    return group(summaries, "stability", task, lambda part: interval(part["stability"]["pss"]))


def _leaderboard_table(entries: Sequence[Entry], base: Entry | None = None, more_notes: Sequence[str] = ()) -> Table:
    names = names_of(entries)
    columns = ["checkpoint", "accuracy", "none", "PSS", "κ", "corrected PSS", "worst persona", "spread", "unscored"]
    if base is not None:
        columns += ["accuracy change", "PSS change", "reading"]
    rows = []
    for name, (summary, part) in zip(names, entries, strict=True):
        numbers, counts = part["stability"], part["counts"]
        worst = numbers["worst"]
        row: list[Cell] = [
            name,
            interval(numbers["accuracy"]),
            interval(numbers["baseline_accuracy"]),
            interval(numbers["pss"]),
            interval(numbers["kappa"]),
            interval(numbers["corrected_pss"]),
            f"{worst['persona']} {worst['accuracy']:.3f}" if worst else "–",
            Number(numbers["spread"]),
            Number(counts["unscored"] / max(counts["total"], 1), percent=False),
        ]
        if base is not None:
            row += _changes(numbers, base[1]["stability"], is_base=(summary, part) == base)
        rows.append(tuple(row))
    return Table(_title(entries[0]), tuple(columns), tuple(rows), (*_notes(entries, names, base), *more_notes))


def _changes(numbers: dict[str, Any], base: dict[str, Any], is_base: bool) -> list[Cell]:
    if is_base:
        return ["baseline", "baseline", ""]
    return [
        Number(relative(numbers["accuracy"], base["accuracy"]), percent=True),
        Number(relative(numbers["pss"], base["pss"]), percent=True),
        _reading(numbers, base),
    ]


def _reading(now: dict[str, Any], before: dict[str, Any]) -> str:
    """Say in three words whether a change of PSS is one of stability.

    PSS rises with accuracy by itself. It is called a change of stability only where κ moved the same way, or the
    persona effect the other way.
    """

    def moved(name: str) -> float:
        new, old = now[name]["value"], before[name]["value"]
        return 0.0 if new is None or old is None else float(new - old)

    change = moved("pss")
    if change == 0:
        return "no stability change"
    if moved("kappa") * change > 0 or moved("persona_effect") * change < 0:
        return "stability has risen" if change > 0 else "stability has fallen"
    return "accuracy change only"


def _persona_table(entries: Sequence[Entry]) -> Table:
    names = names_of(entries)
    # One group has the same personas, but every run has them in an order of its own.
    parts = [{row["persona"]: row for row in part["stability"]["by_persona"]} for _, part in entries]
    alone = len(entries) == 1
    columns = ["persona", "category", *([] if alone else names)]
    columns += ["accuracy", "gained", "lost", "p (BH)", "no answer", "truncated"] if alone else []
    rows = []
    for persona, first in parts[0].items():
        row = [part[persona] for part in parts]
        cells: list[Cell] = [first["persona"], first["category"]]
        cells += [interval(entry["accuracy"]) for entry in row]
        if alone:
            wrong = first["wrong"]
            cells += [Number(first.get("gained"), digits=1), Number(first.get("lost"), digits=1)]
            cells += [Number(first.get("p_adjusted")), wrong["no_answer"], wrong["truncated"]]
        rows.append(tuple(cells))
    notes = _notes(entries, names, None)
    if alone:
        notes.append(
            "gained: items right under the persona and wrong under none; lost: the reverse; p: of no difference."
        )
    return Table(_title(entries[0]), tuple(columns), tuple(rows), tuple(notes))


def _title(entry: Entry) -> str:
    _, part = entry
    return f"{part['title']}: {part['items']} items × none and {part['personas']} personas × {drawn(part)}"


def _notes(entries: Sequence[Entry], names: Sequence[str], base: Entry | None) -> list[str]:
    notes = []
    if any(part["samples"] == 1 for _, part in entries):
        notes.append("One sample: the persona effect and sampling noise are not separated (corrected PSS needs two).")
    for name, (_, part) in zip(names, entries, strict=True):
        notes += [f"{name}: {warning}." for warning in part["warnings"]]
        notes += _wording_note(name, part.get("wording"))
    notes += role_notes(entries, names)
    if base is not None:
        name = next(name for name, entry in zip(names, entries, strict=True) if entry is base)
        notes.append(
            f"Changes are relative to {name}; no test is made of them. A reading names the direction of the figures, "
            "noise included."
        )
    return notes


def _wording_note(name: str, wording: dict[str, Any] | None) -> list[str]:
    if wording is None or wording["persona_share"]["value"] is None:
        return []
    whose = "wording" if wording["noise_separated"] else "wording and sampling noise"
    share = wording["persona_share"]["value"]
    return [
        f"{name}: {share:.0%} of the variance of correctness within an item is the personas', {1 - share:.0%} that of "
        f"their {whose} ({wording['personas']} personas, {wording['wordings']} wordings)."
    ]
