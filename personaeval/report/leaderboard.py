"""Leaderboard and tables by persona, from the summaries of finished runs.

Runs share a table if prompts, sampling and gold answers are the same; for judged tasks, also rubrics and panel.
"""

from __future__ import annotations

from collections.abc import Sequence

from personaeval.errors import UsageError, suggest
from personaeval.report import judged_tables, stability_personas, stability_tables
from personaeval.report.entries import Summary, bases_of, by_setting, checkpoint_names, entries_of
from personaeval.report.formats import render
from personaeval.report.generalised import generalised
from personaeval.report.table import Table

__all__ = ["leaderboard", "persona_tables", "render", "setting_tables"]


def leaderboard(
    summaries: Sequence[Summary],
    baseline: str | None = None,
    task: str | None = None,
    generalise_to_personas: bool = False,
) -> list[Table]:
    """A table per comparable group, a row per checkpoint; the highest PSS or PersonaScore first.

    Args:
        summaries: summaries of finished runs.
        baseline: name of the checkpoint against which changes are shown.
        task: only this task; None for all.
        generalise_to_personas: intervals for other personas as well.

    Raises:
        UsageError: no run has the task, or the baseline.
    """
    if generalise_to_personas:
        summaries = [generalised(summary) for summary in summaries]
    stability, judged = stability_tables.groups(summaries, task), judged_tables.groups(summaries, task)
    bases = (
        bases_of([*stability, *judged], baseline) if baseline is not None else [None] * (len(stability) + len(judged))
    )
    tables = []
    for number, (entries, base) in enumerate(zip([*stability, *judged], bases, strict=True)):
        absent = (f"No run of {baseline} is comparable with these.",) if baseline is not None and base is None else ()
        if number < len(stability):
            tables.append(stability_tables.table(entries, stability, base, absent, generalise_to_personas))
        else:
            tables.append(judged_tables.table(entries, base, absent, judged))
    return tables


def persona_tables(summaries: Sequence[Summary], task: str | None = None) -> list[Table]:
    """A table per comparable group, a row per persona; with flips against ``none`` if it has one checkpoint."""
    stability, judged = stability_tables.groups(summaries, task), judged_tables.groups(summaries, task)
    tables = [stability_personas.persona_table(entries, stability) for entries in stability]
    return [*tables, *(judged_tables.persona_table(entries, judged) for entries in judged)]


def setting_tables(
    summaries: Sequence[Summary], setting: str, task: str | None = None, generalise_to_personas: bool = False
) -> list[Table]:
    """A table per group of runs that differ in one setting alone, a row per checkpoint and value; not ranked.

    Args:
        summaries: summaries of finished runs.
        setting: name of the setting, such as ``template``, ``seed`` or ``temperature``.
        task: only this task; None for all.
        generalise_to_personas: intervals for other personas as well.

    Raises:
        UsageError: no run has the task, there is no such setting, or no two runs differ in it alone.
    """
    if generalise_to_personas:
        summaries = [generalised(summary) for summary in summaries]
    name = setting.lstrip("-").replace("-", " ").replace("_", " ")
    stability, judged = (entries_of(summaries, kind, task) for kind in ("stability", "fidelity"))
    known = {own for entry in (*stability, *judged) for own in entry.settings}
    if name not in known:
        raise UsageError(f"--by {setting}: no setting of these runs.{suggest(name, known)}")
    right, rated = by_setting(stability, name), by_setting(judged, name)
    if not right and not rated:
        raise UsageError(
            f"--by {setting}: no two runs of a task differ in it alone; `personaeval runs` lists how they differ."
        )
    note = (f"A row per {name}; not ranked and not tested: the rows were asked differently.",)
    return [
        *(
            stability_tables.table(own, right, None, note, generalise_to_personas, checkpoint_names(own))
            for own in right
        ),
        *(judged_tables.table(own, None, note, rated, checkpoint_names(own)) for own in rated),
    ]
