"""What a user with an endpoint alone needs: no PyTorch, no engine, no generator of tasks, no hub."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ABSENT = ("torch", "transformers", "vllm", "reasoning_gym", "datasets", "lm_eval", "llguidance", "matplotlib")
PROGRAM = f"""
import sys
from importlib.machinery import PathFinder


class Lacking:
    # As where they are not installed.
    find_distributions = PathFinder.find_distributions

    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in {ABSENT!r} else PathFinder.find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Lacking
from personaeval.cli import main
main()
"""


def without_extras(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        check=False,
    )


@pytest.mark.slow
def test_an_endpoint_needs_no_extra(server, tmp_path):
    model = ["-m", f"openai:scripted@{server.url}"]
    done = without_extras("run", *model, "-t", "quick", "--limit", 2, "-p", "core/pirate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Mini arithmetic" in done.stdout
    missing = without_extras("run", *model, "-t", "reasoning_gym:chain_sum?size=2", cwd=tmp_path)
    assert missing.returncode == 2
    assert "reasoning-gym is not installed; pip install 'personaeval[reasoning-gym]'" in missing.stderr
