"""The command line: parse, call, print; no logic. Each module holds a command and is named after it.

::

    @command(app, "leaderboard")
    def leaderboard(options: LeaderboardOptions) -> None:
        print_tables(api.leaderboard(options.folder), options.format)

The flags are the fields of the options class. A problem is raised as an error of :mod:`personaeval.errors`; ``main``
prints its text and exits with its code.
"""

# The order in which they are imported is that of --help.
# isort: off
from personaeval.cli.app import app, main
from personaeval.cli import (
    init,
    run,
    plan,
    leaderboard,
    show,
    runs,
    compare,
    baseline,
    check,
    score,
    judge_check,
    questions,
    doctor,
    tasks,
    personas,
)
# isort: on

__all__ = [
    "app",
    "baseline",
    "check",
    "compare",
    "doctor",
    "init",
    "judge_check",
    "leaderboard",
    "main",
    "personas",
    "plan",
    "questions",
    "run",
    "runs",
    "score",
    "show",
    "tasks",
]
