"""The command baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personaeval.cli.app import app
from personaeval.cli.options import command

if TYPE_CHECKING:
    from personaeval.config import BaselineOptions


@command(app, "baseline")
def baseline(options: BaselineOptions) -> None:
    """Write what check needs of a run, small enough to commit."""
    from personaeval import api

    for folder in api.write_baseline(options.run, options.output):
        print(f"{folder} written.")
    print(f"Next: personaeval check {options.output} CANDIDATE --policy gate.yaml")
