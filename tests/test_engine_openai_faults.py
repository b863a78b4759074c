"""The endpoint engine against a real server on loopback whose faults are scripted."""

import asyncio
import json
from collections import Counter

import pytest

from personaeval.errors import EngineError
from personaeval.models.engines.endpoint import Endpoint
from personaeval.models.engines.openai import OpenAIEngine
from personaeval.types import Completion, Request
from tests.asking import NOW, SAMPLING, ask, collect, expected, message, requests, settings
from tests.scripted_server import Rule, ScriptedServer


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_LOG"):
        monkeypatch.delenv(name, raising=False)


# Faults that pass.


@pytest.mark.parametrize(
    "rule",
    [
        Rule("status", first=2, status=500, headers=NOW),
        Rule("status", first=2, status=429, headers=NOW),
        Rule("status", first=2, status=503, headers=NOW),
        Rule("cut", first=1),
        Rule("close", first=1),
        Rule("reply", first=2, text="<html>502 Bad Gateway</html>"),
        Rule("reply", first=2, text='{"choices": [{"message": {"content": "The answer is 4'),
        Rule("reply", first=2, text=""),
        Rule("reply", first=2, text="[" * 200_000),
        Rule("reply", first=2, text="null"),
        Rule("reply", first=2, text='{"object": "chat.completion"}'),
        Rule("reply", first=2, text='{"choices": []}'),
        Rule("reply", first=2, text='{"choices": [{"finish_reason": "stop"}]}'),
        Rule("reply", first=2, text='{"error": {"message": "upstream failed"}}'),
        Rule("reply", first=2, text=json.dumps({"choices": [message(content=None)]})),
        Rule("reply", first=2, text=json.dumps({"choices": [message(content=["part"])]})),
        Rule("reply", first=2, text=json.dumps({"choices": [message(content="4") | {"finish_reason": "abort"}]})),
    ],
    ids=lambda rule: f"{rule.fault} {rule.status if rule.fault == 'status' else rule.text[:50]}",
)
def test_a_fault_that_passes_leaves_no_trace(server, rule):
    server.change(rules=[rule])
    wanted = requests(6)
    got = ask(server, wanted, retries=2)
    assert [c.error for c in got] == [None] * 6
    assert [c.text for c in got] == [expected(r) for r in wanted]
    assert set(Counter(sent.key for sent in server.sent).values()) == {rule.first + 1}


def test_a_server_that_hangs_is_asked_again_after_the_timeout(server):
    server.change(rules=[Rule("hang", first=1, seconds=30)])
    wanted = requests(2)
    got = ask(server, wanted, timeout=0.5)
    assert [c.text for c in got] == [expected(r) for r in wanted]


def test_retry_after_is_heeded(server):
    server.change(rules=[Rule("status", first=1, status=429, headers={"retry-after": "1.2"})])
    ask(server, requests(1))
    first, second = server.sent
    # Without the header the client waits half a second at most.
    assert second.arrived - first.answered >= 1.1


# Faults that stay.


@pytest.mark.parametrize(
    ("rule", "reason", "tries"),
    [
        (Rule("status", status=500, headers=NOW, error={"message": "out of  memory\n"}), "HTTP 500: out of memory", 3),
        (Rule("status", status=429, headers=NOW), "--requests-per-minute", 3),
        (Rule("status", status=429, headers={"retry-after": "9000"}), "HTTP 429: scripted", 1),
        (Rule("close"), "Connection error", 3),
        (Rule("cut"), "Connection error", 3),
        (Rule("reply", text="<html>"), "not JSON ('<html>')", 3),
        (Rule("reply", text="{}"), "no choices", 3),
        (Rule("reply", text='{"error": {"message": "upstream"}}'), "upstream", 3),
        (Rule("status", status=400, error={"message": "bad prompt"}), "HTTP 400: bad prompt", 1),
    ],
    ids=lambda value: value.fault if isinstance(value, Rule) else str(value),
)
def test_a_fault_that_stays_is_an_error_and_never_a_text(server, rule, reason, tries):
    server.change(rules=[rule])
    (completion,) = ask(server, requests(1), retries=2)
    assert reason in completion.error
    assert completion.text == ""
    assert len(server.sent) == tries
    assert ("after 3 tries" in completion.error) == (tries == 3)


def test_a_timeout_that_stays_is_an_error(server):
    server.change(rules=[Rule("hang", seconds=30)])
    (completion,) = ask(server, requests(1), retries=1, timeout=0.3)
    assert "timed out" in completion.error.lower()
    assert "after 2 tries" in completion.error


def test_failed_requests_leave_the_others_alone(server):
    server.change(rules=[Rule("status", share=0.3, status=500, headers=NOW)])
    wanted = requests(100)
    got = ask(server, wanted, retries=1)
    failed = [c for c in got if c.error]
    assert len(got) == 100
    assert 15 <= len(failed) <= 45
    assert all(c.error or c.text == expected(r) for c, r in zip(got, wanted, strict=True))


# An endpoint that is down.


def give_up(server: ScriptedServer, wanted, **values) -> tuple[list[Completion], EngineError]:
    async def main() -> tuple[list[Completion], EngineError]:
        engine = OpenAIEngine(Endpoint(server.url, "scripted"), settings(**values), retries=1, retry_delay=0.001)
        into: list[Completion] = []
        with pytest.raises(EngineError) as caught:
            await collect(engine, wanted, into)
        return into, caught.value

    return asyncio.run(main())


def test_an_endpoint_that_goes_down_ends_the_run_and_keeps_what_it_answered(server):
    server.change(rules=[Rule("status", after=40, status=500, headers=NOW)])
    into, error = give_up(server, requests(1000))
    assert "HTTP 500: scripted" in str(error)
    assert server.url in str(error)
    assert "again" in str(error)
    assert sum(c.error is None for c in into) == 40
    # 20 failures of two tries each, and what was under way.
    assert len(server.sent) <= 40 + 2 * (20 + 8)


def test_garbage_without_end_ends_the_run(server):
    server.change(rules=[Rule("reply", text="<html>")])
    into, error = give_up(server, requests(1000))
    assert "not JSON" in str(error)
    assert all(c.error for c in into)


def test_a_parameter_that_no_request_may_have_ends_the_run_with_the_reason(server):
    refusal = {
        "message": "Unsupported value: 'temperature' does not support 0.7 with this model.",
        "param": "temperature",
        "code": "unsupported_value",
    }
    server.change(rules=[Rule("status", has="temperature", status=400, error=refusal)])
    into, error = give_up(server, requests(1000))
    assert "'temperature' does not support 0.7" in str(error)
    assert all("temperature" in c.error for c in into)
    assert all("temperature" in sent.body for sent in server.sent)


def test_refused_prompts_do_not_end_a_run_that_works(server):
    server.change(rules=[Rule("status", contains="You are a pirate", status=400, error={"message": "no pirates"})])
    tame = ({"role": "user", "content": "What is 1 + 1?"},)
    first = [Request(9999, b"t", tame, SAMPLING, seed=1)]
    got = ask(server, first + requests(200), concurrency=1)
    assert sum(c.error is None for c in got) == 1
    assert len(got) == 201


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (401, {"message": "Incorrect API key"}, "OPENAI_API_KEY"),
        (402, {"message": "Insufficient credits"}, "credit"),
        (403, {"message": "not for you"}, "may not use model 'scripted'"),
        (404, {"message": "The model `scripted` does not exist."}, "has no model 'scripted'"),
        (429, {"message": "You exceeded your current quota", "code": "insufficient_quota"}, "credit"),
    ],
)
def test_what_meets_every_request_ends_the_run_at_once(server, status, error, reason):
    server.change(rules=[Rule("status", status=status, error=error, headers=NOW)])
    into, raised = give_up(server, requests(1000))
    assert reason in str(raised)
    assert error["message"].rstrip(".") in str(raised)
    assert into == []
    assert len(server.sent) <= 2 * 8
    assert raised.exit_code == 5


def test_nothing_listens():
    with ScriptedServer() as gone:
        pass
    into, error = give_up(gone, requests(1000), concurrency=16)
    assert "32 requests in a row failed" in str(error)
    assert "Connection error" in str(error)
    assert all(c.error for c in into)
