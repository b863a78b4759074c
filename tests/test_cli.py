"""The command line as a user meets it: start-up, lists, wrong input, exit codes."""

import importlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from personaeval.cli.options import print_error, print_tables
from personaeval.report.table import Table
from personaeval.report.tables import Tables

app_module = importlib.import_module("personaeval.cli.app")  # the package holds the application by that name
ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "vllm", "transformers", "datasets", "pandas", "sympy", "math_verify", "openai", "scipy")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys; sys.argv = ['personaeval', *sys.argv[1:]]\n"
        "from personaeval.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        f"print('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert shown.stdout.rstrip().endswith("LOADED []")


@pytest.mark.slow
def test_a_leaderboard_needs_no_engine(personaeval, tmp_path):
    code = (
        "import sys; sys.argv = ['personaeval', 'leaderboard', sys.argv[1]]\n"
        "from personaeval.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: print('EXIT', stop.code)\n"
        "print('LOADED', [name for name in ('torch', 'vllm', 'transformers') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "EXIT 2\nLOADED []" in shown.stdout
    assert "holds no finished run" in shown.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "--model is missing"),
        (["run", "--model", "vllm:x"], "--tasks is missing"),
        (["run", "--model", "nowhere/at/all", "--tasks", "mini-arith"], "Pass a checkpoint's directory, a hub id"),
        (["run", "--model", "vlm:x", "--tasks", "mini-arith"], "Did you mean 'vllm'"),
        (["run", "--model", "vllm:x", "--tasks", "mini-aritm"], "Did you mean 'mini-arith'"),
        (["run", "--model", "vllm:x", "--tasks", "mini-arith", "--personas", "cora"], "Did you mean 'core'"),
        (["run", "--model", "vllm:x", "--tasks", "mini-arith", "--samples", "0"], "samples: .*greater than 0"),
        (["run", "--model", "vllm:x", "--tasks", "mini-arith", "--samples", "many"], "valid integer"),
        (["run", "--model", "vllm:x", "--tasks", "mini-arith", "--data", "x.jsonl"], "expected TASK=FILE"),
        (["run", "--model", "vllm:x", "--tasks", "mini-arith", "--template", "Hello."], "must contain {{ persona }}"),
        (["run", "--model", "vllm:x", "--tasks", "mini-arith", "--date", "today"], "date: .*isoformat"),
        (["run", "--modle", "x"], "No such option"),
        (["runn"], "No such command"),
        (["leaderboard", "nowhere"], "no such folder"),
        (["score", "nowhere"], r"nowhere: not the folder of a finished run \(no run\.json in it\)\. Pass a run"),
        (["tasks", "show", "maths500"], "Did you mean 'math500'"),
        (["personas", "check", "nowhere.yaml"], "no such file"),
        (["run", "--config", "nowhere.yaml"], "no such file .looked for"),
    ],
)
def test_wrong_input_is_named_with_a_remedy_and_no_traceback(personaeval, tmp_path, arguments, message):
    import re

    shown = personaeval(*arguments, cwd=tmp_path)
    assert shown.returncode == 2, shown.stderr
    assert re.search(message, shown.stderr), shown.stderr
    assert "Traceback" not in shown.stderr
    assert not list(tmp_path.iterdir()), "a refused command leaves nothing behind"


def test_a_config_file_says_what_flags_say(personaeval, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("tasks: [mini-arith]\nsample: 3\n")
    shown = personaeval("run", "--config", path, "--model", "vllm:x")
    assert shown.returncode == 2
    assert "run.yaml:2: unknown key 'sample'. Did you mean 'samples'" in shown.stderr


def test_lists(personaeval):
    tasks = personaeval("tasks", "list")
    assert tasks.returncode == 0
    assert all(name in tasks.stdout for name in ("math500", "gsm8k", "mini-arith"))
    personas = personaeval("personas", "list")
    assert personas.returncode == 0
    assert all(name in personas.stdout for name in ("core", "standard", "full", "demographic"))


def test_show_and_check(personaeval, library):
    shown = personaeval("tasks", "show", "mini-arith", "--items", 2)
    assert shown.returncode == 0
    assert shown.stdout.count("--- item") == 2
    checked = personaeval("tasks", "check", "mini-arith")
    assert "100 items, every gold answer is right" in checked.stdout
    data = library / "tasks" / "sums.jsonl"
    data.write_text(data.read_text().replace('"answer": "7"', '"answer": "seven"'))
    checked = personaeval("tasks", "check", "sums", "--include", library)
    assert checked.returncode == 2
    assert "item s3: gold 'seven'" in checked.stderr
    assert "16 personas" in personaeval("personas", "check", "core").stdout


@pytest.mark.model
def test_personas_as_a_checkpoint_sees_them(personaeval, smollm2):
    shown = personaeval("personas", "show", "core/pirate", "--model", f"transformers:{smollm2}")
    assert shown.returncode == 0, shown.stderr
    assert "placement: system, verified" in shown.stdout
    assert "<|im_start|>system\nYou are a swaggering pirate" in shown.stdout
    assert "{{ item }}<|im_end|>" in shown.stdout


def test_doctor(personaeval):
    shown = personaeval("doctor")
    assert "engines:" in shown.stdout
    assert "mini-arith" in shown.stdout


@pytest.mark.slow
def test_a_wheel_carries_its_tasks_and_personas(tmp_path):
    """Built, unpacked into an empty folder and run there, away from the project's own files."""
    import zipfile

    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "from personaeval.library.registry import *; registry = Registry(); print(builtin_folder(), *registry.task_files(), "
        "*registry.persona_files(), len(registry.persona_set('full').personas))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
    )
    assert shown.stdout.startswith(str(tmp_path / "site"))
    assert all(name in shown.stdout for name in ("math500", "gsm8k", "mini-arith", "core", "272"))


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["tasks", "list"], "mini-arith"),
        (["personas", "list"], "core"),
        (["doctor"], "engines:"),
        (["leaderboard", "nowhere"], "no such folder"),
        (["compare", "nowhere", "nowhere"], "nowhere"),
        (["check", "nowhere", "nowhere"], "gate.yaml"),
        (["baseline", "nowhere", "-o", "elsewhere"], "nowhere"),
        (["score", "nowhere"], "nowhere"),
        (["plan", "--model", "vllm:x"], "--tasks is missing"),
        (["run", "--model", "vllm:x"], "--tasks is missing"),
        (["questions"], "--output"),
        (["judge-check"], "--judge"),
    ],
)
@pytest.mark.slow
def test_every_command_in_a_process_of_its_own(personaeval_process, tmp_path, arguments, shown):
    """The other tests call ``main`` in this process; here the installed way in is tried once a command."""
    done = personaeval_process(*arguments, cwd=tmp_path)
    assert shown in done.stdout + done.stderr
    assert done.returncode in (0, 2)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_an_output_that_nobody_reads_ends_the_command_silently(monkeypatch, capfd, size):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as out:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(app_module, "app", lambda **_: print("x" * size, flush=True))
        assert app_module._run() == 141
    assert capfd.readouterr().err == ""


def test_another_broken_pipe_is_no_closed_output(monkeypatch):
    """Such as that of a helper process or a socket."""

    def fail(**_):
        raise BrokenPipeError("to a worker")

    err = io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(app_module, "app", fail)
    assert app_module._run() == 70
    assert "BrokenPipeError: to a worker" in err.getvalue()
    assert "this is a bug" in err.getvalue()


def test_errors_and_notes_are_told_without_control_characters(monkeypatch):
    def told(tell) -> str:
        err = io.StringIO()
        monkeypatch.setattr(sys, "stderr", err)
        tell()
        return err.getvalue()

    hostile = "It said \x1b[31mred\x07\x9b.\n  Do this."
    assert told(lambda: print_error(hostile)) == "personaeval: It said  [31mred  .\n  Do this.\n"
    table = Table("t", ("a",), (), notes=(hostile,))
    for format in ("csv", "json"):
        assert not set(told(lambda form=format: print_tables(Tables((table,)), form))) & {"\x1b", "\x07", "\x9b"}
