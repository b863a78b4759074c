"""What every command's module needs: the decorator that makes a command, common flags, common output."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from personaeval.cli.help import HELP

if TYPE_CHECKING:
    from personaeval.report.tables import Tables

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")]

Command = Callable[..., None]


def command(app: typer.Typer, name: str) -> Callable[[Command], Command]:
    """Register a function as a command whose flags are the fields of an options class.

    The class is the annotation of the function's first parameter, by its name in :mod:`personaeval.config`. Other
    parameters are flags that belong to no options class (``--quiet``), declared as usual for Typer. The flags are made
    when the command is used: ``personaeval --help`` loads no options.
    """

    def register(function: Command) -> Command:
        class Lazy(TyperCommand):
            def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
                from personaeval.cli.parameters import make_command

                return make_command(function, name).make_context(info_name, args, parent, **extra)

        def shown() -> None:
            """Entry in the list of commands."""

        shown.__doc__ = function.__doc__
        app.command(name, cls=Lazy, context_settings=HELP)(shown)
        return function

    return register


def print_tables(tables: Tables, format: str, intervals: bool) -> None:
    """Print tables; their notes, for which CSV has no place, go to stderr."""
    print(tables.render(format, intervals))
    if format == "csv":
        for note in tables.notes:
            print_error(note)


def print_error(message: str) -> None:
    """Tell the user on stderr."""
    print(f"personaeval: {message}", file=sys.stderr)


def report_unjudged(failed: int, reason: str | None) -> None:
    """Report judgements that a judge's engine failed to give, and exit with an engine error's code."""
    if failed:
        why = reason or "judgements.parquet gives each reason"
        print_error(f"{failed} judgements failed and are unscored ({why}). The same command retries only those.")
        raise typer.Exit(5)
