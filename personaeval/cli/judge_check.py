"""The command judge-check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from personaeval.cli.app import app
from personaeval.cli.options import Quiet, command

if TYPE_CHECKING:
    from personaeval.config import JudgeCheckOptions


@command(app, "judge-check")
def judge_check(options: JudgeCheckOptions, quiet: Quiet = False) -> None:
    """Validate a judge before its scores are used.

    Does it rank controls in the known order and resist prompt injection?

    Exits with 0 if every judge passes, with 4 if one fails.
    """
    from personaeval import api

    checks = api.validate_with(options, progress=not quiet)
    print(checks)
    if not checks.passed:
        raise typer.Exit(4)
