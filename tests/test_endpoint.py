"""What an endpoint says of itself, the key, and the scripted server."""

import asyncio
import json
import logging
import subprocess
import sys
import urllib.request
from collections import Counter

import pytest

from personaeval.errors import EngineError, UsageError
from personaeval.models.engines.endpoint import Endpoint
from personaeval.models.engines.probe import find_dialect
from personaeval.types import Sampling
from tests.asking import ask, expected, identify, requests, settings
from tests.conftest import ROOT
from tests.scripted_server import Rule, Script, ScriptedServer, answer


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_LOG"):
        monkeypatch.delenv(name, raising=False)


def opened(server: ScriptedServer):
    """The request that finds out what the server takes."""
    endpoint = Endpoint(server.url, "scripted")
    return find_dialect(endpoint, settings(), [Sampling()], is_chat=True, has_system=False)


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
        asyncio.run(opened(server))


def test_without_a_key_a_server_that_wants_one_says_so(server):
    server.change(key="wanted")
    assert identify(server) is None, "a list that is shown to nobody is no reason to end"
    with pytest.raises(EngineError, match="wants a key, and there is none in OPENAI_API_KEY"):
        asyncio.run(opened(server))


# What the endpoint says of itself.


def test_identity_is_what_stays_the_same(server):
    assert identify(server) == {
        "id": "scripted",
        "root": "/models/scripted",
        "owned_by": "tests",
        "max_model_len": 4096,
    }
    assert identify(server) == identify(server)


def test_a_model_that_is_not_listed_is_left_to_a_request(server):
    assert identify(server, "scriptd") is None


def test_a_name_that_is_known_and_not_listed(server):
    server.change(aliases=("deployment",))
    assert identify(server, "deployment")["root"] == "/models/deployment"


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (200, b"<html></html>", None),
        (200, b"null", None),
        (200, b'{"error": "no such method"}', None),
        (401, b"{}", None),
        (403, b"{}", None),
        (404, b"<html></html>", None),
        (500, b"{}", None),
        (200, b'[{"id": "m", "type": "chat"}]', {"id": "m"}),
        (200, b'{"models": [{"id": "m", "root": "r"}]}', {"id": "m", "root": "r"}),
        (200, b'{"data": [{"id": "other"}, 5]}', None),
    ],
)
def test_what_models_says_is_a_hint(status, body, found, monkeypatch):
    monkeypatch.setattr("personaeval.models.engines.endpoint._PROBE_RETRIES", 0)

    async def page(reader, writer) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        code, content = (404, b"") if path.endswith(b"/models/m") else (status, body)
        head = f"HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + content)
        await writer.drain()
        writer.close()

    async def main():
        async with await asyncio.start_server(page, "127.0.0.1", 0) as web_page:
            port = web_page.sockets[0].getsockname()[1]
            return await Endpoint(f"http://127.0.0.1:{port}", "m").identify()

    assert asyncio.run(main()) == found


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
    server.change(tokenize=True, system="no chats")
    assert asyncio.run(endpoint.rendered(requests(1)[0].prompt)) is None


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
    assert (endpoint.url, endpoint.is_local) == ("http://LocalHost:8000/v1", True)
    assert endpoint.place == "http://localhost:8000/v1"
    # A gateway may serve one name under several paths.
    assert endpoint.place != Endpoint("http://localhost:8000/step-500/v1", "m").place
    assert Endpoint("http://[::1]:8000/v1", "m").is_local
    assert not Endpoint("https://api.openai.com/v1", "m").is_local


def test_a_proxy_for_the_outside_world_is_not_asked_for_this_machine(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert identify(server)["id"] == "scripted"


# The scripted server itself, as the tests that kill a run use it.


@pytest.mark.slow
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
