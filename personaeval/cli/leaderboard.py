"""Commands that read finished runs: leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personaeval.cli.app import app
from personaeval.cli.options import print_tables


@app.command()
def leaderboard(
    folder: Annotated[Path, typer.Argument(help="Results folder.")] = Path("results"),
    format: Annotated[str, typer.Option("--format", "-f", help="markdown, csv, json, html or latex.")] = "markdown",
    personas: Annotated[bool, typer.Option("--personas", help="A row per persona.")] = False,
    baseline: Annotated[str | None, typer.Option(help="Checkpoint against which changes are shown.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    no_interval: Annotated[bool, typer.Option("--no-interval", help="Figures alone.")] = False,
    generalise_to_personas: Annotated[
        bool, typer.Option("--generalise-to-personas", help="Intervals for personas that were not tried, too.")
    ] = False,
    trade_off: Annotated[
        bool, typer.Option("--trade-off", help="Stability and fidelity of each checkpoint side by side.")
    ] = False,
) -> None:
    """Compare the finished runs of a results folder; only like is ranked with like."""
    from personaeval import api

    found = api.leaderboard(
        folder,
        personas=personas,
        baseline=baseline,
        task=task,
        generalise_to_personas=generalise_to_personas,
        trade_off=trade_off,
    )
    print_tables(found, format, not no_interval)
