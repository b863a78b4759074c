"""The command leaderboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personaeval.cli.app import app
from personaeval.cli.options import command, print_tables

if TYPE_CHECKING:
    from personaeval.config import LeaderboardOptions


@command(app, "leaderboard")
def leaderboard(options: LeaderboardOptions) -> None:
    """Rank finished runs; only comparable ones share a table."""
    from personaeval import api

    found = api.leaderboard(
        options.folder,
        personas=options.personas,
        baseline=options.baseline,
        task=options.task,
        by=options.by,
        generalise_to_personas=options.generalise_to_personas,
        trade_off=options.trade_off,
    )
    print_tables(found, options.format, options.intervals, options.columns)
