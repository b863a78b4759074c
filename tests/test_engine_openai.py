"""The endpoint engine against a real server on loopback whose faults are scripted."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import replace

import pytest

from personaeval.engines import Completion, EngineSettings, Request, Sampling
from personaeval.engines.endpoint import Endpoint
from personaeval.engines.openai import OpenAIEngine, open_engine
from personaeval.engines.pace import Pace
from personaeval.errors import EngineError, UsageError
from tests.conftest import ROOT
from tests.scripted_server import Rule, Script, ScriptedServer, answer

NOW = {"retry-after-ms": "1"}
"""Makes the client's own retries quick."""
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=64)


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_LOG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    with ScriptedServer() as running:
        yield running


def requests(count: int, sampling: Sampling = SAMPLING) -> list[Request]:
    prompts = [
        ({"role": "system", "content": "You are a pirate."}, {"role": "user", "content": f"What is {n} + 1?"})
        for n in range(count)
    ]
    return [Request(n, b"key%d" % n, prompt, sampling, seed=100 + n) for n, prompt in enumerate(prompts)]


def settings(**values) -> EngineSettings:
    return EngineSettings(**{"concurrency": 8} | values)


def expected(request: Request) -> str:
    return answer([dict(message) for message in request.prompt], request.seed)


async def collect(engine: OpenAIEngine, wanted, into: list[Completion]) -> None:
    try:
        async for completion in engine.generate(iter(wanted)):
            into.append(completion)  # noqa: PERF401 (what came before an error counts)
    finally:
        await engine.close()


def ask(server: ScriptedServer, wanted, retries: int = 2, **values) -> list[Completion]:
    """All completions in the order of their rows; a senseless answer is asked for again at once."""

    async def main() -> list[Completion]:
        endpoint = Endpoint(server.url, server.script.model or "scripted")
        engine = OpenAIEngine(endpoint, settings(**values), retries=retries, retry_delay=0.001)
        into: list[Completion] = []
        await collect(engine, wanted, into)
        return sorted(into, key=lambda completion: completion.row)

    return asyncio.run(main())


def identify(server: ScriptedServer, model: str = "scripted"):
    return asyncio.run(Endpoint(server.url, model).identify())


# Answers.


def test_each_request_gets_its_own_answer_and_its_counts(server):
    wanted = requests(50)
    got = ask(server, wanted)
    assert [(c.row, c.key, c.text) for c in got] == [(r.row, r.key, expected(r)) for r in wanted]
    for request, completion in zip(wanted, got, strict=True):
        read = sum(len(message["content"]) for message in request.prompt)
        assert completion.error is None
        assert completion.finish_reason == "stop"
        assert (completion.prompt_tokens, completion.completion_tokens) == (read, len(completion.text))
        assert completion.cached_tokens == read // 2
    assert len(server.sent) == 50


def test_the_body_holds_the_sampling_and_the_arguments(server):
    sampling = replace(SAMPLING, stop=("\nQ:",))
    arguments = {"chat_template_kwargs": {"enable_thinking": False}, "top_k": 20}
    ask(server, requests(1, sampling), arguments=arguments)
    assert server.sent[0].body == {
        "model": "scripted",
        "messages": [
            {"role": "system", "content": "You are a pirate."},
            {"role": "user", "content": "What is 0 + 1?"},
        ],
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 64,
        "seed": 100,
        "stop": ["\nQ:"],
        **arguments,
    }


def test_without_stop_strings_none_are_sent(server):
    ask(server, requests(1))
    assert "stop" not in server.sent[0].body


def test_a_text_goes_to_the_completions_endpoint(server):
    prompt = "Question: What is 3 + 4?\nAnswer:"
    (completion,) = ask(server, [Request(0, b"k", prompt, SAMPLING, seed=5)])
    assert completion.text == answer([{"role": "user", "content": prompt}], 5)
    assert server.sent[0].path == "/v1/completions"
    assert server.sent[0].body["prompt"] == prompt


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_is_kept_apart(server, name):
    server.change(reasoning=name)
    wanted = requests(1)
    (completion,) = ask(server, wanted)
    assert completion.text == expected(wanted[0])
    assert completion.reasoning == "I was asked with seed 100."


def message(**values) -> dict:
    return {"message": {"role": "assistant", **values}}


@pytest.mark.parametrize(
    ("choice", "written", "answer"),
    [
        (message(content=""), 1, ("", "stop", None)),
        (message(content="abc") | {"finish_reason": "length"}, 1, ("abc", "length", None)),
        (message(content="abc") | {"finish_reason": None}, 1, ("abc", "stop", None)),
        (message(content=None, reasoning="Hm"), 0, ("", "stop", "Hm")),
        (message(content=None) | {"finish_reason": "length"}, 0, ("", "length", None)),
        (message(content=None), 1, ("", "stop", None)),
        (message(content=None, refusal="I will not."), 0, ("I will not.", "stop", None)),
        (message(content="half a pair: \ud83d."), 1, ("half a pair: \ufffd.", "stop", None)),
        (message(content="a pair: \U0001f600", reasoning=""), 1, ("a pair: \U0001f600", "stop", None)),
    ],
)
def test_what_counts_as_an_answer(server, choice, written, answer):
    server.change(choice=choice, usage={"completion_tokens": written})
    (completion,) = ask(server, requests(1))
    assert completion.error is None
    assert (completion.text, completion.finish_reason, completion.reasoning) == answer
    completion.text.encode()
    assert len(server.sent) == 1


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": None, "prompt_tokens_details": None}, "none"])
def test_usage_may_be_missing(server, usage):
    body = {"choices": [message(content="abc")], "usage": usage}
    server.change(rules=[Rule("reply", text=json.dumps(body))])
    (completion,) = ask(server, requests(1))
    assert (completion.text, completion.error) == ("abc", None)
    assert (completion.prompt_tokens, completion.completion_tokens, completion.cached_tokens) == (0, 0, 0)


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"finish_reason": "content_filter"}, "content filter"),
        ({"finish_reason": "tool_calls"}, "called a tool"),
        (message(content=None, tool_calls=[{"id": "1"}]), "called a tool"),
    ],
)
def test_what_is_sound_but_no_answer_is_not_asked_for_again(server, choice, reason):
    server.change(choice=choice)
    (completion,) = ask(server, requests(1))
    assert reason in completion.error
    assert completion.text == ""
    assert len(server.sent) == 1


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


# Asking differently.


def test_a_model_that_wants_max_completion_tokens_gets_it_from_then_on(server):
    refusal = {
        "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
        "Use 'max_completion_tokens' instead.",
        "type": "invalid_request_error",
        "param": "max_tokens",
        "code": "unsupported_parameter",
    }
    server.change(rules=[Rule("status", has="max_tokens", status=400, error=refusal)])
    wanted = requests(40)
    got = ask(server, wanted, concurrency=4)
    assert [c.text for c in got] == [expected(r) for r in wanted]
    refused = [sent for sent in server.sent if sent.outcome == "status"]
    answered = [sent for sent in server.sent if sent.outcome == "answer"]
    assert len(refused) <= 4
    assert all(sent.body["max_completion_tokens"] == 64 and "max_tokens" not in sent.body for sent in answered)


@pytest.mark.parametrize(
    "error",
    [
        {"message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."},
        {"message": "max_tokens=64 cannot be greater than max_model_len=32. Please request fewer output tokens."},
        {"message": "Too long.", "code": "context_length_exceeded"},
        {"message": "'max_tokens' or 'max_completion_tokens' is too large: the maximum context length is 32."},
    ],
)
def test_a_limit_beyond_the_context_is_left_to_the_server(server, error):
    server.change(rules=[Rule("status", has="max_tokens", contains="What is 3 +", status=400, error=error)])
    wanted = requests(8)
    got = ask(server, wanted)
    assert [c.text for c in got] == [expected(r) for r in wanted]
    answered = {json.dumps(sent.body["messages"]): sent.body for sent in server.sent if sent.outcome == "answer"}
    limits = [answered[json.dumps(list(request.prompt))].get("max_tokens") for request in wanted]
    assert limits == [64, 64, 64, None, 64, 64, 64, 64]


def test_a_prompt_beyond_the_context_is_an_error(server):
    error = {"message": "This model's maximum context length is 4096 tokens."}
    server.change(rules=[Rule("status", contains="What is 3 +", status=400, error=error)])
    got = ask(server, requests(8))
    assert [c.row for c in got if c.error] == [3]
    assert "maximum context length" in got[3].error
    assert sum("What is 3 +" in json.dumps(sent.body) for sent in server.sent) == 2


def test_a_completion_never_falls_back_to_a_servers_sixteen_tokens(server):
    error = {"message": "This model's maximum context length is 4096 tokens."}
    server.change(rules=[Rule("status", has="max_tokens", status=400, error=error)])
    (completion,) = ask(server, [Request(0, b"k", "Question: 1 + 1?", SAMPLING, seed=5)])
    assert "maximum context length" in completion.error
    assert len(server.sent) == 1


@pytest.mark.parametrize("name", ["seed", "top_p", "temperature", "stop"])
def test_no_other_parameter_is_ever_dropped(server, name):
    error = {"message": f"Unsupported parameter: '{name}'", "param": name, "code": "unsupported_parameter"}
    server.change(rules=[Rule("status", has=name, status=400, error=error)])
    (completion,) = ask(server, requests(1, replace(SAMPLING, stop=("x",))))
    assert f"Unsupported parameter: '{name}'" in completion.error
    assert len(server.sent) == 1


@pytest.mark.parametrize("name", ["n", "stream", "max_tokens", "seed"])
def test_what_the_run_sets_is_no_engine_argument(name):
    with pytest.raises(UsageError, match=f"--engine-arg {name}"):
        asyncio.run(open_engine(Endpoint("http://127.0.0.1:1/v1", "m"), settings(arguments={name: 2})))


# Work under way.


def test_requests_are_taken_only_as_they_are_sent(server):
    server.change(latency=0.02)
    taken = 0

    def lazily():
        nonlocal taken
        for request in requests(200):
            taken += 1
            yield request

    async def main() -> list[int]:
        engine = await open_engine(Endpoint(server.url, "scripted"), settings(concurrency=5))
        ahead, done = [], 0
        async for _ in engine.generate(lazily()):
            done += 1
            ahead.append(taken - done)
        await engine.close()
        return ahead

    ahead = asyncio.run(main())
    assert len(ahead) == 200
    # Answers that wait for the consumer together count as done only one by one.
    assert max(ahead) <= 10


def test_never_more_than_the_concurrency_under_way(server):
    server.change(latency=0.02, jitter=0.02)
    ask(server, requests(120), concurrency=12)
    moments = sorted([(s.arrived, 1) for s in server.sent] + [(s.answered, -1) for s in server.sent])
    under_way = highest = 0
    for _, step in moments:
        under_way += step
        highest = max(highest, under_way)
    assert 2 <= highest <= 12


def test_two_hundred_connections_at_once(server):
    server.change(latency=0.5)
    wanted = requests(200)
    got = ask(server, wanted, concurrency=200)
    assert [c.text for c in got] == [expected(r) for r in wanted]


def test_a_failing_iterator_fails_the_engine(server):
    def broken():
        yield from requests(3)
        raise ValueError("no prompt")

    with pytest.raises(ValueError, match="no prompt"):
        ask(server, broken())


def test_no_requests(server):
    assert ask(server, []) == []


def test_an_engine_generates_again(server):
    async def main() -> list[Completion]:
        engine = await open_engine(Endpoint(server.url, "scripted"), settings())
        got = [c async for c in engine.generate(iter(requests(3)))]
        got += [c async for c in engine.generate(iter(requests(3)))]
        await engine.close()
        await engine.close()
        return got

    assert sorted(c.row for c in asyncio.run(main())) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("leave", ["cancel", "break"])
def test_leaving_early_leaves_no_task_and_no_connection(server, leave):
    server.change(rules=[Rule("hang", after=3, seconds=0.5)])

    async def main() -> tuple[int, bool]:
        engine = await open_engine(Endpoint(server.url, "scripted"), settings())
        into: list[Completion] = []

        async def consume() -> None:
            async for completion in engine.generate(iter(requests(100))):
                into.append(completion)
                if leave == "break" and len(into) == 3:
                    break

        consumer = asyncio.create_task(consume())
        while len(into) < 3:
            await asyncio.sleep(0.01)
        if leave == "cancel":
            consumer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await consumer
        else:
            await consumer
        await engine.close()
        return len(asyncio.all_tasks()), engine._client.is_closed()

    assert asyncio.run(main()) == (1, True)


def test_ctrl_c_ends_at_once(server, tmp_path):
    """In a process of its own, as a user does it: exit by KeyboardInterrupt, nothing said of lost tasks."""
    server.change(rules=[Rule("hang", seconds=120)])
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, sys\n"
        "from personaeval.engines import EngineSettings\n"
        "from tests.test_engine_openai import Endpoint, collect, open_engine, requests\n"
        "async def main():\n"
        "    engine = await open_engine(Endpoint(sys.argv[1], 'scripted'), EngineSettings())\n"
        "    await collect(engine, requests(100), [])\n"
        "try:\n"
        "    asyncio.run(main())\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-X", "dev", program, server.url],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while server._received < 64 and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert out == "interrupted\n"
    assert "never" not in err
    assert "Traceback" not in err


# Limits per minute.


def test_a_pace_spreads_evenly_and_takes_back():
    now = 0.0
    pace = Pace(per_minute=120, clock=lambda: now)
    assert pace.wait() == 0
    pace.charge(1)
    assert pace.wait() == pytest.approx(0.5)
    pace.charge(10)
    assert pace.wait() == pytest.approx(5.5)
    pace.charge(-8)
    assert pace.wait() == pytest.approx(1.5)
    now = 1.0
    assert pace.wait() == pytest.approx(0.5)
    now = 100.0
    assert pace.wait() == 0
    pace.charge(1)
    # A quiet minute is not saved up.
    assert pace.wait() == pytest.approx(0.5)


def test_no_minute_holds_more_than_the_limit():
    now = 0.0
    pace = Pace(per_minute=50, clock=lambda: now)
    sent = []
    while now < 600:
        if pace.wait() == 0:
            sent.append(now)
            pace.charge(1)
        now += 0.05
    in_a_minute = max(sum(start <= moment < start + 60 for moment in sent) for start in sent)
    assert 45 <= in_a_minute <= 50


def test_requests_per_minute_hold_requests_back(server):
    ask(server, requests(6), requests_per_minute=600)
    arrived = sorted(sent.arrived for sent in server.sent)
    # Five gaps of 0.1 s.
    assert arrived[-1] - arrived[0] >= 0.4


def test_tokens_per_minute_hold_requests_back(server):
    server.change(usage={"prompt_tokens": 50, "completion_tokens": 50})
    ask(server, requests(6), tokens_per_minute=60_000)
    arrived = sorted(sent.arrived for sent in server.sent)
    # At least 64 tokens are charged before, or 100 after each answer: 0.06 s to 0.1 s.
    assert arrived[-1] - arrived[0] >= 0.25


# The key.


def test_the_key_is_sent_and_shown_nowhere(server, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-123\n")
    caplog.set_level(logging.DEBUG)
    server.change(
        key="sk-secret-123",
        rules=[
            Rule("status", contains="What is 0 +", status=400, error={"message": "your key sk-secret-123 is odd"}),
            Rule("reply", contains="What is 1 +", text="sk-secret-123"),
            Rule("reply", contains="What is 2 +", text='{"error": "sk-secret-123"}'),
        ],
    )
    assert identify(server)["id"] == "scripted"
    got = ask(server, requests(4))
    assert [c.error is None for c in got] == [False, False, False, True]
    assert "secret" not in repr(got)
    assert "secret" not in caplog.text
    server.change(key="another")
    with pytest.raises(EngineError, match="refuses the key in OPENAI_API_KEY"):
        identify(server)


def test_without_a_key_a_server_that_wants_one_says_so(server):
    server.change(key="wanted")
    with pytest.raises(EngineError, match="wants a key, and there is none in OPENAI_API_KEY"):
        identify(server)


# What the endpoint says of itself.


def test_identity_is_what_stays_the_same(server):
    assert identify(server) == {
        "id": "scripted",
        "root": "/models/scripted",
        "owned_by": "tests",
        "max_model_len": 4096,
    }
    assert identify(server) == identify(server)


def test_a_model_that_is_not_listed_is_refused_with_a_suggestion(server):
    with pytest.raises(UsageError, match=r"has no model 'scriptd'\. Did you mean 'scripted'\?"):
        identify(server, "scriptd")


def test_a_server_without_a_list_of_models(server):
    server.change(model=None)
    assert identify(server) is None


def test_nothing_listens_to_identify():
    with ScriptedServer() as gone:
        pass
    with pytest.raises(EngineError, match=r"http://127\.0\.0\.1:\d+/v1: does not answer") as caught:
        identify(gone)
    assert caught.value.exit_code == 5


def test_a_url_of_something_else(server):
    control = Endpoint(server.url.replace("/v1", "/control"), "scripted")
    assert asyncio.run(control.identify()) is None


def test_rendered_shows_the_servers_prompt(server):
    endpoint = Endpoint(server.url, "scripted")
    chat = requests(1)[0].prompt
    shown = asyncio.run(endpoint.rendered(chat, {"chat_template_kwargs": {"a": 1}, "top_k": 3}))
    assert shown == "<|system|>You are a pirate.\n<|user|>What is 0 + 1?\n<|assistant|>[a=1]"
    assert asyncio.run(endpoint.tokenize(chat))[:3] == [ord(c) for c in "<|s"]


def test_rendered_where_the_template_drops_or_refuses_the_system_message(server):
    endpoint = Endpoint(server.url, "scripted")
    chat = requests(1)[0].prompt
    server.change(system="drop")
    assert "pirate" not in asyncio.run(endpoint.rendered(chat))
    server.change(system="refuse")
    with pytest.raises(ValueError, match="System role not supported"):
        asyncio.run(endpoint.rendered(chat))


def test_rendered_where_the_server_cannot_tell(server):
    endpoint = Endpoint(server.url, "scripted")
    server.change(tokenize=False)
    assert asyncio.run(endpoint.rendered(requests(1)[0].prompt)) is None
    assert asyncio.run(endpoint.tokenize(requests(1)[0].prompt)) is None


def test_rendered_of_a_server_that_is_gone():
    with ScriptedServer() as gone:
        pass
    with pytest.raises(EngineError, match="does not answer"):
        asyncio.run(Endpoint(gone.url, "scripted").rendered(requests(1)[0].prompt))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://", "no URL of an endpoint"),
        ("ftp://host/v1", "no URL of an endpoint"),
        ("http://host:port/v1", "no URL of an endpoint"),
        ("http://user:pass-word@host/v1", "carries a password"),
        ("https://host/v1?key=pass-word", "carries a password"),
    ],
)
def test_bad_urls(url, reason):
    with pytest.raises(UsageError, match=reason) as caught:
        Endpoint(url, "m")
    assert "pass-word" not in str(caught.value)


def test_host_and_place():
    endpoint = Endpoint("http://LocalHost:8000/v1/", "m")
    assert (endpoint.host, endpoint.url, endpoint.is_local) == ("localhost:8000", "http://LocalHost:8000/v1", True)
    assert Endpoint("http://[::1]:8000/v1", "m").is_local
    assert not Endpoint("https://api.openai.com/v1", "m").is_local


def test_a_proxy_for_the_outside_world_is_not_asked_for_this_machine(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert identify(server)["id"] == "scripted"


# The scripted server itself, as the tests that kill a run use it.


def test_the_server_in_a_process_of_its_own(tmp_path):
    log = tmp_path / "sent.jsonl"
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.scripted_server", "--log", log, "--script", '{"model": "other"}'],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        port = int(child.stdout.readline())
        control = urllib.request.Request(
            f"http://127.0.0.1:{port}/control",
            data=json.dumps({"rules": [{"fault": "reply", "first": 1, "text": "?"}]}).encode(),
        )
        with urllib.request.urlopen(control) as response:
            assert json.load(response)["script"]["rules"][0]["text"] == "?"
        away = ScriptedServer(Script(model="other"), port=port)
        wanted = requests(5)
        assert [c.text for c in ask(away, wanted)] == [expected(r) for r in wanted]
    finally:
        child.terminate()
        child.wait(30)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert Counter(line["outcome"] for line in lines) == {"reply": 5, "answer": 5}
    assert set(Counter(line["key"] for line in lines).values()) == {2}
    assert all(line["arrived"] <= line["answered"] for line in lines)


def test_the_servers_answers_are_sometimes_right_and_sometimes_wrong():
    answers = [answer([{"role": "user", "content": f"What is {n} + 1?"}], 0) for n in range(200)]
    right = sum(f"{{{n + 1}}}" in text for n, text in enumerate(answers))
    assert 90 <= right <= 150
    assert answers == [answer([{"role": "user", "content": f"What is {n} + 1?"}], 0) for n in range(200)]
