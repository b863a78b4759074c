"""Rows of tables: runs of a task in comparable groups, their names, and what tells the groups apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from personaeval.analysis.run_settings import (
    OF_THE_CHECKPOINT,
    Settings,
    differing,
    following,
    in_words,
    settings_of,
)
from personaeval.errors import UsageError, suggest
from personaeval.report.estimates import FormattedEstimate
from personaeval.report.table import Key, count
from personaeval.results.runs import open_run

Summary = dict[str, Any]

IN_TITLES = ("items", "personas", "samples", "temperature", "top p", "max tokens")
"""Settings that every title gives anyway."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One run's task: a row.

    Attributes:
        summary: content of the run's summary.json.
        task: name of the task.
        part: the summary's entry for the task.
    """

    summary: Summary
    task: str
    part: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The checkpoint's short name."""
        return str(self.summary["short_name"])

    @property
    def fingerprint(self) -> str:
        """The checkpoint's."""
        return self.summary.get("fingerprint") or ""

    @property
    def run(self) -> str:
        """8 digits of the plan's hash, the beginning of the name of the run's folder."""
        return str(self.summary.get("plan") or "")[:8]

    @property
    def checkpoint(self) -> tuple[str, str]:
        """What identifies the checkpoint."""
        return self.name, self.fingerprint

    @property
    def key(self) -> Key:
        """What a row of this entry is of."""
        clusters = self.part["personas" if self.part.get("kind") == "fidelity" else "items"]
        return Key(task=self.task, checkpoint=self.name, fingerprint=self.fingerprint, run=self.run, n=clusters)

    @cached_property
    def settings(self) -> Settings:
        """Its settings; of a summary without its folder, those in the summary."""
        if "folder" in self.summary:
            record = open_run(Path(self.summary["folder"])).record
            if self.task in record.tasks:
                return settings_of(record, self.task)
        known = ("items", "personas", "samples", "template")
        found = {name: str(self.part[name]) for name in known if name in self.part}
        found |= {name.replace("_", " "): str(value) for name, value in self.part["sampling"].items()}
        return found | {"role": str(self.summary.get("persona_role"))}


Groups = list[list[Entry]]
"""Runs that can be ranked with each other, per group."""


def entries_of(summaries: Sequence[Summary], kind: str, task: str | None) -> list[Entry]:
    """All rows of one kind.

    Args:
        summaries: summaries of finished runs.
        kind: ``stability`` or ``fidelity``.
        task: only this task; None for all.

    Raises:
        UsageError: no run has the task.
    """
    names = {name for summary in summaries for name in summary["tasks"]}
    if task is not None and task not in names:
        raise UsageError(f"--task {task}: no finished run has it.{suggest(task, names)}")
    return [
        Entry(summary, name, part)
        for summary in summaries
        for name, part in summary["tasks"].items()
        if part.get("kind", "stability") == kind and task in (None, name)
    ]


def group(
    summaries: Sequence[Summary], kind: str, task: str | None, rank: Callable[[Mapping[str, Any]], FormattedEstimate]
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
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries_of(summaries, kind, task):
        groups.setdefault((entry.task, entry.part["group"]), []).append(entry)
    return [
        sorted(entries, key=lambda entry: -(rank(entry.part).value or -1))
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
    found = [e for e in entries if name in (e.name, f"{e.name}-{e.fingerprint[:8]}", f"{e.name} {e.run}", e.run)]
    if len(found) > 1:
        raise UsageError(f"--baseline {name}: several runs have this name; choose one of {'; '.join(shown)}.")
    return found[0] if found else None


def names_of(entries: Sequence[Entry]) -> list[str]:
    """A name per row, as short as distinct names can be."""
    names = [entry.name for entry in entries]
    for added in ("-{fingerprint:.8}", " ({engine}, {dtype})", " {plan:.8}"):
        if len(set(names)) == len(names):
            break
        names = [name + added.format(**entry.summary) for name, entry in zip(names, entries, strict=True)]
    return names


def checkpoint_names(entries: Sequence[Entry]) -> list[str]:
    """The checkpoints' names, which rows of one checkpoint share."""
    owners: dict[str, set[str]] = {}
    for entry in entries:
        owners.setdefault(entry.name, set()).add(entry.fingerprint)
    return [
        entry.name if len(owners[entry.name]) == 1 else f"{entry.name}-{entry.fingerprint[:8]}" for entry in entries
    ]


def by_setting(entries: Sequence[Entry], name: str) -> Groups:
    """Groups of rows that differ in one setting alone (and in their checkpoints), with at least two values of it.

    Args:
        entries: rows of any task.
        name: name of the setting, as titles show it or as its flag is written.
    """
    groups: dict[tuple[str, str], list[Entry]] = {}
    free = (name, *OF_THE_CHECKPOINT, *following(name))
    for entry in entries:
        others = {own: value for own, value in entry.settings.items() if own not in free}
        groups.setdefault((entry.task, repr(sorted(others.items()))), []).append(entry)
    return [
        sorted(own, key=lambda entry: (entry.checkpoint, natural(entry.settings.get(name, ""))))
        for _, own in sorted(groups.items(), key=lambda pair: pair[0])
        if len({entry.settings.get(name) for entry in own}) > 1
    ]


def natural(text: str) -> tuple[float, str]:
    """Sorts numbers by their size, before all other texts."""
    try:
        return float(text), text
    except ValueError:
        return math.inf, text


def title_of(entries: Sequence[Entry], what: str, groups: Groups) -> tuple[str, str]:
    """A table's title, and as a key the settings in which it differs from the other tables of the task.

    Args:
        entries: the table's rows.
        what: the title without these settings.
        groups: the rows of all tables.
    """
    others = [entry.settings for own in groups for entry in own if entry.task == entries[0].task]
    own = differing([entry.settings for entry in entries])
    names = [name for name in differing(others) if name not in (*own, *OF_THE_CHECKPOINT)]
    settings = entries[0].settings
    more = in_words(settings, [name for name in names if name not in IN_TITLES])
    return f"{what}; {more}" if more else what, in_words(settings, names)


def setting_columns(entries: Sequence[Entry]) -> list[str]:
    """Settings in which the rows of one table differ, such as the seed."""
    return [name for name in differing([entry.settings for entry in entries]) if name not in OF_THE_CHECKPOINT]


def drawn(part: Mapping[str, Any]) -> str:
    """How a task's completions were drawn, in words."""
    sampling = part["sampling"]
    if sampling["temperature"] is None:
        how = f"sampled at the server's default, top_p {sampling['top_p']:g}"
    elif sampling["temperature"] == 0:
        how = "greedy"
    else:
        how = f"temperature {sampling['temperature']:g}, top_p {sampling['top_p']:g}"
    return f"{count(part['samples'], 'sample')}, {how}, at most {count(sampling['max_tokens'], 'token')}"


def role_notes(entries: Sequence[Entry], names: Sequence[str]) -> list[str]:
    """A note on where the personas are put, if the rows of a table differ in that."""
    roles = {entry.summary["persona_role"] for entry in entries}
    if len(roles) < 2:
        return []
    places = ", ".join(f"{name} {entry.summary['persona_role']}" for name, entry in zip(names, entries, strict=True))
    return [f"The persona is in different places: {places}."]


def relative(now: Mapping[str, Any], before: Mapping[str, Any]) -> float | None:
    """Relative change from ``before`` to ``now``, two estimates of summary.json; None if undefined."""
    if now["value"] is None or not before["value"]:
        return None
    return float(now["value"] / before["value"] - 1)


def absolute(now: Mapping[str, Any], before: Mapping[str, Any]) -> float | None:
    """Change from ``before`` to ``now``, two estimates of summary.json; None if undefined."""
    if now["value"] is None or before["value"] is None:
        return None
    return float(now["value"] - before["value"])
