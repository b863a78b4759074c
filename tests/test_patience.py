"""How long a request that failed is waited for: delays that servers name, servers that are away."""

import asyncio
import types

import pytest

from personaeval.errors import EngineError
from personaeval.models.engines.patience import Attempts, Patience, delay_asked
from tests.asking import ask, expected, requests
from tests.scripted_server import Rule, Script, ScriptedServer

NOW = 1_800_000_000.0


def refused(status: int = 429, headers: dict | None = None, body: object = None):
    """An error as the client raises it."""
    error = types.SimpleNamespace(status_code=status, body=body, __cause__=None)
    error.response = types.SimpleNamespace(headers=headers or {})
    return error


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after-ms": "1500"}, None, 1.5),
        ({"retry-after": "75"}, None, 75),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:20 GMT"}, None, 20),
        ({"x-ratelimit-reset-tokens": "30", "x-ratelimit-remaining-tokens": "0"}, None, 30),
        ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-remaining-tokens": "0"}, None, 360),
        (
            {
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "50",
                "x-ratelimit-reset-requests": "120ms",
                "x-ratelimit-remaining-requests": "0",
            },
            None,
            0.12,
        ),
        ({"x-ratelimit-reset": str(int(NOW) + 12)}, None, 12),
        ({"x-ratelimit-reset": str((int(NOW) + 12) * 1000)}, None, 12),
        ({"anthropic-ratelimit-tokens-reset": "2027-01-15T08:00:07Z"}, None, 7),
        ({}, {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]}, 34.5),
        ({}, [{"error": {"details": [{"retryDelay": "3s"}]}}], 3),
        ({}, {"message": "Rate limit reached. Please try again in 20s."}, 20),
        ({}, {"message": "over the limit, retry in 250 ms"}, 0.25),
        ({}, {"message": "slow down"}, None),
        ({"x-ratelimit-reset-tokens": "soon"}, None, None),
    ],
)
def test_the_delay_that_a_server_names(headers, body, seconds):
    assert delay_asked(refused(headers=headers, body=body), now=lambda: NOW) == (
        None if seconds is None else pytest.approx(seconds)
    )


@pytest.mark.parametrize(
    ("status", "left", "seconds"), [(500, "0", None), (429, "50", None), (429, "0", 30), (503, "0", 30)]
)
def test_resets_of_limits_count_only_where_a_limit_is_used_up(status, left, seconds):
    headers = {"x-ratelimit-reset-tokens": "30", "x-ratelimit-remaining-tokens": left}
    assert delay_asked(refused(status, headers), now=lambda: NOW) == seconds


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def waiting(patience: float = 300, retries: int = 5, concurrency: int = 8) -> tuple[Patience, Clock]:
    clock = Clock()
    return Patience("http://host/v1", patience, retries, 0.5, concurrency, clock), clock


def outlasts(patience: Patience, clock: Clock, away: float, status: int) -> bool:
    """Whether a request outlasts a server that is away for so long; the clock is moved by each wait."""
    attempts = Attempts()
    while clock.now < away:
        attempts.tries += 1
        wait = patience.retry_in(attempts, f"HTTP {status}", refused(status))
        if wait is None:
            return False
        clock.now += wait
    patience.answered()
    return True


@pytest.mark.parametrize("status", [502, 503, 504, 529])
def test_a_server_that_is_away_is_waited_for(status):
    patience, clock = waiting()
    assert outlasts(patience, clock, away=290, status=status)
    clock.now = 1000.0
    with pytest.raises(EngineError, match=r"no answer for 30\d s, the last failure: HTTP 50.*--patience"):
        outlasts(patience, clock, away=5000, status=503)
    assert 1300 <= clock.now <= 1316


def test_one_request_that_a_server_cannot_answer_is_given_up_soon():
    patience, clock = waiting()
    assert not outlasts(patience, clock, away=200, status=500)
    assert clock.now < 20


@pytest.mark.parametrize("status", [502, 503, 504])
def test_one_request_that_alone_gets_a_gateways_error_is_given_up_soon(status):
    patience, clock = waiting(retries=3)
    attempts, waits = Attempts(), []
    while len(waits) < 50:
        attempts.tries += 1
        wait = patience.retry_in(attempts, f"HTTP {status}", refused(status))
        if wait is None:
            break
        waits.append(wait)
        clock.now += wait
        patience.answered()
    assert attempts.tries == 4


def test_tries_while_the_server_was_away_are_not_held_against_a_request():
    patience, _ = waiting(retries=3)
    attempts = Attempts()
    for attempts.tries in range(1, 11):
        assert patience.retry_in(attempts, "HTTP 502", refused(502)) is not None
    patience.answered()
    assert patience.retry_in(attempts, "HTTP 502", refused(502)) is not None


def test_the_reset_of_a_limit_neither_shortens_a_wait_nor_ends_the_tries():
    patience, clock = waiting(retries=5)
    attempts = Attempts()
    attempts.tries = 5
    soon = patience.retry_in(attempts, "HTTP 429", refused(429, {"x-ratelimit-reset-requests": "1ms"}))
    assert soon is not None
    assert soon >= 6
    for reset in ("24h", "290"):
        attempts = Attempts()
        for attempts.tries in range(1, 6):
            wait = patience.retry_in(attempts, "HTTP 429", refused(429, {"x-ratelimit-reset-requests": reset}))
            assert wait is not None
            clock.now += wait


def test_every_request_that_fails_is_a_server_that_is_away():
    patience, clock = waiting()
    others = [Attempts() for _ in range(8)]
    for attempts in others:
        attempts.tries += 1
        patience.retry_in(attempts, "HTTP 500", refused(500))
    assert outlasts(patience, clock, away=200, status=500)


def test_without_patience_a_request_has_its_tries():
    patience, clock = waiting(patience=0, retries=2)
    assert not outlasts(patience, clock, away=1000, status=503)
    assert clock.now < 2


def test_a_named_delay_is_heeded_by_all_and_one_beyond_the_patience_is_none():
    patience, _ = waiting()
    asked = refused(429, {"retry-after": "75"})
    attempts = Attempts()
    attempts.tries = 1
    assert patience.retry_in(attempts, "HTTP 429", asked) == 75
    assert patience._paused_until == 75
    long = Attempts()
    long.tries = 1
    assert patience.retry_in(long, "HTTP 429", refused(429, {"retry-after": "3600"})) is None


@pytest.mark.slow
def test_a_server_that_comes_back_costs_no_row():
    """It answers nothing for half a second, as after a crash; then it answers again on the same port."""
    wanted = requests(200)
    with ScriptedServer(Script(latency=0.002)) as server:
        port = server.port

        async def restart() -> list:
            asking = asyncio.create_task(asyncio.to_thread(ask, server, wanted, retries=1, patience=20))
            while len(server.sent) < 50:
                await asyncio.sleep(0.005)
            server.change(rules=[Rule("close")])
            await asyncio.sleep(0.5)
            server.change(rules=[])
            return await asking

        got = asyncio.run(restart())
        assert server.port == port
    assert [c.error for c in got] == [None] * 200
    assert [c.text for c in got] == [expected(r) for r in wanted]


def test_a_server_that_stays_away_ends_the_run_within_the_patience():
    with ScriptedServer() as server:
        server.change(rules=[Rule("status", after=20, status=503)])
        with pytest.raises(EngineError, match="no answer for .* HTTP 503: scripted"):
            ask(server, requests(100), retries=1, patience=0.4)
