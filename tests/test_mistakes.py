"""Mistakes that people make while typing, each with the text that says what to type instead."""

import json
import re
from pathlib import Path

import pytest

from personaeval.results.files import read_json


def refused(shown, message: str) -> None:
    """A usage error that says so, with no traceback and before anything is announced."""
    assert shown.returncode == 2, shown.stdout + shown.stderr
    assert re.search(message, shown.stderr), shown.stderr
    assert "Traceback" not in shown.stderr
    assert "requests" not in shown.stderr, "found only after the plan was announced"


def checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


# The table.


@pytest.mark.slow
def test_none_alone_runs_the_baseline(personaeval, server, library, tmp_path):
    arguments = ["-m", f"openai:scripted@{server.url}", "-t", "sums", "-p", "none", "--include", library]
    done = personaeval("run", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(server.sent) == 12
    assert not any("pirate" in json.dumps(sent.body) for sent in server.sent)
    for more in ((), ("--personas",)):
        shown = personaeval("leaderboard", *more, cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
    assert personaeval("plan", *arguments, cwd=tmp_path).returncode == 0


def test_data_without_its_task(personaeval):
    shown = personaeval("run", "-m", "vllm:x", "-t", "math500", "--data", "/data/m.jsonl")
    refused(shown, r"--data /data/m\.jsonl: expected TASK=FILE, such as --data math500=/data/m\.jsonl")


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_model_without_its_flag(personaeval, command):
    refused(personaeval(command, "./ckpt", "-t", "math500"), r"'\./ckpt': a model goes with --model \./ckpt")


def test_a_judge_is_named_by_its_own_flag(personaeval, tmp_path):
    refused(personaeval("judge-check", "--judge", "nope:foo"), r"--judge nope:foo: unknown engine 'nope'")
    run = ["run", "-m", "openai:x@http://127.0.0.1:9/v1", "-t", "personagym"]
    refused(personaeval(*run, "-j", "openai:gpt-x"), r"--judge openai:gpt-x: an endpoint needs its URL")
    refused(personaeval(*run, "-j", "transformers:./no/where"), r"--judge \./no/where: no such directory")
    shown = personaeval("judge-check", "-j", "openai:x@http://a:b@host/v1", "-o", tmp_path)
    refused(shown, "--judge: the URL of host carries a password")


def test_a_parameter_that_a_reasoning_gym_dataset_does_not_have(personaeval):
    shown = personaeval("run", "-m", "vllm:x", "-t", "reasoning_gym:countdown?max_number=4")
    refused(
        shown, r"countdown has no parameter 'max_number'\. Did you mean 'max_numbers'\? Its parameters: .*min_value"
    )


def test_a_folder_of_checkpoints(personaeval, tmp_path):
    for step in (1000, 250, 500):
        checkpoint(tmp_path / "out" / f"checkpoint-{step}")
    shown = personaeval("run", "-m", tmp_path / "out", "-t", "mini-arith")
    refused(shown, r"It holds 3 checkpoints: checkpoint-250, checkpoint-500, checkpoint-1000\. .*out/checkpoint-\*'")


def test_a_pattern_names_checkpoints_in_step_order(personaeval, tmp_path):
    for step in (1000, 250, 500):
        checkpoint(tmp_path / f"checkpoint-{step}")
    shown = personaeval("run", "-m", "checkpoint-*", "-t", "mini-arith", cwd=tmp_path)
    refused(shown, r"^personaeval: checkpoint-250/config\.json: it has no model_type")
    from personaeval.models.checkpoint_patterns import expand_models

    (tmp_path / "checkpoint-tmp").mkdir()
    found, notes = expand_models(
        [f"vllm:{tmp_path}/check*", "openai:a*b@http://h/v1", f"vllm:{tmp_path}/checkpoint-500"]
    )
    assert found == [*(f"vllm:{tmp_path}/checkpoint-{step}" for step in (250, 500, 1000)), "openai:a*b@http://h/v1"]
    assert len(notes) == 1
    assert "checkpoint-tmp" in notes[0]


def test_a_policy_in_a_folder_that_is_not_there(personaeval):
    shown = personaeval("check", "--init", "--policy", "/no/such/dir/g.yaml")
    refused(shown, r"--policy /no/such/dir/g\.yaml: there is no folder /no/such/dir")


# Others.


def test_several_tasks_without_a_comma(personaeval):
    shown = personaeval("run", "-m", "vllm:x", "-t", "gsm8k", "math500")
    refused(shown, "'math500': --tasks takes several with commas: --tasks gsm8k,math500")


def test_a_pattern_that_the_shell_expanded(personaeval):
    shown = personaeval("run", "-m", "out/checkpoint-1", "out/checkpoint-2", "-t", "gsm8k")
    refused(shown, r"--model out/checkpoint-1 --model out/checkpoint-2; a pattern must be quoted")


def test_a_pattern_that_matches_nothing(personaeval, tmp_path):
    refused(personaeval("run", "-m", "transformers:out/check*", "-t", "gsm8k", cwd=tmp_path), "matches no checkpoint")


def test_a_judge_without_its_flag(personaeval):
    refused(personaeval("judge-check", "nope:foo"), "'nope:foo': a judge goes with --judge nope:foo")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("sum=sums.jsonl", r"--data names sum, which --tasks does not\. Did you mean 'sums'"),
        ("gsm8k=sums.jsonl", r"--data names gsm8k, which --tasks does not\. It names sums"),
        ("sums=nowhere.jsonl", r"--data sums=nowhere\.jsonl: no such file \(looked for /"),
        ("sums=sums.jsonl?Qestion=question", "it has no column 'Qestion'. Did you mean 'question'"),
        ("sums=sums.jsonl?question", "'question' is not COLUMN=NAME"),
    ],
)
def test_data_that_does_not_fit(personaeval, library, data, message):
    arguments = ["run", "-m", "vllm:x", "-t", "sums", "--include", library, "-p", "few", "--data", data]
    refused(personaeval(*arguments, cwd=library / "tasks"), message)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-p", "cora"], "unknown persona set 'cora'"),
        (["--template", "adpot"], "Did you mean 'adopt'"),
        (["-m", "nowhere/at/all"], "no such directory"),
        (["--data", "math500=nowhere.jsonl"], "no such file"),
    ],
)
def test_names_are_checked_before_any_data_is_loaded(personaeval, more, message):
    """MATH-500 would have to be downloaded, which fails here: that a name is refused first shows the order."""
    refused(personaeval("run", "-m", "vllm:x", "-t", "math500", *more), message)


def test_a_score_of_a_name_with_several_runs(personaeval, server, library, tmp_path):
    run = ["run", "-q", "-m", f"openai:scripted@{server.url}", "-t", "sums", "-p", "none", "--include", library]
    personaeval(*run, cwd=tmp_path)
    done = personaeval("score", "results/scripted", "--include", library, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "0 verdicts changed" in done.stdout
    personaeval(*run, "--seed", 1, cwd=tmp_path)
    shown = personaeval("score", "results/scripted", cwd=tmp_path)
    refused(shown, "results/scripted: 2 runs have this name: .* Pass one of these folders")


@pytest.mark.model
def test_a_device_that_is_not_there_and_an_engine_that_is_not_installed(personaeval, tiny_checkpoint, tmp_path):
    import torch

    arguments = ["-t", "mini-arith", "-p", "none", "-o", tmp_path]
    if not torch.cuda.is_available():
        shown = personaeval("run", "-m", f"transformers:{tiny_checkpoint}", *arguments, "--device", "cuda")
        refused(shown, "--device cuda: PyTorch sees no such device")
    from importlib.util import find_spec

    if find_spec("vllm") is None:
        shown = personaeval("run", "-m", f"vllm:{tiny_checkpoint}", *arguments)
        assert shown.returncode == 5
        assert "vllm engine: vllm cannot be imported; pip install 'personaeval[vllm]'" in shown.stderr
        assert "requests" not in shown.stderr
    assert not list(tmp_path.glob("*/*/sessions.json"))


# Data as people have it.


def with_rows(library: Path, rows: list[dict], name: str = "other.jsonl") -> Path:
    path = library / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_columns_in_other_case_and_under_other_names(personaeval, server, library, tmp_path):
    rows = [{"ID": f"x{n}", "Question": f"What is {n} + 1?", "Solution": str(n + 1)} for n in range(3)]
    data = with_rows(library, rows)
    arguments = ["run", "-m", f"openai:scripted@{server.url}", "-t", "sums", "-p", "none", "--include", library]
    refused(
        personaeval(*arguments, "--data", f"sums={data}", cwd=tmp_path), "the gold template .*'answer' is undefined"
    )
    done = personaeval(*arguments, "--data", f"sums={data}?Solution=answer", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search("columns read under the task's names: .*Question as question", done.stderr), done.stderr
    swapped = personaeval(*arguments, "--data", f"sums={data}?answer=Solution", cwd=tmp_path)
    refused(swapped, r"no column 'answer'\. The file's column comes first: \?Solution=answer")
    [path] = (tmp_path / "results").glob("*/*/run.json")
    read = read_json(path)["tasks"]["sums"]["origin"]["columns"]
    assert read == {"answer": "Solution", "id": "ID", "question": "Question"}


def test_a_column_that_fits_twice_is_not_guessed(personaeval, library):
    data = with_rows(library, [{"id": "x", "Question": "1 + 1?", "QUESTION": "1 + 2?", "answer": "2"}])
    shown = personaeval("tasks", "check", "sums", "--include", library, "--data", data)
    refused(shown, "'question' is undefined; columns there: QUESTION, Question")


@pytest.mark.slow
def test_few_rows_that_cannot_be_used_are_left_out_and_named(personaeval, server, library, tmp_path):
    rows = [{"id": f"x{n}", "question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(301)]
    rows[6]["answer"], rows[7]["answer"] = None, ""
    data = with_rows(library, rows)
    arguments = ["run", "-m", f"openai:scripted@{server.url}", "-t", "sums", "-p", "none", "--include", library]
    done = personaeval(*arguments, "--data", f"sums={data}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"2 of 301 rows cannot be used and left out: 7-8\. The first: .*row 7: ", done.stderr), done.stderr
    [path] = (tmp_path / "results").glob("*/*/run.json")
    task = read_json(path)["tasks"]["sums"]
    assert (task["items"], task["origin"]["rows_left_out"]) == (299, [7, 8])


def test_many_rows_that_cannot_be_used_are_refused_and_all_named(personaeval, library):
    rows = [{"id": f"x{n}", "question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(300)]
    for n in (6, 7, 99):
        rows[n]["answer"] = None
    shown = personaeval("tasks", "check", "sums", "--include", library, "--data", with_rows(library, rows))
    refused(shown, r"row 7: .*\n3 of 300 rows cannot be used: 7-8, 100\. Correct or remove them")


def test_data_of_a_task_that_is_not_asked_is_a_warning_among_several(personaeval, server, library, tmp_path):
    data = library / "tasks" / "sums.jsonl"
    arguments = ["-m", f"openai:scripted@{server.url}", "-t", "sums", "-p", "none", "--include", library]
    done = personaeval("run", *arguments, "--data", f"sums={data}", "--data", f"gsm8k={data}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--data: not used, since --tasks does not name it: gsm8k." in done.stderr


def test_a_built_in_task_as_yaml(personaeval, tmp_path):
    shown = personaeval("tasks", "show", "gsm8k", "--yaml")
    assert shown.returncode == 0
    own = tmp_path / "own.yaml"
    own.write_text(shown.stdout.replace("name: gsm8k", "name: own"))
    data = tmp_path / "own.jsonl"
    data.write_text('{"question": "1 + 1?", "answer": "1 + 1 = 2\\n#### 2"}\n')
    checked = personaeval("tasks", "check", own, "--data", data)
    assert "1 items, every gold answer is right" in checked.stdout, checked.stderr
    made = personaeval("tasks", "show", "reasoning_gym:chain_sum?size=3", "--yaml")
    assert "kind: reasoning_gym" in made.stdout


@pytest.mark.model
def test_personas_with_a_chat_template_of_ones_own(personaeval, tiny_checkpoint, tmp_path):
    template = tmp_path / "own.jinja"
    template.write_text("{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}{{ mark }}")
    arguments = ["personas", "show", "core/pirate", "-m", f"transformers:{tiny_checkpoint}"]
    shown = personaeval(*arguments, "--chat-template", template, "--chat-template-kwarg", "mark=THE-END")
    assert "[system]You are a swaggering pirate" in shown.stdout, shown.stderr
    assert "THE-END" in shown.stdout
    assert personaeval(*arguments, "--date", "today").returncode == 2
