"""Any OpenAI-compatible endpoint, through the ``openai`` client.

Cut connections, time-outs, 408, 409, 429, 5xx, malformed answers of status 200 and those that were broken off are asked
for again (:mod:`personaeval.models.engines.patience`). What still fails becomes a completion with ``error``; no part of
a failure ever becomes text. An empty answer without a single token is asked for again too; if it stays empty, it is the
answer.

What the server takes is known beforehand (:mod:`personaeval.models.engines.probe`). Two refusals lead to another
request for the same answer: a chat whose prompt and ``max_tokens`` together exceed the context is asked once more
without a limit, so that it uses the remaining room, as in the local engines; a server without JSON schemas is asked
without one (callers with a schema also describe the form in the prompt). Any other refusal is a failed request.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from personaeval.errors import UsageError
from personaeval.models.engines import EngineSettings
from personaeval.models.engines.chat_completion import UNNAMED, SenselessError, UnusableError, read_completion
from personaeval.models.engines.endpoint import Endpoint, public, reason_of
from personaeval.models.engines.patience import Attempts, Patience, is_retryable
from personaeval.models.engines.probe import TOO_LONG
from personaeval.models.engines.rate_limiter import RateLimiter
from personaeval.progress import Activity
from personaeval.types import EMPTY, Completion, Request

if TYPE_CHECKING:
    import openai


__all__ = ["Endpoint", "OpenAIEngine", "open_engine"]


_RETRIES = 5

_RETRY_DELAY = 0.5
"""Seconds before the first repeat after a senseless answer; doubled each time."""

_DOUBTS = 2
"""Repeats of an answer that may be a fault and may be all there is; a model without a word to say repeats itself."""

_OWN = frozenset(
    {"model", "messages", "prompt", "stream", "n", "best_of", "echo"}
    | {"temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop"}
)
"""What the run itself sets: as an engine argument it would contradict what is recorded."""

_NO_SCHEMA = re.compile(r"response_format|json_?schema|structured[ _]output|guided", re.IGNORECASE)


async def open_engine(endpoint: Endpoint, settings: EngineSettings) -> OpenAIEngine:
    """Prepare a client for an endpoint; nothing is sent yet.

    Raises:
        UsageError: an engine argument that the run itself sets.
    """
    own = sorted(_OWN & set(settings.arguments))
    if own:
        raise UsageError(
            f"--engine-arg {own[0]}: the run sets this by itself and records it; use --samples, --seed, "
            "--temperature, --top-p or --max-tokens. Engine arguments are what else the server takes, such as top_k=20."
        )
    return OpenAIEngine(endpoint, settings)


class OpenAIEngine:
    """Keeps ``settings.concurrency`` requests in flight at one endpoint."""

    def __init__(
        self,
        endpoint: Endpoint,
        settings: EngineSettings,
        retries: int = _RETRIES,
        retry_delay: float = _RETRY_DELAY,
    ) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._retries = retries
        self.activity = Activity()
        self._client = endpoint.connect(settings.timeout, 0, settings.concurrency, self.activity)
        self._dialect = settings.dialect
        self._names_ends = self._leaves_out_ends = False
        self._patience = Patience(endpoint.url, settings.patience, retries, retry_delay, settings.concurrency)
        self._rate_limiter = RateLimiter(settings)
        self._workers: set[asyncio.Task[None]] = set()

    async def generate(self, requests: Iterator[Request]) -> AsyncIterator[Completion]:
        """Yield one completion for each request, as each finishes.

        Raises:
            EngineError: the endpoint refuses the key or the model, or so many consecutive requests failed that it
                must be down; completions yielded before stay valid.
        """
        finished: asyncio.Queue[Completion | None] = asyncio.Queue()

        def end(done: asyncio.Future[list[None]]) -> None:
            if not done.cancelled():
                done.exception()  # Else asyncio would report it as lost when the consumer leaves early.
            finished.put_nowait(None)

        workers = [asyncio.create_task(self._work(requests, finished)) for _ in range(self._settings.concurrency)]
        self._workers.update(workers)
        whole = asyncio.gather(*workers)
        whole.add_done_callback(end)
        try:
            while (completion := await finished.get()) is not None:
                yield completion
            await whole
        finally:
            await _cancel(workers)
            self._workers.difference_update(workers)

    async def close(self) -> None:
        """Cancel requests in flight and close the connections. Safe to call twice."""
        await _cancel(list(self._workers))
        await self._client.close()

    async def _work(self, requests: Iterator[Request], finished: asyncio.Queue[Completion | None]) -> None:
        # All workers share the iterator: each takes its next request when it has finished one.
        for request in requests:
            expected = await self._rate_limiter.admit(request)
            self.activity.under_way += 1
            try:
                completion = await self._complete(request)
            finally:
                self.activity.under_way -= 1
            self._rate_limiter.settle(expected, completion)
            finished.put_nowait(completion)

    async def _complete(self, request: Request) -> Completion:
        """Ask until there is an answer or a retry cannot help."""
        import openai

        if (refused := self._dialect.refuses(request)) is not None:
            return _failure(request, refused)
        body = self._body(request)
        attempts = Attempts()
        senseless = 0
        while True:
            await self._patience.ready()
            attempts.tries += 1
            try:
                content = await self._endpoint.post(self._client, request.prompt, body)
                completion = self._settle(read_completion(content, request), senseless)
            except openai.APIError as error:
                revised = self._revise(request, body, error)
                if revised is not None:
                    body = revised
                    continue
                wait = self._patience.retry_in(attempts, public(error), error) if is_retryable(error) else None
                if wait is None:
                    return self._give_up(request, error, attempts.tries)
                self.activity.reason = public(error)
            except UnusableError as error:
                self._patience.answered()
                return _failure(request, str(error))
            except SenselessError as error:
                senseless += 1
                wait = self._patience.retry_in(attempts, str(error))
                if wait is None:
                    self._patience.failed(str(error))
                    return _failure(request, f"{error}{_after(attempts.tries)}")
                self.activity.reason = str(error)
            else:
                self._patience.answered()
                return completion
            self.activity.retried += 1
            await asyncio.sleep(wait)

    def _settle(self, completion: Completion, again: int) -> Completion:
        """The completion if it is an answer, which a doubtful one is only after ``again`` repeats.

        Raises:
            SenselessError: it may be a fault.
        """
        is_last = again >= min(_DOUBTS, self._retries)
        if completion.finish_reason != UNNAMED:
            self._names_ends = True
        elif self._names_ends or not (is_last or self._leaves_out_ends):
            raise SenselessError("the endpoint broke off the answer (no finish_reason)")
        else:
            # It names none: some servers never do.
            self._leaves_out_ends = True
            completion = replace(completion, finish_reason="stop")
        if not completion.is_blank:
            return completion
        if not is_last:
            raise SenselessError("the answer is empty, without a single token")
        return replace(completion, finish_reason=EMPTY)

    def _body(self, request: Request) -> dict[str, Any]:
        is_chat = not isinstance(request.prompt, str)
        return self._dialect.body(request.sampling, request.seed, self._settings.arguments, is_chat=is_chat)

    def _revise(self, request: Request, body: dict[str, Any], error: openai.APIError) -> dict[str, Any] | None:
        """Body to send in place of a refused one; None if the same question cannot be asked differently."""
        if getattr(error, "status_code", None) not in (400, 422):
            return None
        reason = reason_of(error)
        if "response_format" in body and (error.param == "response_format" or _NO_SCHEMA.search(reason)):
            self._dialect = replace(self._dialect, takes_schemas=False)
            return {name: value for name, value in body.items() if name != "response_format"}
        limit = next((name for name in ("max_tokens", "max_completion_tokens") if name in body), None)
        # Without a limit, a completions endpoint stops after 16 tokens.
        if limit is None or isinstance(request.prompt, str):
            return None
        if error.code == "context_length_exceeded" or TOO_LONG.search(reason):
            return {name: value for name, value in body.items() if name != limit}
        return None

    def _give_up(self, request: Request, error: openai.APIError, tries: int) -> Completion:
        """A failed completion.

        Raises:
            EngineError: the reason affects every other request too.
        """
        fatal = self._endpoint.fatal(error, self._patience.has_answered)
        if fatal is not None:
            raise fatal from None
        status = getattr(error, "status_code", None)
        reason = public(error)
        if status == 429:
            reason += " (lower --concurrency, or set --requests-per-minute or --tokens-per-minute)"
        self._patience.failed(reason, refused=status is not None and 400 <= status < 500 and status != 429)
        return _failure(request, reason + _after(tries))


def _failure(request: Request, reason: str) -> Completion:
    return Completion(row=request.row, key=request.key, text="", finish_reason="error", error=reason)


def _after(tries: int) -> str:
    return f", after {tries} tries" if tries > 1 else ""


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
