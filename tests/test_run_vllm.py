"""The main path on real vLLM: in process, behind an endpoint, and killed on the way."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from personaeval.results.files import read_json
from personaeval.results.ledger import Ledger
from personaeval.results.responses import read_responses
from tests.vllm_server import free_port, serving

pytestmark = pytest.mark.vllm

ROOT = Path(__file__).resolve().parent.parent
ITEMS = 60
# Many processors multiply bfloat16 in software, seven times as slowly.
FLOAT32 = ("--dtype", "float32")
KILLS = int(os.environ.get("PERSONAEVAL_TEST_KILLS", "2"))


def arguments(model: str, library: Path, output: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "personaeval", "run", "--model", model, "--tasks", "sums", "--personas", "few"] + [
        "--include",
        str(library),
        "--output",
        str(output),
        "--max-tokens",
        "32",
        "--samples",
        "2",
        *more,
    ]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": "2"}


@pytest.fixture
def many_sums(library: Path) -> Path:
    rows = (f'{{"id": "s{n}", "question": "What is {n} + {n + 1}?", "answer": "{2 * n + 1}"}}\n' for n in range(ITEMS))
    (library / "tasks" / "sums.jsonl").write_text("".join(rows))
    return library


def completions(ledger: Path) -> dict[bytes, tuple[object, ...]]:
    if not ledger.exists():
        return {}
    connection = sqlite3.connect(ledger)
    try:
        return {row[0]: row for row in connection.execute("SELECT * FROM completions")}
    except sqlite3.OperationalError:  # the file is there a moment before its tables
        return {}
    finally:
        connection.close()


def test_killed_on_the_way_everything_in_the_ledger_is_in_the_table_once_and_unchanged(many_sums, smollm2, tmp_path):
    output = tmp_path / "results"
    command = arguments(f"vllm:{smollm2}", many_sums, output, *FLOAT32, "--engine-arg", "max_model_len=1024", "--quiet")
    moments = random.Random(3)
    seen: dict[bytes, tuple[object, ...]] = {}
    for _ in range(KILLS):
        child = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before, deadline = len(seen), time.time() + 300
        while len(completions(output / "ledger.sqlite")) == before and child.poll() is None and time.time() < deadline:
            time.sleep(0.05)
        time.sleep(moments.uniform(0, 0.5))
        assert child.poll() is None, "the work was done before the kill"
        family = psutil.Process(child.pid).children(recursive=True)
        child.send_signal(signal.SIGKILL)
        child.wait()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive, f"left behind: {alive}"
        now = completions(output / "ledger.sqlite")
        assert len(now) > before
        assert seen.items() <= now.items()
        seen = now
    finished = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert seen.items() <= completions(output / "ledger.sqlite").items()
    [folder] = [path.parent for path in output.glob("*/*/run.json")]
    rows = list(read_responses(folder))
    places = Counter((row.item, row.persona, row.sample) for row in rows)
    assert len(places) == ITEMS * 3 * 2
    assert set(places.values()) == {1}
    with Ledger(output / "ledger.sqlite") as ledger:
        stored = ledger.completions([row.key for row in rows])
    assert all(stored[row.key].text == row.text for row in rows)
    assert read_json(folder / "run.json")["sessions"][-1]["generated"] == len(rows) - len(seen)


@pytest.fixture(scope="module")
def served(smollm2: Path):
    """vLLM's own OpenAI-compatible server on loopback, with SmolLM2."""
    with serving(smollm2, "smollm2", free_port(), "float32") as url:
        yield url


def test_a_served_model_is_run_like_one_in_process(served, library, smollm2, tmp_path):
    output = tmp_path / "results"
    command = arguments(f"openai:smollm2@{served}", library, output, "--limit", "4")
    first = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr[-3000:]
    [folder] = [path.parent for path in output.glob("*/*/run.json")]
    record = read_json(folder / "run.json")
    assert record["placement"]["verified"], "vLLM shows its prompts through /tokenize"
    assert "SmolLM" in record["placement"]["no_persona_prompt"]
    assert record["counts"] == {"requests": 24, "failed": 0}
    assert [session["generated"] for session in record["sessions"]] == [24]
    again = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert read_json(folder / "run.json")["sessions"] == record["sessions"]
    # The same prompts reach the model as from the checkpoint's own template here.
    local = tmp_path / "local"
    here = arguments(f"transformers:{smollm2}", library, local, *FLOAT32, "--limit", "4")
    subprocess.run(here, env=environment(), capture_output=True, check=True)
    [local_folder] = [path.parent for path in local.glob("*/*/run.json")]
    tokens = [[row.prompt_tokens for row in read_responses(each)] for each in (folder, local_folder)]
    assert tokens[0] == tokens[1]
