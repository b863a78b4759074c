"""``kill -9`` at any moment: nothing is lost but the last second, nothing is done twice, the tables are the same bytes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from personaeval.results import read_json

ROOT = Path(__file__).resolve().parent.parent
ITEMS, SAMPLES, PERSONAS = 150, 2, 3


@pytest.fixture
def many_sums(library: Path) -> Path:
    rows = (f'{{"id": "s{n}", "question": "What is {n} + {n + 1}?", "answer": "{2 * n + 1}"}}\n' for n in range(ITEMS))
    (library / "tasks" / "sums.jsonl").write_text("".join(rows))
    return library


def command(library: Path, output: Path, url: str) -> list[str]:
    return (
        [sys.executable, "-m", "personaeval", "run", "--model", f"openai:scripted@{url}", "--tasks", "sums"]
        + ["--personas", "few", "--include", str(library), "--samples", str(SAMPLES), "--concurrency", "8"]
        + ["--output", str(output), "--quiet"]
    )


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def parquet(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.glob("*/*/*.parquet")}


def test_killed_ten_times_the_tables_are_the_same_bytes_and_nothing_is_sent_twice(
    many_sums, tmp_path, scripted_process
):
    whole = scripted_process(latency_ms=5)
    subprocess.run(command(many_sums, tmp_path / "whole", whole.url), env=environment(), check=True, timeout=120)
    expected = parquet(tmp_path / "whole")
    assert set(expected) == {"responses.parquet", "cells.parquet"}

    # The same address again, so that the endpoint is the same checkpoint: only the log is new.
    server = whole.restarted(latency_ms=60)
    output = tmp_path / "killed"
    moments = random.Random(20)
    kills = []
    for _ in range(10):
        before = len(server.log())
        child = subprocess.Popen(command(many_sums, output, server.url), env=environment(), stderr=subprocess.PIPE)
        # Start-up takes its time; the kill is to hit the work, at a moment nobody chose.
        deadline = time.time() + 60
        while len(server.log()) == before and child.poll() is None and time.time() < deadline:
            time.sleep(0.02)
        time.sleep(moments.uniform(0.0, 0.8))
        if child.poll() is None:
            kills.append(time.time())
        child.send_signal(signal.SIGKILL)
        child.communicate()
    assert len(kills) == 10, "the work was done before the last kill"
    subprocess.run(command(many_sums, output, server.url), env=environment(), check=True, timeout=120)

    assert parquet(output) == expected
    requests = server.log()
    sent: dict[str, list[float]] = {}
    for request in requests:
        sent.setdefault(request["request"], []).append(request["time"])
    assert len(sent) == ITEMS * SAMPLES * PERSONAS
    for times in sent.values():
        for first in times[:-1]:
            # Sent again only if a kill followed within a second of its answer.
            assert any(0 <= kill - first <= 1.0 + 0.06 + 0.5 for kill in kills), (times, kills)
    repeats = Counter(len(times) for times in sent.values())
    assert repeats[1] > ITEMS * SAMPLES * PERSONAS / 2


def test_the_same_run_twice_at_once_is_refused_and_says_who_holds_it(many_sums, tmp_path, scripted_process):
    server = scripted_process(latency_ms=100)
    first = subprocess.Popen(
        command(many_sums, tmp_path / "out", server.url), env=environment(), stderr=subprocess.PIPE
    )
    while not server.log() and first.poll() is None:
        time.sleep(0.02)
    second = subprocess.run(
        command(many_sums, tmp_path / "out", server.url), env=environment(), capture_output=True, text=True, check=False
    )
    assert second.returncode == 2
    assert f"held by process {first.pid} on" in second.stderr
    first.communicate()
    assert first.returncode == 0


def test_two_plans_at_once_on_one_results_folder_both_complete(many_sums, tmp_path, scripted_process):
    server = scripted_process(latency_ms=20)
    base = command(many_sums, tmp_path / "out", server.url)
    both = [
        subprocess.Popen([*base, *more], env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        for more in ([], ["--seed", "1"])
    ]
    for child in both:
        _, stderr = child.communicate(timeout=120)
        assert child.returncode == 0, stderr
    records = [read_json(path) for path in (tmp_path / "out").glob("*/*/run.json")]
    assert len(records) == 2
    assert all(record["counts"]["failed"] == 0 for record in records)


def test_ctrl_c_keeps_what_was_done_and_says_how_to_go_on(many_sums, tmp_path, scripted_process):
    server = scripted_process(latency_ms=50)
    child = subprocess.Popen(
        command(many_sums, tmp_path / "out", server.url), env=environment(), stderr=subprocess.PIPE, text=True
    )
    while len(server.log()) < 100 and child.poll() is None:
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "The same command goes on" in stderr
    assert "Traceback" not in stderr
    done = len(server.log())
    subprocess.run(command(many_sums, tmp_path / "out", server.url), env=environment(), check=True, timeout=120)
    again = len(server.log()) - done
    assert again <= ITEMS * SAMPLES * PERSONAS - done + 8 + 1, "more was sent again than was under way"
    assert json.loads(next((tmp_path / "out").glob("*/*/run.json")).read_text())["counts"]["failed"] == 0
