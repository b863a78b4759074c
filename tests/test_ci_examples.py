"""The examples for pipelines, run as they stand with the embedded model."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CI = ROOT / "examples" / "ci"
SETTINGS = {
    "INCONCLUSIVE": "warn",
    "MORE": "--samples 4",
    "TASKS": "mini-arith",
    "PERSONAS": "core/pirate,core/village-baker",
    "LIMIT": "24",
    "MAX_TOKENS": "16",
    "ENGINE": "transformers",
}
# Many processors multiply bfloat16 in software, seven times as slowly.
PROGRAM = f"""\
#!/bin/sh
if [ "$1" = run ]; then set -- "$@" --dtype float32; fi
exec "{sys.executable}" -m personaeval "$@"
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, smollm2, damaged):
    """A folder with a committed baseline and the starting policy, and the command on the path."""
    folder = tmp_path_factory.mktemp("ci")
    program = folder / "bin" / "personaeval"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(0o755)
    name = smollm2.name
    commands = (
        f"personaeval run -q --model 'transformers:{smollm2}' --tasks $TASKS --personas $PERSONAS --limit $LIMIT "
        "--max-tokens $MAX_TOKENS",
        f"personaeval baseline results/{name} -o baseline",
        "personaeval check --init",
    )
    for command in commands:
        done = shell(folder, command)
        assert done.returncode == 0, done.stderr
    return folder


def shell(folder: Path, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "PYTHONPATH": str(ROOT), "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    return subprocess.run(
        ["bash", "-e", "-c", script],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | own | SETTINGS | environment,
        check=False,
    )


def run_workflow(folder: Path, checkpoint: Path, **settings: str) -> list[subprocess.CompletedProcess[str]]:
    """Run the workflow's shell steps but the installation, up to the first that fails."""
    workflow = yaml.safe_load((CI / "workflow.yml").read_text())
    steps = [step for step in workflow["jobs"]["check"]["steps"] if "run" in step and step["name"] != "Install"]
    assert len(steps) == 2
    done = []
    for step in steps:
        done.append(shell(folder, step["run"], CHECKPOINT=str(checkpoint), **settings))
        if done[-1].returncode:
            break
    return done


def test_the_workflow_passes_the_base_and_stops_the_damaged(workplace, smollm2, damaged):
    same = run_workflow(workplace, smollm2)
    assert [step.returncode for step in same] == [0, 0], same[-1].stderr
    assert "PASS" in (workplace / "summary.md").read_text()
    worse = run_workflow(workplace, damaged)
    assert [step.returncode for step in worse] == [0, 1], worse[-1].stdout + worse[-1].stderr
    assert "REGRESSION" in (workplace / "summary.md").read_text()
    assert "<failure" in (workplace / "check.xml").read_text()


def test_the_baseline_is_small_and_holds_no_text(workplace):
    files = {path.name: path.stat().st_size for path in (workplace / "baseline").iterdir()}
    assert set(files) == {"run.json", "summary.json", "cells.parquet", "personas.parquet"}
    assert sum(files.values()) < 200_000


def test_the_script_after_a_save(workplace, smollm2, damaged):
    script = CI / "after_save.sh"
    same = shell(workplace, f"sh '{script}' 'transformers:{smollm2}' baseline")
    assert same.returncode == 0, same.stderr
    assert "continue training" in same.stdout
    worse = shell(workplace, f"sh '{script}' 'transformers:{damaged}' baseline")
    assert worse.returncode == 1, worse.stderr
    assert "stop:" in worse.stdout


def test_a_second_training_with_the_same_folder_names_is_told_from_the_first(workplace, smollm2, damaged, tmp_path):
    twin = tmp_path / smollm2.name
    shutil.copytree(damaged, twin)
    script = CI / "after_save.sh"
    worse = shell(workplace, f"sh '{script}' 'transformers:{twin}' baseline")
    assert worse.returncode == 1, worse.stderr
    same = shell(workplace, f"sh '{script}' 'transformers:{smollm2}' baseline")
    assert same.returncode == 0, same.stderr
    # A run of other items in the same results folder is not in the way either.
    fewer = shell(workplace, f"sh '{script}' 'transformers:{smollm2}' baseline", LIMIT="23")
    assert fewer.returncode == 0, fewer.stderr


STAND_IN = """\
#!/bin/sh
echo "$*" >> "$CALLS"
if [ "$1" = run ]; then
    while [ "$1" != --folders ]; do shift; done
    echo a-run > "$2"
else
    case $2 in *-more) exit "$AFTER_MORE" ;; *) exit 3 ;; esac
fi
"""


@pytest.mark.parametrize("example", ["after_save.sh", "workflow.yml"])
@pytest.mark.parametrize(
    ("choice", "after_more", "code", "checks"),
    [("warn", 0, 0, 1), ("fail", 0, 3, 1), ("more", 0, 0, 2), ("more", 3, 3, 2)],
)
def test_what_an_inconclusive_verdict_means_is_a_choice(tmp_path, example, choice, after_more, code, checks):
    program = tmp_path / "bin" / "personaeval"
    program.parent.mkdir()
    program.write_text(STAND_IN)
    program.chmod(0o755)
    settings = {"INCONCLUSIVE": choice, "CALLS": str(tmp_path / "calls"), "AFTER_MORE": str(after_more)}
    if example == "after_save.sh":
        done = shell(tmp_path, f"sh '{CI / example}' vllm:checkpoint baseline --data t=file", **settings)
    else:
        done = run_workflow(tmp_path, Path("checkpoint"), OPTIONS="--data t=file", **settings)[-1]
    assert done.returncode == code, done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert sum(call.startswith("check") for call in calls) == checks
    assert [("--samples 4" in call) for call in calls if call.startswith("run")] == [False, True][:checks]
    assert all("--data t=file" in call for call in calls if call.startswith("run")), "any option of run is passed on"
    if example == "after_save.sh":
        unknown = shell(tmp_path, f"sh '{CI / example}' vllm:checkpoint baseline", INCONCLUSIVE="shrug")
        assert unknown.returncode == 2 and "warn, fail or more" in unknown.stderr
