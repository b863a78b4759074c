"""Which tables the options of ``leaderboard`` ask for."""

from __future__ import annotations

from collections.abc import Sequence

from personaeval.errors import UsageError
from personaeval.report.entries import Summary
from personaeval.report.leaderboard import leaderboard, persona_tables, setting_tables
from personaeval.report.table import Table
from personaeval.report.tradeoff import trade_off as trade_off_tables


def choose_tables(
    summaries: Sequence[Summary],
    personas: bool,
    baseline: str | None,
    task: str | None,
    generalise_to_personas: bool,
    trade_off: bool,
    by: str | None,
) -> list[Table]:
    """The tables for a combination of options; :func:`personaeval.leaderboard` explains each.

    Raises:
        UsageError: options that exclude each other, or no such task, baseline or setting.
        InvalidRunError: ``trade_off`` without a checkpoint that has both kinds of task.
    """
    if generalise_to_personas and (personas or trade_off):
        raise UsageError("--generalise-to-personas is for the plain table; leave --personas and --trade-off out.")
    if by is not None and (personas or trade_off or baseline is not None):
        raise UsageError("--by has no baseline and no ranking; leave --personas, --trade-off and --baseline out.")
    if trade_off and (personas or task is not None):
        raise UsageError("--trade-off shows every task of both kinds; leave --personas and --task out.")
    if by is not None:
        return setting_tables(summaries, by, task, generalise_to_personas)
    if trade_off:
        return trade_off_tables(summaries, baseline=baseline)
    if personas:
        return persona_tables(summaries, task=task)
    return leaderboard(summaries, baseline=baseline, task=task, generalise_to_personas=generalise_to_personas)
