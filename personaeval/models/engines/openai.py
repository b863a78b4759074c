"""Any OpenAI-compatible endpoint, through the ``openai`` client.

The client retries cut connections, time-outs, 408, 409, 429 and 5xx, with back-off and respecting ``Retry-After``.
Malformed answers of status 200 are retried here, and so are those that were broken off. What still fails becomes a
completion with ``error``; no part of a failure ever becomes text. An empty answer without a single token is asked for
again too; if it stays empty, it is the answer.

Three refusals lead to another request for the same answer. A model that wants ``max_completion_tokens`` gets that name
from then on. A chat whose prompt and ``max_tokens`` together exceed the context is asked once more without a limit, so
that it uses the remaining room, as in the local engines. A server without JSON schemas is asked without one (callers
with a schema also describe the form in the prompt and read strictly). No other parameter is ever dropped: a server that
refuses one refuses the request.
"""

from __future__ import annotations

import asyncio
import functools
import json
import random
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from personaeval.errors import EngineError, UsageError
from personaeval.models.engines import EngineSettings
from personaeval.models.engines.chat_completion import UNNAMED, SenselessError, UnusableError, read_completion
from personaeval.models.engines.endpoint import Endpoint, public, reason_of
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

_LEAST_FAILURES = 20

_OWN = frozenset(
    {"model", "messages", "prompt", "stream", "n", "best_of", "echo"}
    | {"temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop"}
)
"""What the run itself sets: as an engine argument it would contradict what is recorded."""

_TOO_LONG = re.compile(r"context[ _](length|size|window)|max_model_len|max_new_tokens", re.IGNORECASE)

_NO_SCHEMA = re.compile(r"response_format|json_?schema|structured[ _]output|guided", re.IGNORECASE)

_TOP = 20
"""Alternatives of a token that are asked for: the most that hosted models and vLLM give."""


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
        self._retry_delay = retry_delay
        self.activity = Activity()
        self._client = endpoint.connect(settings.timeout, retries, settings.concurrency, self.activity)
        self._limit_name = "max_tokens"
        self._takes_schemas = True
        self._names_ends = self._leaves_out_ends = False
        self._health = _Health(endpoint.url, max(2 * settings.concurrency, _LEAST_FAILURES))
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

        body = self._body(request)
        tries = again = 0
        while True:
            try:
                response = await self._send(request, body)
                tries += response.retries_taken + 1
                completion = self._settle(read_completion(response.content, request), again)
            except openai.APIError as error:
                revised = self._revise(request, body, error)
                if revised is None:
                    return self._give_up(request, error, tries)
                body = revised
            except UnusableError as error:
                self._health.answered()
                return _failure(request, str(error))
            except SenselessError as error:
                again += 1
                if again > self._retries:
                    self._health.failed(str(error))
                    return _failure(request, f"{error}{_after(tries)}")
                self.activity.retried += 1
                self.activity.reason = str(error)
                # Random, or all workers would retry at the same moment.
                await asyncio.sleep(self._retry_delay * 2.0 ** (again - 1) * random.uniform(0.75, 1))  # noqa: S311
            else:
                self._health.answered()
                return completion

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

    async def _send(self, request: Request, body: dict[str, Any]) -> Any:
        """Post one request and return the raw response: the client's parser accepts malformed answers."""
        if isinstance(request.prompt, str):
            plain = self._client.completions.with_raw_response
            return await plain.create(model=self._endpoint.model, prompt=request.prompt, extra_body=body)
        messages: Any = [dict(message) for message in request.prompt]
        chat = self._client.chat.completions.with_raw_response
        return await chat.create(model=self._endpoint.model, messages=messages, extra_body=body)

    def _body(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        limit = "max_tokens" if isinstance(request.prompt, str) else self._limit_name
        body: dict[str, Any] = {
            **self._settings.arguments,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            limit: sampling.max_tokens,
            "seed": request.seed,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.schema is not None and self._takes_schemas:
            body["response_format"] = _response_format(sampling.schema)
        if sampling.score_tokens and not isinstance(request.prompt, str):
            body |= {"logprobs": True, "top_logprobs": _TOP}
        return body

    def _revise(self, request: Request, body: dict[str, Any], error: openai.APIError) -> dict[str, Any] | None:
        """Body to send in place of a refused one; None if the same question cannot be asked differently."""
        if getattr(error, "status_code", None) not in (400, 422):
            return None
        reason = reason_of(error)
        if "response_format" in body and (error.param == "response_format" or _NO_SCHEMA.search(reason)):
            self._takes_schemas = False
            return {name: value for name, value in body.items() if name != "response_format"}
        limit = next((name for name in ("max_tokens", "max_completion_tokens") if name in body), None)
        # Without a limit, a completions endpoint stops after 16 tokens.
        if limit is None or isinstance(request.prompt, str):
            return None
        rest = {name: value for name, value in body.items() if name != limit}
        if error.code == "context_length_exceeded" or _TOO_LONG.search(reason):
            return rest
        by_name = error.code == "unsupported_parameter" and error.param == "max_tokens"
        if limit == "max_tokens" and (by_name or "max_completion_tokens" in reason):
            self._limit_name = "max_completion_tokens"
            return {**rest, self._limit_name: body[limit]}
        return None

    def _give_up(self, request: Request, error: openai.APIError, tries: int) -> Completion:
        """A failed completion.

        Raises:
            EngineError: the reason affects every other request too.
        """
        fatal = self._endpoint.fatal(error, self._health.has_answered)
        if fatal is not None:
            raise fatal from None
        status = getattr(error, "status_code", None)
        reason = public(error)
        if status == 429:
            reason += " (lower --concurrency, or set --requests-per-minute or --tokens-per-minute)"
        self._health.failed(reason, refused=status is not None and 400 <= status < 500 and status != 429)
        return _failure(request, reason + _after(tries + _tries_of(error)))


@functools.cache
def _response_format(schema: str) -> dict[str, Any]:
    """The request field for a JSON schema, without length limits, which hosted models refuse."""
    content = json.loads(schema, object_hook=lambda part: {k: v for k, v in part.items() if k != "maxLength"})
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": content}}


def _failure(request: Request, reason: str) -> Completion:
    return Completion(row=request.row, key=request.key, text="", finish_reason="error", error=reason)


def _tries_of(error: openai.APIError) -> int:
    """How often the client sent a request before it raised; it numbers its retries in a header."""
    return int(error.request.headers.get("x-stainless-retry-count") or 0) + 1


def _after(tries: int) -> str:
    return f", after {tries} tries" if tries > 1 else ""


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _Health:
    """Distinguishes an endpoint that is down from occasional failures."""

    def __init__(self, url: str, limit: int) -> None:
        self._url = url
        self._limit = limit
        self._failures = 0
        self.has_answered = False

    def answered(self) -> None:
        self.has_answered = True
        self._failures = 0

    def failed(self, reason: str, refused: bool = False) -> None:
        """Count a failure; refusals stop counting once any request was answered, as they then concern one prompt.

        Raises:
            EngineError: too many failures in a row.
        """
        if refused and self.has_answered:
            return
        self._failures += 1
        if self._failures >= self._limit:
            remedy = (
                "Check the options of the run against what this server takes"
                if refused
                else "Check the server, then run the same command again: what is answered is kept"
            )
            raise EngineError(f"{self._url}: {self._failures} requests in a row failed, the last: {reason}. {remedy}.")
