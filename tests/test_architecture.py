"""The layout: which package may import which, no circles, and what a light import must not load."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "personaeval"

GROUND = frozenset({"types", "errors", "config", "documents", "progress", "environment", "interrupts", "data"})
ALLOWED: dict[str, frozenset[str]] = {
    "metrics": frozenset(),
    "library": frozenset(),
    "models": frozenset({"library"}),
    "verify": frozenset({"library"}),
    "results": frozenset({"library"}),
    "generation": frozenset({"library", "models", "results"}),
    "judge": frozenset({"library", "models", "results", "generation", "metrics"}),
    "pipeline": frozenset({"library", "models", "results", "generation", "metrics", "verify", "judge"}),
    "analysis": frozenset({"results", "metrics"}),
    "report": frozenset({"results", "metrics", "analysis"}),
}
EVERYTHING = frozenset(ALLOWED)
UNBOUND = frozenset({"api", "cli", "__init__", "__main__"})
"""Modules at the top that may import everything."""


def modules(package: Path) -> dict[str, Path]:
    """Dotted names of the modules below ``package``, without the package's own name."""
    return {
        ".".join(file.relative_to(package).with_suffix("").parts).removesuffix(".__init__"): file
        for file in package.rglob("*.py")
    }


def imports_of(file: Path, known: dict[str, Path]) -> Iterator[tuple[int, str]]:
    """Line and name of every own module that a file imports, inside functions too; not those for types alone."""
    tree = ast.parse(file.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            # `from package import module` imports the module; `from module import name` the module itself.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] != "personaeval":
                continue
            inside = name.removeprefix("personaeval").lstrip(".")
            while inside not in known and inside:
                inside = inside.rpartition(".")[0]
            yield node.lineno, inside or "__init__"


def wrong_imports(package: Path) -> list[str]:
    """Every import that the rules do not allow; a package without a rule is one as well."""
    known = modules(package)
    found = []
    for name, file in sorted(known.items()):
        own = name.split(".")[0]
        if own in UNBOUND:
            continue
        if own not in ALLOWED and own not in GROUND:
            found.append(f"{name}: no rule says what {own} may import")
            continue
        for line, other in imports_of(file, known):
            top = other.split(".")[0]
            if top not in GROUND | ALLOWED.get(own, frozenset()) | {own, "__init__"}:
                found.append(f"{file.relative_to(package)}:{line}: {own} must not import {other}")
    return found


def circle(package: Path) -> list[str] | None:
    """One circle of module imports, if there is one."""
    known = modules(package)
    graph = {name: {other for _, other in imports_of(file, known) if other != name} for name, file in known.items()}
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> list[str] | None:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        path.append(name)
        for other in sorted(graph.get(name, ())):
            if (found := visit(other)) is not None:
                return found
        path.pop()
        done.add(name)
        return None

    return next((found for name in sorted(graph) if (found := visit(name)) is not None), None)


def test_every_package_imports_only_what_it_may():
    assert wrong_imports(PACKAGE) == []


@pytest.mark.slow
def test_no_circle_between_modules():
    assert circle(PACKAGE) is None


def test_the_top_of_the_package_is_read_at_a_glance():
    files = [entry.name for entry in PACKAGE.iterdir() if entry.is_file()]
    folders = {entry.name for entry in PACKAGE.iterdir() if entry.is_dir() and entry.name != "__pycache__"}
    assert folders == {*ALLOWED, "cli", "config"}
    assert len(files) <= 10, files


def test_no_module_is_longer_than_four_hundred_lines():
    lengths = {name: len(file.read_text().splitlines()) for name, file in modules(PACKAGE).items()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_no_file_name_twice_outside_the_command_line():
    names = [
        file.name
        for file in modules(PACKAGE).values()
        if file.name != "__init__.py" and "cli" not in file.relative_to(PACKAGE).parts
    ]
    assert names
    assert sorted({name for name in names if names.count(name) > 1}) == []


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("metrics/planted.py", "import personaeval.results.ledger\n", "metrics must not import results.ledger"),
        ("metrics/planted.py", "def late():\n    from personaeval import judge\n", "metrics must not import judge"),
        ("analysis/planted.py", "from personaeval.models import engines\n", "analysis must not import models.engines"),
        ("novel/planted.py", "", "no rule says what novel may import"),
    ],
)
@pytest.mark.slow
def test_a_planted_wrong_import_is_found(tmp_path, name, text, complaint):
    for known, file in modules(PACKAGE).items():
        copy = tmp_path / file.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(file.read_text() if known else "")
    planted = tmp_path / name
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(text)
    [found] = wrong_imports(tmp_path)
    assert complaint in found


def test_a_planted_circle_is_found(tmp_path):
    (tmp_path / "one.py").write_text("import personaeval.two\n")
    (tmp_path / "two.py").write_text("def late():\n    from personaeval.one import name\n")
    assert circle(tmp_path) == ["one", "two", "one"]


@pytest.mark.parametrize(
    "module",
    [
        "analysis.compare",
        "analysis.check",
        "report.leaderboard",
    ],
)
def test_looking_at_finished_runs_loads_no_model(module):
    """A notebook with finished runs needs neither a model, an engine, a judge nor the pipeline."""
    code = (
        f"import sys, personaeval.{module}\n"
        "loaded = {name.split('.')[1] for name in sys.modules if name.startswith('personaeval.')}\n"
        "print(sorted(loaded & {'models', 'judge', 'pipeline', 'generation', 'verify', 'cli'}))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout == "[]\n"


def test_the_design_names_functions_and_modules_that_exist():
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    places = re.findall(r"`((?!tests/)\w+/\w+\.py)`((?:: |, )`\w+`(?:(?:, | and )`\w+`)*)?", design)
    assert len(places) > 10
    for module, names in places:
        text = (PACKAGE / module).read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)`", names if names.startswith(":") else ""):
            assert re.search(rf"^ *(?:async def|def|class) {name}\b|^{name}\b", text, re.MULTILINE), f"{module}: {name}"
