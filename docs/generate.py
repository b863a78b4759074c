"""Write the pages of docs/ that are made from the code: JSON Schemas for editors, the command line's help::

    python docs/generate.py [--check]

``--check`` writes nothing and fails where a page is not current.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from personaeval.config import RunConfig
from personaeval.judge.rubrics import Rubric
from personaeval.personas import PersonaSet
from personaeval.tasks import Task

DOCS = Path(__file__).resolve().parent
COMMANDS = (
    "run",
    "leaderboard",
    "score",
    "judge-check",
    "questions",
    "doctor",
    "tasks list",
    "tasks show",
    "tasks check",
)
COMMANDS += ("personas list", "personas show", "personas check")


def pages() -> dict[Path, str]:
    """Return file -> content for every generated page."""
    made = {}
    for name, model in (("task", Task), ("personas", PersonaSet), ("rubric", Rubric), ("run", RunConfig)):
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
        made[DOCS / "schema" / f"{name}.schema.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    made[DOCS / "cli.md"] = _command_line()
    return made


def _command_line() -> str:
    parts = ["# The command line", "", "Made by `make docs` from the program itself.", ""]
    for command in COMMANDS:
        environment = os.environ | {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "TERMINAL_WIDTH": "100"}
        shown = subprocess.run(
            [sys.executable, "-m", "personaeval", *command.split(), "--help"],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        ).stdout
        shown = re.sub(r"python -m personaeval|__main__\.py", "personaeval", shown)
        text = "\n".join(line.rstrip() for line in shown.strip().splitlines())
        parts += [f"## personaeval {command}", "", "```text", text, "```", ""]
    return "\n".join(parts)


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a page is not current")
    check = parser.parse_args().check
    stale = []
    for path, content in pages().items():
        if path.is_file() and path.read_text(encoding="utf-8") == content:
            continue
        stale.append(path)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    for path in stale:
        print(f"{'not current' if check else 'written'}: {path.relative_to(DOCS.parent)}")
    if check and stale:
        print("run `make docs`")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
