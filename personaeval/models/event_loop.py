"""Run a coroutine to its end from code that is not asynchronous, whether or not an event loop runs already."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import signal
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from personaeval.interrupts import cancelling, is_handled

T = TypeVar("T")


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine.

    ``asyncio.run`` refuses to run inside a running loop: in a notebook, or in a function that a coroutine calls. There
    the coroutine gets a loop of its own in a thread, and the caller blocks until it ends. To keep the caller's loop
    responsive, call this from ``asyncio.to_thread``.

    Raises:
        KeyboardInterrupt: after Ctrl-C, once the coroutine has been cancelled and has cleaned up.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        is_main = threading.current_thread() is threading.main_thread()
        return _run_cancellable(coroutine) if is_main and is_handled() else asyncio.run(coroutine)
    return _run_in_thread(coroutine)


def _run_cancellable(coroutine: Coroutine[Any, Any, T]) -> T:
    """As ``asyncio.run``, cancelled by the command line's signals. Whatever comes of it then is an interruption."""
    asked = False

    async def main() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None, "asyncio.run makes a task"

        def cancel() -> None:
            nonlocal asked
            asked = True
            task.cancel()
            loop.call_soon_threadsafe(lambda: None)  # wakes a loop that waits

        with cancelling(cancel):
            return await coroutine

    try:
        result = asyncio.run(main())
    except (Exception, asyncio.CancelledError):
        if asked:
            raise KeyboardInterrupt from None
        raise
    if asked:
        raise KeyboardInterrupt
    return result


def _run_in_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = Future()
    outcome: Future[T] = Future()

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None, "asyncio.run makes a task"
        started.set_result((asyncio.get_running_loop(), task))
        return await coroutine

    def work() -> None:
        try:
            outcome.set_result(asyncio.run(main()))
        except BaseException as error:
            outcome.set_exception(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,), name="event loop", daemon=True)
    with _interruptible():
        thread.start()
        try:
            return outcome.result()
        except KeyboardInterrupt:
            loop, task = started.result()
            with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
                loop.call_soon_threadsafe(task.cancel)
            thread.join()
            raise


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt here.

    While ``asyncio.run`` runs in the main thread, its handler for Ctrl-C cancels the task and returns. That takes
    effect only when the task next awaits something, which a blocked one does not. Any other handler stays.
    """
    handler = signal.getsignal(signal.SIGINT)
    is_asyncio = isinstance(handler, functools.partial) and isinstance(
        getattr(handler.func, "__self__", None), asyncio.Runner
    )
    if not is_asyncio or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
