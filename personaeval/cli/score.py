"""The command score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personaeval.cli.app import app
from personaeval.cli.options import Quiet, command, report_unjudged
from personaeval.errors import UsageError

if TYPE_CHECKING:
    from personaeval.config import ScoreOptions


@command(app, "score")
def score(options: ScoreOptions, quiet: Quiet = False) -> None:
    """Verify or judge a run's stored responses again, with today's gold answers, scorers or judges.

    Only judges' replies are generated; without --judge, judged tasks keep their judgements.
    """
    from personaeval.config import JudgeOptions, part
    from personaeval.judge.usage import read_prices, report_judging
    from personaeval.pipeline.score import rescore
    from personaeval.progress import open_progress
    from personaeval.report.leaderboard import leaderboard, render
    from personaeval.results.runs import load_summaries

    if options.has_unused_options():
        raise UsageError("options for judges were given, but no --judge.")
    judges = part(options, JudgeOptions) if options.judge else None
    price_list, progress = read_prices(options.prices), open_progress(quiet)
    rescored = rescore(options.folder, options.data, options.include, judges, progress, options.human)
    usages = rescored.judging.usages
    report_judging(usages, price_list, progress)
    print(render(leaderboard(load_summaries([options.folder])), "markdown"))
    print(f"\n{rescored.changed} verdicts changed.")
    reason = next((usage.engine_error for usage in usages if usage.engine_error), None)
    report_unjudged(sum(usage.failed for usage in usages), reason)
