"""The Python API: what importing it costs, and that each function does what its command does."""

import subprocess
import sys
from pathlib import Path

import pytest

import personaeval

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
    assert len(personaeval.__all__) == len(set(personaeval.__all__)) > 5
    for name in personaeval.__all__:
        assert getattr(personaeval, name).__name__ == name
        assert name in dir(personaeval)
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        personaeval.laod  # noqa: B018
