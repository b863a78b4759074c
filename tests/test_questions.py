"""Questions that bring their own personas: both layouts, subsets, and the rows of a plan."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personaeval.errors import UsageError
from personaeval.generation.plan import Plan, lay_out
from personaeval.judge.rubrics import load_rubrics, rubrics_of
from personaeval.library.personas import Category, Persona
from personaeval.library.question_sets import load_questions
from personaeval.library.registry import Registry
from personaeval.library.sources import ItemSet, load_items
from personaeval.library.tasks import Item
from personaeval.models.prompts import TextFrame
from personaeval.types import Sampling
from tests.conftest import ROOT

TASK, FILE = Registry().task("personagym")
UPSTREAM = ROOT.parent / "shared" / "data" / "personagym"
NAMES = ("Expected Action", "Toxicity", "Linguistic Habits", "Persona Consistency", "Action Justification")


def load(data=None, limit=None, seed=0, questions_per_dimension=None, limit_personas=None):
    return load_items(TASK, FILE, data, limit, seed, questions_per_dimension, limit_personas)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of PersonaGym with two personas, ten questions for each task."""
    folder = tmp_path / "PersonaGym"
    (folder / "benchmark-v1").mkdir(parents=True)
    texts = ["A 71-year-old nurse from Italy, keen on bees", "An apprentice baker"]
    (folder / "personas.jsonl").write_text("".join(json.dumps({"persona": text}) + "\n" for text in texts))
    for text in texts:
        content = {name: [f"{name} question {n} for {text}?" for n in range(10)] for name in NAMES}
        (folder / "benchmark-v1" / f"{text}.json").write_text(json.dumps(content))
    return folder


def test_the_built_in_questions_are_balanced_and_every_dimension_has_a_rubric():
    items = load()
    assert len(items.personas) >= 40
    assert set(Counter((item.persona, item.dimension) for item in items.items).values()) == {4}
    assert list(rubrics_of(items, FILE)) == sorted({item.dimension for item in items.items})
    assert list(dict.fromkeys(item.persona for item in items.items)) == [persona.id for persona in items.personas]


def test_personagyms_own_layout(clone):
    items = load(clone)
    assert len(items.items) == 2 * 50
    assert [persona.text for persona in items.personas] == [
        "a 71-year-old nurse from Italy, keen on bees",
        "an apprentice baker",
    ]
    assert items.personas[0].id.startswith("71-year-old-nurse-from-italy-keen-on-bee")
    assert Counter(item.dimension for item in items.items)["toxicity-control"] == 20
    assert load(clone / "benchmark-v1").prompts_hash == items.prompts_hash


@pytest.mark.skipif(not UPSTREAM.is_dir(), reason="PersonaGym's data is not at ../shared/data/personagym")
def test_all_of_personagym_loads():
    items = load(UPSTREAM)
    assert (len(items.personas), len(items.items)) == (200, 10_000)
    assert len({persona.id for persona in items.personas}) == 200


def broken_clones():
    def remove(folder):
        (folder / "benchmark-v1" / "An apprentice baker.json").unlink()

    def no_json(folder):
        (folder / "benchmark-v1" / "An apprentice baker.json").write_text('{"Toxicity": [')

    def edit(change):
        def apply(folder):
            path = folder / "benchmark-v1" / "An apprentice baker.json"
            content = json.loads(path.read_text())
            change(content)
            path.write_text(json.dumps(content))

        return apply

    yield remove, "An apprentice baker.json: is missing"
    yield no_json, "An apprentice baker.json: cannot be read as JSON"
    yield edit(lambda content: content.pop("Toxicity")), "An apprentice baker.json: expected an object with the keys"
    yield edit(lambda content: content["Toxicity"].append(" ")), "question 11 of 'Toxicity'"
    yield edit(lambda content: content.update(Toxicity="no list")), "'Toxicity' must be a list"
    yield lambda folder: (folder / "personas.jsonl").write_text("{"), "personas.jsonl, row 1: broken JSON"


@pytest.mark.parametrize(("damage", "said"), broken_clones())
def test_a_missing_or_broken_file_is_named(clone, damage, said):
    damage(clone)
    with pytest.raises(UsageError, match=said):
        load(clone)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"persona": "nobody"}, "there is no persona 'nobody'"),
        ({"question": ""}, "'question' must be a text"),
        ({"dimension": 3}, "'dimension' must be a text"),
        ({"extra": "x"}, "expected an object with the keys"),
    ],
)
def test_a_broken_row_of_our_own_layout_is_named(tmp_path, change, said):
    folder = tmp_path / "questions"
    folder.mkdir()
    shutil.copy(FILE.parent / "personagym" / "personas.yaml", folder)
    lines = (FILE.parent / "personagym" / "questions.jsonl").read_text().splitlines()[:3]
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    (folder / "questions.jsonl").write_text("\n".join(lines))
    with pytest.raises(UsageError, match="row 2") as caught:
        load_questions(folder)
    assert said in str(caught.value)


def test_a_folder_of_neither_layout_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"neither questions\.jsonl"):
        load(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        load(tmp_path / "absent")


def test_subsets_are_balanced_nested_and_seeded():
    few, more = load(questions_per_dimension=1, limit_personas=6), load(questions_per_dimension=2, limit_personas=9)
    assert len(few.personas) == 6
    assert set(Counter((item.persona, item.dimension) for item in few.items).values()) == {1}
    assert {item.id for item in few.items} < {item.id for item in more.items} < {item.id for item in load().items}
    assert {item.id for item in load(seed=1, questions_per_dimension=1, limit_personas=6).items} != {
        item.id for item in few.items
    }
    assert {item.id for item in load(limit=30).items} < {item.id for item in load(limit=40).items}


def test_a_rubric_that_is_missing_or_lacks_a_score_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"wit\.yaml: no such file"):
        load_rubrics(tmp_path, ["wit"])
    text = (FILE.parent / "personagym" / "rubrics" / "linguistic-habits.yaml").read_text()
    (tmp_path / "wit.yaml").write_text(text)
    with pytest.raises(UsageError, match="its name is 'linguistic-habits'"):
        load_rubrics(tmp_path, ["wit"])
    text = text.replace("name: linguistic-habits", "name: wit")
    (tmp_path / "wit.yaml").write_text(text.replace("  3:", "  7:"))
    with pytest.raises(UsageError, match="scores 1, 2, 3, 4 and 5"):
        load_rubrics(tmp_path, ["wit"])
    (tmp_path / "wit.yaml").write_text(text)
    assert load_rubrics(tmp_path, ["wit"])["wit"].anchors.keys() == {1, 2, 3, 4, 5}


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(1, 3))
def test_every_row_of_a_paired_task_has_its_items_own_persona(sizes, samples):
    personas = tuple(Persona(id=f"p{n}", text=f"person {n}", category=Category.BIOGRAPHY) for n in range(len(sizes)))
    items = tuple(
        Item(f"{persona.id}-{n}", f"question {n}?", "", persona=persona.id, dimension="wit")
        for persona, size in zip(personas, sizes, strict=True)
        for n in range(size)
    )
    prompt_templates = tuple(TextFrame(f"<{persona.text}>", "</>") for persona in personas)
    [task] = lay_out([(ItemSet(TASK, items, {}, "", "", personas), prompt_templates, Sampling())], (), samples, 7)
    plan = Plan([task], {})
    plan.compute_keys()
    assert plan.size == len(items) * samples
    rows = [plan.row(number) for number in range(plan.size)]
    assert [(row.item.id, row.sample) for row in rows] == [(item.id, s) for item in items for s in range(samples)]
    assert all(row.persona.id == row.item.persona == personas[row.persona_index].id for row in rows)
    requests = {request.row: request for request in plan.requests(lambda row: True)}
    assert set(requests) == set(range(plan.size))
    for number, row in enumerate(rows):
        assert requests[number].prompt == f"<{row.persona.text}>{row.item.prompt}</>"
        assert requests[number].key == plan.key(number)
        assert requests[number].seed == 7 + row.sample
    assert len(set(plan.keys(0, plan.size))) == plan.size
