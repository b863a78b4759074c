"""The command line: parse, call, print; no logic. A module holds the commands of one purpose."""

# The order in which they are imported is that of --help.
# isort: off
from personaeval.cli.app import app, main
from personaeval.cli import run, plan, leaderboard, compare, judge, tasks
# isort: on

__all__ = ["app", "compare", "judge", "leaderboard", "main", "plan", "run", "tasks"]
