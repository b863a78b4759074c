"""What runs in a worker process: how it starts, and the jobs it does."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys

from personaeval.verify import patterns

SYMBOLIC = "personaeval.verify.symbolic"
"""The module that is loaded before any job, so that no job's time goes into loading it."""

_PR_SET_PDEATHSIG = 1


def start() -> None:
    """Make this process one that ends with its parent, ignores Ctrl-C, and dies at once when told to."""
    # The pool's own handlers are in Python, and would wait for the very computation that is to be ended.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)
    __import__(SYMBOLIC)


def equal(gold: str, answer: str) -> bool:
    """Tell whether an answer equals the gold answer, both in LaTeX; may run for ever."""
    from personaeval.verify import symbolic

    return symbolic.equal(gold, answer)


def search(scorer_patterns: tuple[str, ...], text: str) -> str | None:
    """Search a text with a task's own patterns; may run for ever."""
    return patterns.search(scorer_patterns, text)
