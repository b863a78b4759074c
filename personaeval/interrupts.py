"""Ctrl-C, SIGTERM and SIGHUP on the command line: acknowledged at once, and the second one ends the program.

::

    with orderly_stops():
        main()

The first signal cancels the running event loop's task (:func:`cancelling`), so that requests in flight, engines and
files are left in order; elsewhere it raises KeyboardInterrupt. The second one ends the process: what was completed up
to a second before is in the ledger, and helper processes end with their parent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

INTERRUPTED = 130
"""Exit code after any of these signals."""

_SHOW_CURSOR = b"\x1b[?25h"


class _State:
    count = 0
    cancel: Callable[[], None] | None = None


@contextlib.contextmanager
def orderly_stops() -> Iterator[None]:
    """Handle the signals while the block runs; in the main thread only. Signals that are ignored stay ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    replaced = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if (handler := signal.getsignal(number)) in (signal.SIG_DFL, signal.default_int_handler)
    }
    _State.count, _State.cancel = 0, None
    for number in replaced:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)


def is_handled() -> bool:
    """Whether Ctrl-C is handled here."""
    return signal.getsignal(signal.SIGINT) is _stop


@contextlib.contextmanager
def cancelling(cancel: Callable[[], None]) -> Iterator[None]:
    """Let the first signal call ``cancel`` instead of raising KeyboardInterrupt."""
    before, _State.cancel = _State.cancel, cancel
    try:
        yield
    finally:
        _State.cancel = before


def _stop(number: int, frame: FrameType | None) -> None:
    _State.count += 1
    name = "" if number == signal.SIGINT else f"{signal.Signals(number).name}: "
    if _State.count > 1:
        _say(f"{name}stopped at once; what was completed is kept. The same command resumes.")
        # Whatever hangs must not keep a user waiting: no cleaning up that could hang as well.
        os._exit(INTERRUPTED)
    _say(f"{name}stopping after this step; Ctrl-C again stops at once.")
    if _State.cancel is None:
        raise KeyboardInterrupt
    _State.cancel()


def _say(text: str) -> None:
    """Write to standard error past Python's buffers, which the interrupted code may hold locked."""
    line = f"\npersonaeval: {text}\n".encode()
    with contextlib.suppress(OSError, ValueError):  # the terminal is gone
        descriptor = sys.__stderr__.fileno() if sys.__stderr__ is not None else 2
        os.write(descriptor, (_SHOW_CURSOR if os.isatty(descriptor) and _State.count > 1 else b"") + line)


@contextlib.contextmanager
def shielded_children() -> Iterator[None]:
    """Let processes that are started here never see Ctrl-C: a terminal sends it to all of them.

    A process inherits the signals blocked in the thread that starts it.
    """
    from multiprocessing import resource_tracker

    # Its start unblocks SIGINT in the starting thread, so it must run already.
    tracker: Any = resource_tracker
    tracker.ensure_running()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
