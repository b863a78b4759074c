"""The command init."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personaeval.cli.app import app
from personaeval.cli.options import command

if TYPE_CHECKING:
    from personaeval.config import InitOptions


@command(app, "init")
def init(options: InitOptions) -> None:
    """Write a commented run.yaml and gate.yaml to start from."""
    from personaeval.analysis.starting_files import write_starting_files

    settings, policy = write_starting_files(options.output, options.model, options.tasks)
    model = "" if options.model else " --model MODEL"
    print(f"{settings} and {policy} written.\nNext: personaeval run --config {settings}{model}")
