"""The leaderboard and its views, from the summaries of finished runs.

Only like is ranked with like: runs share a table if they put the same prompts to the model with the same sampling and
compare with the same gold answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from personaeval.errors import UsageError, suggest
from personaeval.report.formats import Cell, Number, Table, render

__all__ = ["leaderboard", "persona_tables", "render"]

Summary = dict[str, Any]
Entry = tuple[Summary, dict[str, Any]]
"""A run's summary, and its part on one task."""


def leaderboard(summaries: Sequence[Summary], baseline: str | None = None, task: str | None = None) -> list[Table]:
    """Return a table per comparable group, a row per checkpoint, the most stable first.

    Args:
        summaries: of finished runs.
        baseline: name of the checkpoint against which relative changes are shown.
        task: only this task.

    Raises:
        UsageError: no run has the task, or the baseline.
    """
    groups = list(_groups(summaries, task))
    if baseline is None:
        return [_leaderboard_table(entries) for entries in groups]
    bases = [_find_baseline(entries, baseline) for entries in groups]
    if not any(bases):
        names = {name for entries in groups for name in _names(entries)}
        raise UsageError(f"--baseline {baseline}: no run of it is here.{suggest(baseline, names)}")
    return [
        _leaderboard_table(entries, base, () if base else (f"No run of {baseline} is comparable with these.",))
        for entries, base in zip(groups, bases, strict=True)
    ]


def persona_tables(summaries: Sequence[Summary], task: str | None = None) -> list[Table]:
    """Return a table per comparable group, a row per persona; flips against ``none`` where one checkpoint is shown."""
    return [_persona_table(entries) for entries in _groups(summaries, task)]


def _groups(summaries: Sequence[Summary], task: str | None) -> Iterator[list[Entry]]:
    groups: dict[tuple[str, str], list[Entry]] = {}
    for summary in summaries:
        for name, part in summary["tasks"].items():
            groups.setdefault((name, part["group"]), []).append((summary, part))
    names = {name for name, _ in groups}
    if task is not None and task not in names:
        raise UsageError(f"--task {task}: no finished run has it.{suggest(task, names)}")
    for (name, _), entries in sorted(groups.items(), key=lambda pair: pair[0]):
        if task in (None, name):
            yield sorted(entries, key=lambda entry: -(entry[1]["stability"]["pss"]["value"] or -1))


def _find_baseline(entries: Sequence[Entry], name: str) -> Entry | None:
    """Return the one run of a name: the one a table shows, its label, or that with 8 digits of its fingerprint."""
    shown = _names(entries)
    for own, entry in zip(shown, entries, strict=True):
        if name == own:
            return entry
    found = [e for e in entries if name in (e[0]["label"], f"{e[0]['label']}-{e[0]['fingerprint'][:8]}")]
    if len(found) > 1:
        raise UsageError(f"--baseline {name}: several runs have this name; choose one of {'; '.join(shown)}.")
    return found[0] if found else None


def _leaderboard_table(entries: Sequence[Entry], base: Entry | None = None, more_notes: Sequence[str] = ()) -> Table:
    names = _names(entries)
    columns = ["checkpoint", "accuracy", "none", "PSS", "κ", "corrected PSS", "worst persona", "spread", "unscored"]
    if base is not None:
        columns += ["accuracy change", "PSS change", "reading"]
    rows = []
    for name, (summary, part) in zip(names, entries, strict=True):
        numbers, counts = part["stability"], part["counts"]
        worst = numbers["worst"]
        row: list[Cell] = [
            name,
            _interval(numbers["accuracy"]),
            _interval(numbers["baseline_accuracy"]),
            _interval(numbers["pss"]),
            _interval(numbers["kappa"]),
            _interval(numbers["corrected_pss"]),
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
        Number(_relative(numbers["accuracy"], base["accuracy"]), percent=True),
        Number(_relative(numbers["pss"], base["pss"]), percent=True),
        _reading(numbers, base),
    ]


def _relative(now: dict[str, Any], before: dict[str, Any]) -> float | None:
    if now["value"] is None or not before["value"]:
        return None
    return float(now["value"] / before["value"] - 1)


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
    names = _names(entries)
    # One group has the same personas, but every run has them in an order of its own.
    parts = [{row["persona"]: row for row in part["stability"]["by_persona"]} for _, part in entries]
    alone = len(entries) == 1
    columns = ["persona", "category", *([] if alone else names)]
    columns += ["accuracy", "gained", "lost", "p (BH)", "no answer", "truncated"] if alone else []
    rows = []
    for persona, first in parts[0].items():
        row = [part[persona] for part in parts]
        cells: list[Cell] = [first["persona"], first["category"]]
        cells += [_interval(entry["accuracy"]) for entry in row]
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


def _names(entries: Sequence[Entry]) -> list[str]:
    """Return a name per row, no longer than it takes to tell them apart."""
    names = [summary["label"] for summary, _ in entries]
    for added in ("-{fingerprint:.8}", " ({engine}, {dtype})", " {plan:.8}"):
        if len(set(names)) == len(names):
            break
        names = [name + added.format(**summary) for name, (summary, _) in zip(names, entries, strict=True)]
    return names


def _title(entry: Entry) -> str:
    _, part = entry
    sampling = part["sampling"]
    drawn = (
        "greedy"
        if sampling["temperature"] == 0
        else f"temperature {sampling['temperature']:g}, top_p {sampling['top_p']:g}"
    )
    samples = f"{part['samples']} sample{'s' if part['samples'] > 1 else ''}"
    return (
        f"{part['title']}: {part['items']} items × none and {part['personas']} personas × {samples}, {drawn}, "
        f"at most {sampling['max_tokens']} tokens"
    )


def _notes(entries: Sequence[Entry], names: Sequence[str], base: Entry | None) -> list[str]:
    notes = []
    if any(part["samples"] == 1 for _, part in entries):
        notes.append("One sample: the persona effect and sampling noise are not separated (corrected PSS needs two).")
    for name, (_, part) in zip(names, entries, strict=True):
        notes += [f"{name}: {warning}." for warning in part["warnings"]]
        notes += _wording_note(name, part.get("wording"))
    roles = {summary["persona_role"] for summary, _ in entries}
    if len(roles) > 1:
        notes.append(
            "The persona stands in different places: "
            + ", ".join(f"{name} {summary['persona_role']}" for name, (summary, _) in zip(names, entries, strict=True))
            + "."
        )
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


def _interval(numbers: dict[str, Any]) -> Number:
    return Number(numbers["value"], numbers["low"], numbers["high"])
