"""Rate limits per minute for endpoints."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from personaeval.models.engines import EngineSettings
from personaeval.types import Completion, Request

_LONGEST_NAP = 1.0

_CHARACTERS_PER_TOKEN = 4


class TokenBucket:
    """Spreads an amount per minute evenly, without bursts, so that no window of a minute exceeds it."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds_per_unit = 60 / per_minute
        self._clock = clock
        self._free_at = clock()

    def wait(self) -> float:
        """Seconds until the charged amount is available."""
        return max(0.0, self._free_at - self._clock())

    def charge(self, amount: float) -> None:
        """Count an amount as used; a negative amount is refunded, but never beyond what is still owed."""
        self._free_at = max(self._clock(), self._free_at) + amount * self._seconds_per_unit


class RateLimiter:
    """Delays requests to keep the user's limits per minute."""

    def __init__(self, settings: EngineSettings) -> None:
        self._requests = TokenBucket(settings.requests_per_minute) if settings.requests_per_minute else None
        self._tokens = TokenBucket(settings.tokens_per_minute) if settings.tokens_per_minute else None
        self._paces = [pace for pace in (self._requests, self._tokens) if pace is not None]
        self._turn = asyncio.Lock()
        self._written = self._answers = 0

    async def admit(self, request: Request) -> float:
        """Wait until the request is allowed; return the tokens charged for it, estimated beforehand."""
        if not self._paces:
            return 0.0
        async with self._turn:
            # Short sleeps: refunds by others shorten the wait.
            while (wait := max(pace.wait() for pace in self._paces)) > 0:
                await asyncio.sleep(min(wait, _LONGEST_NAP))
            expected = self._expected(request)
            if self._requests is not None:
                self._requests.charge(1)
            if self._tokens is not None:
                self._tokens.charge(expected)
            return expected

    def settle(self, expected: float, completion: Completion) -> None:
        """Replace the estimated tokens by those used."""
        if self._tokens is not None and completion.error is None:
            self._answers += 1
            self._written += completion.completion_tokens
            self._tokens.charge(completion.prompt_tokens + completion.completion_tokens - expected)

    def _expected(self, request: Request) -> float:
        prompt = request.prompt
        characters = len(prompt) if isinstance(prompt, str) else sum(len(message["content"]) for message in prompt)
        answer = self._written / self._answers if self._answers else request.sampling.max_tokens
        return characters / _CHARACTERS_PER_TOKEN + answer
