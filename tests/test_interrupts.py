"""Ctrl-C, SIGTERM and SIGHUP: acknowledged at once, in order the first time, at once the second."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.scripted_server import Rule, ScriptedServer

pytestmark = [pytest.mark.slow, pytest.mark.alone]

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def start(library: Path, tmp_path: Path, server: ScriptedServer):
    """A run against a slow server, in a process group of its own, as a terminal starts it."""
    started = []

    def run(*more: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-m", "personaeval", "run", "--model", f"openai:scripted@{server.url}", "--tasks", "sums"]
            + ["--personas", "few", "--include", str(library), "--output", str(tmp_path / "out"), *more],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(child)
        return child

    yield run
    for child in started:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def wait_for_requests(server: ScriptedServer) -> None:
    deadline = time.time() + 60
    while server._received == 0 and time.time() < deadline:
        time.sleep(0.01)
    assert server._received


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_the_first_signal_stops_in_order(start, server, number):
    """It goes to the whole group, helper processes too, as a terminal or a batch system sends it."""
    server.change(rules=(Rule("hang", seconds=30.0),))
    child = start()
    wait_for_requests(server)
    os.killpg(child.pid, number)
    _, stderr = child.communicate(timeout=20)
    assert child.returncode == 130, stderr
    assert "stopping after this step" in stderr
    assert stderr.index("stopping after") < stderr.index("interrupted; what was completed is kept")
    assert "Traceback" not in stderr
    assert (f"{number.name}: stopping" in stderr) == (number != signal.SIGINT)


def test_the_second_signal_stops_at_once(start, server):
    server.change(rules=(Rule("hang", seconds=30.0),))
    child = start()
    wait_for_requests(server)
    # A process that is stopped sees both at once, when it goes on.
    os.kill(child.pid, signal.SIGINT)
    os.kill(child.pid, signal.SIGTERM)
    _, stderr = child.communicate(timeout=20)
    assert child.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "stopped at once" in stderr or "stopping after this step" in stderr


def test_a_signal_that_is_ignored_stays_ignored(library, tmp_path, server):
    """``nohup`` starts a program so that it outlives its terminal."""
    server.change(latency=0.5)
    child = subprocess.Popen(
        ["nohup", sys.executable, "-m", "personaeval", "run", "-q", "-m", f"openai:scripted@{server.url}"]
        + ["-t", "sums", "-p", "none", "--include", str(library), "-o", str(tmp_path / "out")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for_requests(server)
    child.send_signal(signal.SIGHUP)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 0, stderr
