"""The command score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personaeval.cli.app import app
from personaeval.cli.options import Quiet, command, merged, print_tables, report_unjudged, report_unread

if TYPE_CHECKING:
    from personaeval.config import ScoreOptions


@command(app, "score")
def score(options: ScoreOptions, quiet: Quiet = False) -> None:
    """Verify or judge a run's stored answers again.

    Uses today's gold answers, scorers or judges.

    Only judges' replies are generated; without --judge, judged tasks keep their judgements.
    """
    from personaeval import api
    from personaeval.report.table import count
    from personaeval.results.listing import load_summaries

    rescored = api.score_with(options, progress=not quiet)
    print_tables(rescored.table, None)
    print(f"\n{count(rescored.changed, 'verdict')} changed.")
    report_unjudged(rescored.failed, merged(usage.reasons for usage in rescored.usages))
    report_unread(load_summaries([run.folder for run in rescored.files]))
