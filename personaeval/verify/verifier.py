"""The verifier: completions in, verdicts out, the slow ones by worker processes and each only once."""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from personaeval.library.custom_scorers import find_scorer
from personaeval.library.lm_eval import config_file
from personaeval.library.tasks import ExtractingScorer, GymScorer, HarnessScorer, PythonScorer, VerifiedScorer
from personaeval.types import NO_ANSWER, Verdict
from personaeval.verify import patterns, reader, worker
from personaeval.verify.latex import repair
from personaeval.verify.pool import WorkerPool
from personaeval.verify.reading import Candidate, Reading
from personaeval.verify.suspicion import suspicion
from personaeval.verify.verdict import graded, judged, unscored

_Pair = tuple[str, str]


_MEMO = 65_536

# Their first job reads a task, and what it imports.
_PATIENCE = {worker.HARNESS: 60.0}


def _default_workers() -> int:
    return max(2, min(8, len(os.sched_getaffinity(0)) // 4))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A completion to verify, and its possible verdicts."""

    scorer: ExtractingScorer
    gold: str
    text: str
    choices: tuple[str, ...]
    decoys: tuple[str, ...]

    def verdict(self, reading: Reading, outcome: bool | str) -> Verdict:
        """Right, wrong, or unscored for a reason."""
        assert reading.chosen is not None, "nothing was compared"
        answer, evidence = reading.chosen.answer, reading.chosen.evidence
        if isinstance(outcome, str):
            return unscored(outcome, answer, evidence)
        return judged(outcome, answer, evidence, (False, 0.0) if outcome else self._suspicion(reading))

    def nothing(self, reading: Reading) -> Verdict:
        """No answer was found."""
        if isinstance(self.scorer, GymScorer):
            return NO_ANSWER
        suspect, chance = self._suspicion(reading)
        return replace(NO_ANSWER, suspect=suspect, chance=chance)

    def _suspicion(self, reading: Reading) -> tuple[bool, float]:
        try:
            return suspicion(self.scorer, self.gold, self.text, self.choices, reading, self.decoys)
        except Exception:
            # It only counts readings to look at: what breaks on a strange text is no reason to lose its verdict.
            return False, 0.0


def _joined(asked: _Asked, reading: Reading, found: str | None) -> Reading:
    return reader.with_pattern(asked.scorer, asked.gold, reading, found, asked.choices) if found else reading


class Verifier:
    """Verifies completions; what needs no computer algebra at once, the rest in worker processes.

    The workers start with the first answer that needs one; that call waits a few seconds for them. What they find is
    remembered by (gold, answer), and one job serves all who ask for the same pair while it runs.

    Args:
        workers: number of worker processes; default: a quarter of the cores, from 2 to 8.
        timeout: seconds of CPU time one comparison may take in a worker, and ten times that by the clock; beyond, the
            worker is killed, the comparison tried once more, and then the answer is unscored.
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

    def submit(
        self,
        scorer: VerifiedScorer,
        gold: str,
        text: str,
        *,
        choices: tuple[str, ...] = (),
        decoys: tuple[str, ...] = (),
    ) -> Future[Verdict]:
        """Verify one completion; thread-safe.

        Where the verdict needs no worker the future is done on return. Otherwise its callbacks run in a thread of the
        pool, one after the other: keep them short.

        Args:
            scorer: the task's scorer.
            gold: the right answer.
            text: the completion, thinking removed.
            choices: texts of the choices, in order, for a scorer of kind choice.
            decoys: right answers of other items, which tell how often a wrong verdict is suspect by chance.

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
        asked = _Asked(scorer, gold, text, choices, decoys)
        try:
            reading = reader.read(scorer, gold, text, choices)
        except Exception as error:
            # A completion may be anything: one that breaks the reader must not break the run.
            _settle(verdict, unscored(f"verifier failed, {type(error).__name__}: {error}"))
            return verdict
        own = patterns.telling(scorer.patterns) if scorer.patterns and reader.needs_patterns(reading) else ()
        if own and (len(text) > patterns.SHORT or not patterns.is_tame(own)):
            self._search(verdict, asked, reading, own)
            return verdict
        self._judge(verdict, asked, _joined(asked, reading, patterns.search(own, text) if own else None))
        return verdict

    def _search(self, verdict: Future[Verdict], asked: _Asked, reading: Reading, own: tuple[str, ...]) -> None:
        def judge(done: Future[str | None]) -> None:
            if done.cancelled():
                _cancel(verdict)
            elif reason := self._failure(done):
                _settle(verdict, unscored(f"{reason}: the scorer's patterns on {len(asked.text)} characters"))
            else:
                try:
                    self._judge(verdict, asked, _joined(asked, reading, done.result()))
                except RuntimeError:
                    _cancel(verdict)

        self._pool.run(worker.search, own, asked.text).add_done_callback(judge)

    def _judge(self, verdict: Future[Verdict], asked: _Asked, reading: Reading) -> None:
        scorer, candidate = asked.scorer, reading.chosen
        if candidate is None or not candidate.answer.strip():
            _settle(verdict, asked.nothing(reading))
            return
        if isinstance(scorer, GymScorer):
            self._ask_gym(verdict, scorer, asked.gold, candidate)
            return
        try:
            right = reader.compare(scorer, asked.gold, candidate, asked.choices)
        except ValueError as error:
            reason = f"the gold answer {asked.gold!r} is not {error}. Correct the task's gold or its scorer"
            _settle(verdict, unscored(reason, candidate.answer, candidate.evidence))
        except Exception as error:
            reason = f"verifier failed, {type(error).__name__}: {error}"
            _settle(verdict, unscored(reason, candidate.answer, candidate.evidence))
        else:
            if right is None:
                gold, answer = reader.pair(asked.gold, str(candidate.value))
                self._ask(verdict, (repair(gold), repair(answer)), asked, reading)
            else:
                _settle(verdict, asked.verdict(reading, right))

    def _ask(self, verdict: Future[Verdict], pair: _Pair, asked: _Asked, reading: Reading) -> None:
        """Let Math-Verify compare a pair, unless its result is known or a worker is already at it."""
        with self._lock:
            outcome = self._memo.get(pair)
            job = self._running.get(pair)
            is_new = outcome is None and job is None
            if is_new:
                job = self._running[pair] = self._pool.run(worker.equal, *pair)
        if job is None or outcome is not None:
            _settle(verdict, asked.verdict(reading, outcome or False))
            return

        def tell(done: Future[bool]) -> None:
            if done.cancelled():
                _cancel(verdict)
            else:
                _settle(verdict, asked.verdict(reading, self._failure(done) or done.result()))

        if is_new:
            job.add_done_callback(lambda done: self._remember(pair, done))
        job.add_done_callback(tell)

    def _ask_gym(self, verdict: Future[Verdict], scorer: GymScorer, gold: str, candidate: Candidate) -> None:
        parameters = json.dumps(scorer.parameters, sort_keys=True)
        entry = (scorer.dataset, scorer.seed, scorer.size, parameters, json.loads(gold)["index"])
        answer, evidence = candidate.answer, candidate.evidence
        self._grade(verdict, worker.GYM, answer, worker.score_gym, *entry, answer, evidence=evidence)

    def _grade(
        self,
        verdict: Future[Verdict],
        module: str,
        answer: str | None,
        job: Callable[..., float],
        *arguments: Any,
        evidence: str | None = None,
    ) -> None:
        """Let a job compute the score in a worker that has loaded ``module`` beforehand."""

        def tell(done: Future[float]) -> None:
            if done.cancelled():
                _cancel(verdict)
            elif reason := self._failure(done):
                _settle(verdict, unscored(reason, answer, evidence))
            else:
                _settle(verdict, graded(done.result(), answer, evidence))

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
    """What a worker needs: the YAML file of the harness's task, and the scorer as JSON."""
    return str(config_file(scorer.task)), scorer.model_dump_json()


def _settle(future: Future[Verdict], verdict: Verdict) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(verdict)


def _cancel(future: Future[Verdict]) -> None:
    future.cancel()
    future.set_running_or_notify_cancel()
