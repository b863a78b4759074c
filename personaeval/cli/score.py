"""The command score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personaeval.cli.app import app
from personaeval.cli.options import Quiet, command, report_unjudged

if TYPE_CHECKING:
    from personaeval.config import ScoreOptions


@command(app, "score")
def score(options: ScoreOptions, quiet: Quiet = False) -> None:
    """Verify or judge a run's stored answers again.

    Uses today's gold answers, scorers or judges.

    Only judges' replies are generated; without --judge, judged tasks keep their judgements.
    """
    from personaeval import api

    rescored = api.score_with(options, progress=not quiet)
    print(f"{rescored}\n\n{rescored.changed} verdicts changed.")
    reason = next((usage.engine_error for usage in rescored.usages if usage.engine_error), None)
    report_unjudged(rescored.failed, reason)
