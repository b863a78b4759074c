"""Scores completions while the engine still generates, and joins them with their verdicts at the end."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, wait
from itertools import islice
from types import TracebackType

from personaeval import verify
from personaeval.generation.plan import Plan, Row
from personaeval.library.tasks import JudgedScorer, Task
from personaeval.models.thinking import Thinking
from personaeval.progress import Counts
from personaeval.results.ledger import KEY_BYTES, Ledger, Stored
from personaeval.types import ANSWERED, Completion, Response, Verdict
from personaeval.verify import Verifier, decoys_of
from personaeval.verify.verdict import unscored

_CHUNK = 1024


class Scoring:
    """A thread that verifies completions as they arrive.

    Args:
        plan: the plan whose rows are scored.
        ledger: where completions are read and verdicts are kept.
        thinking: the marks of the model's thinking.
        opened: whether prompts that a server renders begin the thinking.
        counts: running totals to add verdicts to.
    """

    def __init__(self, plan: Plan, ledger: Ledger, thinking: Thinking, opened: bool, counts: Counts) -> None:
        self._plan = plan
        self._ledger = ledger
        self._thinking = thinking
        self._opened_by: dict[int, bool] = {}
        self._opened = opened
        self._counts = counts
        self._verdict_states = {
            (task.items.task.name, opened): self._verdict_state(task.items.task, opened)
            for task in plan.tasks
            for opened in (False, True)
        }
        self._all_decoys = {task.items.task.name: decoys_of(task.items.task, task.items.items) for task in plan.tasks}
        self._unscored: dict[int, Verdict] = {}
        self._failure: BaseException | None = None
        self._queue: queue.SimpleQueue[Completion | Iterator[int] | threading.Event | None] = queue.SimpleQueue()
        self._verifier = Verifier()
        self._thread = threading.Thread(target=self._work, name="scoring", daemon=True)

    def __enter__(self) -> Scoring:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        if error is None:
            self._thread.join()
        self._verifier.close()

    def submit(self, completion: Completion) -> None:
        """Queue a completion; returns at once."""
        self._queue.put(completion)

    def resume(self, rows: Iterator[int]) -> None:
        """Queue rows whose completions are in the ledger; those that have a verdict are skipped."""
        self._queue.put(rows)

    def flush(self) -> None:
        """Wait until every queued completion has its verdict."""
        reached = threading.Event()
        self._queue.put(reached)
        while not reached.wait(0.1):
            if not self._thread.is_alive():
                break
        if self._failure is not None:
            raise self._failure

    def responses(self, rows: range, errors: Mapping[int, str]) -> Iterator[Response]:
        """The responses of rows, in order, from the ledger.

        A row in ``errors``, or with no completion, is unscored. A completion without verdict (another run on the
        same ledger answered first, with another text) is verified here.
        """
        keys = self._plan.keys(rows.start, rows.stop)
        stored = self._ledger.completions(keys)
        located = [self._plan.row(number) for number in rows]
        verdict_keys = [self._verdict_key(row, key) for row, key in zip(located, keys, strict=True)]
        verdicts = self._ledger.verdicts([v for v, key in zip(verdict_keys, keys, strict=True) if key in stored])
        for number, row, key, verdict_key in zip(rows, located, keys, verdict_keys, strict=True):
            completion = stored.get(key)
            if completion is None:
                yield self._respond(row, key, None, unscored(errors.get(number, "no completion")))
                continue
            if row.task.items.task.is_judged:
                yield self._respond(row, key, completion, ANSWERED)
                continue
            verdict = verdicts.get(verdict_key) or self._unscored.get(number)
            if verdict is None:
                verdict = self._submit(row, completion.text, completion.reasoning).result()
                self._ledger.add_verdict(verdict_key, key, verdict)
            yield self._respond(row, key, completion, verdict)

    def _respond(self, row: Row, key: bytes, completion: Stored | None, verdict: Verdict) -> Response:
        answer, thinking = None, None
        if completion is not None:
            answer, thinking = self._split(row, completion.text, completion.reasoning)
        return Response(
            task=row.task.items.task.name,
            persona=row.persona.id,
            item=row.item.id,
            sample=row.sample,
            key=key,
            gold=row.item.gold,
            text=answer,
            thinking=thinking,
            answer=verdict.answer,
            status=verdict.status.value,
            score=verdict.score,
            truncated=completion is not None and completion.finish_reason == "length",
            prompt_tokens=completion.prompt_tokens if completion else 0,
            completion_tokens=completion.completion_tokens if completion else 0,
            reason=verdict.reason,
            evidence=verdict.evidence,
            suspect=verdict.suspect if verdict.score is not None else None,
            suspect_chance=verdict.chance if verdict.score is not None else None,
        )

    def _split(self, row: Row, text: str, reasoning: str | None) -> tuple[str, str | None]:
        """Answer and thinking; what an endpoint has separated itself is not in the text, unless it was careless."""
        answer, thinking = self._thinking.split(text, self._is_opened(row) and reasoning is None)
        return answer, "\n".join(filter(None, (reasoning, thinking))) if reasoning is not None else thinking

    def _is_opened(self, row: Row) -> bool:
        """Whether a row's prompt begins the thinking: as it is rendered, since that may depend on the persona."""
        known = self._opened_by.get(id(row.prompt_template))
        if known is None:
            end = row.prompt_template.end()
            known = self._opened if end is None else self._thinking.is_opened_by(end)
            self._opened_by[id(row.prompt_template)] = known
        return known

    def _submit(self, row: Row, text: str, reasoning: str | None) -> Future[Verdict]:
        answer, _ = self._split(row, text, reasoning)
        scorer = row.task.items.task.scorer
        assert not isinstance(scorer, JudgedScorer), "judged rows are passed over"
        decoys = self._decoys(row)
        return self._verifier.submit(scorer, row.item.gold, answer, choices=row.item.choices, decoys=decoys)

    def _decoys(self, row: Row) -> tuple[str, ...]:
        return self._all_decoys[row.task.items.task.name].get(row.item.id, ())

    def _verdict_state(self, task: Task, opened: bool) -> hashlib.blake2b:
        shared = f"{verify.VERSION}\0{task.scorer.model_dump_json()}\0{self._thinking.key}\0{opened}\0"
        return hashlib.blake2b(shared.encode(), digest_size=KEY_BYTES)

    def _verdict_key(self, row: Row, key: bytes) -> bytes:
        state = self._verdict_states[row.task.items.task.name, self._is_opened(row)].copy()
        state.update(key + "\0".join((row.item.gold, *row.item.choices, *self._decoys(row))).encode())
        return state.digest()

    def _work(self) -> None:
        pending: set[Future[Verdict]] = set()
        try:
            while (entry := self._queue.get()) is not None:
                if isinstance(entry, Completion):
                    self._score(entry.row, entry.key, entry.text, entry.reasoning, pending)
                elif isinstance(entry, threading.Event):
                    wait(set(pending))
                    pending.clear()
                    entry.set()
                else:
                    self._take_up(entry, pending)
        except BaseException as error:
            self._failure = error

    def _take_up(self, rows: Iterator[int], pending: set[Future[Verdict]]) -> None:
        while chunk := list(islice(rows, _CHUNK)):
            chunk = [number for number in chunk if not self._plan.row(number).task.items.task.is_judged]
            keys = [self._plan.key(number) for number in chunk]
            located = [self._plan.row(number) for number in chunk]
            verdict_keys = [self._verdict_key(row, key) for row, key in zip(located, keys, strict=True)]
            known = self._ledger.verdicts(verdict_keys)
            todo = [(n, key) for n, key, v in zip(chunk, keys, verdict_keys, strict=True) if v not in known]
            stored = self._ledger.completions([key for _, key in todo])
            for verdict in known.values():
                self._tally(verdict)
            for number, key in todo:
                self._score(number, key, stored[key].text, stored[key].reasoning, pending)

    def _score(self, number: int, key: bytes, text: str, reasoning: str | None, pending: set[Future[Verdict]]) -> None:
        row = self._plan.row(number)
        if row.task.items.task.is_judged:
            return
        verdict_key = self._verdict_key(row, key)
        future = self._submit(row, text, reasoning)

        def keep(done: Future[Verdict]) -> None:
            if done.cancelled() or done.exception() is not None:
                return
            verdict = done.result()
            self._tally(verdict)
            if verdict.score is None:
                self._unscored[number] = verdict
            self._ledger.add_verdict(verdict_key, key, verdict)

        future.add_done_callback(keep)
        if not future.done():
            pending.add(future)
            future.add_done_callback(pending.discard)

    def _tally(self, verdict: Verdict) -> None:
        if verdict.score is not None:
            self._counts.scored += 1
            self._counts.correct += verdict.score
