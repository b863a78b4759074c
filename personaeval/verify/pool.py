"""The pool: worker processes that are killed when a job takes too long, and replaced."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import forkserver
from typing import Any

from personaeval.interrupts import shielded_children
from personaeval.verify import worker
from personaeval.verify.worker_context import WorkerContext

_ATTEMPTS = 3

_TRIES = 2
"""A job that runs out of time is tried once more: the first time another program may have had its memory or cache."""

_PATIENCE = 10
"""Times its CPU time that a job may take by the clock."""


@dataclass(eq=False, slots=True)
class _Job:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    future: Future[Any] = field(default_factory=Future)
    attempts: int = _ATTEMPTS
    tries: int = _TRIES


class WorkerPool:
    """Runs functions in worker processes, each for at most a set time.

    Pebble kills a worker whose job takes too long. It gives up altogether when a worker with nothing to do is killed
    from outside; then this starts a new pool and hands it the jobs again.

    Args:
        workers: number of processes; they start with the first job.
        timeout: seconds of CPU time a job may use; by the clock it may take ten times as long.
        module: what every worker imports before its first job, so that no job's time goes into that.
    """

    def __init__(self, workers: int, timeout: float, module: str = worker.SYMBOLIC) -> None:
        self._module = module
        self._workers = workers
        self._timeout = timeout
        self._lock = threading.RLock()
        self._pool: Any = None
        self._jobs: set[_Job] = set()
        self._closed = False

    def run(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Queue a job and return at once; callbacks on the future run in a thread of the pool. Thread-safe.

        The future ends with what the function returns or raises, with TimeoutError, or with pebble's ProcessExpired
        where the worker died of the job.

        Raises:
            RuntimeError: the pool is closed.
        """
        job = _Job(function, arguments)
        with self._lock:
            if self._closed:
                raise RuntimeError("the verifier is closed")
            self._jobs.add(job)
        self._schedule(job)
        return job.future

    def close(self) -> None:
        """Kill the workers and cancel what is not done."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            _stop(pool)
        while self._jobs:
            self._settle(self._jobs.pop(), None, CancelledError())

    def _schedule(self, job: _Job) -> None:
        with self._lock:
            if self._closed:
                return
            job.attempts -= 1
            if self._pool is not None and not self._pool.active:
                threading.Thread(target=_stop, args=(self._pool,), daemon=True).start()
                self._pool = None
            if self._pool is None:
                self._pool = self._start()
            arguments = (self._timeout, job.function, *job.arguments)
            scheduled = self._pool.schedule(worker.timed, args=arguments, timeout=_PATIENCE * self._timeout)
        scheduled.add_done_callback(lambda done: self._finish(job, done))

    def _start(self) -> Any:
        from pebble import ProcessPool

        context = WorkerContext()
        context.set_forkserver_preload([worker.SYMBOLIC])
        # While it imports, the fork server would show Ctrl-C as a traceback.
        with shielded_children():
            forkserver.ensure_running()
        return ProcessPool(
            max_workers=self._workers, initializer=worker.start, initargs=(self._module,), context=context
        )

    def _finish(self, job: _Job, done: Future[Any]) -> None:
        error = CancelledError() if done.cancelled() else done.exception()
        if getattr(error, "exitcode", None) == -signal.SIGPROF:
            error = TimeoutError()
        if isinstance(error, TimeoutError):
            job.tries -= 1
        if (isinstance(error, BrokenProcessPool) and job.attempts) or (isinstance(error, TimeoutError) and job.tries):
            self._schedule(job)
            return
        with self._lock:
            self._jobs.discard(job)
        self._settle(job, None if error else done.result(), error)

    @staticmethod
    def _settle(job: _Job, result: Any, error: BaseException | None) -> None:
        if isinstance(error, CancelledError):
            job.future.cancel()
        if not job.future.set_running_or_notify_cancel():
            return
        if error is not None:
            job.future.set_exception(error)
        else:
            job.future.set_result(result)


def _stop(pool: Any) -> None:
    pool.stop()
    pool.join()
