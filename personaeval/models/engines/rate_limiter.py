"""Limits per minute that an endpoint's owner sets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from personaeval.models.engines import EngineSettings
from personaeval.types import Completion, Request

_LONGEST_NAP = 1.0

_CHARACTERS_PER_TOKEN = 4


class TokenBucket:
    """Spreads an amount per minute evenly: no burst, so that no window of a minute ever holds more."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds_per_unit = 60 / per_minute
        self._clock = clock
        self._free_at = clock()

    def wait(self) -> float:
        """Return the seconds until what was charged is paid off."""
        return max(0.0, self._free_at - self._clock())

    def charge(self, amount: float) -> None:
        """Count an amount as used; a negative one is given back, though never more than is still owed."""
        self._free_at = max(self._clock(), self._free_at) + amount * self._seconds_per_unit


class RateLimiter:
    """Holds requests back where the user set limits per minute."""

    def __init__(self, settings: EngineSettings) -> None:
        self._requests = TokenBucket(settings.requests_per_minute) if settings.requests_per_minute else None
        self._tokens = TokenBucket(settings.tokens_per_minute) if settings.tokens_per_minute else None
        self._paces = [pace for pace in (self._requests, self._tokens) if pace is not None]
        self._turn = asyncio.Lock()
        self._written = self._answers = 0

    async def admit(self, request: Request) -> float:
        """Wait for room; return the tokens charged for the request, as far as they can be known before."""
        if not self._paces:
            return 0.0
        async with self._turn:
            # Short naps: what others give back meanwhile shortens the wait.
            while (wait := max(pace.wait() for pace in self._paces)) > 0:
                await asyncio.sleep(min(wait, _LONGEST_NAP))
            expected = self._expected(request)
            if self._requests is not None:
                self._requests.charge(1)
            if self._tokens is not None:
                self._tokens.charge(expected)
            return expected

    def settle(self, expected: float, completion: Completion) -> None:
        """Replace the tokens expected by those used."""
        if self._tokens is not None and completion.error is None:
            self._answers += 1
            self._written += completion.completion_tokens
            self._tokens.charge(completion.prompt_tokens + completion.completion_tokens - expected)

    def _expected(self, request: Request) -> float:
        prompt = request.prompt
        characters = len(prompt) if isinstance(prompt, str) else sum(len(message["content"]) for message in prompt)
        answer = self._written / self._answers if self._answers else request.sampling.max_tokens
        return characters / _CHARACTERS_PER_TOKEN + answer
