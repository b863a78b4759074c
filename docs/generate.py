"""Write what in docs/ is made from the code and the data: JSON Schemas, the command line's help, tables of personas::

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
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from personaeval.analysis.policy import Policy
from personaeval.config import RunConfig, flag_name, flag_of, group_of
from personaeval.config.starting_file import starting_config, yaml_value
from personaeval.judge.rubrics import Rubric
from personaeval.library.overview import size_of, source_of
from personaeval.library.persona_columns import KNOWN
from personaeval.library.personas import Category, Expectation, PersonaSet
from personaeval.library.registry import Registry
from personaeval.library.tasks import Task, TaskGroup
from personaeval.models.sentences import TEMPLATES
from personaeval.results.records import RunRecord
from personaeval.results.summaries import RunSummary

DOCS = Path(__file__).resolve().parent
COMMANDS = (
    "init",
    "run",
    "plan",
    "leaderboard",
    "show",
    "runs",
    "compare",
    "check",
    "baseline",
    "score",
    "judge-check",
    "questions",
    "doctor",
    "tasks list",
    "tasks show",
    "tasks check",
    "tasks new",
)
COMMANDS += ("personas list", "personas show", "personas check")


def pages() -> dict[Path, str]:
    """Return file -> content for every generated page."""
    made = {}
    documents = {"task": Task, "group": TaskGroup, "personas": PersonaSet, "rubric": Rubric, "run": RunConfig}
    documents |= {"policy": Policy, "run-json": RunRecord, "summary-json": RunSummary}
    for name, model in documents.items():
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
        made[DOCS / "schema" / f"{name}.schema.json"] = json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
    made[DOCS / "cli.md"] = _command_line()
    made[DOCS / "config.md"] = fill(DOCS / "config.md", {"keys": config_table(), "start": starting_file()})
    made[DOCS / "first-table.md"] = fill(DOCS / "first-table.md", {"demo": demo_table()})
    made[DOCS / "tasks.md"] = fill(DOCS / "tasks.md", task_tables())
    made[DOCS / "personas.md"] = fill(DOCS / "personas.md", persona_tables())
    made[DOCS / "bring-your-own.md"] = fill(DOCS / "bring-your-own.md", column_table())
    return made


def fill(page: Path, tables: dict[str, str]) -> str:
    """Return a hand-written page with the text between ``<!-- NAME -->`` and ``<!-- end -->`` made anew."""
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        opening, closing = f"<!-- {name} -->\n", "<!-- end -->"
        if text.count(opening) != 1:
            raise SystemExit(f"{page}: `{opening.strip()}` must stand there once.")
        before, rest = text.split(opening)
        text = f"{before}{opening}\n{table}\n\n{closing}{rest.partition(closing)[2]}"
    return text


def demo_table() -> str:
    """Return the demo's table as README shows it: one place to update."""
    found = re.search(
        r"^\|.*checkpoint.*\|$(?:\n\|.*\|$)+", (DOCS.parent / "README.md").read_text("utf-8"), re.MULTILINE
    )
    if found is None:
        raise SystemExit("README.md: the demo's table is missing.")
    return found[0]


def config_table() -> str:
    """Return the table of every key of a ``--config`` file."""
    parts: list[str] = []
    groups: dict[str, list[str]] = {}
    for name in RunConfig.model_fields:
        groups.setdefault(group_of(RunConfig, name), []).append(name)
    for heading, names in groups.items():
        rows = [_key_row(name) for name in names]
        parts += [f"### {heading}", _table(("key", "type", "default", "flag", "meaning"), rows)]
    return "\n\n".join(parts)


def _key_row(name: str) -> tuple[str, ...]:
    field = RunConfig.model_fields[name]
    properties = RunConfig.model_json_schema()["properties"][name]
    kinds = [one.get("type") for one in properties.get("anyOf", [properties])]
    words = {"integer": "whole number", "number": "number", "boolean": "true or false", "array": "list of texts"}
    kind = next(words.get(str(one), {"object": "mapping"}.get(str(one), "text")) for one in kinds if one != "null")
    default = flag_of(field).default or ("required" if field.is_required() else f"`{yaml_value(field.default)}`")
    default = "–" if default == "`null`" else default
    return f"`{name}`", kind, default, f"`{flag_name(RunConfig, name)}`", (field.description or "").replace("|", "\\|")


def starting_file() -> str:
    """Return the head of the file that ``personaeval init`` writes."""
    lines = starting_config(["./checkpoint-500"], ["mini-arith"]).splitlines()
    return "\n".join(["```yaml", *lines[:20], "…", "```"])


def task_tables() -> dict[str, str]:
    """Return the tables of docs/tasks.md by name."""
    registry = Registry()
    rows = []
    for name in registry.task_files():
        task, _ = registry.task(name)
        rows.append((f"`{name}`", task.title, size_of(task), task.domain, task.scorer.kind, source_of(task.source)))
        rows[-1] += (task.license, " ".join((task.reference or "").split()))
    header = ("task", "title", "items", "domain", "scorer", "source", "licence", "where its columns are documented")
    groups = [(f"`{group.name}`", ", ".join(group.tasks), group.description) for group in registry.groups().values()]
    return {"tasks": _table(header, rows), "groups": _table(("group", "tasks", "what it is"), groups)}


def persona_tables() -> dict[str, str]:
    """Return the tables of docs/personas.md by name."""
    registry = Registry()
    sets = {name: registry.persona_set(name) for name in registry.persona_files()}
    whole = {persona.id: persona for found in sets.values() for persona in found.personas}.values()
    written = [persona for persona in whole if persona.paraphrase_of is None]
    rows = [(name, len(found.personas), " ".join(found.description.split())) for name, found in sets.items()]
    by_category = []
    for category in Category:
        own = [persona for persona in written if persona.category is category]
        counts = Counter(persona.expect for persona in own)
        if own:
            expected = (counts[expectation] for expectation in get_args(Expectation))
            by_category.append((category.value, len(own), *expected, own[-1].text))
    experts = [persona for persona in written if persona.category is Category.EXPERT]
    fields = Counter(str(persona.domain) for persona in experts)
    return {
        "sets": _table(("set", "personas", "what it is"), rows),
        "categories": _table(("category", "personas", "helps", "neutral", "hurts", "for example"), by_category),
        "fields": ", ".join(f"{field} ({count})" for field, count in sorted(fields.items())) + ".",
        "templates": _table(("name", "text"), [(name, f"`{text!r}`") for name, text in TEMPLATES.items()]),
    }


def column_table() -> dict[str, str]:
    """Return the table of known columns in docs/bring-your-own.md."""
    rows = [(what, ", ".join(f"`{name}`" for name in names), source) for what, names, source in KNOWN]
    return {"columns": _table(("what it is", "names, the first ones first", "among others in"), rows)}


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


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
