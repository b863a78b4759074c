"""Write docs/screens.md: tables on terminals of 80 and 120 columns, with two checkpoints and with five."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from example_runs import STEPS, write_runs

import personaeval
from personaeval import Tables

WIDTHS = (80, 120)
COUNTS = (2, 5)
POLICY = {
    "version": 2,
    "gates": [
        {"task": "math500", "metric": "accuracy", "max_drop": 0.02},
        {"task": "math500", "metric": "pss", "max_drop": 0.02},
        {"task": "math500", "metric": "worst_persona", "max_drop": 0.1, "severity": "supporting"},
        {"task": "personagym", "metric": "persona_score", "max_drop": 0.2, "severity": "supporting"},
    ],
}

_INTRODUCTION = """\
# Screens

Made by `make docs` from runs of invented checkpoints (`docs/example_runs.py`), as a terminal shows them. Where a table
is too wide, its columns become rows, or it is split into blocks of columns; nothing is cut.
"""


def screens(count: int) -> dict[str, Tables]:
    """Command -> its tables, for so many checkpoints; call it in the folder that holds ``results``."""
    names = [f"results/checkpoint-{step}" for step in STEPS[:count]]
    first, last = names[0], names[-1]
    return {
        "personaeval leaderboard": personaeval.leaderboard(),
        "personaeval leaderboard --task math500 --personas": personaeval.leaderboard(task="math500", personas=True),
        f"personaeval leaderboard --baseline {Path(first).name}": personaeval.leaderboard(baseline=Path(first).name),
        "personaeval leaderboard --trade-off": personaeval.leaderboard(trade_off=True),
        f"personaeval compare {' '.join(names)}": personaeval.compare(*names),
        f"personaeval check {first} {last}": personaeval.check(first, last, POLICY).tables,
        "personaeval runs": personaeval.runs(),
    }


@contextmanager
def example_folder(count: int) -> Iterator[Path]:
    """A working folder whose ``results`` holds the example runs."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        write_runs(Path(folder) / "results", count)
        os.chdir(folder)
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def page() -> str:
    """The page's content."""
    parts = [_INTRODUCTION]
    for count in COUNTS:
        parts.append(f"## {count} checkpoints\n")
        with example_folder(count):
            for command, tables in screens(count).items():
                name = command.removeprefix("personaeval ").split(" results/")[0]
                parts.append(f"### {name}, {count} checkpoints\n")
                parts += [
                    f"At {width} columns:\n\n```text\n$ {command}\n{tables.for_terminal(width)}\n```\n"
                    for width in WIDTHS
                ]
    return "\n".join(parts)


if __name__ == "__main__":
    (Path(__file__).parent / "screens.md").write_text(page(), encoding="utf-8")
