"""``kill -9`` at any moment: nothing is lost but the last second, nothing is done twice, the tables are the same."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from personaeval.results.files import read_json
from tests.scripted_server import ScriptedServer, Sent

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ROOT = Path(__file__).resolve().parent.parent
ITEMS, SAMPLES, CONCURRENCY = 150, 2, 8
ROWS = ITEMS * SAMPLES * 3


@pytest.fixture
def many_sums(library: Path) -> Path:
    rows = (f'{{"id": "s{n}", "question": "What is {n} + {n + 1}?", "answer": "{2 * n + 1}"}}\n' for n in range(ITEMS))
    (library / "tasks" / "sums.jsonl").write_text("".join(rows))
    return library


def command(library: Path, output: Path, url: str) -> list[str]:
    return (
        [sys.executable, "-m", "personaeval", "run", "--model", f"openai:scripted@{url}", "--tasks", "sums"]
        + ["--personas", "few", "--include", str(library), "--samples", str(SAMPLES), "--concurrency", str(CONCURRENCY)]
        + ["--output", str(output), "--quiet"]
    )


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def parquet(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.glob("*/*/*.parquet")}


def start(library: Path, output: Path, url: str, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command(library, output, url), *more],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(server: ScriptedServer, count: int, child: subprocess.Popen[str]) -> None:
    deadline = time.time() + 60
    while len(server.sent) < count and child.poll() is None and time.time() < deadline:
        time.sleep(0.01)


def test_killed_ten_times_the_tables_are_the_same_bytes_and_nothing_is_sent_twice(many_sums, tmp_path, server):
    subprocess.run(command(many_sums, tmp_path / "whole", server.url), env=environment(), check=True, timeout=120)
    expected = parquet(tmp_path / "whole")
    assert set(expected) == {"responses.parquet", "cells.parquet", "items.parquet", "personas.parquet"}
    assert len(server.sent) == ROWS
    server.sent.clear()
    server.change(latency=0.06)

    output = tmp_path / "killed"
    moments = random.Random(20)
    kills = []
    for _ in range(10):
        child = start(many_sums, output, server.url)
        # Start-up takes its time; the kill is to hit the work, at a moment nobody chose.
        wait_for(server, len(server.sent) + 1, child)
        time.sleep(moments.uniform(0.0, 0.6))
        assert child.poll() is None, "the work was done before the last kill"
        kills.append(time.time())
        child.send_signal(signal.SIGKILL)
        child.communicate()
    subprocess.run(command(many_sums, output, server.url), env=environment(), check=True, timeout=120)

    assert parquet(output) == expected
    sent: dict[str, list[Sent]] = {}
    for request in server.sent:
        sent.setdefault(request.key, []).append(request)
    assert len(sent) == ROWS
    for tries in sent.values():
        for lost in tries[:-1]:
            # In flight at a kill, or answered within the second before it.
            assert any(lost.arrived <= kill and lost.answered >= kill - 1 for kill in kills), (lost, kills)
    assert sum(len(tries) == 1 for tries in sent.values()) > ROWS / 2


def test_the_same_run_twice_at_once_is_refused_and_says_who_holds_it(many_sums, tmp_path, server):
    server.change(latency=0.1)
    first = start(many_sums, tmp_path / "out", server.url)
    wait_for(server, 1, first)
    second = start(many_sums, tmp_path / "out", server.url)
    _, stderr = second.communicate(timeout=60)
    assert second.returncode == 2
    assert f"held by process {first.pid} on" in stderr
    first.communicate(timeout=120)
    assert first.returncode == 0


def test_two_plans_at_once_on_one_results_folder_both_complete(many_sums, tmp_path, server):
    server.change(latency=0.02)
    for child in [start(many_sums, tmp_path / "out", server.url, *more) for more in ((), ("--seed", "1"))]:
        _, stderr = child.communicate(timeout=120)
        assert child.returncode == 0, stderr
    records = [read_json(path) for path in (tmp_path / "out").glob("*/*/run.json")]
    assert len(records) == 2
    assert all(record["counts"]["failed"] == 0 for record in records)


def test_ctrl_c_keeps_what_was_done_and_says_how_to_go_on(many_sums, tmp_path, server):
    server.change(latency=0.05)
    child = start(many_sums, tmp_path / "out", server.url)
    wait_for(server, 100, child)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "The same command resumes" in stderr
    assert "Traceback" not in stderr
    done = len(server.sent)
    assert 100 <= done < ROWS
    [sessions] = (tmp_path / "out").glob("*/*/sessions.json")
    assert read_json(sessions)["sessions"][0]["failed"] == 0, "what was never asked has not failed"
    subprocess.run(command(many_sums, tmp_path / "out", server.url), env=environment(), check=True, timeout=120)
    assert len(server.sent) - ROWS <= CONCURRENCY, "more was sent again than was under way"
    [record] = [read_json(path) for path in (tmp_path / "out").glob("*/*/run.json")]
    assert record["counts"]["failed"] == 0
