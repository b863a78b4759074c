"""Always right, in character: wording must cost a model nothing, and a wrong answer must stay wrong in every voice.

The share that is read rightly, per kind and shape, and everything misread: ``python -m tests.voices``.
"""

import re

import numpy as np
import pytest
import yaml

from personaeval.library.registry import Registry
from personaeval.metrics.stability import pss
from personaeval.results.files import read_json
from personaeval.verify import Verifier
from tests.scripted_server import ScriptedServer
from tests.voices import KINDS, SHAPES, cases, in_words, listen, read, voices, write_rows

pytestmark = pytest.mark.slow

BUILT_IN = {"math", "numeric", "choice", "exact"}
SHOWN = 40


@pytest.fixture(scope="module")
def verifier():
    with Verifier() as running:
        yield running


def figures(readings) -> tuple[float, float | None]:
    """Accuracy and PSS over the voices; the first voice is plain, and stands where a run has its baseline."""
    correct = np.array([[reading.is_right for reading in row] for row in readings], dtype=float)
    return float(correct.mean()), pss(correct[:, 1:])


def misread(readings, right: bool) -> str:
    found = [str(reading) for row in readings for reading in row if reading.is_right != right]
    return "\n".join([f"{len(found)} misread:", *found[:SHOWN]])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_right_answer_is_right_in_every_voice(shape, verifier):
    readings = listen(shape, True, verifier)
    accuracy, stability = figures(readings)
    print(f"{shape}: {accuracy:.3f} of the answers read, PSS {stability}")
    assert (accuracy, stability) == (1.0, 1.0), misread(readings, True)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_wrong_answer_is_wrong_in_every_voice(shape, verifier):
    readings = listen(shape, False, verifier)
    assert figures(readings)[0] == 0.0, misread(readings, False)


# Of the whole command: personas are voices.

RUN = {"gsm8k": "gsm8k", "aime24": "aime24", "mmlu": "mmlu", "bbh-web_of_lies": "bbh"}
"""Task -> shape."""


def language_personas() -> dict[str, str]:
    """Text -> id."""
    return {persona.text: persona.id for persona in Registry(()).personas(["language"]) if persona.text}


@pytest.fixture
def play(tmp_path, personaeval):
    """Run the command on a scripted model under personas, each of which has its voice; the stability of each task."""

    def run(right: bool):
        names = list(read("common"))[1::4]
        entries = [{"id": name, "text": f"a speaker of the manner {name}", "category": "style"} for name in names]
        file = tmp_path / "manners.yaml"
        file.write_text(yaml.safe_dump({"name": "manners", "description": "Voices.", "personas": entries}))
        speakers = language_personas() | {entry["text"]: entry["id"] for entry in entries}
        asked = {
            case.item.prompt: case for task, shape in RUN.items() for case in cases(shape) if case.task.name == task
        }
        spoken = {kind: {voice.name: voice for voice in voices(kind)} for kind in KINDS}

        def answer(messages, seed):
            case = asked.get(messages[-1]["content"])
            if case is None:
                return "I have nothing to say to that."
            system = messages[0]["content"] if len(messages) > 1 else ""
            name = next((name for text, name in speakers.items() if text in system), "plain")
            return spoken[case.kind][name].say(case, right)

        data = [
            part for task, shape in RUN.items() for part in ("--data", f"{task}={write_rows(shape, task, tmp_path)}")
        ]
        output = tmp_path / ("right" if right else "wrong")
        with ScriptedServer(answer=answer) as server:
            done = personaeval(
                *("run", "--model", f"openai:scripted@{server.url}", "--tasks", ",".join(RUN), *data),
                *("--personas", f"language,{file}", "--limit", 6, "--temperature", 0, "--output", output, "--quiet"),
            )
        assert done.returncode == 0, done.stderr
        [summary] = output.glob("*/*/summary.json")
        return {name: task["stability"] for name, task in read_json(summary)["tasks"].items()}

    return run


def test_a_run_measures_the_model_and_not_its_voices(play):
    right, wrong = play(right=True), play(right=False)
    for task in RUN:
        numbers = [right[task][name]["value"] for name in ("baseline_accuracy", "accuracy", "pss")]
        lost = [entry["persona"] for entry in right[task]["by_persona"] if entry["accuracy"]["value"] != 1.0]
        assert numbers == [1.0, 1.0, 1.0], (task, lost)
        assert wrong[task]["baseline_accuracy"]["value"] == wrong[task]["accuracy"]["value"] == 0.0, task


# Of the voices themselves.


def test_every_kind_has_its_voices():
    personas = set(language_personas().values())
    assert personas == set(read("personas"))
    for kind in KINDS:
        names = [voice.name for voice in voices(kind)]
        assert len(set(names)) == len(names) >= 24
        assert personas <= set(names)


def test_every_built_in_task_has_its_shape():
    scored = {name for name in Registry(()).task_files() if name != "personagym"}
    assert scored <= set(SHAPES)
    assert {case.task.scorer.kind for shape in SHAPES for case in cases(shape)} == BUILT_IN | {"reasoning_gym"}
    assert all(len(cases(shape)) >= 6 for shape in SHAPES)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_wrong_answer_never_mentions_the_right_one(shape):
    for case in cases(shape):
        assert case.gold != case.wrong
        held = [mention for mention in mentions(case) if mention.lower() not in case.wrong.lower()]
        for voice in voices(case.kind):
            text = voice.say(case, right=False)
            assert not [m for m in held if re.search(rf"(?<![\w.,-]){re.escape(m)}(?![\w-]|[.,]\d)", text, re.I)], (
                voice.name,
                text,
            )
            if case.kind == "choice" and case.item.gold not in "AI":
                assert not re.search(rf"(?<!\w){case.item.gold}(?!\w)", text.replace(case.wrong, "")), (
                    voice.name,
                    text,
                )


def mentions(case) -> list[str]:
    """How the right answer could slip into a text; the wrong one may hold it, as minus two holds two."""
    words, wrong = in_words(case.gold, "en"), in_words(case.wrong, "en") or ""
    return [case.gold, *([words] if words and words not in wrong and case.kind in ("numeric", "math") else [])]


def test_what_a_voice_says_holds_the_answer():
    """A template whose placeholder is misspelt, or that has none, would say the same whatever the answer."""
    for shape in SHAPES:
        for case in cases(shape):
            for voice in voices(case.kind):
                assert voice.say(case, True) != voice.say(case, False), (shape, voice.name)
