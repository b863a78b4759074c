"""The command runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personaeval.cli.app import app
from personaeval.cli.options import command, print_tables

if TYPE_CHECKING:
    from personaeval.config import RunsOptions


@command(app, "runs")
def runs(options: RunsOptions) -> None:
    """List all runs with their settings, finished or not."""
    from personaeval import api

    print_tables(api.runs(options.folder), options.format)
