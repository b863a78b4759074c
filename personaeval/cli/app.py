"""The application and how errors end it. Exit codes are those of ``docs/usage.md``."""

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
    # Rich markup would swallow text in brackets, such as [@URL].
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
        print_error("interrupted; what was completed is kept. The same command resumes.")
    sys.exit(code if isinstance(code, int) else 0)


def _report_unexpected(error: Exception) -> int:
    """Let the parser show its own errors; anything else is a bug, shown with a traceback to report."""
    if isinstance(error, typer.Abort):
        return INTERRUPTED
    parser_error: Any = error
    if hasattr(error, "show"):  # click's ClickException, of which Typer has a copy inside or uses the installed one
        parser_error.show()
        return int(parser_error.exit_code)
    import traceback

    traceback.print_exc()
    print_error("this is a bug in personaeval; please report it with the lines above.")
    return 70
