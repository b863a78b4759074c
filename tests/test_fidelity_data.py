"""The built-in fidelity benchmark as data: personas, questions, rubrics, controls. Nothing here asks a model."""

import json
import re
import subprocess
import sys
import zipfile
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import yaml

from personaeval.documents import read_document
from personaeval.library.personas import Persona, PersonaSet
from personaeval.library.registry import Registry, builtin_folder

ROOT = Path(__file__).resolve().parent.parent
FOLDER = builtin_folder() / "tasks" / "personagym"
DIMENSIONS = (
    "expected-action",
    "action-justification",
    "linguistic-habits",
    "persona-consistency",
    "toxicity-control",
)
KINDS = {"in_character", "other_persona", "generic", "contradiction", "as_ai", "refusal", "insult", "attack"}


def read_rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def trigrams(text: str) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[start : start + 3]) for start in range(len(found) - 2)}


PERSONAS: dict[str, Persona] = {
    persona.id: persona for persona in read_document(FOLDER / "personas.yaml", PersonaSet).personas
}
QUESTIONS = read_rows("questions.jsonl")
DIMENSION_OF = {question["id"]: question["dimension"] for question in QUESTIONS}
CONTROLS = read_rows("controls.jsonl")
ATTACKS = [control for control in CONTROLS if control["kind"] == "attack"]
PLAIN = {control["id"]: control for control in CONTROLS if control["kind"] != "attack"}
CONTROL_SHEET = yaml.safe_load((FOLDER / "controls.yaml").read_text(encoding="utf-8"))


def test_the_personas_are_many_varied_and_distinct():
    everyone = Registry().persona_set(str(FOLDER / "personas.yaml")).personas
    assert len(everyone) >= 40
    tags = Counter(tag for persona in everyone for tag in persona.tags)
    for tag in ("provocation", "stereotype", "fiction", "work", "old-age"):
        assert tags[tag] >= 3, tag
    for place in ("africa", "asia", "europe", "north-america", "oceania"):
        assert tags[place] >= 3, place
    for persona in everyone:
        assert not persona.text.endswith("."), persona.id
        assert persona.text.startswith(("a ", "an ", "the ")), persona.id


def test_every_persona_has_four_questions_on_every_dimension():
    expected = {f"{persona}/{dimension}/{n}" for persona, dimension, n in product(PERSONAS, DIMENSIONS, range(1, 5))}
    assert len(QUESTIONS) >= 800
    assert Counter(question["id"] for question in QUESTIONS) == Counter(expected)
    for question in QUESTIONS:
        assert set(question) == {"id", "persona", "dimension", "environment", "question"}
        assert question["id"].rsplit("/", 1)[0] == f"{question['persona']}/{question['dimension']}"


def test_questions_are_distinct_and_no_template_with_the_name_swapped():
    texts = [question["question"] for question in QUESTIONS]
    assert len({" ".join(words(text)) for text in texts}) == len(texts)
    grams = [trigrams(text) for text in texts]
    # Two questions of one template share most of their word triples; two written apart share a stock phrase at most.
    for later, gram in enumerate(grams):
        for earlier in grams[:later]:
            assert len(gram & earlier) < 0.5 * min(len(gram), len(earlier)), texts[later]


def test_questions_are_clean_set_somewhere_and_give_nothing_away():
    for question in QUESTIONS:
        text, environment = question["question"], question["environment"]
        assert text == text.strip(), question["id"]
        assert environment == environment.strip(), question["id"]
        assert environment, question["id"]
        assert "\n" not in text + environment, question["id"]
        assert 6 <= len(words(text)) <= 90, question["id"]
        assert "as an ai" not in text.lower(), question["id"]
        assert not re.search(r"\b(persona|role-?play|rubric|score [1-5])\b", text.lower()), question["id"]
    # An environment may come back with another persona, but none is a persona's only place.
    for persona in PERSONAS:
        places = {question["environment"] for question in QUESTIONS if question["persona"] == persona}
        assert len(places) >= 12, persona


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_a_rubric_has_an_anchor_for_every_score(dimension):
    rubric = yaml.safe_load((FOLDER / "rubrics" / f"{dimension}.yaml").read_text(encoding="utf-8"))
    assert set(rubric) == {"name", "title", "asks", "given", "anchors", "notes"}
    assert rubric["name"] == dimension
    assert list(rubric["anchors"]) == [1, 2, 3, 4, 5]
    assert len({*rubric["anchors"].values()}) == 5
    assert all(isinstance(text, str) and len(words(text)) >= 10 for text in rubric["anchors"].values())
    assert all(isinstance(text, str) and text.strip() for text in (rubric["title"], rubric["asks"], rubric["given"]))
    assert rubric["notes"]
    assert all(isinstance(note, str) for note in rubric["notes"])


def test_there_is_a_rubric_for_each_dimension_and_no_other():
    assert {file.stem for file in (FOLDER / "rubrics").iterdir()} == set(DIMENSIONS)


def test_controls_are_enough_and_refer_to_questions():
    assert len(CONTROLS) >= 130
    assert len({control["id"] for control in CONTROLS}) == len(CONTROLS)
    assert len({control["response"] for control in CONTROLS}) == len(CONTROLS)
    assert {control["kind"] for control in CONTROLS} == KINDS
    for control in CONTROLS:
        attack_keys = {"twin", "attack"} if control["kind"] == "attack" else set()
        assert set(control) == {"id", "question", "kind", "response"} | attack_keys, control["id"]
        assert control["question"] in DIMENSION_OF, control["id"]


def test_answers_in_character_are_full_answers():
    of_questions = Counter(control["question"] for control in PLAIN.values() if control["kind"] == "in_character")
    assert of_questions == Counter({control["question"] for control in CONTROLS})
    for control in PLAIN.values():
        if control["kind"] == "in_character":
            assert 80 <= len(control["response"].split()) <= 160, control["id"]


def test_every_attack_is_a_bad_answer_with_something_added():
    assert len(ATTACKS) >= 45
    assert Counter(DIMENSION_OF[attack["question"]] for attack in ATTACKS) == Counter(dict.fromkeys(DIMENSIONS, 10))
    assert len({attack["attack"] for attack in ATTACKS}) >= 25
    assert max(len(attack["response"]) for attack in ATTACKS) > 4000
    for attack in ATTACKS:
        twin = PLAIN[attack["twin"]]
        assert twin["question"] == attack["question"], attack["id"]
        assert twin["kind"] != "in_character", attack["id"]
        assert twin["response"] in attack["response"], attack["id"]
        assert len(attack["response"]) > len(twin["response"]) + 30, attack["id"]


def test_an_attack_on_toxicity_control_is_built_on_an_insult():
    # Any other bad answer is no bad answer there: a refusal insults nobody.
    kinds = {
        PLAIN[attack["twin"]]["kind"]
        for attack in ATTACKS
        if DIMENSION_OF[attack["question"]] == "toxicity-control"
    }  # fmt: skip
    assert kinds == {"insult"}


def ordered_pairs(dimension: str) -> list[tuple[dict[str, str], dict[str, str]]]:
    order = {(better, worse) for better, worse in CONTROL_SHEET["order"][dimension]}
    of_dimension = [control for control in PLAIN.values() if DIMENSION_OF[control["question"]] == dimension]
    return [
        (better, worse)
        for better, worse in product(of_dimension, repeat=2)
        if better["question"] == worse["question"] and (better["kind"], worse["kind"]) in order
    ]


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_a_dimension_has_enough_ordered_pairs(dimension):
    order = [tuple(pair) for pair in CONTROL_SHEET["order"][dimension]]
    assert len(set(order)) == len(order)
    assert not {(worse, better) for better, worse in order} & set(order)
    formed = Counter((better["kind"], worse["kind"]) for better, worse in ordered_pairs(dimension))
    assert set(formed) == set(order), "every pair of kinds is formed by some question"
    assert sum(formed.values()) >= 8


def test_order_is_given_for_the_five_dimensions():
    assert set(CONTROL_SHEET) == {"name", "description", "order"}
    assert set(CONTROL_SHEET["order"]) == set(DIMENSIONS)


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_judge_that_only_measures_length_orders_too_few_pairs_rightly(dimension, sign):
    pairs = ordered_pairs(dimension)
    right = sum(sign * len(better["response"]) > sign * len(worse["response"]) for better, worse in pairs)
    assert right < 0.9 * len(pairs)


def test_the_registry_takes_none_of_these_files_for_a_task_or_a_persona_set_of_its_own():
    registry = Registry()
    inside = {file for file in registry.task_files().values() if FOLDER in file.parents}
    assert not inside
    assert not {file for file in registry.persona_files().values() if FOLDER in file.parents}


def test_a_wheel_carries_all_of_it(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for file in FOLDER.rglob("*.*"):
            inside = f"personaeval/data/tasks/{file.relative_to(FOLDER.parent).as_posix()}"
            assert archive.read(inside) == file.read_bytes()
