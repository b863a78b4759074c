"""Commands that read finished runs: leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personaeval.cli.app import app
from personaeval.cli.options import parse_generalise, print_error
from personaeval.errors import UsageError


@app.command()
def leaderboard(
    folder: Annotated[Path, typer.Argument(help="Results folder.")] = Path("results"),
    format: Annotated[str, typer.Option("--format", "-f", help="markdown, csv, json, html or latex.")] = "markdown",
    personas: Annotated[bool, typer.Option("--personas", help="A row per persona.")] = False,
    baseline: Annotated[str | None, typer.Option(help="Checkpoint against which changes are shown.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    no_interval: Annotated[bool, typer.Option("--no-interval", help="Figures alone.")] = False,
    generalise: Annotated[
        str, typer.Option(help="items, or items,personas: intervals for personas not tried, too.")
    ] = "items",
    trade_off: Annotated[
        bool, typer.Option("--trade-off", help="Stability and fidelity of each checkpoint side by side.")
    ] = False,
) -> None:
    """Compare the finished runs of a results folder; only like is ranked with like."""
    from personaeval.judge.validation import refresh_checks
    from personaeval.report import leaderboard, tradeoff
    from personaeval.report.formats import without_intervals
    from personaeval.results.runs import find_summaries

    wide = parse_generalise(generalise)
    if wide and (personas or trade_off):
        raise UsageError("--generalise items,personas is for the plain table; leave --personas and --trade-off out.")
    summaries = find_summaries(folder)
    refresh_checks(summaries, folder)
    if trade_off and (personas or task is not None):
        raise UsageError("--trade-off shows every task of both kinds; leave --personas and --task out.")
    if trade_off:
        found = tradeoff.trade_off(summaries, baseline=baseline)
    elif personas:
        found = leaderboard.persona_tables(summaries, task=task)
    else:
        found = leaderboard.leaderboard(summaries, baseline=baseline, task=task, generalise=wide)
    print(leaderboard.render(without_intervals(found) if no_interval else found, format))
    if format == "csv":
        for note in dict.fromkeys(note for table in found for note in table.notes):
            print_error(note)
