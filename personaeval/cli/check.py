"""The command check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from personaeval.cli.app import app
from personaeval.cli.options import command, print_error, print_tables
from personaeval.errors import StorageError, UsageError

if TYPE_CHECKING:
    from personaeval.config import CheckOptions


@command(app, "check")
def check(options: CheckOptions) -> None:
    """Decide whether a candidate is worse than its base.

    The policy says by how much each metric may decline.

    Exits with 0 PASS, 1 REGRESSION, 3 INCONCLUSIVE, 4 where the runs are not valid for the question.
    """
    import os

    from personaeval import api
    from personaeval.analysis.policy import write_starting_policy
    from personaeval.results.files import append_text, make_folder, write_text
    from personaeval.results.runs import open_checkpoints

    base, candidate, policy, junit = options.base, options.candidate, options.policy, options.junit
    if options.init:
        write_starting_policy(policy, None if base is None else open_checkpoints([base])[0])
        print(f"{policy} written.\nNext: personaeval check {base or 'BASE'} CANDIDATE --policy {policy}")
        return
    if base is None or candidate is None:
        raise UsageError("BASE and CANDIDATE are missing. Example: personaeval check baseline results/checkpoint-500")
    if junit is not None:
        make_folder(junit.absolute().parent)
    found = api.check(base, candidate, policy, allow_different_settings=options.allow_different_settings)
    if options.as_json:
        print(found.to_json())
    else:
        print_tables(found.tables, options.format)
    if junit is not None:
        write_text(junit, found.to_junit())
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            append_text(Path(summary), f"{found}\n")
        except StorageError as error:
            print_error(str(error))  # the verdict stands without it
    raise typer.Exit(found.exit_code)
