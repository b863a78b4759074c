"""Tables and reports from finished runs: leaderboard, comparison, trade-off, verdicts. Needs no model.

Example::

    from pathlib import Path

    from personaeval.report.formats import render
    from personaeval.report.leaderboard import leaderboard
    from personaeval.results.listing import load_summaries

    print(render(leaderboard(load_summaries([Path("results")])), "markdown"))
"""
