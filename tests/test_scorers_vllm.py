"""Every kind of scorer on real vLLM, in one run."""

from pathlib import Path

import pytest

from personaeval.results.files import read_json
from personaeval.results.responses import read_responses
from tests.test_harness import CHOICES, CHOOSE, GENERATE, SUMS, write_task

pytestmark = pytest.mark.vllm

DATA = Path(__file__).parent / "data" / "tasks"
PROCEDURAL = ("mini-arith", "mini-spelling", "reasoning_gym:chain_sum?size=4")


def test_each_kind_is_asked_and_scored(smollm2, personaeval_process, tmp_path):
    sums, choice = (
        write_task(tmp_path, name, rows, content)
        for name, rows, content in (("tiny_sums", SUMS, GENERATE), ("tiny_choice", CHOICES, CHOOSE))
    )
    files = {name: DATA / f"{name}.jsonl" for name in ("math500", "gsm8k", "arc_challenge", "bbh-boolean_expressions")}
    tasks = [*files, *PROCEDURAL, f"lm_eval:{sums}", f"lm_eval:{choice}"]
    data = [part for name, file in files.items() for part in ("--data", f"{name}={file}")]
    done = personaeval_process(
        *("run", "--model", f"vllm:{smollm2}", "--tasks", ",".join(tasks), *data, "--personas", "core/village-baker"),
        *("--limit", 2, "--max-tokens", 24, "--dtype", "float32", "--output", tmp_path / "results", "--quiet"),
        env={"VLLM_CPU_KVCACHE_SPACE": "2"},
        timeout=550,
    )
    assert done.returncode == 0, done.stderr
    [folder] = (tmp_path / "results").glob("*/*/")
    rows = list(read_responses(folder))
    record = read_json(folder / "run.json")["tasks"]
    scorers = {name: entry["scorer"]["kind"] for name, entry in record.items()}
    assert set(scorers.values()) == {"math", "numeric", "choice", "exact", "reasoning_gym", "lm_eval"}
    assert len(record) == len(tasks)
    assert len(rows) == 2 * sum(entry["items"] for entry in record.values())
    assert all(row.score is not None for row in rows), [row.reason for row in rows if row.score is None]
    chosen = [row.text for row in rows if row.task == "lm_eval-tiny_choice"]
    assert all(text.strip() in ("A", "B", "C", "D") for text in chosen)
