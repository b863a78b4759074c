"""What a server takes, found by asking it once before anything is planned.

Servers word their refusals each in its own way. So nothing is concluded from the words: a parameter is at fault if the
request without it gets an answer or another refusal, while the request with it is refused once more. The words only say
what to try first.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from personaeval.errors import EngineError, UsageError, suggest
from personaeval.models.engines import EngineSettings
from personaeval.models.engines.chat_completion import BrokenOffError, SenselessError, UnusableError, read_completion
from personaeval.models.engines.dialect import Dialect
from personaeval.models.engines.endpoint import Endpoint, public, reason_of
from personaeval.models.engines.patience import Attempts, Patience, is_retryable
from personaeval.types import Message, Request, Sampling

if TYPE_CHECKING:
    import openai

QUESTION = "Reply with the word OK and nothing else."

SYSTEM = "You answer in one word."

TOO_LONG = re.compile(r"context[ _](length|size|window)|max_model_len|max_new_tokens", re.IGNORECASE)

_REFUSED = (400, 404, 405, 415, 422, 500, 501)
"""Statuses with which servers refuse a parameter."""

_FEW_TOKENS = 16

_RETRIES = 4

_DELAY = 0.5
"""Seconds before the second try."""

_SECONDS = 60.0
"""For one answer; whoever writes for longer has taken the request."""

_MOST_STOPS = 4
"""As many stop sequences as OpenAI takes."""

_WORDS = {
    "limit": re.compile(r"max_?(?:completion_|new_|output_)?tokens|tokens", re.IGNORECASE),
    "name": re.compile(r"max_?(?:completion_)?tokens", re.IGNORECASE),
    "top_p": re.compile(r"top_?p|nucleus", re.IGNORECASE),
    "seed": re.compile(r"seed", re.IGNORECASE),
    "schema": re.compile(r"response_format|json_?schema|structured|guided|grammar", re.IGNORECASE),
    "stream": re.compile(r"stream", re.IGNORECASE),
    "system": re.compile(r"system|developer|instruction|role", re.IGNORECASE),
    "temperature": re.compile(r"temperature", re.IGNORECASE),
}
"""What a refusal says where a parameter is at fault; every one is tried, these first."""


@dataclass(frozen=True)
class Trial:
    """A request as it is tried."""

    dialect: Dialect
    sampling: Sampling
    messages: tuple[Message, ...] | str
    changed: tuple[str, ...] = ()

    def without(self, name: str) -> Trial | None:
        """The trial with one more thing changed; None if that is not possible."""
        dialect, sampling, messages = self.dialect, self.sampling, self.messages
        is_chat = not isinstance(messages, str)
        match name:
            case "limit" if sampling.max_tokens > _FEW_TOKENS:
                sampling = replace(sampling, max_tokens=_FEW_TOKENS)
            case "name" if is_chat and dialect.limit_name == "max_tokens":
                dialect = replace(dialect, limit_name="max_completion_tokens")
            case "top_p" if sampling.top_p == 1 and name not in dialect.left_out:
                dialect = replace(dialect, left_out=(*dialect.left_out, name))
            case "seed" if name not in dialect.left_out:
                dialect = replace(dialect, left_out=(*dialect.left_out, name))
            case "schema" if sampling.schema is not None and dialect.takes_schemas:
                dialect = replace(dialect, takes_schemas=False)
            case "stream" if not dialect.streams:
                dialect = replace(dialect, streams=True)
            case "system" if _has_system(messages):
                dialect = replace(dialect, takes_system=False)
                messages = ({"role": "user", "content": f"{SYSTEM}\n\n{QUESTION}"},)
            case "temperature" if sampling.temperature is not None:
                sampling = replace(sampling, temperature=None)
            case _:
                return None
        return Trial(dialect, sampling, messages, (*self.changed, name))

    def body(self, settings: EngineSettings) -> dict[str, Any]:
        """The fields of the request."""
        is_chat = not isinstance(self.messages, str)
        return self.dialect.body(self.sampling, 0, settings.arguments, is_chat=is_chat)


@dataclass(frozen=True)
class Refusal:
    """How a server refused a request."""

    error: openai.APIError
    reason: str
    key: str = field(default="")

    @classmethod
    def of(cls, error: openai.APIError) -> Refusal:
        """The refusal of a client's error; ``key`` is the same for the same refusal."""
        reason = reason_of(error)
        param = f"{getattr(error, 'param', '') or ''} {getattr(error, 'code', '') or ''}"
        return cls(error, f"{reason} {param}", re.sub(r"\b[0-9a-f-]{8,}\b|\d+", "#", f"{reason}{param}"))

    def is_like(self, other: Refusal, once_more: Refusal) -> bool:
        """Whether it says the same as two refusals of one request, but for words that differ between those: ids."""
        words, others, again = (one.key.split() for one in (self, other, once_more))
        if len(others) != len(again):
            return True  # Such words tell nothing.
        return len(words) == len(others) and all(
            word == known or known != anew for word, known, anew in zip(words, others, again, strict=True)
        )


async def find_dialect(
    endpoint: Endpoint, settings: EngineSettings, samplings: Sequence[Sampling], *, is_chat: bool, has_system: bool
) -> Dialect:
    """Ask an endpoint until it answers, and say what it took.

    Args:
        endpoint: who is asked.
        settings: of its engine.
        samplings: as the run's requests have them; one of several equal ones is asked.
        is_chat: whether chats are asked, and not texts to be completed.
        has_system: whether the run's chats have a system turn.

    Raises:
        UsageError: it does not have the model, or takes fewer new tokens than are asked for.
        EngineError: it refuses the key or every request, or does not answer at all.
    """
    dialect = Dialect()
    most = max(sampling.max_tokens for sampling in samplings)
    stops: dict[Sampling, tuple[str, ...]] = {}
    for one in samplings:
        equal = replace(one, max_tokens=most, stop=(), score_tokens=())
        stops[equal] = stops.get(equal) or tuple(one.stop)
    client = endpoint.connect(min(settings.timeout, _SECONDS), 0, 1)
    try:
        for equal, stop in stops.items():
            # A base model would write up to the limit. A chat ends by itself, and not every chat takes stop sequences.
            sampling = replace(equal, stop=stop if is_chat else (*stop[: _MOST_STOPS - 1], "\n"))
            probe = _Probe(endpoint, settings, client)
            user: Message = {"role": "user", "content": QUESTION}
            system: Message = {"role": "system", "content": SYSTEM}
            messages = (system, user) if has_system and dialect.takes_system else (user,)
            dialect = await probe.run(Trial(dialect, sampling, messages if is_chat else QUESTION))
    finally:
        await client.close()
    return dialect


class _Probe:
    """Asks one endpoint the same question in different ways."""

    def __init__(self, endpoint: Endpoint, settings: EngineSettings, client: openai.AsyncOpenAI) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._client = client
        self._patience = Patience(endpoint.url, settings.patience, _RETRIES, _DELAY, 1)

    async def run(self, trial: Trial) -> Dialect:
        """The dialect in which the endpoint answers."""
        beginning = trial
        refusal = first = await self._send(trial)
        of_limit: Refusal | None = None
        while refusal is not None:
            step = await self._step(trial, refusal)
            if step is None:
                raise await self._unresolved(first or refusal)
            if step[0] is not trial and step[0].changed[-1] == "limit":
                of_limit = refusal
            trial, refusal = step
        trial = await self._restored(beginning, trial)
        # Where prompt and limit exceed the context, the engine leaves the limit out.
        if "limit" in trial.changed and of_limit is not None and not _is_of_context(of_limit):
            raise await self._too_many(trial, beginning.sampling.max_tokens, of_limit)
        refused = beginning.sampling.temperature if "temperature" in trial.changed else None
        return trial.dialect if refused is None else replace(trial.dialect, refused_temperature=refused)

    async def _step(self, trial: Trial, refusal: Refusal) -> tuple[Trial, Refusal | None] | None:
        """The next trial, and how it is refused; None if no change to a refused one makes a difference.

        A change counts only if the unchanged request is refused once more: the refusal may have been a passing fault.
        """
        for changed in _in_order(trial, refusal):
            again = await self._send(changed)
            if again is not None and again.key == refusal.key:
                continue
            once_more = await self._send(trial)
            if once_more is None:
                return trial, None
            if again is None or not again.is_like(refusal, once_more):
                return changed, again
        return None

    async def _restored(self, beginning: Trial, trial: Trial) -> Trial:
        """The trial without changes that were not needed."""
        for name in trial.changed[:-1]:
            fewer = beginning
            for other in trial.changed:
                fewer = fewer if other == name else fewer.without(other) or fewer
            if await self._send(fewer) is None:
                trial = fewer
        return trial

    async def _send(self, trial: Trial) -> Refusal | None:
        """How the endpoint refuses; None if it answers, or takes so long that it must be writing.

        Raises:
            EngineError: it does neither.
        """
        import openai

        attempts = Attempts()
        while True:
            attempts.tries += 1
            await self._patience.ready()
            try:
                await self._post(trial)
            except openai.APIError as error:
                status = getattr(error, "status_code", None)
                if type(error.__cause__).__name__ == "ReadTimeout":
                    return self._answered()
                # Servers refuse with 500 as well, but it may pass.
                may_pass = status == 500 or status not in _REFUSED
                wait = None
                if may_pass and is_retryable(error):
                    wait = self._patience.retry_in(attempts, public(error), error)
                if wait is None and status in _REFUSED and status != 404:
                    return self._answered(Refusal.of(error))
                if wait is None:
                    raise await self._fatal(error) from None
            except (UnusableError, BrokenOffError, TimeoutError):
                # The request was accepted; what became of the answer is no matter here.
                return self._answered()
            except SenselessError as error:
                wait = self._patience.retry_in(attempts, str(error))
                if wait is None:
                    raise EngineError(
                        f"{self._endpoint.url}: {error}. Is this the base URL of an OpenAI-compatible server? It "
                        "mostly ends in /v1."
                    ) from None
            else:
                return self._answered()
            await asyncio.sleep(wait)

    def _answered(self, refusal: Refusal | None = None) -> Refusal | None:
        """The refusal, which shows as well as an answer that the server is there."""
        self._patience.answered()
        return refusal

    async def _post(self, trial: Trial) -> None:
        # A stream sends something all the time; connecting has a time of its own.
        async with asyncio.timeout(2 * _SECONDS):
            content = await self._endpoint.post(self._client, trial.messages, trial.body(self._settings))
        read_completion(content, Request(0, b"", trial.messages, trial.sampling, 0))

    async def _fatal(self, error: openai.APIError) -> EngineError | UsageError:
        status = getattr(error, "status_code", None)
        if status == 404:
            known = await self._endpoint.list_models()
            if known and self._endpoint.model not in known:
                return UsageError(
                    f"{self._endpoint.url}: has no model {self._endpoint.model!r} ({public(error)})."
                    f"{suggest(self._endpoint.model, known)}"
                )
        return self._endpoint.fatal(error) or EngineError(
            f"{self._endpoint.url}: does not answer as it should: {public(error)}. Check that the server is up, that "
            "it has finished loading, and the URL, which mostly ends in /v1."
        )

    async def _unresolved(self, refusal: Refusal) -> EngineError | UsageError:
        """Why an endpoint that refuses everything cannot be used."""
        said = public(refusal.error)
        if re.search(r"chat[ _-]?template", refusal.reason, re.IGNORECASE):
            return UsageError(
                f"{self._endpoint.url}: takes no chats ({said}). If {self._endpoint.model} is a base model, --plain "
                "asks it to complete plain text; else give the server a chat template."
            )
        known = await self._endpoint.list_models()
        if known and self._endpoint.model not in known and "model" in refusal.reason.lower():
            return UsageError(
                f"{self._endpoint.url}: has no model {self._endpoint.model!r} ({said})."
                f"{suggest(self._endpoint.model, known)}"
            )
        return EngineError(
            f"{self._endpoint.url}: refuses the run's requests: {said}. Check the options of the run against what this "
            "server takes; --engine-arg NAME=VALUE adds fields to each request (for judges --judge-engine-arg)."
        )

    async def _too_many(self, trial: Trial, asked: int, refusal: Refusal) -> UsageError:
        """The refusal of a run whose answers may be longer than the server takes; it took the trial with fewer."""
        said = sorted(
            {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", refusal.reason)}, reverse=True
        )
        tried = [number for number in said if _FEW_TOKENS < number < asked][:3]
        tried += [asked >> shift for shift in range(1, 12) if asked >> shift > _FEW_TOKENS]
        most = _FEW_TOKENS
        for number in tried:
            if await self._send(replace(trial, sampling=replace(trial.sampling, max_tokens=number))) is None:
                most = number
                break
        return UsageError(
            f"{self._endpoint.url}: takes at most {most} new tokens, but {asked} are asked for "
            f"({public(refusal.error)}). Use --max-tokens {most} (of a judge, --judge-max-tokens)."
        )


def _in_order(trial: Trial, refusal: Refusal) -> Iterator[Trial]:
    """The trial with one more change each, those first that the refusal names."""
    named = [name for name, words in _WORDS.items() if words.search(refusal.reason)]
    for name in dict.fromkeys((*named, *_WORDS)):
        if (changed := trial.without(name)) is not None:
            yield changed


def _is_of_context(refusal: Refusal) -> bool:
    return getattr(refusal.error, "code", None) == "context_length_exceeded" or bool(TOO_LONG.search(refusal.reason))


def _has_system(messages: Sequence[Mapping[str, str]] | str) -> bool:
    return not isinstance(messages, str) and messages[0]["role"] == "system"
