"""Worker processes: hanging answers, killed workers, killed parents, Ctrl-C, memo."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, wait
from pathlib import Path

import psutil
import pytest

from personaeval.library.tasks import MathScorer, NumericScorer
from personaeval.types import Status
from personaeval.verify import Verifier
from personaeval.verify import worker as worker_module
from personaeval.verify.pool import WorkerPool

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parent.parent
MATH = MathScorer(kind="math")
HANGS = [
    "\\log(9^{{9^{{9^{{9}}}}}}+{n})",
    "\\sin(\\sqrt{{9^{{9^{{9^9}}}}+{n}}})",
    "\\cos(10^{{10^{{10^{{{n}}}}}}})",
    "\\tan({n}^{{9^{{9^9}}}})",
    "\\sum_{{k=1}}^{{10^9}} \\frac{{{n}}}{{k^2+1}}",
    "(" * 200 + "{n}" + ")" * 200,
]


def hanging(number: int) -> str:
    """An answer on which Math-Verify hangs; a different one for every number."""
    return HANGS[number % len(HANGS)].format(n=number + 11)


def children(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children(recursive=True) if child.is_running()]


def test_an_answer_that_breaks_the_comparison_is_unscored():
    """The first is a complex number beyond all magnitude; the second comes by the scorer's patterns."""
    huge = "10^{100}*10^{100}*10^{100}*10^{8}(1.5+1.5i)"
    with Verifier(workers=1, timeout=5) as verifier:
        assert verifier.submit(MATH, "5", f"\\boxed{{{huge}}}").result(timeout=60).status != Status.CORRECT
        own = MathScorer(kind="math", patterns=("answer is (.*)$",))
        long = "so " * 40_000 + f"the answer is {huge}"
        assert verifier.submit(own, "5", long).result(timeout=60).status != Status.CORRECT


def test_thirty_hanging_answers_cost_their_timeout_and_no_more():
    """Each is unscored, and right after them the pool still tells right from wrong."""
    with Verifier(workers=2, timeout=0.5) as verifier:
        assert verifier.submit(MATH, "x+y", "\\boxed{y+x}").result().status == Status.CORRECT
        futures = [verifier.submit(MATH, "2\\sqrt{5}+x", f"\\boxed{{{hanging(n)}}}") for n in range(30)]
        for future in futures:
            verdict = future.result()
            assert verdict.status == Status.UNSCORED
            assert verdict.score is None
            assert verdict.reason == "verifier time-out after 0.5 s"
        assert verifier.submit(MATH, "x+z", "\\boxed{z+x}").result().status == Status.CORRECT
        assert verifier.submit(MATH, "\\cot x", "\\boxed{\\tan x}").result().status == Status.WRONG


@pytest.mark.parametrize("answer", ["9^{9^{9^{9}}}", "\\sqrt{9^{9^{9^9}}+1}", "10^{10^{10^{12}}}", "-7^{9^{9^9}}"])
def test_a_tower_of_powers_is_wrong_and_no_worker_is_asked(answer: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(WorkerPool, "run", lambda self, function, *arguments: pytest.fail("a worker was asked"))
    with Verifier(workers=1) as verifier:
        assert verifier.submit(MATH, "42", f"\\boxed{{{answer}}}").result().status == Status.WRONG


def test_a_suspended_program_loses_no_verdict(tmp_path: Path):
    """A job's time is CPU time: workers and program are stopped for four times what a job may take."""
    script = tmp_path / "suspended.py"
    script.write_text(SUSPENDED)
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(8)
    os.killpg(process.pid, signal.SIGCONT)
    assert process.stdout.readline() == "40 of 40 correct\n"
    process.wait()


SUSPENDED = """
from personaeval.library.tasks import MathScorer
from personaeval.verify import Verifier
if __name__ == "__main__":
    scorer = MathScorer(kind="math")
    with Verifier(workers=2, timeout=2) as verifier:
        assert verifier.submit(scorer, "x+y", r"\\boxed{y+x}").result().score == 1.0
        futures = [verifier.submit(scorer, f"(x+{n})^3", rf"\\boxed{{(x+{n})(x+{n})^2}}") for n in range(2, 42)]
        print("started", flush=True)
        verdicts = [future.result() for future in futures]
        print(sum(verdict.score == 1.0 for verdict in verdicts), "of", len(verdicts), "correct", flush=True)
"""


def test_a_job_that_runs_out_of_time_is_tried_once_more(tmp_path: Path):
    marks = tmp_path / "tries"
    pool = WorkerPool(1, 0.3, "personaeval.verify.worker")
    try:
        with pytest.raises(TimeoutError):
            pool.run(spin, str(marks)).result(timeout=120)
    finally:
        pool.close()
    assert marks.read_text() == "xx"


def spin(path: str) -> None:
    """Leave a mark, and use CPU time without end."""
    with Path(path).open("a") as file:
        file.write("x")
    while True:
        pass


def test_other_answers_do_not_wait_for_a_hanging_one():
    with Verifier(workers=2, timeout=600) as verifier:
        stuck = verifier.submit(MATH, "x", f"\\boxed{{{hanging(0)}}}")
        for n in range(2, 12):
            assert verifier.submit(MATH, "x+y", f"\\boxed{{y+x+{n}-{n}}}").result().score == 1.0
        assert not stuck.done()
    assert stuck.cancelled()
    assert wait([stuck], timeout=60).done == {stuck}


def test_a_wild_pattern_is_unscored_and_a_tame_one_on_a_long_text_is_found():
    wild = NumericScorer(kind="numeric", patterns=(r"(?:a+)+=(\d+)",))
    with Verifier(workers=1, timeout=0.5) as verifier:
        verdict = verifier.submit(wild, "7", "a" * 60 + " 7").result()
        assert verdict.status == Status.UNSCORED
        assert verdict.reason == "verifier time-out after 0.5 s: the scorer's patterns on 62 characters"
        assert verifier.submit(wild, "7", "aaa=7, not 9").result().status == Status.CORRECT
        tame = NumericScorer(kind="numeric", patterns=(r"=> (\d+)",))
        assert verifier.submit(tame, "7", "=> 7 " + "and so on " * 1000).result().status == Status.CORRECT
        assert verifier.submit(tame, "7", "it is 7 " + "and so on " * 1000).result().status == Status.CORRECT


def test_one_job_serves_all_who_ask_for_the_same_pair(monkeypatch: pytest.MonkeyPatch):
    asked = []
    run = WorkerPool.run

    def counted(self, function, *arguments):
        asked.append(arguments)
        return run(self, function, *arguments)

    monkeypatch.setattr(WorkerPool, "run", counted)
    with Verifier(workers=2) as verifier:
        futures = [verifier.submit(MATH, "x+y", f"As persona {n} I say \\boxed{{y+x}}") for n in range(50)]
        assert {future.result().score for future in futures} == {1.0}
        assert verifier.submit(MATH, "x+y", "$\\boxed{y+x}$").result().score == 1.0
    assert asked == [("x+y", "y+x")]


def test_no_worker_starts_where_none_is_needed():
    before = set(children(psutil.Process()))
    with Verifier() as verifier:
        assert verifier.submit(MATH, "\\frac{1}{2}", "\\boxed{0.5}").result().score == 1.0
        assert verifier.submit(MATH, "\\sqrt{2}", "\\boxed{\\sqrt{3}}").result().score == 0.0
        assert set(children(psutil.Process())) <= before


def test_many_threads_may_submit():
    wrong = []
    with Verifier(workers=2) as verifier:

        def ask(first: int) -> None:
            for n in range(first, first + 20):
                verdict = verifier.submit(MATH, f"x+{n}", f"\\boxed{{{n % 5}+x+{n - n % 5}}}").result()
                if verdict.score != 1.0:
                    wrong.append((n, verdict))

        threads = [threading.Thread(target=ask, args=(first,)) for first in range(0, 80, 10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def pids(verifier: Verifier) -> set[int]:
    return set(verifier._pool._pool._pool_manager.worker_manager.workers)


def test_a_worker_killed_from_outside_costs_at_most_its_own_answer():
    with Verifier(workers=1, timeout=600) as verifier:
        assert verifier.submit(MATH, "x+1", "\\boxed{1+x}").result().score == 1.0
        (idle,) = pids(verifier)
        os.kill(idle, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(idle)] if psutil.pid_exists(idle) else [], timeout=30)
        assert verifier.submit(MATH, "x+2", "\\boxed{2+x}").result().score == 1.0
        stuck = verifier.submit(MATH, "x", f"\\boxed{{{hanging(0)}}}")
        busy = busy_worker(verifier)
        os.kill(busy, signal.SIGKILL)
        verdict = stuck.result()
        assert verdict.status == Status.UNSCORED
        assert "its process ended with code" in (verdict.reason or "")
        assert verifier.submit(MATH, "x+3", "\\boxed{3+x}").result().score == 1.0


def busy_worker(verifier: Verifier) -> int:
    """The worker that is busy, once one is."""
    while True:
        for pid in pids(verifier):
            used = psutil.Process(pid).cpu_times().user
            time.sleep(0.3)
            if psutil.pid_exists(pid) and psutil.Process(pid).cpu_times().user > used:
                return pid


def test_a_closed_verifier_cancels_and_refuses():
    verifier = Verifier(workers=1)
    stuck = verifier.submit(MATH, "x", f"\\boxed{{{hanging(0)}}}")
    verifier.close()
    with pytest.raises(CancelledError):
        stuck.result()
    with pytest.raises(RuntimeError, match="closed"):
        verifier.submit(MATH, "x+y", "\\boxed{y+x}")
    verifier.close()


PARENT = """
import sys, time
from personaeval.library.tasks import MathScorer
from personaeval.verify import Verifier
if __name__ == "__main__":
    scorer = MathScorer(kind="math")
    verifier = Verifier(workers=3, timeout=3600)
    assert verifier.submit(scorer, "x+y", r"\\boxed{y+x}").result().score == 1.0
    stuck = verifier.submit(scorer, "x", r"\\boxed{9^{9^{9^9}}+x}")
    try:
        print("ready", flush=True)
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        print("interrupted", verifier.submit(scorer, "x+1", r"\\boxed{1+x}").result().score, flush=True)
        verifier.close()
"""


@pytest.fixture
def parent(tmp_path: Path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    process = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()


def test_no_worker_outlives_a_killed_parent(parent: subprocess.Popen[str]):
    """Neither the idle ones nor the one that hangs in a computation."""
    family = children(psutil.Process(parent.pid))
    assert len(family) >= 4
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []


def test_ctrl_c_reaches_the_parent_and_not_the_workers(parent: subprocess.Popen[str]):
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "interrupted 1.0\n"
    assert parent.wait(timeout=60) == 0


def test_the_verifier_needs_no_heavy_import():
    """The command line starts fast: Math-Verify and SymPy are loaded by workers alone."""
    code = (
        "import sys; from personaeval.verify import Verifier; from personaeval.library.tasks import MathScorer;"
        "Verifier().submit(MathScorer(kind='math'), '7', '7').result();"
        "print([m for m in ('sympy', 'math_verify', 'pebble') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.stdout == "[]\n", done.stderr
    assert worker_module.SYMBOLIC == "personaeval.verify.symbolic"


_SCRIPT = """
from personaeval.library.tasks import MathScorer
from personaeval.verify import Verifier
print("begun", flush=True)
with Verifier(workers=2) as verifier:
    verdict = verifier.submit(MathScorer(kind="math"), "x+y", "\\\\boxed{y+x}").result()
print(verdict.status)
"""


def test_a_script_without_a_main_guard_runs_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["begun", "correct"], done.stderr
    assert done.stderr == ""
