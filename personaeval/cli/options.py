"""What every command's module needs: the decorator that makes a command, common flags, common output."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from personaeval.cli.help import HELP
from personaeval.errors import UsageError, printable_lines

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
                from personaeval.cli.stray import explain_stray

                given = list(args)
                try:
                    return make_command(function, name).make_context(info_name, args, parent, **extra)
                except Exception as error:
                    explain_stray(function, given, str(getattr(error, "message", "")))
                    raise

        def shown() -> None:
            """Entry in the list of commands."""

        shown.__doc__ = function.__doc__
        app.command(name, cls=Lazy, context_settings=HELP)(shown)
        return function

    return register


def print_tables(tables: Tables, format: str | None, intervals: bool = True, columns: Sequence[str] = ()) -> None:
    """Print tables: as asked, else fitted to the terminal, or as Markdown where the output is no terminal.

    The notes, for which the formats for programs have no place, go to stderr.

    Raises:
        UsageError: an unknown format or column, or a binary format on a terminal.
    """
    tables = tables.choose(columns) if columns else tables
    if format == "parquet":
        if sys.stdout.isatty():
            raise UsageError("-f parquet: this is no text; send it to a file: … -f parquet > table.parquet")
        sys.stdout.buffer.write(tables.to_parquet(intervals))
    elif format is None and sys.stdout.isatty():
        print(tables.for_terminal(intervals=intervals))
    else:
        print(tables.render(format or "markdown", intervals))
    if format in ("csv", "json", "parquet"):
        for note in tables.notes:
            print_error(note)


def print_error(message: str) -> None:
    """Tell the user on stderr, without characters that a terminal would obey: a message may quote what it found."""
    print(f"personaeval: {printable_lines(message)}", file=sys.stderr)


def report_unjudged(failed: int, reasons: Mapping[str, int]) -> None:
    """Report judgements that a judge's engine failed to give, and exit with an engine error's code."""
    if failed:
        why = commonest(reasons) or "judgements.parquet gives each reason"
        print_error(f"{failed} judgements failed and are unscored ({why}). The same command retries only those.")
        raise typer.Exit(5)


def commonest(reasons: Mapping[str, int]) -> str | None:
    """The commonest of several reasons with its count, for the line that reports failures; None without any."""
    if not reasons:
        return None
    reason, count = max(reasons.items(), key=lambda entry: entry[1])
    return reason if len(reasons) == 1 else f"{count} of them: {reason}"


def merged(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    """The sum of several counts of reasons."""
    return sum(map(Counter, counts), Counter())


def report_unread(summaries: Sequence[Mapping[str, Any]]) -> None:
    """Report judged tasks without a single score, and exit with the code of a run that is not valid."""
    unread = [
        (summary["short_name"], name, part["judgements"])
        for summary in summaries
        for name, part in summary["tasks"].items()
        if part.get("judged") and 0 < part["judgements"]["total"] == part["judgements"]["unscored"]
    ]
    for short_name, task, judgements in unread:
        reason, count = next(iter(judgements["reasons"].items()))
        print_error(
            f"{short_name}: none of the {judgements['total']} judgements of {task} could be read, so there is no "
            f"PersonaScore. Most often ({count} responses) because: {reason}. Use a judge that passes personaeval "
            "judge-check, or --judge-format prometheus or rating if it replies in a form of its own."
        )
    if unread:
        raise typer.Exit(4)
