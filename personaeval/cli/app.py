"""The application and how errors end it. Exit codes are those of ``docs/usage.md``."""

from __future__ import annotations

import os
import select
import sys
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from personaeval import __version__
from personaeval.cli.help import HELP
from personaeval.cli.options import print_error
from personaeval.errors import PersonaevalError
from personaeval.interrupts import INTERRUPTED, orderly_stops

_GROUPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Evaluate", "personaeval run -m ./checkpoint-500 -t math500 -p core", ("init", "plan", "run", "score", "watch")),
    ("Look", "personaeval leaderboard results/", ("leaderboard", "runs", "show", "compare", "report", "export")),
    ("Decide", "personaeval check BASE CANDIDATE --policy gate.yaml", ("check", "baseline")),
    ("Judges", "personaeval judge-check --judge openai:NAME@URL", ("judge-check", "questions")),
    ("Tasks and personas", "personaeval personas show core", ("tasks", "personas")),
    ("This machine", "personaeval doctor", ("doctor",)),
)
"""The commands in the order of use: a heading, an example, the names."""


class _GroupedCommands(TyperGroup):
    """The list of commands in groups, each with an example."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        left = dict.fromkeys(self.list_commands(ctx))
        for heading, example, names in (*_GROUPS, ("More", "", tuple(left))):
            shown = [name for name in names if name in left]
            for name in shown:
                del left[name]
            rows = [(name, self.get_command(ctx, name).get_short_help_str(limit=68)) for name in shown]  # type: ignore[union-attr]
            if rows:
                with formatter.section(f"{heading}, such as {example}" if example else heading):
                    formatter.write_dl(rows)


app = typer.Typer(
    name="personaeval",
    cls=_GroupedCommands,
    no_args_is_help=True,
    context_settings=HELP,
    pretty_exceptions_enable=False,
    # Rich markup would swallow text in brackets, such as [@URL].
    rich_markup_mode=None,
    help="How much a model's correctness depends on who it is told to be.",
)


BROKEN_PIPE = 141
"""As a shell reports a program that SIGPIPE ended."""


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main() -> None:
    """Entry point: run the command and turn errors into messages and exit codes."""
    # PyTorch's threads wait for each other by spinning: on a machine that is busy otherwise, ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with orderly_stops():
        code = _run()
    sys.exit(code)


def _run() -> int:
    try:
        code = app(standalone_mode=False)
    except PersonaevalError as error:
        print_error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError as error:
        code = _end_of_pipe(error)
    except Exception as error:
        code = _report_unexpected(error)
    if code == INTERRUPTED:
        print_error("interrupted; what was completed is kept. The same command resumes.")
    return code if isinstance(code, int) else 0


def _end_of_pipe(error: BrokenPipeError) -> int:
    """End silently if what reads the output, such as head, has seen enough. Any other pipe's end is a bug."""
    closed = [stream for stream in (sys.stdout, sys.stderr) if _is_closed(stream)]
    if not closed:
        return _report_unexpected(error)
    for stream in closed:  # Python would complain once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return BROKEN_PIPE


def _is_closed(stream: TextIO) -> bool:
    """Whether nobody reads a stream of output any more."""
    try:
        stream.flush()
        # Of a long text that could not be written nothing may be left to flush.
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except BrokenPipeError:
        return True
    except (OSError, AttributeError):  # no file at all, or a system without poll
        return False


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
