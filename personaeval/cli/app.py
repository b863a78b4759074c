"""The application: what all commands hang on, and how errors end it. Exit codes are those of ``docs/usage.md``."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from personaeval import __version__
from personaeval.cli.options import print_error
from personaeval.errors import PersonaevalError

app = typer.Typer(
    name="personaeval",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Markup would eat what stands in brackets, such as [@URL].
    rich_markup_mode=None,
    help="How much a model's correctness depends on who it is told to be.",
)


INTERRUPTED = 130


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point: run the command and turn errors into messages and exit codes."""
    try:
        code = app(standalone_mode=False)
    except PersonaevalError as error:
        print_error(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        code = _report_unexpected(error)
    if code == INTERRUPTED:
        print_error("interrupted; what was completed is kept. The same command goes on from there.")
    sys.exit(code if isinstance(code, int) else 0)


def _report_unexpected(error: Exception) -> int:
    """Show the parser's complaints in its own way; anything else is our mistake, with a traceback to report."""
    if isinstance(error, typer.Abort):
        return INTERRUPTED
    # Typer brings a click of its own or uses the installed one; this is the base of its complaints in both.
    complaint = typer.BadParameter.__mro__[2]
    if isinstance(error, complaint):
        shown: Any = error
        shown.show()
        return int(shown.exit_code)
    import traceback

    traceback.print_exc()
    print_error("this is a mistake in personaeval, not yours; please report it with the lines above.")
    return 70
