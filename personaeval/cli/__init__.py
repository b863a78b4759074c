"""The command line: parse, call, print; no logic. A module holds a command, named after it."""

# The order in which they are imported is that of --help.
# isort: off
from personaeval.cli.app import app, main
from personaeval.cli import (
    run,
    plan,
    leaderboard,
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
    "judge_check",
    "leaderboard",
    "main",
    "personas",
    "plan",
    "questions",
    "run",
    "score",
    "tasks",
]
