"""The commands personas list, show and check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from personaeval.cli.app import app
from personaeval.cli.help import HELP
from personaeval.cli.options import command

if TYPE_CHECKING:
    from personaeval.config import LibraryOptions, PersonasCheckOptions, PersonasShowOptions


personas_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, context_settings=HELP, help="List, show and check personas."
)

app.add_typer(personas_app, name="personas")


@command(personas_app, "list")
def personas_list(options: LibraryOptions) -> None:
    """List the persona sets with their sizes and categories."""
    from personaeval.library.overview import list_personas

    print(list_personas(options.include))


@command(personas_app, "show")
def personas_show(options: PersonasShowOptions) -> None:
    """Show personas; with a checkpoint, also its rendered prompts."""
    from personaeval.models.persona_preview import show_personas

    print(show_personas(options))


@command(personas_app, "check")
def personas_check(options: PersonasCheckOptions) -> None:
    """Check a persona set or file: keys, ids, texts, tags, lengths, wording, and texts that look alike."""
    from personaeval.library.external_personas import Reading
    from personaeval.library.overview import check_personas
    from personaeval.models.sentences import fit_of

    reading = Reading(fit_of(options.template), options.drop_near_duplicates)
    print(check_personas(options.personas, options.include, reading))
