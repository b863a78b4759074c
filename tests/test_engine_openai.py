"""The endpoint engine against a real server on loopback: answers, and requests under way."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from personaeval.errors import UsageError
from personaeval.models.engines.endpoint import Endpoint
from personaeval.models.engines.openai import open_engine
from personaeval.models.engines.rate_limiter import TokenBucket
from personaeval.types import Completion, Request
from tests.asking import SAMPLING, ask, expected, message, requests, settings
from tests.conftest import ROOT
from tests.scripted_server import Rule, answer


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_LOG"):
        monkeypatch.delenv(name, raising=False)


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


@pytest.mark.parametrize(
    ("choice", "written", "answer"),
    [
        (message(content=""), 1, ("", "stop", None)),
        (message(content="abc") | {"finish_reason": "length"}, 1, ("abc", "length", None)),
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


# Asking differently.


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


@pytest.mark.slow
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


@pytest.mark.slow
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
        # The event loop itself closes a generator that was left by break, in a task of its own.
        for _ in range(100):
            await asyncio.sleep(0.01 if len(asyncio.all_tasks()) > 1 else 0)
        return len(asyncio.all_tasks()), engine._client.is_closed()

    assert asyncio.run(main()) == (1, True)


@pytest.mark.slow
def test_ctrl_c_ends_at_once(server, tmp_path):
    """In a process of its own, as a user does it: exit by KeyboardInterrupt, nothing said of lost tasks."""
    server.change(rules=[Rule("hang", seconds=120)])
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, sys\n"
        "from personaeval.models.engines import EngineSettings\n"
        "from personaeval.models.engines.openai import Endpoint, open_engine\n"
        "from tests.asking import collect, requests\n"
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
    pace = TokenBucket(per_minute=120, clock=lambda: now)
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
    pace = TokenBucket(per_minute=50, clock=lambda: now)
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
