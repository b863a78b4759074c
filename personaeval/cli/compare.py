"""The command compare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personaeval.cli.app import app
from personaeval.cli.options import command, print_tables

if TYPE_CHECKING:
    from personaeval.config import CompareOptions


@command(app, "compare")
def compare(options: CompareOptions) -> None:
    """Show paired changes from one checkpoint to others.

    Only items, personas and samples that both have are compared.
    """
    from personaeval import api

    found = api.compare(
        options.base,
        *options.candidates,
        task=options.task,
        generalise_to_personas=options.generalise_to_personas,
        allow_different_settings=options.allow_different_settings,
    )
    print_tables(found, options.format, options.intervals, options.columns)
