"""The command show."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from personaeval.cli.app import app
from personaeval.cli.options import command

if TYPE_CHECKING:
    from personaeval.config import ShowOptions


@command(app, "show")
def show(options: ShowOptions) -> None:
    """Show answers: prompt, answer, how it was read, verdict.

    Answers to one question stand together, persona after persona.
    """
    from personaeval.report.transcript import read_answers

    found = read_answers(options)
    if sys.stdout.isatty():
        from rich.console import Console

        found.show(Console())
    else:
        print(found.render())
