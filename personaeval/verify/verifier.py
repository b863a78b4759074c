"""The verifier: completions in, verdicts out, the slow ones by worker processes and each only once."""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from personaeval.library.custom_scorers import find_scorer
from personaeval.library.lm_eval import config_file
from personaeval.library.tasks import (
    ChoiceScorer,
    ExactScorer,
    ExtractingScorer,
    GymScorer,
    HarnessScorer,
    NumericScorer,
    PythonScorer,
    VerifiedScorer,
)
from personaeval.types import NO_ANSWER, Verdict
from personaeval.verify import extract, patterns, worker
from personaeval.verify.equivalence import compare_choice, compare_exact, compare_math, compare_numeric
from personaeval.verify.latex import repair
from personaeval.verify.pool import WorkerPool
from personaeval.verify.verdict import graded, judged, unscored

_Pair = tuple[str, str]


_MEMO = 65_536

# No problem has a longer formula for an answer; what a model loops on is not worth a worker's time-out.
_LONGEST = 10_000

# Their first job reads a task, and what it imports.
_PATIENCE = {worker.HARNESS: 60.0}


def _default_workers() -> int:
    return max(2, min(8, len(os.sched_getaffinity(0)) // 4))


class Verifier:
    """Verifies completions; what needs no computer algebra at once, the rest in worker processes.

    The workers start with the first answer that needs one; that call waits a few seconds for them. What they find is
    remembered by (gold, answer), and one job serves all who ask for the same pair while it runs.

    Args:
        workers: number of worker processes; default: a quarter of the cores, from 2 to 8.
        timeout: seconds one comparison may take in a worker; beyond, the worker is killed and the answer unscored.
    """

    def __init__(self, workers: int | None = None, timeout: float = 5.0) -> None:
        self._timeout = timeout
        self._workers = workers or _default_workers()
        self._pool = WorkerPool(self._workers, timeout)
        self._others: dict[str, WorkerPool] = {}
        self._lock = threading.Lock()
        self._memo: OrderedDict[_Pair, bool | str] = OrderedDict()
        self._running: dict[_Pair, Future[bool]] = {}

    def __enter__(self) -> Verifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; futures that are not done are cancelled. Not to be called from a future's callback."""
        self._pool.close()
        for pool in self._others.values():
            pool.close()

    def submit(self, scorer: VerifiedScorer, gold: str, text: str, *, choices: tuple[str, ...] = ()) -> Future[Verdict]:
        """Verify one completion; thread-safe.

        Where the verdict needs no worker the future is done on return. Otherwise its callbacks run in a thread of the
        pool, one after the other: keep them short.

        Args:
            scorer: the task's scorer.
            gold: the right answer.
            text: the completion, thinking removed.
            choices: texts of the options, in order, where the scorer is of kind choice.

        Raises:
            RuntimeError: the verifier is closed and a worker would be needed.
        """
        verdict: Future[Verdict] = Future()
        if isinstance(scorer, PythonScorer):
            self._grade(verdict, find_scorer(scorer.name).module, None, worker.score_own, scorer.name, gold, text)
            return verdict
        if isinstance(scorer, HarnessScorer):
            self._grade(verdict, worker.HARNESS, text, worker.score_harness, *harness_job(scorer), gold, text)
            return verdict
        answer = extract.boxed(text)
        if answer is None and scorer.patterns:
            if len(text) > patterns.SHORT or not patterns.is_tame(scorer.patterns):
                self._search(verdict, scorer, gold, text, choices)
                return verdict
            answer = patterns.search(scorer.patterns, text)
        self._judge(verdict, scorer, gold, answer or extract.fallback(scorer.kind, text, choices), choices)
        return verdict

    def _search(
        self, verdict: Future[Verdict], scorer: ExtractingScorer, gold: str, text: str, choices: tuple[str, ...]
    ) -> None:
        def judge(done: Future[str | None]) -> None:
            if done.cancelled():
                _cancel(verdict)
            elif reason := self._failure(done):
                _settle(verdict, unscored(f"{reason}: the scorer's patterns on {len(text)} characters"))
            else:
                found = done.result() or extract.fallback(scorer.kind, text, choices)
                try:
                    self._judge(verdict, scorer, gold, found, choices)
                except RuntimeError:
                    _cancel(verdict)

        self._pool.run(worker.search, scorer.patterns, text).add_done_callback(judge)

    def _judge(
        self,
        verdict: Future[Verdict],
        scorer: ExtractingScorer,
        gold: str,
        answer: str | None,
        choices: tuple[str, ...],
    ) -> None:
        if not answer:
            _settle(verdict, NO_ANSWER)
            return
        if isinstance(scorer, GymScorer):
            self._ask_gym(verdict, scorer, gold, answer)
            return
        try:
            known = _compare(scorer, gold, answer, choices)
        except Exception as error:
            # An answer may be anything: one that breaks a comparison must not break the run.
            known = unscored(f"verifier failed, {type(error).__name__}: {error}", answer)
        if known is None:
            self._ask(verdict, (repair(gold), repair(answer)), answer)
        else:
            _settle(verdict, known)

    def _ask(self, verdict: Future[Verdict], pair: _Pair, answer: str) -> None:
        """Have Math-Verify compare a pair, unless that is known or under way."""
        with self._lock:
            outcome = self._memo.get(pair)
            job = self._running.get(pair)
            is_new = outcome is None and job is None
            if is_new:
                job = self._running[pair] = self._pool.run(worker.equal, *pair)
        if job is None or outcome is not None:
            _settle(verdict, _verdict(outcome or False, answer))
            return

        def tell(done: Future[bool]) -> None:
            if done.cancelled():
                _cancel(verdict)
            else:
                _settle(verdict, _verdict(self._failure(done) or done.result(), answer))

        if is_new:
            job.add_done_callback(lambda done: self._remember(pair, done))
        job.add_done_callback(tell)

    def _ask_gym(self, verdict: Future[Verdict], scorer: GymScorer, gold: str, answer: str) -> None:
        parameters = json.dumps(scorer.parameters, sort_keys=True)
        entry = (scorer.dataset, scorer.seed, scorer.size, parameters, json.loads(gold)["index"])
        self._grade(verdict, worker.GYM, answer, worker.score_gym, *entry, answer)

    def _grade(
        self, verdict: Future[Verdict], module: str, answer: str | None, job: Callable[..., float], *arguments: Any
    ) -> None:
        """Have a job give the score, by workers that have loaded ``module`` beforehand."""

        def tell(done: Future[float]) -> None:
            if done.cancelled():
                _cancel(verdict)
            elif reason := self._failure(done):
                _settle(verdict, unscored(reason, answer))
            else:
                _settle(verdict, graded(done.result(), answer))

        with self._lock:
            timeout = max(self._timeout, _PATIENCE.get(module, 0))
            pool = self._others.setdefault(module, WorkerPool(self._workers, timeout, module))
        pool.run(job, *arguments).add_done_callback(tell)

    def _remember(self, pair: _Pair, done: Future[bool]) -> None:
        with self._lock:
            self._running.pop(pair, None)
            if not done.cancelled():
                self._memo[pair] = self._failure(done) or done.result()
                if len(self._memo) > _MEMO:
                    self._memo.popitem(last=False)

    def _failure(self, done: Future[Any]) -> str | None:
        error = done.exception()
        match error:
            case None:
                return None
            case TimeoutError():
                return f"verifier time-out after {self._timeout:g} s"
            case _:
                code = getattr(error, "exitcode", None)
                what = f"its process ended with code {code}" if code is not None else f"{type(error).__name__}: {error}"
                return f"verifier failed, {what}"


def harness_job(scorer: HarnessScorer) -> tuple[str, str]:
    """Return the YAML file of the harness's task and the scorer as JSON: what a worker needs."""
    return str(config_file(scorer.task)), scorer.model_dump_json()


def _compare(scorer: ExtractingScorer, gold: str, answer: str, choices: tuple[str, ...]) -> Verdict | None:
    """Return the verdict that needs no computer algebra, or None where only that can tell."""
    match scorer:
        case NumericScorer():
            right = compare_numeric(gold, answer, scorer.tolerance)
            wanted = "a number; kind: math compares formulas"
        case ChoiceScorer():
            right = compare_choice(gold, answer, choices)
            wanted = "the letter or the text of an option"
        case ExactScorer():
            return judged(compare_exact(gold, answer, scorer.ignore_case), answer)
        case _:
            too_long = len(answer) > _LONGEST and answer != gold
            right = False if too_long else compare_math(gold, answer)
            return None if right is None else judged(right, answer)
    if right is None:
        return unscored(f"the gold answer {gold!r} is not {wanted}. Correct the task's gold or its scorer", answer)
    return judged(right, answer)


def _verdict(outcome: bool | str, answer: str) -> Verdict:
    return unscored(outcome, answer) if isinstance(outcome, str) else judged(outcome, answer)


def _settle(future: Future[Verdict], verdict: Verdict) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(verdict)


def _cancel(future: Future[Verdict]) -> None:
    future.cancel()
    future.set_running_or_notify_cancel()
