"""Rows of tables: comparable groups of runs, their names, and formatted estimates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from personaeval.errors import UsageError, suggest
from personaeval.report.formats import FormattedEstimate

Summary = dict[str, Any]

Entry = tuple[Summary, dict[str, Any]]
"""A run's summary, and its entry for one task."""

Groups = list[list[Entry]]
"""Runs that can be ranked with each other, per group."""


def group(
    summaries: Sequence[Summary], kind: str, task: str | None, rank: Callable[[dict[str, Any]], FormattedEstimate]
) -> Groups:
    """Comparable groups of one kind, by task; the highest rank first.

    Args:
        summaries: summaries of finished runs.
        kind: ``stability`` or ``fidelity``.
        task: only this task; None for all.
        rank: the figure by which a run is ranked, from its entry for the task.

    Raises:
        UsageError: no run has the task.
    """
    names = {name for summary in summaries for name in summary["tasks"]}
    if task is not None and task not in names:
        raise UsageError(f"--task {task}: no finished run has it.{suggest(task, names)}")
    groups: dict[tuple[str, str], list[Entry]] = {}
    for summary in summaries:
        for name, part in summary["tasks"].items():
            if part.get("kind", "stability") == kind and task in (None, name):
                groups.setdefault((name, part["group"]), []).append((summary, part))
    return [
        sorted(entries, key=lambda entry: -(rank(entry[1]).value or -1))
        for _, entries in sorted(groups.items(), key=lambda pair: pair[0])
    ]


def bases_of(groups: Groups, baseline: str) -> list[Entry | None]:
    """The baseline's run in each group; None for a group without one.

    Raises:
        UsageError: no group has a run of that name, or one has several.
    """
    bases = [find_baseline(entries, baseline) for entries in groups]
    if not any(bases):
        names = {name for entries in groups for name in names_of(entries)}
        raise UsageError(f"--baseline {baseline}: no run of it is here.{suggest(baseline, names)}")
    return bases


def find_baseline(entries: Sequence[Entry], name: str) -> Entry | None:
    """The run of a name: as the table shows it, its short name, or that with 8 digits of its fingerprint."""
    shown = names_of(entries)
    for own, entry in zip(shown, entries, strict=True):
        if name == own:
            return entry
    found = [e for e in entries if name in (e[0]["short_name"], f"{e[0]['short_name']}-{e[0]['fingerprint'][:8]}")]
    if len(found) > 1:
        raise UsageError(f"--baseline {name}: several runs have this name; choose one of {'; '.join(shown)}.")
    return found[0] if found else None


def names_of(entries: Sequence[Entry]) -> list[str]:
    """A name per row, as short as distinct names can be."""
    names = [summary["short_name"] for summary, _ in entries]
    for added in ("-{fingerprint:.8}", " ({engine}, {dtype})", " {plan:.8}"):
        if len(set(names)) == len(names):
            break
        names = [name + added.format(**summary) for name, (summary, _) in zip(names, entries, strict=True)]
    return names


def drawn(part: dict[str, Any]) -> str:
    """How a task's completions were drawn, in words."""
    sampling = part["sampling"]
    how = (
        "greedy"
        if sampling["temperature"] == 0
        else f"temperature {sampling['temperature']:g}, top_p {sampling['top_p']:g}"
    )
    samples = f"{part['samples']} sample{'s' if part['samples'] > 1 else ''}"
    return f"{samples}, {how}, at most {sampling['max_tokens']} tokens"


def role_notes(entries: Sequence[Entry], names: Sequence[str]) -> list[str]:
    """A note on where the personas are put, if the rows of a table differ in that."""
    roles = {summary["persona_role"] for summary, _ in entries}
    if len(roles) < 2:
        return []
    places = ", ".join(f"{name} {summary['persona_role']}" for name, (summary, _) in zip(names, entries, strict=True))
    return [f"The persona is in different places: {places}."]


def relative(now: dict[str, Any], before: dict[str, Any]) -> float | None:
    """Relative change from ``before`` to ``now``, two estimates of summary.json; None if undefined."""
    if now["value"] is None or not before["value"]:
        return None
    return float(now["value"] / before["value"] - 1)


def interval(numbers: dict[str, Any]) -> FormattedEstimate:
    """A summary's estimate with its interval, formatted."""
    return FormattedEstimate(numbers["value"], numbers["low"], numbers["high"])
