"""A run inside an event loop that runs already, as in a notebook; Ctrl-C stops it there as well."""

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from personaeval.config import RunConfig
from personaeval.models.event_loop import run_blocking
from personaeval.pipeline.run import run
from personaeval.progress import open_progress
from personaeval.results.files import SUMMARY, read_json

ROOT = Path(__file__).resolve().parent.parent
PLACE = contextvars.ContextVar("PLACE", default="nowhere")


async def where() -> tuple[threading.Thread, str]:
    await asyncio.sleep(0)
    return threading.current_thread(), PLACE.get()


async def fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("no such thing")


def test_without_a_running_loop_no_thread_is_started():
    assert run_blocking(where()) == (threading.current_thread(), "nowhere")


def test_inside_a_running_loop_a_thread_has_a_loop_of_its_own():
    async def main():
        PLACE.set("here")
        return run_blocking(where())

    thread, place = asyncio.run(main())
    assert thread is not threading.current_thread()
    assert not thread.is_alive()
    assert place == "here"


@pytest.mark.parametrize("inside", [False, True])
def test_an_error_reaches_the_caller(inside):
    async def main():
        run_blocking(fail())

    with pytest.raises(ValueError, match="no such thing"):
        asyncio.run(main()) if inside else run_blocking(fail())


def test_a_run_works_inside_a_running_loop_and_in_a_thread_beside_it(library, tmp_path, server):
    config = RunConfig(
        model=(f"openai:scripted@{server.url}",),
        tasks=("sums",),
        personas=("few",),
        include=(library,),
        output=tmp_path / "results",
    )

    async def main():
        first = run(config, open_progress(quiet=True))
        return first, await asyncio.to_thread(run, config, open_progress(quiet=True))

    [first], [again] = asyncio.run(main())
    assert first.generated > 0
    assert first.failed == 0
    assert again.generated == 0
    assert first.folder is not None
    assert read_json(first.folder / SUMMARY)["tasks"]["sums"]["counts"]["unscored"] == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as POSIX has them")
def test_an_interrupt_inside_a_running_loop_cancels_the_work_and_waits_for_it():
    program = """
        import asyncio, signal
        from personaeval.models.event_loop import run_blocking

        async def work():
            try:
                print("working", flush=True)
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.01)
                print("closed", flush=True)

        async def main():
            before = signal.getsignal(signal.SIGINT)
            try:
                run_blocking(work())
            except KeyboardInterrupt:
                print("interrupted", signal.getsignal(signal.SIGINT) is before, flush=True)
                raise

        asyncio.run(main())
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "working\n"
    child.send_signal(signal.SIGINT)
    shown, errors = child.communicate(timeout=60)
    assert shown == "closed\ninterrupted True\n"
    assert "KeyboardInterrupt" in errors
    assert child.returncode in (-signal.SIGINT, 1)
