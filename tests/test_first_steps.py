"""Finding the way in: help that fits, shell completion, files to start from, settings written as people write them."""

import os
import re
import shlex
import subprocess
import sys

import pytest
import yaml

import personaeval as package
from personaeval.config import RunConfig, make_config
from personaeval.config.starting_file import starting_config
from tests.conftest import ENVIRONMENT

COMMANDS = [
    *(
        "init",
        "plan",
        "run",
        "score",
        "leaderboard",
        "show",
        "compare",
        "check",
        "baseline",
        "judge-check",
        "questions",
    ),
    *("doctor", "tasks list", "tasks show", "tasks check", "tasks new", "personas list", "personas show"),
    "personas check",
]
NARROW = {"COLUMNS": "80", "TERMINAL_WIDTH": "80"}


def test_the_list_of_commands_is_grouped_and_nothing_in_it_is_cut(personaeval):
    shown = personaeval("--help", env=NARROW).stdout
    assert "..." not in shown.split("\n", 1)[1]
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    listed = set(re.findall(r"^  ([a-z-]+)  ", shown, re.MULTILINE))
    assert {command.split()[0] for command in COMMANDS} <= listed
    headings = re.findall(r"^(\S.*), such as (personaeval .*):$", shown, re.MULTILINE)
    assert len(headings) >= 5
    assert "More:" not in shown, "a command is in no group"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_names_values_in_words(personaeval, command):
    shown = personaeval(*command.split(), "-h", env=NARROW)
    assert shown.returncode == 0, shown.stderr
    assert "-h, --help" in shown.stdout
    assert "<" not in re.sub(r"</think>", "", shown.stdout), "a type of Python"
    if command not in ("doctor", "tasks list", "personas list"):
        [example] = re.findall(r"^ +(personaeval .*)$", shown.stdout, re.MULTILINE)
        assert example.split()[1 : 1 + len(command.split())] == command.split()
        # The example's options exist.
        options = {word for word in shlex.split(example) if word.startswith("-")}
        assert all(option in shown.stdout for option in options)


def test_many_options_are_grouped(personaeval):
    shown = personaeval("run", "--help", env=NARROW).stdout
    headings = re.findall(r"^(\S[^,\n]*), such as (-.*):$", shown, re.MULTILINE)
    assert [heading for heading, _ in headings] == [
        *("What to evaluate", "Sampling", "Prompts", "Model", "Endpoint", "Judges"),
    ]
    for _, example in headings:
        assert all(word in shown.replace(example, "") for word in example.split() if word.startswith("-"))


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("ru", "run\nruns"),
        ("run --tem", "--temperature\n--template"),
        ("run --tasks mini-arith,gs", "mini-arith,gsm8k"),
        ("run --personas co", "conflicting\ncore\ncore-paraphrased"),
        ("run --persona-role s", "system"),
        ("leaderboard -f m", "markdown"),
    ],
)
def test_the_shell_completes(words, offered):
    line = f"personaeval {words}"
    code = "import sys; sys.argv = ['personaeval']; from personaeval.cli import main; main()"
    asked = {"_PERSONAEVAL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words.split()))}
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | ENVIRONMENT | asked, check=False
    )
    assert shown.stdout.strip() == offered, shown.stderr


def test_init_writes_files_that_run_as_they_stand(personaeval, server, tmp_path):
    shown = personaeval("init", "--model", f"openai:scripted@{server.url}", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    [following] = re.findall(r"^Next: personaeval (.*)$", shown.stdout, re.MULTILINE)
    assert following == "run --config run.yaml"
    # Fewer items and personas are as good here.
    done = personaeval(*following.split(), "--limit", 12, "--limit-personas", 3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(server.sent) == 12 * 4
    checked = personaeval("check", "results/scripted", "results/scripted", "--policy", "gate.yaml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    again = personaeval("init", cwd=tmp_path)
    assert (again.returncode, "run.yaml: exists already" in again.stderr) == (2, True)


def test_without_a_model_init_says_where_it_goes(tmp_path):
    settings, policy = package.write_starting_files(tmp_path / "new", tasks="mini-arith,mini-letters")
    assert (settings.name, policy.name) == ("run.yaml", "gate.yaml")
    assert make_config(settings, {"model": ("./ckpt",)}).tasks == ("mini-arith", "mini-letters")


def test_every_key_is_in_the_file_and_shows_its_default():
    text = starting_config(["m"], ["mini-arith"])
    lines = [line for line in text.splitlines() if re.match(r"#?[a-z_]+: ", line)]
    keys = {line.removeprefix("#").partition(":")[0]: line.removeprefix("#") for line in lines}
    assert set(keys) == set(RunConfig.model_fields)
    for name, line in keys.items():
        field = RunConfig.model_fields[name]
        if name in ("model", "tasks", "limit"):
            continue
        values = {"model": ["m"], "tasks": ["t"], **yaml.safe_load(line)}
        assert getattr(RunConfig.model_validate(values), name) == field.default, name


def test_texts_in_a_file_are_what_is_written(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "model: ./checkpoint\ntasks: mini-arith,2024\npersonas: [core, 1e3]\ndate: 2026-02-03\nmodel_version: 1.10\n"
        "reasoning_end: no\nlimit: 7\nengine_args: {top_k: 20, name: 1.10}\n"
    )
    config = make_config(file, {})
    assert config.model == ("./checkpoint",)
    assert config.tasks == ("mini-arith", "2024")
    assert config.personas == ("core", "1e3")
    assert (config.date, config.model_version, config.reasoning_end) == ("2026-02-03", "1.10", "no")
    assert (config.limit, config.engine_args) == (7, {"top_k": 20, "name": 1.1})


def test_several_samples_of_a_greedy_task_are_warned_of(personaeval, library, server, tmp_path):
    given = ["--model", f"openai:scripted@{server.url}", "--tasks", "sums", "--personas", "few", "--include", library]
    given += ["--samples", 2, "--limit", 2, "--output", tmp_path / "results"]
    warning = "2 samples at temperature 0 (sums): they differ by the rounding of batches alone"
    assert warning in personaeval("plan", *given).stdout
    assert warning in personaeval("run", *given).stderr
    for fine in (["--temperature", 0.7], ["--samples", 1]):
        assert "rounding" not in personaeval("plan", *given, *fine).stdout
