"""The rows of tables: which runs may be compared, what they are called, and how a change is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from personaeval.errors import UsageError, suggest
from personaeval.report.formats import FormattedEstimate

Summary = dict[str, Any]

Entry = tuple[Summary, dict[str, Any]]
"""A run's summary, and its part on one task."""

Groups = list[list[Entry]]
"""Runs that may be ranked with each other."""


def group(
    summaries: Sequence[Summary], kind: str, task: str | None, rank: Callable[[dict[str, Any]], FormattedEstimate]
) -> Groups:
    """Return the comparable groups of one kind, by task; the highest rank first.

    Args:
        summaries: of finished runs.
        kind: ``stability`` or ``fidelity``.
        task: only this task.
        rank: what a part is ranked by.

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
    """Return the baseline's run in each group, None where it has none there.

    Raises:
        UsageError: it has none anywhere, or several of one name.
    """
    bases = [find_baseline(entries, baseline) for entries in groups]
    if not any(bases):
        names = {name for entries in groups for name in names_of(entries)}
        raise UsageError(f"--baseline {baseline}: no run of it is here.{suggest(baseline, names)}")
    return bases


def find_baseline(entries: Sequence[Entry], name: str) -> Entry | None:
    """Return the one run of a name: the one a table shows, its label, or that with 8 digits of its fingerprint."""
    shown = names_of(entries)
    for own, entry in zip(shown, entries, strict=True):
        if name == own:
            return entry
    found = [e for e in entries if name in (e[0]["label"], f"{e[0]['label']}-{e[0]['fingerprint'][:8]}")]
    if len(found) > 1:
        raise UsageError(f"--baseline {name}: several runs have this name; choose one of {'; '.join(shown)}.")
    return found[0] if found else None


def names_of(entries: Sequence[Entry]) -> list[str]:
    """Return a name per row, no longer than it takes to tell them apart."""
    names = [summary["label"] for summary, _ in entries]
    for added in ("-{fingerprint:.8}", " ({engine}, {dtype})", " {plan:.8}"):
        if len(set(names)) == len(names):
            break
        names = [name + added.format(**summary) for name, (summary, _) in zip(names, entries, strict=True)]
    return names


def drawn(part: dict[str, Any]) -> str:
    """Say in words how a task's completions were drawn."""
    sampling = part["sampling"]
    how = (
        "greedy"
        if sampling["temperature"] == 0
        else f"temperature {sampling['temperature']:g}, top_p {sampling['top_p']:g}"
    )
    samples = f"{part['samples']} sample{'s' if part['samples'] > 1 else ''}"
    return f"{samples}, {how}, at most {sampling['max_tokens']} tokens"


def role_notes(entries: Sequence[Entry], names: Sequence[str]) -> list[str]:
    """Say where the personas stand, where that differs between the rows of a table."""
    roles = {summary["persona_role"] for summary, _ in entries}
    if len(roles) < 2:
        return []
    places = ", ".join(f"{name} {summary['persona_role']}" for name, (summary, _) in zip(names, entries, strict=True))
    return [f"The persona stands in different places: {places}."]


def relative(now: dict[str, Any], before: dict[str, Any]) -> float | None:
    """Return the relative change between two estimates with their intervals."""
    if now["value"] is None or not before["value"]:
        return None
    return float(now["value"] / before["value"] - 1)


def interval(numbers: dict[str, Any]) -> FormattedEstimate:
    """Return an estimate with its interval as a figure."""
    return FormattedEstimate(numbers["value"], numbers["low"], numbers["high"])
