"""New questions by a scripted writer: complete, distinct, resumable, and ready to be run."""

import json
from pathlib import Path

import pytest

from personaeval.config import ModelOptions
from personaeval.errors import EngineError, InvalidRunError, UsageError
from personaeval.judge.authoring import write_questions
from personaeval.library.question_sets import load_questions
from personaeval.library.registry import Registry
from personaeval.library.sources import load_items
from personaeval.progress import open_progress
from tests.scripted_server import Rule, Script, ScriptedServer, share_of

COUNT = 3
DIMENSIONS = 5


def write(messages, seed):
    prompt = messages[-1]["content"]
    if '"settings"' in prompt:
        return json.dumps({"settings": [f"place {int(share_of(prompt, n) * 1e6)}" for n in range(COUNT)]})
    happening = " ".join(f"w{int(share_of(prompt, n) * 1e6)}" for n in range(20))
    return json.dumps({"question": f"Here {happening} happens to you. What do you say?"})


def ask(url: str, folder: Path, library: Path, personas=("few",), seed=0):
    generator, options = f"openai:writer@{url}", ModelOptions(concurrency=4)
    chosen = Registry([library]).personas(personas)
    return write_questions(generator, options, chosen, COUNT, folder, open_progress(quiet=True), seed)


def server(answer=write, **script):
    return ScriptedServer(Script(model="writer", **script), answer=answer)


def test_every_persona_gets_its_questions_and_they_can_be_run(library, tmp_path):
    with server() as writer:
        authored = ask(writer.url, tmp_path / "mine", library)
        asked = len(writer.sent)
        again = ask(writer.url, tmp_path / "mine", library)
        assert len(writer.sent) == asked, "the same command asked again"
    assert authored == again
    assert (authored.questions, authored.duplicates, authored.missing) == (2 * DIMENSIONS * COUNT, 0, 0)
    assert asked == 2 + 2 * DIMENSIONS * COUNT
    found = load_questions(tmp_path / "mine")
    assert [persona.id for persona in found.personas] == ["pirate", "professor"]
    assert len({row["environment"] for row in found.rows if row["persona"] == "pirate"}) == COUNT
    task, file = Registry().task("personagym")
    assert len(load_items(task, file, tmp_path / "mine", None, 0).items) == 2 * DIMENSIONS * COUNT
    origin = json.loads((tmp_path / "mine" / "origin.json").read_text())
    assert origin["generator"]["name"] == "writer"


def test_near_duplicates_are_left_out_and_what_cannot_be_read_is_counted(library, tmp_path):
    def lazy(messages, seed):
        prompt = messages[-1]["content"]
        if '"settings"' in prompt:
            return write(messages, seed)
        if "pirate" in prompt:
            return json.dumps({"question": "Well then, you there, what do you say to all of that?"})
        return "What do you think?"

    with server(lazy) as writer:
        authored = ask(writer.url, tmp_path / "mine", library)
    assert (authored.questions, authored.duplicates) == (1, DIMENSIONS * COUNT - 1)
    assert authored.missing == DIMENSIONS * COUNT


def test_an_engine_that_fails_keeps_what_was_written(library, tmp_path):
    with server(rules=(Rule("status", status=401, after=8),)) as writer:
        with pytest.raises(EngineError, match="resumes from there"):
            ask(writer.url, tmp_path / "mine", library)
        assert not (tmp_path / "mine" / "questions.jsonl").exists()
        writer.change(rules=())
        answered = sum(sent.outcome == "answer" for sent in writer.sent)
        before = len(writer.sent)
        authored = ask(writer.url, tmp_path / "mine", library)
        assert len(writer.sent) - before <= 2 + 2 * DIMENSIONS * COUNT - answered + 4
    assert authored.missing == 0


def test_the_command_line(library, tmp_path, personaeval):
    with server() as writer:
        arguments = ["questions", "-m", f"openai:writer@{writer.url}", "-p", "few/pirate", "--include", library]
        shown = personaeval(*arguments, "--questions-per-dimension", COUNT, "-o", tmp_path / "mine", "-q")
    assert shown.returncode == 0, shown.stderr
    assert f"{DIMENSIONS * COUNT} questions" in shown.stdout
    with pytest.raises(UsageError, match="names nobody"):
        ask("http://127.0.0.1:9/v1", tmp_path / "none", library, personas=())


def test_another_seed_asks_with_another_seed_and_thinking_is_no_reply(library, tmp_path):
    def think(messages, seed):
        return f"<think>{{hm}}</think>{write(messages, seed)}"

    with server(think) as writer:
        authored = ask(writer.url, tmp_path / "mine", library, seed=7)
        # Each prompt draws its own random numbers.
        seeds = {sent.body["seed"] for sent in writer.sent}
        assert len(seeds) == len({str(sent.body["messages"]) for sent in writer.sent}) > 1
    with server(think) as writer:
        ask(writer.url, tmp_path / "others", library, seed=8)
        assert not seeds & {sent.body["seed"] for sent in writer.sent}
    assert authored.questions > 0


def test_where_no_question_can_be_read_nothing_is_written(library, tmp_path):
    with (
        server(lambda messages, seed: "I would rather not.") as writer,
        pytest.raises(InvalidRunError, match="none of its replies holds a readable question"),
    ):
        ask(writer.url, tmp_path / "none", library)
    assert not (tmp_path / "none" / "questions.jsonl").exists()
