"""Pending requests: which rows of a plan, or of a judge's queries, the ledger lacks; and the loop that asks them."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from personaeval.generation.sameness import FirstUse
from personaeval.models.engines import Engine
from personaeval.models.event_loop import run_blocking
from personaeval.models.model import InProcessModel, Model
from personaeval.progress import Counts, Progress
from personaeval.results.ledger import Ledger
from personaeval.types import Completion, Request

CHUNK = 4096

_REFRESH_SECONDS = 0.25


class RequestSource(Protocol):
    """Rows to ask, each with a key of everything that can change its answer."""

    size: int

    def keys(self, start: int, stop: int) -> list[bytes]:
        """Keys of rows ``start`` to ``stop - 1``."""
        ...

    def requests(self, wanted: Callable[[int], bool]) -> Iterator[Request]:
        """Requests of the wanted rows, in an order that suits a prefix cache."""
        ...


class PendingRequests:
    """Requests that the ledger has no answer to, and the errors of those that failed.

    ``blank`` of them have a reply without text and tokens in the ledger, which an earlier version took for an answer.

    Rows with the same key (two tasks that differ only in their scorers, say) are one request: the first row asks, and
    the others share its answer.
    """

    def __init__(self, source: RequestSource, ledger: Ledger) -> None:
        self.source = source
        self.ledger = ledger
        self.errors: dict[int, str] = {}
        self.blank = 0
        self._missing = bytearray(source.size)
        self._duplicates: dict[int, int] = {}
        asked: dict[bytes, int] = {}
        for start in range(0, source.size, CHUNK):
            keys = source.keys(start, min(start + CHUNK, source.size))
            present = ledger.present(keys)
            if len(present) < len(keys):
                self.blank += len(ledger.blank(keys))
            for row, key in enumerate(keys, start):
                if key in present:
                    continue
                self._missing[row] = True
                first = asked.setdefault(key, row)
                if first != row:
                    self._duplicates[row] = first
        self.counts = Counts(wanted=len(asked))

    def is_missing(self, row: int) -> bool:
        """Whether a row must be asked."""
        return bool(self._missing[row]) and row not in self._duplicates

    def describe_blank(self) -> str | None:
        """Why stored replies are asked for again; None if none are."""
        if not self.blank:
            return None
        return (
            f"{self.blank:,} stored answers have neither text nor tokens: a server's fault may look like that, so they "
            "are asked for again."
        )

    @property
    def present(self) -> int:
        """How many rows the ledger has an answer for."""
        return len(self._missing) - sum(self._missing)

    def done_rows(self) -> Iterator[int]:
        """Rows that an earlier run completed."""
        # A copy, because rows are completed while another thread goes through these.
        missing = bytes(self._missing)
        return (row for row in range(self.source.size) if not missing[row])

    def record(self, completion: Completion) -> None:
        """Store a completion, or its error."""
        counts = self.counts
        if completion.error is not None:
            self.errors[completion.row] = completion.error
            counts.failed += 1
            return
        self.ledger.add(completion)
        self._missing[completion.row] = False
        counts.completed += 1
        counts.output_tokens += completion.completion_tokens
        counts.prompt_tokens += completion.prompt_tokens
        counts.cached_tokens += completion.cached_tokens

    def finish(self, reason: str) -> list[int]:
        """Mark unanswered rows as failed (own error or ``reason``); return the duplicate rows that were answered."""
        answered = []
        for row, first in self._duplicates.items():
            if self._missing[first]:
                self.errors[row] = self.errors.get(first, reason)
            else:
                self._missing[row] = False
                answered.append(row)
        for row in range(self.source.size):
            if self._missing[row]:
                self.errors.setdefault(row, reason)
        return answered


_TRIES = re.compile(r", after \d+ tries$")


def count_reasons(errors: Iterable[str]) -> Counter[str]:
    """How often each reason occurs, whatever the number of tries."""
    return Counter(_TRIES.sub("", error) for error in errors)


def run_requests(
    model: Model,
    rounds: Iterable[PendingRequests],
    progress: Progress,
    title: str,
    on_completion: Callable[[Completion], None] | None = None,
) -> None:
    """Run batches of requests on one engine, in order. The engine starts only if the ledger lacks an answer.

    Completions go to the ledger as they arrive. A batch is built when the one before is done, and may depend on it.

    Raises:
        EngineError: the engine failed as a whole; answers received before are kept.
        UsageError: a prompt holds a token without an embedding row.
    """
    run_blocking(run_requests_async(model, rounds, progress, title, on_completion))


async def run_requests_async(
    model: Model,
    rounds: Iterable[PendingRequests],
    progress: Progress,
    title: str,
    on_completion: Callable[[Completion], None] | None,
) -> None:
    """As :func:`run_requests`, in a running event loop."""
    engine: Engine | None = None
    first_use: FirstUse | None = None
    refresher = asyncio.create_task(_refresh(progress))
    try:
        for pending in rounds:
            if pending.counts.wanted == 0:
                continue
            progress.start(title, pending.counts)
            if isinstance(model, InProcessModel):
                model.refuse_rowless_tokens(pending.source.requests(pending.is_missing))
            engine = engine or await model.open_engine()
            pending.counts.activity = engine.activity
            first_use = first_use or FirstUse(model, pending.ledger, engine)
            async for completion in engine.generate(pending.source.requests(pending.is_missing)):
                pending.record(completion)
                first_use.advance(pending.counts)
                if on_completion is not None and completion.error is None:
                    on_completion(completion)
            progress.stop()
        if first_use is not None:
            await first_use.finish()
    finally:
        refresher.cancel()
        if first_use is not None:
            first_use.cancel()
        progress.stop()
        if engine is not None:
            await engine.close()


async def _refresh(progress: Progress) -> None:
    while True:
        await asyncio.sleep(_REFRESH_SECONDS)
        progress.refresh()
