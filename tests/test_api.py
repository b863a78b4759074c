"""The Python API: what importing it costs, and that each function does what its command does."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import personaeval as package
from tests.finished import counted, write_run

ROOT = Path(__file__).resolve().parent.parent


def run_python(code: str) -> str:
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return shown.stdout.strip()


def test_importing_the_package_loads_none_of_its_parts():
    code = (
        "import sys, personaeval\n"
        "heavy = {'torch', 'vllm', 'pandas', 'openai', 'numpy', 'pyarrow', 'pydantic', 'rich', 'datasets'}\n"
        "own = {name for name in sys.modules if name.startswith('personaeval.')}\n"
        "print(sorted(heavy & set(sys.modules)), sorted(own))"
    )
    assert run_python(code) == "[] []"


def test_every_public_name_is_there_and_listed():
    assert len(package.__all__) == len(set(package.__all__)) > 5
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
        assert name in dir(package)
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        package.laod  # noqa: B018


GATES = {"version": 1, "gates": [{"task": "*", "metric": "accuracy", "max_drop": 0.05}]}


@pytest.fixture
def finished(tmp_path) -> list[Path]:
    """Three checkpoints of a training run, each a little worse."""
    drawn = np.random.default_rng(3).random((200, 4))
    return [
        write_run(
            tmp_path / f"step-{step}", [counted(drawn < share)], label=f"step-{step}", fingerprint=f"{step}" * 11 + "a"
        )
        for step, share in ((100, 0.8), (200, 0.7), (300, 0.6))
    ]


def test_compare_gives_what_the_command_prints_and_its_figures(finished, personaeval):
    found = package.compare(*finished[:2])
    assert f"{found}\n" == personaeval("compare", *finished[:2]).stdout
    assert f"{found.render('json', intervals=False)}\n" == (
        personaeval("compare", *finished[:2], "--format", "json", "--no-interval").stdout
    )
    metrics = found.frames()[0]
    assert metrics.attrs["title"] == found.tables[0].title
    [change] = metrics[metrics.metric == "accuracy"]["change"]
    assert change == pytest.approx(-0.1, abs=0.05)
    assert {"change low", "change high", "p"} <= set(metrics.columns)
    assert {str(kind) for kind in metrics.dtypes} == {"float64", "string"}
    trend = package.compare(*finished).frames()[0]
    assert len(trend) >= 3


def test_a_check_is_a_result_and_not_an_error(finished, personaeval, tmp_path):
    policy = tmp_path / "gate.yaml"
    policy.write_text("version: 1\ngates:\n  - {task: '*', metric: accuracy, max_drop: 0.05}\n")
    base, worse = finished[0], finished[2]
    found = package.check(base, worse, GATES)
    shown = personaeval("check", base, worse, "--policy", policy)
    assert (found.outcome, found.passed, found.exit_code) == ("REGRESSION", False, shown.returncode)
    assert f"{found}\n" == shown.stdout
    assert f"{package.check(base, worse, policy).to_json()}\n" == (
        personaeval("check", base, worse, "--policy", policy, "--json").stdout
    )
    [finding] = found.frame().to_dict("records")
    assert (finding["metric"], finding["outcome"], finding["base"] > finding["candidate"]) == (
        "accuracy",
        "REGRESSION",
        True,
    )
    assert package.check(base, base, GATES).passed


def test_a_baseline_takes_the_run_s_place(finished, tmp_path):
    [folder] = package.write_baseline(finished[0], tmp_path / "baseline")
    assert str(package.compare(folder, finished[1])) == str(package.compare(finished[0], finished[1]))


@pytest.mark.parametrize(
    ("call", "command"),
    [
        (lambda: package.leaderboard("absent"), ("leaderboard", "absent")),
        (
            lambda: package.leaderboard("absent", personas=True, generalise_to_personas=True),
            ("leaderboard", "absent", "--personas", "--generalise", "items,personas"),
        ),
        (lambda: package.compare("here/absent", "there"), ("compare", "here/absent", "there")),
        (lambda: package.check("a", "b", "absent.yaml"), ("check", "a", "b", "--policy", "absent.yaml")),
        (lambda: package.write_baseline("absent/x", "new"), ("baseline", "absent/x", "-o", "new")),
    ],
)
def test_errors_have_the_texts_and_codes_of_the_command_line(call, command, personaeval, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(package.PersonaevalError) as refused:
        call()
    shown = personaeval(*command, cwd=tmp_path)
    assert (shown.stderr.strip(), shown.returncode) == (f"personaeval: {refused.value}", refused.value.exit_code)


def test_a_policy_from_python_is_read_as_strictly_as_a_file():
    with pytest.raises(package.UsageError, match="unknown key 'gates.0.max_dorp'. Did you mean 'max_drop'"):
        package.check("a", "b", {"version": 1, "gates": [{"task": "*", "metric": "accuracy", "max_dorp": 0.1}]})
