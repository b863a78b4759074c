"""A real model as model and as judge on real vLLM, its replies held to the schema; killed while judging."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from personaeval.judge.judge_prompt import preamble
from personaeval.judge.judgements import read_judgements
from personaeval.judge.rubrics import rubrics_of
from personaeval.library.registry import Registry
from personaeval.library.sources import load_items
from personaeval.results.files import read_json
from tests.conftest import ROOT

pytestmark = pytest.mark.vllm

PERSONAS, PER_TASK = 4, 1
RESPONSES = PERSONAS * PER_TASK * 5
BLOCK = 32
"""Tokens of a block of vLLM's prefix cache on a CPU."""


def command(model: Path, output: Path) -> list[str]:
    return (
        [sys.executable, "-m", "personaeval", "run", "--model", f"vllm:{model}", "--judge", f"vllm:{model}"]
        + ["--tasks", "personagym", "--questions-per-dimension", str(PER_TASK), "--limit-personas", str(PERSONAS)]
        + ["--max-tokens", "48", "--judge-max-tokens", "400", "--engine-arg", "max_model_len=2048"]
        + ["--dtype", "float32", "--judge-engine-arg", "max_model_len=4096", "--output", str(output), "--quiet"]
    )


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": "2"}


def held(output: Path) -> dict[bytes, tuple[object, ...]]:
    if not (output / "ledger.sqlite").exists():
        return {}
    connection = sqlite3.connect(output / "ledger.sqlite")
    rows = {row[0]: row for row in connection.execute("SELECT * FROM completions")}
    connection.close()
    return rows


def test_a_real_judge_killed_on_the_way_judges_everything_once_and_validly(smollm2, tmp_path):
    output = tmp_path / "results"
    child = subprocess.Popen(command(smollm2, output), env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.time() + 600
    while len(held(output)) <= RESPONSES and child.poll() is None and time.time() < deadline:
        time.sleep(0.1)
    assert child.poll() is None, "the work was done before the kill"
    family = psutil.Process(child.pid).children(recursive=True)
    child.send_signal(signal.SIGKILL)
    child.wait()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive, f"left behind: {alive}"
    before = held(output)

    shown = subprocess.run(command(smollm2, output), env=environment(), capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr[-3000:]
    after = held(output)
    assert before.items() <= after.items(), "something was judged twice"
    [folder] = [path.parent for path in output.glob("*/*/run.json")]
    rows = list(read_judgements(folder))
    assert len(rows) == RESPONSES
    for row in rows:
        assert row.score in range(1, 6) if row.reason is None else row.score is None
    assert sum(row.score is not None for row in rows) > RESPONSES / 2, "the schema should have seen to that"
    record = read_json(folder / "run.json")
    assert any("same checkpoint" in note for note in shown.stdout.splitlines())

    [usage] = record["sessions"][-1]["judges"]
    assert usage["calls"] == len(after) - len(before)
    assert usage["cached_tokens"] >= 0.95 * cacheable(smollm2, usage["calls"])

    again = subprocess.run(command(smollm2, output), env=environment(), capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert held(output) == after


def cacheable(model: Path, calls: int) -> float:
    """The tokens of the static prefixes, rounded down to blocks, for every call after the first of a rubric."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    task, file = Registry().task("personagym")
    lengths = [
        len(tokenizer(tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False))["input_ids"])
        for text in (preamble(rubric) for rubric in rubrics_of(load_items(task, file, None, None, 0), file).values())
    ]
    # The end of the turn, which a chat template adds, is no part of the prefix.
    blocks = [max(0, length - 8) // BLOCK * BLOCK for length in lengths]
    return sum(blocks) / len(blocks) * (calls - len(blocks))
