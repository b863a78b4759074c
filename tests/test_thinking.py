"""Thinking is told from the answer by its marks, whichever they are; unfinished thinking is never an answer."""

import json
import shutil
from pathlib import Path

import pytest

from personaeval.config import ModelOptions, make_config
from personaeval.errors import UsageError
from personaeval.generation.structured_reply import UnreadableError
from personaeval.judge.reply_formats import read_stored
from personaeval.models.checkpoints import parse_model
from personaeval.models.model import open_model
from personaeval.models.suitability import opens_thinking
from personaeval.models.thinking import Thinking, find_thinking
from personaeval.pipeline.run import run
from personaeval.progress import open_progress
from personaeval.results.ledger import Stored
from personaeval.results.responses import read_responses
from personaeval.results.runs import finished_runs
from tests.conftest import TASK
from tests.thinkers import ANSWER, FAMILIES, THOUGHT

FINAL = "<|end|><|start|>assistant<|channel|>final<|message|>"

WHOLE = [
    ("{{ '<think>' }}", "<think>5?</think>\n\n7"),
    ("[SYSTEM_PROMPT]Use [THINK] and [/THINK]", "[THINK]5?[/THINK]7"),
    ("{{ '<|START_THINKING|>' }}", "<|START_THINKING|>5?<|END_THINKING|><|START_RESPONSE|>7<|END_RESPONSE|>"),
    ('{% set start = "<seed:think>" %}', "<seed:think>5?</seed:think>7"),
    ("<mm:think>", "<mm:think>5?</mm:think>\n7"),
    ("<think:opensource>", "<think:opensource>5?</think:opensource>7"),
    ("◁think▷", "◁think▷5?◁/think▷7"),
    (
        "<|open|>think<|sep|>",
        "<|open|>think<|sep|>5?<|close|>think<|sep|><|open|>response<|sep|>7<|close|>response<|sep|>",
    ),
    ("<|channel>thought\n<channel|>", "<|channel>thought\n5?<channel|>7"),
    ("<|start|>{{ role }}<|message|>…<|start|>assistant", f"<|channel|>analysis<|message|>5?{FINAL}7<|return|>"),
    (
        "<|channel|>",
        f"<|channel|>analysis<|message|>5?<|end|><|start|>assistant<|channel|>commentary<|message|>6?{FINAL}7",
    ),
    ("<|channel|>", "<|channel|> analysis <|message|>5?<|end|><|channel|>final <|constrain|>json<|message|>7<|end|>"),
    ("<|begin_of_thought|>", "<|begin_of_thought|>5?<|end_of_thought|><|begin_of_solution|>7<|end_of_solution|>"),
    ("Here is my thought process: … Here is my response:", "Here's my thought process: 5? Here is my response: 7"),
    ("<thought>", "<thought>5?</thought>7"),
]


@pytest.mark.parametrize(("template", "text"), WHOLE)
def test_every_known_family_is_recognised_in_the_template(template, text):
    thinking = find_thinking(template)
    answer, thought = thinking.split(text, opened=False)
    assert answer == "7"
    assert "5?" in (thought or "")
    assert thinking.unknown_marks(template) == []
    # Cut anywhere before the end of the thinking, it is no answer.
    for length in range(text.index("5?"), text.index("5?") + 3):
        assert thinking.split(text[:length], opened=False)[0] == ""
    assert thinking.split("5?", opened=True) == ("", "5?")
    assert thinking.split("7", opened=False) == ("7", None)


@pytest.mark.parametrize(("template", "text"), [pair for pair in WHOLE if "my response" not in pair[1]])
def test_an_endpoint_may_leak_any_of_them(template, text):
    thinking = find_thinking(None, is_endpoint=True)
    assert thinking.split(text, opened=False)[0] == "7"
    assert thinking.split(text[: text.index("5?") + 1], opened=False)[0] == ""


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("analysisWe need 2 + 5.assistantfinal7", "7"),
        ("analysisWe need 2 + 5.assistantcommentaryHm.assistantfinal7", "7"),
        ("analysisWe need 2 + 5.", ""),
        ("analysis of the question: 7", "analysis of the question: 7"),
        ("Analysis: 7", "Analysis: 7"),
    ],
)
def test_channels_whose_marks_a_server_dropped_are_split(text, answer):
    assert find_thinking(None, is_endpoint=True).split(text, opened=False)[0] == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Sure! <think>5?", "Sure!"),
        ("Sure! <think>5?</think>7", "7"),
        ("<think>5?</think>7 <think>8?", "7"),
        ("<think>5?</think>6<think>8?</think>7", "7"),
        ("[THINK]5?[/THINK]7", "[THINK]5?[/THINK]7"),  # no family of this template
    ],
)
def test_what_is_begun_and_not_ended_is_no_part_of_the_answer(text, answer):
    assert find_thinking("<think>").split(text, opened=False)[0] == answer


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [
        (None, "</ponder>", "<ponder>5?</ponder>7"),
        (None, "<|channel|>final<|message|>", f"<|channel|>analysis<|message|>5?{FINAL}7"),
        ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>", f"<|channel|>analysis<|message|>5?{FINAL}7"),
        ("Thoughts:", "Solution:", "Thoughts: 5? Solution: 7"),
        ("[THINK]", "</think>", "[THINK]5?[/THINK]7"),
        ("<ponder>", "</think>", "<ponder>5?</ponder>7"),
        (None, "<|end_of_plan|>", "<|begin_of_plan|>5?<|end_of_plan|>7"),
    ],
)
def test_marks_that_are_named_are_used(start, end, text):
    thinking = find_thinking("", start, end)
    assert thinking.split(text, opened=False)[0] == "7"
    assert thinking.split(text[: text.index("?") + 1], opened=False)[0] == ""


def test_marks_of_which_one_does_not_tell_the_other_are_asked_for():
    with pytest.raises(UsageError, match=r"--reasoning-end ###: .* add --reasoning-start"):
        find_thinking("", None, "###")
    with pytest.raises(UsageError, match=r"--reasoning-start Hm: .* add --reasoning-end"):
        find_thinking("", "Hm")


@pytest.mark.parametrize(
    ("end_of_prompt", "opened"),
    [
        ("<|im_start|>assistant\n<think>\n", True),
        ("<|im_start|>assistant\n<think>\nOkay, ", True),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("<|im_start|>assistant\n", False),
        ("[assistant]<|START_THINKING|>", True),
        ("<|start|>assistant", False),
        ("<|start|>assistant<|channel|>analysis<|message|>", True),
        ("<|start|>assistant<|channel|>final<|message|>", False),
        ("<|turn>model\n<|channel>thought\n<channel|>", False),
    ],
)
def test_whether_the_prompt_opens_the_thinking_is_read_from_it(end_of_prompt, opened):
    assert find_thinking(end_of_prompt).is_opened_by(end_of_prompt) is opened


@pytest.mark.parametrize(
    ("template", "unknown"),
    [
        ("{{ '<scratchpad>' }}", ["<scratchpad>"]),
        ("[REASON]{{ x }}[/REASON]", ["[REASON]", "[/REASON]"]),
        ("<|reasoning_start|>", ["<|reasoning_start|>"]),
        ("{% if loop.index0 > last[reasoning_index] and a < b %}{{ m['reasoning_content'] }}", []),
        ("<|think|> <thinking_budget>9</thinking_budget> /no_think <|no_think|> reasoning_effort", []),
        ("<seed:think><seed:cot_budget_reflect>", []),
    ],
)
def test_what_looks_like_a_mark_and_is_not_known_is_found(template, unknown):
    assert find_thinking(template).unknown_marks(template) == unknown
    if unknown == ["<scratchpad>"]:
        assert find_thinking(template, None, "</scratchpad>").unknown_marks(template) == []


def test_the_special_tokens_of_the_default_marks_are_kept_in_the_order_that_stored_keys_have():
    special = frozenset({"</think>", "<eos>", "<think>", "[THINK]", "<|channel|>"})
    assert find_thinking("").kept_tokens(special) == ("<think>", "</think>")
    assert find_thinking("<|channel|>").kept_tokens(special) == ("<think>", "</think>", "<|channel|>")
    assert find_thinking("").kept_tokens(frozenset({"<eos>"})) == ()


PERSONAS = "name: thinkers\ndescription: For tests.\npersonas:\n" + "".join(
    f"  - {{id: {name}, text: one of {name}, category: style}}\n" for name in FAMILIES
)

LIMITS = {"whole": 20, "late": 9, "cut": 2, "begun": 1}


@pytest.fixture
def sevens(tmp_path: Path) -> Path:
    """Tasks with the same items, whose answers are whole or are cut in different places of the thinking."""
    folder = tmp_path / "library"
    (folder / "tasks").mkdir(parents=True)
    (folder / "personas").mkdir()
    rows = [json.dumps({"id": f"q{n}", "question": f"What is {n} + {7 - n} ?", "answer": "7"}) for n in range(2)]
    (folder / "tasks" / "sevens.jsonl").write_text("\n".join(rows))
    for name, limit in LIMITS.items():
        text = TASK.format(name=name, data="sevens.jsonl").replace("max_tokens: 32", f"max_tokens: {limit}")
        (folder / "tasks" / f"{name}.yaml").write_text(text)
    (folder / "personas" / "thinkers.yaml").write_text(PERSONAS)
    return folder


@pytest.fixture
def ask(sevens: Path, tmp_path: Path):
    def ask_model(model: str, **more):
        settings = {
            "model": (model,),
            "tasks": tuple(LIMITS),
            "personas": ("thinkers",),
            "include": (sevens,),
            "output": tmp_path / "results",
        }
        [result] = run(make_config(None, settings | more), open_progress(quiet=True))
        return result

    return ask_model


def check_split(folder: Path) -> None:
    rows = list(read_responses(folder))
    assert {row.persona for row in rows} == {"none", *FAMILIES}
    assert {row.task for row in rows} == set(LIMITS)
    for row in rows:
        who = f"{row.task}/{row.persona}: {row.text!r}, {row.thinking!r}"
        # Harmony's marks take more tokens than the others.
        if row.task == "whole" or (row.task == "late" and row.persona != "harmony"):
            assert (row.text, row.status) == (ANSWER, "correct"), who
            assert THOUGHT in (row.thinking or ""), who
        else:
            assert (row.text, row.status) == ("", "no_answer"), who


@pytest.mark.model
def test_a_model_that_thinks_is_split_rightly_and_gives_no_answer_when_cut(ask, thinker):
    check_split(ask(f"transformers:{thinker}").folder)


@pytest.mark.vllm
@pytest.mark.slow
def test_a_model_that_thinks_is_split_rightly_on_vllm(ask, thinker):
    check_split(ask(f"vllm:{thinker}").folder)


@pytest.mark.model
def test_answers_whose_marks_were_dropped_are_generated_anew_and_the_run_says_so(
    personaeval, thinker, sevens, tmp_path, monkeypatch
):
    options = ["-m", f"transformers:{thinker}", "-t", "whole", "--personas", "thinkers", "--include", sevens]
    options += ["-o", tmp_path / "results"]
    with monkeypatch.context() as earlier:
        # As earlier versions did it: decoding drops all special tokens but one pair of marks.
        earlier.setattr("personaeval.models.model.find_thinking", lambda *named: Thinking())
        first = personaeval("run", *options)
    assert "read it as the answer" not in first.stderr
    again = personaeval("run", *options)
    assert "12 stored answers are generated again" in again.stderr
    assert "<|channel|>" in again.stderr
    third = personaeval("run", *options)
    assert "Nothing to generate" in third.stderr
    assert "anew" not in third.stderr


def test_channels_that_leak_from_an_endpoint_are_split(ask, server):
    leak = f"<|channel|>analysis<|message|>{THOUGHT}{FINAL}{ANSWER}"
    server.change(choice={"message": {"role": "assistant", "content": leak}})
    result = ask(f"openai:scripted@{server.url}", tasks=("whole",))
    rows = list(read_responses(result.folder))
    assert {(row.text, row.status) for row in rows} == {(ANSWER, "correct")}
    assert all(THOUGHT in row.thinking for row in rows)


def test_an_endpoint_that_separates_the_thinking_is_taken_at_its_word(ask, server):
    server.change(choice={"message": {"role": "assistant", "content": ANSWER, "reasoning": THOUGHT}})
    result = ask(f"openai:scripted@{server.url}", tasks=("whole",))
    assert {(row.text, row.thinking) for row in read_responses(result.folder)} == {(ANSWER, THOUGHT)}


def test_a_judge_that_is_still_thinking_has_given_no_score(tiny_checkpoint, tmp_path):
    template = tmp_path / "template.jinja"
    template.write_text("{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<a><think>")
    model = open_model(parse_model(f"transformers:{tiny_checkpoint}"), ModelOptions(chat_template=template))
    assert opens_thinking(model)
    unsure = 'Perhaps {"reasoning": "dull", "score": 2}? Rather not'
    with pytest.raises(UnreadableError):
        read_stored(Stored(unsure, None, "length", 9, 9), "json", model.thinking, opens_thinking(model))
    done = Stored(f'{unsure}</think>\n{{"reasoning": "lively", "score": 4}}', None, "stop", 9, 9)
    assert read_stored(done, "json", model.thinking, opens_thinking(model)).score == 4


def test_marks_that_are_not_known_are_said_before_the_run_and_under_its_tables(
    personaeval, tiny_checkpoint, tmp_path, library
):
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    template = tmp_path / "template.jinja"
    template.write_text("{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<a><scratchpad>")
    options = ["-m", f"transformers:{folder}", "-t", "sums", "--personas", "few", "--include", library, "--limit", 2]
    options += ["--chat-template", template, "--max-tokens", 2, "-o", tmp_path / "results"]
    said = "the chat template holds <scratchpad>, which may mark thinking"
    done = personaeval("run", *options)
    assert said in done.stderr
    assert "which may mark thinking" in done.stdout  # where the mark is escaped
    named = personaeval("run", *options, "--reasoning-end", "</scratchpad>")
    assert said not in named.stderr + named.stdout
    rows = [row for run in finished_runs(tmp_path / "results") for row in read_responses(run.folder)]
    # The second run's prompts open the thinking, which two tokens do not end.
    assert {row.text for row in rows if row.thinking is not None} == {""}
    assert sum(row.thinking is not None for row in rows) == len(rows) / 2
