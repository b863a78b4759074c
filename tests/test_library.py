"""Tasks and personas as data: what is shipped, what a user adds, and what is wrong with a file."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from personaeval.documents import read_document
from personaeval.errors import UsageError
from personaeval.library.personas import BASELINE, Category, PersonaSet
from personaeval.library.registry import Registry, builtin_folder
from personaeval.library.sources import load_items
from personaeval.library.tasks import GeneratedSource, Task

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


def items_of(name: str, library: Path | None, data: Path | None = None, limit: int | None = None, seed: int = 0):
    task, file = Registry([library] if library else []).task(name)
    return load_items(task, file, data, limit, seed)


def test_core_has_sixteen_personas_over_the_categories():
    core = Registry().persona_set("core")
    assert len(core.personas) == 16
    categories = {persona.category.value for persona in core.personas}
    assert categories == {"neutral", "expert", "novice", "adverse", "style", "irrelevant", "biography"}
    domains = {persona.domain for persona in core.personas if persona.category is Category.EXPERT}
    assert "mathematics" in domains
    assert len(domains) > 1
    assert all(persona.tags for persona in core.personas)


@pytest.mark.parametrize("kind", ["tasks", "personas"])
@pytest.mark.slow
def test_shipped_files_fit_the_schema_that_is_emitted_for_editors(kind):
    schema = json.loads((ROOT / "docs" / "schema" / f"{kind.replace('tasks', 'task')}.schema.json").read_text())
    files = sorted((builtin_folder() / kind).glob("*.yaml"))
    assert files
    for file in files:
        jsonschema.validate(yaml.safe_load(file.read_text()), schema)


@pytest.mark.parametrize(("selectors", "expected"), [
    (["few"], ["none", "pirate", "professor"]),
    (["few/pirate"], ["none", "pirate"]),
    (["few/pirate", "few"], ["none", "pirate", "professor"]),
])  # fmt: skip
def test_selectors(library, selectors, expected):
    assert [persona.id for persona in Registry([library]).personas(selectors)] == expected


def test_one_id_with_two_meanings_is_refused(library):
    other = library / "other.yaml"
    other.write_text("name: other\ndescription: x\npersonas: [{id: pirate, text: a quiet pirate, category: style}]\n")
    with pytest.raises(UsageError, match="'pirate' has two meanings"):
        Registry([library]).personas(["few", str(other)])


# Taken when reasoning-gym still made these tasks on the spot.
MINI = {
    "mini-arith": ("9e6b5072fc37cf01", "33fd374f7161d8b3"),
    "mini-letters": ("905609b2df59526f", "3cc7c0bba0f23cd9"),
    "mini-spelling": ("4d5e1a762e3b38c9", "229d836ec5ff3f2a"),
}


@pytest.mark.parametrize("name", MINI)
def test_the_mini_tasks_are_byte_for_byte_those_that_reasoning_gym_makes(name):
    shipped = items_of(name, None)
    assert len({item.prompt for item in shipped.items}) == len(shipped.items) == 100
    assert (shipped.prompts_hash, shipped.gold_hash) == MINI[name]
    task, file = Registry().task(name)
    lines = [line.removeprefix("# ") for line in file.read_text().splitlines() if re.match("#( source:|   +)", line)]
    source = yaml.safe_load("\n".join(lines))["source"]
    made = load_items(task.model_copy(update={"source": GeneratedSource.model_validate(source)}), file, None, None, 0)
    assert made.items == shipped.items


def test_subsets_are_nested_and_depend_on_the_seed(library):
    ten = [item.id for item in items_of("sums", library, limit=10).items]
    five = [item.id for item in items_of("sums", library, limit=5).items]
    other = [item.id for item in items_of("sums", library, limit=5, seed=1).items]
    assert set(five) < set(ten)
    assert five == sorted(five, key=ten.index)
    assert set(other) != set(five)


def test_a_corrected_gold_is_another_gold_hash_and_the_same_prompts(library):
    before = items_of("sums", library)
    data = library / "tasks" / "sums.jsonl"
    data.write_text(data.read_text().replace('"answer": "7"', '"answer": "8"'))
    after = items_of("sums", library)
    assert after.prompts_hash == before.prompts_hash
    assert after.gold_hash != before.gold_hash
    assert after.origin["sha256"] != before.origin["sha256"]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_every_file_format_gives_the_same_items(library, tmp_path, suffix):
    import pandas as pd

    prompt_template = pd.read_json(library / "tasks" / "sums.jsonl", lines=True, dtype=str)
    path = tmp_path / f"sums{suffix}"
    {
        ".jsonl": lambda: prompt_template.to_json(path, orient="records", lines=True),
        ".json": lambda: prompt_template.to_json(path, orient="records"),
        ".csv": lambda: prompt_template.to_csv(path, index=False),
        ".parquet": lambda: prompt_template.to_parquet(path),
    }[suffix]()
    assert items_of("sums", library, data=path).items == items_of("sums", library).items


def test_a_hub_dataset_is_loaded_by_the_same_library_call(tmp_path):
    """A local folder in a hub dataset's layout takes the place of the hub: the loader cannot tell."""
    folder = tmp_path / "gsm8k"
    folder.mkdir()
    row = {"question": "How much is 1 000 + 200?", "answer": "1000 + 200 = <<1000+200=1200>>1200\n#### 1,200"}
    (folder / "test.jsonl").write_text(json.dumps(row) + "\n")
    task, file = Registry().task("gsm8k")
    local = task.model_copy(update={"source": task.source.model_copy(update={"dataset": str(folder), "config": None})})
    loaded = load_items(local, file, None, None, 0)
    assert [item.gold for item in loaded.items] == ["1200"]
    assert loaded.origin["kind"] == "hub"


def test_an_offline_node_is_told_how_to_pass_a_local_copy():
    task, file = Registry().task("math500")
    with pytest.raises(UsageError, match=r"HuggingFaceH4/MATH-500.*--data math500=FILE"):
        load_items(task, file, None, None, 0)


@pytest.mark.parametrize(("name", "count"), [("math500", 500), ("gsm8k", 1319)])
def test_real_benchmark_files(name, count):
    data = SHARED / {"math500": "math500.jsonl", "gsm8k": "gsm8k_test.jsonl"}[name]
    if not data.is_file():
        pytest.skip(f"{data} is not there")
    loaded = items_of(name, None, data=data)
    assert len(loaded.items) == count
    assert len({item.id for item in loaded.items}) == count


def test_options_become_letters(library):
    rows = [
        {"q": "2 + 2?", "options_list": ["3", "4"], "right": 1},
        {"q": "1 + 1?", "options_list": ["2", "5"], "right": "a"},
    ]
    (library / "choice.jsonl").write_text("\n".join(map(json.dumps, rows)))
    text = (library / "tasks" / "sums.yaml").read_text()
    text = (
        text.replace("name: sums", "name: pick").replace("sums.jsonl", "../choice.jsonl").replace("numeric", "choice")
    )
    text = text.replace('"{{ id }}"', '"{{ q }}"').replace('"{{ question }}"', '"{{ q }}\\n{{ lettered_choices }}"')
    text = text.replace('gold: "{{ answer }}"', 'gold: "{{ right }}"\n  choices: options_list')
    (library / "tasks" / "pick.yaml").write_text(text)
    loaded = items_of("pick", library)
    assert [item.gold for item in loaded.items] == ["B", "A"]
    assert loaded.items[0].prompt == "2 + 2?\nA. 3\nB. 4"
    for gold in ("AB", "\u00b2", "C"):
        (library / "choice.jsonl").write_text(json.dumps(rows[0] | {"right": gold}))
        with pytest.raises(UsageError, match="row 1: the gold answer .* is neither a letter of AB nor an index"):
            items_of("pick", library)


def broken_task(library: Path, old: str, new: str) -> Path:
    path = library / "broken.yaml"
    text = (library / "tasks" / "sums.yaml").read_text().replace("sums.jsonl", "tasks/sums.jsonl")
    assert old in text
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  prompt:", "  promt:", r"broken.yaml:10: unknown key 'item.promt'. Did you mean 'prompt'"),
        ("licen" + "se:", "licence:", r"broken.yaml:5: unknown key 'licence'. Did you mean 'license'"),
        ("title: A test task\n", "", r"broken.yaml:1: the key 'title' is missing"),
        ("max_tokens: 32", "max_tokens: many", r"broken.yaml:13: sampling.max_tokens: .*integer.*'many'"),
        ("kind: numeric", "kind: numeric, patterns: ['(']", r"broken.yaml:12: scorer.patterns.*regular expression"),
        ("kind: numeric", "kind: numerical", r"broken.yaml:12: scorer: .*'numeric'"),
        (
            "kind: numeric",
            "kind: numeric, tolerence: 1",
            r"broken.yaml:12: unknown key .*tolerence'. Did you mean 'tolerance'",
        ),
        ("name: sums", "name: sums\nname: other", r"broken.yaml:2: the key 'name' is given twice"),
        ("name: sums", "name: [sums", r"broken.yaml:\d+: not valid YAML"),
    ],
)
def test_a_wrong_task_file_names_file_line_and_key(library, old, new, message):
    with pytest.raises(UsageError, match=message):
        read_document(broken_task(library, old, new), Task)


def test_the_baseline_is_in_no_file(library):
    path = library / "bad.yaml"
    path.write_text("name: bad\ndescription: x\npersonas:\n  - {id: a, text: nobody, category: baseline}\n")
    with pytest.raises(UsageError, match=r"bad.yaml:4: personas.0.category: .*reserved for the persona `none`"):
        read_document(path, PersonaSet)


def test_a_wrong_persona_file(library):
    path = library / "bad.yaml"
    path.write_text("name: bad\ndescription: x\npersonas:\n  - {id: a, text: ' padded', category: sytle}\n")
    with pytest.raises(UsageError, match=r"bad.yaml:4: personas.0.text.*\n.*bad.yaml:4: personas.0.category"):
        read_document(path, PersonaSet)
    path.write_text("name: bad\ndescription: x\npersonas:\n" + "  - {id: a, text: one, category: style}\n" * 2)
    with pytest.raises(UsageError, match="the persona id 'a' is taken"):
        Registry().persona_set(str(path))
    path.write_text(path.read_text().replace("id: a", f"id: {BASELINE.id}", 1))
    with pytest.raises(UsageError, match="'none' is taken"):
        Registry().persona_set(str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [*rows[:2], '{"id": "x", "question": ', *rows[2:]], r"sums.jsonl, row 3: broken JSON"),
        (lambda rows: [*rows, "[1]"], r"row 13: expected a JSON object"),
        (lambda rows: [*rows, rows[0]], r"rows 1 and 13 have the same item id 's0'"),
        (
            lambda rows: [*rows, '{"id": "x", "question": "?"}'],
            r"row 13: the gold template .*'answer'.*columns there: id",
        ),
        (lambda rows: [*rows, '{"id": "x", "question": "?", "answer": " "}'], r"row 13: the gold answer .* is empty"),
        (lambda rows: [*rows, '{"id": "x", "question": "?", "answer": null}'], r"row 13: .*null"),
        (lambda rows: [*rows, '{"id": "x", "question": "\\ud800", "answer": "1"}'], r"row 13: .*surrogate"),
        (lambda rows: [*rows, "[" * 100_000], r"row 13: broken JSON"),
        (lambda rows: [], "holds no rows"),
    ],
)
def test_a_broken_data_file_names_file_and_row(library, change, message):
    data = library / "tasks" / "sums.jsonl"
    data.write_text("\n".join(change(data.read_text().splitlines())))
    with pytest.raises(UsageError, match=message):
        items_of("sums", library)


def test_a_csv_with_a_short_row(library, tmp_path):
    path = tmp_path / "sums.csv"
    path.write_text("id,question,answer\na,1 + 1,2\nb,1 + 2\n")
    with pytest.raises(UsageError, match="row 2: it has more or fewer fields"):
        items_of("sums", library, data=path)


def test_names_nobody_knows(library, tmp_path):
    with pytest.raises(UsageError, match="unknown task 'maths500'. Did you mean 'math500'"):
        Registry().task("maths500")
    with pytest.raises(UsageError, match="unknown persona set 'cor'. Did you mean 'core'"):
        Registry().personas(["cor"])
    with pytest.raises(UsageError, match="no persona 'pirat'. Did you mean 'pirate'"):
        Registry([library]).personas(["few/pirat"])
    with pytest.raises(UsageError, match="no such folder"):
        Registry([tmp_path / "absent"])
    with pytest.raises(UsageError, match="neither a tasks/ nor a personas/"):
        Registry([library / "tasks"])
    with pytest.raises(UsageError, match="data file .*absent.jsonl: no such file"):
        items_of("sums", library, data=tmp_path / "absent.jsonl")


def test_a_template_cannot_reach_out_of_its_sandbox(library):
    path = broken_task(library, '"{{ question }}"', '"{{ question.__class__.__mro__ }}"')
    task = read_document(path, Task)
    with pytest.raises(UsageError, match="prompt template"):
        load_items(task, path, None, None, 0)


def test_an_installed_package_offers_its_own(tmp_path, library):
    """A real distribution's metadata on the path: entry points are found the way pip leaves them."""
    package = tmp_path / "site" / "mypersonas"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (library / "personas").rename(package / "personas")
    info = tmp_path / "site" / "mypersonas-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mypersonas\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[personaeval.data]\nmine = mypersonas\n")
    code = "from personaeval.library.registry import Registry; print(list(Registry().persona_files()))"
    path = f"{ROOT}:{tmp_path / 'site'}"
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": path}
    )
    assert "'core'" in shown.stdout
    assert "'few'" in shown.stdout
