"""When a request that failed is asked again, and when it is given up.

A fault of one request (a broken answer, HTTP 500) gets a few tries. A server that names a waiting time gets that time.
A server that is away, whatever was asked, is waited for up to ``--patience``: a restart must not cost a run its rows.
A server that answers other requests meanwhile is not away; the failing request then has a few tries too.
"""

from __future__ import annotations

import asyncio
import email.utils
import itertools
import math
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from personaeval.errors import EngineError

if TYPE_CHECKING:
    import openai

LEAST_FAILURES = 20

_MANY = 8

_LONGEST_BACKOFF = 15.0

_AWAY = frozenset({502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Answers of gateways whose server is not there."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")

_SAID = re.compile(
    r"(?:again|retry|wait|available|reset\w*)(?: \w+){0,3}? (\d+(?:\.\d+)?)\s*"
    r"(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?)\b",
    re.IGNORECASE,
)
""""Please try again in 20s"."""

_EPOCH = 1e9
"""Numbers above are moments, not durations."""


class Attempts:
    """The tries of one request."""

    _numbers = itertools.count()

    def __init__(self) -> None:
        self.number = next(self._numbers)
        self.tries = 0
        self.began: float | None = None
        """When its first try failed."""
        self.answers = 0
        """Of the server, to any request, until then."""
        self.failed_alone = 0
        """Failures since the server has answered another request."""


class Patience:
    """Decides for all requests to one endpoint.

    Args:
        url: the endpoint, for messages.
        patience: seconds for which a server that is away is waited for; 0: a request gets its tries and no more.
        retries: tries of a request after the first.
        delay: seconds before the second try; doubled each time.
        concurrency: how many requests are under way.
        clock: tells the time.
    """

    def __init__(
        self,
        url: str,
        patience: float,
        retries: int,
        delay: float,
        concurrency: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._patience = patience
        self._retries = retries
        self._delay = delay
        self._clock = clock
        # So many failures without an answer between them are no bad luck, even if every third request fails.
        self._many = max(_MANY, concurrency)
        self._limit = max(2 * concurrency, LEAST_FAILURES)
        self._failures = 0
        self._failing: set[int] = set()
        self._away_since: float | None = None
        self._paused_until = 0.0
        self._answers = 0
        self.has_answered = False

    def answered(self) -> None:
        """The server gave a sound answer."""
        self.has_answered = True
        self._answers += 1
        self._failures = 0
        self._failing.clear()
        self._away_since = None

    async def ready(self) -> None:
        """Wait while the server has asked for a pause."""
        while (wait := self._paused_until - self._clock()) > 0:
            await asyncio.sleep(wait * random.uniform(1, 1.1))  # noqa: S311 (or all would ask at the same moment)

    def retry_in(self, attempts: Attempts, reason: str, error: openai.APIError | None = None) -> float | None:
        """Seconds until a failed request is asked again; None if it is given up.

        Args:
            attempts: of the request; ``tries`` includes this one.
            reason: why it failed, for messages.
            error: the client's error; None if the answer was senseless.

        Raises:
            EngineError: the server has been away for longer than the patience.
        """
        now = self._clock()
        if attempts.began is None:
            attempts.began, attempts.answers = now, self._answers
        attempts.failed_alone += self._answers > attempts.answers
        self._failing.add(attempts.number)
        if self._away_since is None:
            self._away_since = now
        status = getattr(error, "status_code", None)
        asked = self._asked(attempts, error, now)
        if asked is not None and status in (429, 503):
            # The server has said for how long nobody need ask.
            self._paused_until = max(self._paused_until, now + min(asked, max(self._patience, 0.0)))
        wait = self._backoff(attempts.tries) if asked is None else asked
        if attempts.tries > self._retries:
            # What the server names has not helped so far.
            wait = max(wait, self._backoff(attempts.tries - self._retries))
        if self._is_away(attempts, error):
            if now - self._away_since < self._patience:
                return min(wait, max(self._away_since + self._patience - now, 0.0))
            if self._patience:
                raise EngineError(self._gone(reason, now - self._away_since))
        if self._patience and (status == 429 or (status == 503 and asked is not None)):
            fits = now + wait - attempts.began <= self._patience
            return wait if fits or (asked is None and attempts.tries <= self._retries) else None
        # While the server was away for all, tries did not count.
        spent = attempts.failed_alone >= self._retries if attempts.failed_alone and status in _AWAY else None
        if (attempts.tries > self._retries if spent is None else spent) or wait > max(self._patience, _LONGEST_BACKOFF):
            return None
        return wait

    def failed(self, reason: str, refused: bool = False) -> None:
        """Count a request that was given up.

        Refusals stop counting once any request was answered, as they then concern one prompt.

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

    def _asked(self, attempts: Attempts, error: openai.APIError | None, now: float) -> float | None:
        """Seconds that the server asks to wait; None if it does not say, or not for this request."""
        asked = None if error is None else delay_asked(error)
        if error is None or asked is None or not _is_of_reset_headers(error):
            return asked
        # These headers tell of limits, not of this request: they lengthen a wait and never end the tries.
        asked = max(asked, self._backoff(attempts.tries))
        waited = now - (now if attempts.began is None else attempts.began)
        return asked if waited + asked <= self._patience else None

    def _backoff(self, tries: int) -> float:
        # Random, or all workers would retry at the same moment.
        wait = min(self._delay * 2.0 ** min(tries - 1, 20), _LONGEST_BACKOFF)
        return wait * random.uniform(0.75, 1)  # noqa: S311

    def _is_away(self, attempts: Attempts, error: openai.APIError | None) -> bool:
        """Whether it is the server that is away, and not one request that it cannot answer.

        A gateway's status may be the fault of one prompt, if others were answered since it failed first.
        """
        status = getattr(error, "status_code", None)
        if status is not None and status < 500:
            return False
        cause = type(error.__cause__).__name__ if error is not None else ""
        if cause in ("ConnectError", "ConnectTimeout") or len(self._failing) >= self._many:
            return True
        return status in _AWAY and not attempts.failed_alone

    def _gone(self, reason: str, seconds: float) -> str:
        return (
            f"{self._url}: no answer for {seconds:,.0f} s, the last failure: {reason}. Check the server, then run the "
            "same command again: what is answered is kept. --patience SECONDS waits longer."
        )


def is_retryable(error: openai.APIError) -> bool:
    """Whether the same request may succeed later."""
    status = getattr(error, "status_code", None)
    if status is None:
        return type(error).__name__ in ("APIConnectionError", "APITimeoutError")
    told = error.response.headers.get("x-should-retry") if hasattr(error, "response") else None
    if told in ("true", "false"):
        return bool(told == "true")
    return bool(status in (408, 409, 425, 429) or status >= 500)


def delay_asked(error: openai.APIError, now: Callable[[], float] = time.time) -> float | None:
    """Seconds that a server asks to wait before the next try, by headers or in the body; None if it does not say."""
    response = getattr(error, "response", None)
    headers: Mapping[str, str] = response.headers if response is not None else {}
    resets = _of_reset_headers(headers, now()) if getattr(error, "status_code", None) in (429, 503) else None
    known = (_of_retry_after(headers, now()), resets, _of_body(error.body))
    return next((delay for delay in known if delay is not None), None)


def _is_of_reset_headers(error: openai.APIError) -> bool:
    """Whether the delay that a server asks for is the one of its limits' headers."""
    response = getattr(error, "response", None)
    headers: Mapping[str, str] = response.headers if response is not None else {}
    now = time.time()
    is_limit = getattr(error, "status_code", None) in (429, 503)
    return is_limit and _of_retry_after(headers, now) is None and _of_reset_headers(headers, now) is not None


def _of_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    in_ms = headers.get("retry-after-ms")
    if in_ms is not None and (delay := _number(in_ms)) is not None:
        return delay / 1000
    value = headers.get("retry-after")
    return None if value is None else _duration(value, now)


def _of_reset_headers(headers: Mapping[str, str], now: float) -> float | None:
    """The time until the limit that is used up is reset, such as ``x-ratelimit-reset-tokens: 6m0s``."""
    used_up: list[float] = []
    others: list[float] = []
    for name, value in headers.items():
        lower = name.lower()
        if "ratelimit" not in lower or "reset" not in lower or (delay := _duration(value, now)) is None:
            continue
        left = headers.get(lower.replace("reset", "remaining"))
        if left is None or _number(left) == 0:
            (others if left is None else used_up).append(delay)
    if used_up:
        return max(used_up)
    return min(others) if others else None


def _of_body(body: object) -> float | None:
    """Google's RetryInfo, or a sentence such as "try again in 20s"."""
    for name, value in _entries(body):
        if name in ("retryDelay", "retry_delay", "retry_after", "retryAfter") and (delay := _duration(str(value), 0.0)):
            return delay
    for name, value in _entries(body):
        if name in ("message", "detail", "error") and isinstance(value, str) and (said := _SAID.search(value)):
            unit = said[2].lower()
            return float(said[1]) * _UNITS["ms" if unit.startswith(("ms", "milli")) else unit[0]]
    return None


def _entries(value: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every key and value in a JSON value."""
    if depth > 6:
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            yield str(name), inner
            yield from _entries(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _entries(inner, depth + 1)


def _duration(text: str, now: float) -> float | None:
    """Seconds of ``30``, ``1m30s``, ``20ms``, a moment in seconds or milliseconds, or a date."""
    text = text.strip()
    number = _number(text)
    if number is not None:
        number = number / 1000 if number > 1000 * _EPOCH else number
        return max(0.0, number - now if number > _EPOCH else number)
    parts = _DURATION.findall(text)
    if parts and "".join(f"{amount}{unit}" for amount, unit in parts) == text.replace(" ", ""):
        return float(sum(float(amount) * _UNITS[unit] for amount, unit in parts))
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp() - now)
    except ValueError:
        pass
    parsed = email.utils.parsedate_tz(text)
    return None if parsed is None else max(0.0, email.utils.mktime_tz(parsed) - now)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < 1e15 else None
