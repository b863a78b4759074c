"""The command run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personaeval.cli.app import app
from personaeval.cli.options import (
    Quiet,
    command,
    commonest,
    merged,
    print_error,
    print_tables,
    report_unjudged,
    report_unread,
)
from personaeval.errors import UsageError

if TYPE_CHECKING:
    from personaeval.config import RunConfig


@command(app, "run")
def run(
    config: RunConfig,
    folders: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the runs' folders to this file, one per line, for scripts."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Evaluate checkpoints on tasks under personas; ends in a table.

    You can stop at any time. The same command resumes the run; nothing is generated twice.
    """
    if folders is not None and not folders.resolve().parent.is_dir():
        raise UsageError(f"--folders {folders}: there is no folder {folders.resolve().parent}.")
    from personaeval.pipeline.run import run as run_checkpoints
    from personaeval.progress import open_progress
    from personaeval.results.files import write_text

    finished = run_checkpoints(config, open_progress(quiet))
    if folders is not None:
        write_text(folders, "".join(f"{result.folder}\n" for result in finished if result.folder is not None))
    _finish_run(config.output, finished)


def _finish_run(output: Path, finished: Any) -> None:
    """Print the tables of the runs just made, and what to type next."""
    from personaeval.report.leaderboard import leaderboard
    from personaeval.report.tables import Tables
    from personaeval.results.listing import load_summaries

    folders = [result.folder for result in finished if result.folder is not None]
    summaries = load_summaries(folders)
    print_tables(Tables(tuple(leaderboard(summaries))), None)
    print(f"\nNext: personaeval leaderboard {output} --personas")
    failed = sum(result.failed for result in finished)
    reason = next((result.engine_error for result in finished if result.engine_error), None)
    if failed:
        why = commonest(merged(result.reasons for result in finished)) or reason
        print_error(f"{failed} requests failed and are unscored ({why}). The same command retries only those.")
    absent = len(finished) - len(folders)
    if absent:
        print_error(f"{absent} of {len(finished)} checkpoints could not be evaluated ({reason}).")
    report_unjudged(sum(result.unjudged for result in finished), merged(result.judge_reasons for result in finished))
    if failed or absent:
        raise typer.Exit(5)
    report_unread(summaries)
