"""What runs in a worker process: how it starts, and the jobs it does."""

from __future__ import annotations

import fcntl
import functools
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

from personaeval.verify import patterns

SYMBOLIC = "personaeval.verify.symbolic"

GYM = "reasoning_gym"

HARNESS = "personaeval.verify.lm_eval_scorer"


def start(module: str) -> None:
    """Set up the process: it ends with the program, ignores Ctrl-C, and dies at once when terminated.

    It imports a module before any job.
    """
    # The pool's own handler is in Python, and would wait for the computation that it should end.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end_with(multiprocessing.parent_process())
    __import__(module)


def timed(seconds: float, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a job; the kernel ends this process once the job has used so many seconds of CPU time.

    A suspended or crowded machine costs a job none of its time. The signal's default action ends the process even
    within a computation in C.
    """
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return function(*arguments)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _end_with(program: BaseProcess | None) -> None:
    """Let the kernel end this process when the program is gone, whatever either is doing then.

    The program holds the other end of its sentinel, a pipe. When that end closes, a signal is raised here, whose
    default action is to terminate. A thread could not do this: a long computation in C blocks all threads.
    """
    if program is None:
        return
    sentinel = program.sentinel
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(sentinel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(sentinel, fcntl.F_SETFL, fcntl.fcntl(sentinel, fcntl.F_GETFL) | os.O_ASYNC)
    if not program.is_alive():
        os._exit(1)


def equal(gold: str, answer: str) -> bool:
    """Whether an answer equals the gold answer, both in LaTeX; may run forever."""
    from personaeval.verify import symbolic

    return symbolic.equal(gold, answer)


def score_gym(dataset: str, seed: int, size: int, parameters: str, index: int, answer: str) -> float:
    """reasoning-gym's own score of an answer to one of its entries, from 0 to 1."""
    made = _gym(dataset, seed, size, parameters)
    return float(made.score_answer(answer, made[index]))


@functools.lru_cache(maxsize=32)
def _gym(dataset: str, seed: int, size: int, parameters: str) -> Any:
    import reasoning_gym

    return reasoning_gym.create_dataset(dataset, size=size, seed=seed, **json.loads(parameters))


def score_own(name: str, gold: str, text: str) -> float:
    """A custom scorer's score of a completion, from 0 to 1; may run forever.

    Raises:
        ValueError: it returned something else.
    """
    from personaeval.library.custom_scorers import load_scorer

    score = load_scorer(name)(gold, text)
    if not isinstance(score, (bool, int, float)) or not 0 <= score <= 1:
        raise ValueError(f"the scorer {name} returned {score!r}, which is not a number from 0 to 1")
    return float(score)


def score_harness(file: str, settings: str, gold: str, text: str) -> float:
    """lm-evaluation-harness's own score of a completion, from 0 to 1; may run forever."""
    from personaeval.verify import lm_eval_scorer

    return lm_eval_scorer.score(file, settings, gold, text)


def search(scorer_patterns: tuple[str, ...], text: str) -> str | None:
    """Search a text with a task's own patterns; may run forever."""
    return patterns.search(scorer_patterns, text)
