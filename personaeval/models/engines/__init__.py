"""Engines turn requests into completions.

One protocol for all of them: requests go in (lazily pulled from an iterator), completions come out *as they
finish*, in any order::

    engine = await transformers.open_engine(folder, tokenizer, settings)
    try:
        async for completion in engine.generate(requests):
            ...
    finally:
        await engine.close()

A request that fails alone yields a completion whose ``error`` says why. An engine that fails as a whole raises
:class:`~personaeval.errors.EngineError`; completions yielded before stay valid.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from personaeval.models.engines.dialect import Dialect
from personaeval.progress import Activity
from personaeval.types import Completion, Request

UNUSED_WEIGHTS = "PERSONAEVAL_UNUSED_WEIGHTS"
"""Environment variable that tells an engine's worker processes which tensors to leave out: a JSON list of names."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Resolved settings of an engine: nothing is "auto" any more."""

    dtype: str = "bfloat16"
    device: str = "auto"
    trust_remote_code: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Passed through to the engine (``--engine-arg name=value``)."""
    concurrency: int = 64
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    timeout: float = 600.0
    patience: float = 300.0
    """Seconds for which a server that is away is waited for."""
    dialect: Dialect = field(default_factory=Dialect)
    """What an endpoint takes, as a probe found it."""
    kept_tokens: tuple[str, ...] = ()
    """Special tokens that stay in the text, all others being left out: the marks of some models' thinking."""
    unused_weights: tuple[str, ...] = ()
    """Names of tensors in the checkpoint that the model has no use for, and that are known to be harmless."""


class Engine(Protocol):
    """See the module's docstring for the contract."""

    activity: Activity
    """What it is doing now, for the progress display."""

    def generate(self, requests: Iterator[Request]) -> AsyncIterator[Completion]:
        """Yield one completion per request, in order of completion."""
        ...

    async def close(self) -> None:
        """Free the engine's memory and processes. Safe to call twice."""
        ...
