"""Engines turn requests into completions.

One protocol for all of them: requests go in (lazily pulled from an iterator), completions come out *as they
finish*, in any order::

    engine = await open_engine(checkpoint, settings)
    try:
        async for completion in engine.generate(requests):
            ...
    finally:
        await engine.close()

A request that fails alone yields a completion whose ``error`` says why. An engine that fails as a whole raises
:class:`~personaeval.errors.EngineError`; what it had yielded until then stays valid.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

Message = Mapping[str, str]
"""One chat message: ``{"role": "system"|"user"|"assistant", "content": text}``."""

Prompt = str | tuple[Message, ...]
"""What an engine is given: the rendered text (local engines) or chat messages (endpoints)."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. One object is shared by all requests of a task.

    ``schema`` is a JSON schema, as text, that the answer has to fit where the engine can see to that; an engine that
    cannot passes over it. ``options`` are texts of one token each: wanted are the probabilities that the last token
    of the answer that is one of them had, and the others in its place; only endpoints give them. ``labels`` are texts
    of one token each: the answer is the likeliest of them, and nothing else; only local engines see to that.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()
    schema: str | None = None
    options: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return the fields for keys and records; what holds an answer to a form is among them only where it does."""
        rare = ("schema", "options", "labels")
        return {name: value for name, value in asdict(self).items() if value or name not in rare}


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to complete once.

    ``row`` is its place in the plan (and in ``responses.parquet``); ``seed`` is this sample's own, base + sample
    index, so that one missing sample can be drawn alone. ``special_tokens`` says whether the tokenizer should add
    its own (a chat template has written them already; a plain prompt has not).
    """

    row: int
    key: bytes
    prompt: Prompt
    sampling: Sampling
    seed: int
    special_tokens: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine returned for a request.

    ``text`` is everything the model wrote, thinking included, unless the endpoint hands thinking out separately
    as ``reasoning``. ``finish_reason`` is ``"stop"`` or ``"length"`` (truncated). With ``error`` set, the text is
    empty and means nothing. ``weights`` are the probabilities of the sampling's options, where there are any.
    """

    row: int
    key: bytes
    text: str
    finish_reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning: str | None = None
    error: str | None = None
    weights: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What opens an engine, resolved: nothing here is left to "auto"."""

    dtype: str = "bfloat16"
    device: str = "auto"
    trust_remote_code: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Passed through to the engine (``--engine-arg name=value``)."""
    concurrency: int = 64
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    timeout: float = 600.0
    kept_tokens: tuple[str, ...] = ()
    """Special tokens that stay in the text, all others being left out: the marks of some models' thinking."""


class Engine(Protocol):
    """See the module's docstring for the contract."""

    def generate(self, requests: Iterator[Request]) -> AsyncIterator[Completion]:
        """Yield one completion for each request, as each finishes."""
        ...

    async def close(self) -> None:
        """Free the engine's memory and processes. Safe to call twice."""
        ...
