"""`show`: the prompt as it was asked, the answer, how it was read; filters, escapes, withheld texts."""

import json
import os
import pty
import re
import sys
from pathlib import Path

import pytest

import personaeval as package
from personaeval.errors import UsageError
from personaeval.report.transcript import visible
from personaeval.results.responses import read_responses
from tests.conftest import ENVIRONMENT, write_library
from tests.judging import judge_named, perform_play, speak, write_play
from tests.scripted_server import Script, ScriptedServer

HOSTILE = "\x1b[31mred\x1b[0m \u202eevil [bold]loud[/bold] \x9b2J"


def first(messages, seed) -> str:
    """Right but for the pirate, who hides his answer or says it where nobody reads it."""
    question = messages[-1]["content"]
    total = sum(map(int, re.findall(r"\d+", question)))
    if "pirate" not in messages[0]["content"]:
        return f"{HOSTILE} The answer is \\boxed{{{total}}}."
    return "Arr, I tell nobody." if total % 4 == 1 else f"The answer is {total}. I mean \\boxed{{{total + 5}}}."


def second(messages, seed) -> str:
    """Right as a pirate, wrong as everybody else."""
    total = sum(map(int, re.findall(r"\d+", messages[-1]["content"])))
    return f"\\boxed{{{total if 'pirate' in messages[0]['content'] else total + 1}}}"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two finished runs of the task sums, and the requests that each server received."""
    folder = tmp_path_factory.mktemp("show")
    library = write_library(folder / "library")
    sent = {}
    with (
        ScriptedServer(Script(model=None, reasoning="reasoning_content"), answer=first) as one,
        ScriptedServer(Script(model=None), answer=second) as two,
    ):
        for name, server in (("one", one), ("two", two)):
            package.run(
                f"openai:{name}@{server.url}", "sums", "few", include=library, output=folder / "results", samples=2
            )
            sent[name] = [entry.body["messages"] for entry in server.sent]
    return folder / "results", sent


def texts(answers) -> list[tuple[str, str, int]]:
    return [(one.response.item, one.response.persona, one.response.sample) for one in answers]


@pytest.mark.slow
def test_the_prompt_is_what_the_server_received(results):
    folder, sent = results
    found = package.show(folder / "one", number=0)
    assert len(found) == found.total == 12 * 3 * 2
    asked = {json.dumps([[m["role"], m["content"]] for m in messages]) for messages in sent["one"]}
    shown = {json.dumps([list(part) for part in one.prompt.parts]) for one in found}
    assert shown == asked
    assert all(one.prompt.is_exact for one in found)


def test_answers_to_one_question_stand_together(results):
    found = texts(package.show(results[0] / "one", number=6))
    assert len({item for item, _, _ in found}) == 1
    assert [persona for _, persona, _ in found] == ["none", "none", "pirate", "pirate", "professor", "professor"]


def test_filters_find_what_responses_say(results, personaeval):
    folder = results[0]
    [run] = folder.glob("one-*/*")
    rows = list(read_responses(run))
    wanted = {
        "wrong": lambda row: row.score == 0,
        "no_answer": lambda row: row.status == "no_answer",
        "suspect": lambda row: bool(row.suspect),
    }
    for name, fits in wanted.items():
        expected = {(row.item, row.persona, row.sample) for row in rows if fits(row)}
        assert 0 < len(expected) < len(rows), name
        assert set(texts(package.show(run, number=0, **{name: True}))) == expected
    one = package.show(run, persona="pirate", item="s3", wrong=True, no_answer=True)
    assert one.total == 2 * (7 % 4 == 1)
    shown = personaeval("show", run, "--persona", "pirate", "--item", "s3", "-n", 1)
    assert shown.returncode == 0, shown.stderr
    assert "item s3 · pirate · sample 0" in shown.stdout
    assert "1 of 2 answers" in shown.stdout


def test_flips_show_both_answers(results):
    folder = results[0]
    found = package.show(folder / "two", flipped=folder / "one", number=0)
    assert {(one.was_right, one.is_right) for one in found} == {(True, False), (False, True)}
    assert all((one.response.persona == "pirate") == one.is_right for one in found)
    gained = package.show(folder / "two", flipped=folder / "one", persona="pirate", item="s1", number=1)
    assert "one: wrong" in str(gained)
    assert "two: right" in str(gained)
    assert "The answer is 3. I mean" in str(gained)
    lost = package.show(folder / "two", flipped=folder / "one", wrong=True, number=0)
    assert {one.was_right for one in lost} == {True}
    assert package.show(folder / "one", flipped=folder / "one").total == 0


def test_nothing_that_a_model_writes_reaches_the_terminal_unescaped(results, personaeval):
    shown = personaeval("show", results[0] / "one", "-n", 0).stdout
    assert "\\x1b[31mred\\x1b[0m \\u202eevil [bold]loud[/bold] \\x9b2J" in shown
    assert not set(shown) & {"\x1b", "\u202e", "\x9b"}


def test_notes_below_the_answers_are_escaped_too(results):
    from dataclasses import replace

    found = package.show(results[0] / "one", number=1)
    found = replace(found, found=replace(found.found, notes=[f"a note: {HOSTILE}"]))
    for text in (found.render(None), found.render(200)):
        assert "a note: \\x1b[31mred\\x1b[0m \\u202eevil [bold]loud[/bold] \\x9b2J" in text


def test_ordinary_letters_of_any_script_stay_what_they_are():
    text = "naïve 数学 می‌خواهم 👩‍🔬 1 000\n\tif x:"
    assert visible(text) == text.replace("\t", "    ")
    assert visible("a\r\nb\rc\u2028d\U000e0041\ufeff") == "a\nb\\x0dc\\u2028d\\U000e0041\\ufeff"


def test_thinking_is_folded(results):
    folded, whole = (str(package.show(results[0] / "one", number=1, thinking=given)) for given in (False, True))
    assert re.search(r"\(\d+ characters; --thinking shows them\)", folded)
    assert "I was asked with seed" not in folded
    assert "I was asked with seed" in whole


def test_a_frame_has_a_row_per_answer(results):
    frame = package.show(results[0] / "two", flipped=results[0] / "one", number=0).frame()
    assert len(frame) == 12 * 2 * 3 - 0
    assert set(frame.status_before) >= {"correct", "wrong"}
    assert frame.prompt.str.contains("What is").all()
    assert str(frame.score.dtype) == "Float64"


def test_a_withheld_task_shows_no_text(tmp_path, server, personaeval):
    library = write_library(tmp_path / "library")
    file = library / "tasks" / "sums.yaml"
    file.write_text(file.read_text() + "withhold_text: true\n")
    package.run(f"openai:scripted@{server.url}", "sums", "few", include=library, output=tmp_path / "results", limit=3)
    shown = personaeval("show", tmp_path / "results" / "scripted", "-n", 0).stdout
    assert "withheld" in shown
    assert len(re.findall(r" · (?:right|wrong)", shown)) == 9
    for hidden in ("What is", "boxed", "Let me see", "gold", "read as"):
        assert hidden not in shown
    frame = package.show(tmp_path / "results" / "scripted", number=0).frame()
    assert frame[["prompt", "text", "answer", "thinking"]].isna().all(axis=None)


def test_judges_reasons_are_shown(tmp_path):
    with (
        ScriptedServer(answer=speak) as model,
        ScriptedServer(Script(model="judge"), answer=judge_named("judge")) as one,
    ):
        write_play(write_library(tmp_path / "library"))
        result = perform_play(tmp_path / "library", tmp_path / "results", model, [one])
    found = package.show(result.folder, number=2)
    text = str(found)
    assert re.search(r"judged · \d\.\d\d of 5", text)
    [judgement, *_] = found[0].judgements
    assert f"judge: {judgement.score} of 5" in text
    assert judgement.explanation
    assert judgement.explanation.split()[0] in text
    with pytest.raises(UsageError, match="--wrong: judges score these answers"):
        package.show(result.folder, wrong=True)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--persona", "pirat"], "--persona pirat: one has no such persona. Did you mean 'pirate'?"),
        (["--item", "zzz"], "--item zzz: one has no such item. Known: s0, s1, s10, s11, s2, …."),
        (["--task", "sum"], "--task sum: one has no such task. Did you mean 'sums'?"),
        (["--flipped", "nowhere/x"], "nowhere/x: no such folder."),
        (["-n", "-1"], "--number"),
    ],
)
def test_a_mistake_is_named(results, personaeval, flags, message):
    shown = personaeval("show", results[0] / "one", *flags)
    assert shown.returncode == 2
    assert message in shown.stderr


def test_a_baseline_has_no_answers(results, tmp_path, personaeval):
    package.write_baseline(results[0] / "one", tmp_path / "baseline")
    shown = personaeval("show", tmp_path / "baseline")
    assert (shown.returncode, "a baseline keeps counts only" in shown.stderr) == (2, True)


@pytest.mark.slow
def test_a_terminal_gets_a_pager_and_colours(results, tmp_path):
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\ncat > '{tmp_path}/paged'\n")
    pager.chmod(0o755)
    command = [sys.executable, "-m", "personaeval", "show", str(results[0] / "one"), "--persona", "pirate"]
    environment = os.environ | ENVIRONMENT | {"TERM": "xterm", "PAGER": str(pager), "COLUMNS": "80"}
    child, descriptor = pty.fork()
    if child == 0:
        os.execve(sys.executable, command, environment)
    try:
        while os.read(descriptor, 4096):
            pass
    except OSError:
        pass  # The other end is closed.
    _, status = os.waitpid(child, 0)
    assert status == 0
    paged = Path(tmp_path / "paged").read_text()
    assert "\x1b[31mwrong: no final answer found" in paged
    assert "You are a swaggering pirate captain." in paged
