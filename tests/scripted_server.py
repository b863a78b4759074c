"""An OpenAI-compatible server on loopback whose answers are known beforehand and whose faults are scripted.

In a test::

    with ScriptedServer(Script(rules=(Rule("status", status=500, first=2),))) as server:
        Endpoint(server.url, server.script.model)
        ...
        server.change(rules=())
        server.sent

In a process of its own, which outlives what is killed around it::

    python -m tests.scripted_server --port 0 --log sent.jsonl

It prints its port in a line, and appends a line to the log for each request it has dealt with. ``POST /control`` with
fields of :class:`Script` as JSON changes the script; ``GET /control`` tells the script and the number of requests.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import importlib
import json
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TextIO

from aiohttp import web

from personaeval.generation.sameness import PROMPTS
from personaeval.models.engines.probe import QUESTION

Answer = Callable[[list[dict[str, str]], int], str]
"""Messages and seed in, the answer out; a prompt without messages comes as one user message."""


def share_of(*parts: object) -> float:
    """A number in [0, 1) that is a function of the parts alone."""
    digest = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def answer(messages: list[dict[str, str]], seed: int) -> str:
    """Answer with a boxed number: the sum of the numbers asked for, or two times in five one that is too large."""
    question = messages[-1]["content"]
    numbers = [int(number) for number in re.findall(r"\d+", question)] or [7]
    slip = int(share_of(messages, seed) * 5)
    return f"Let me see. The answer is \\boxed{{{sum(numbers) + max(0, slip - 2)}}}."


@dataclass(frozen=True)
class Rule:
    """A fault, and the requests it meets. The first rule that fits is carried out.

    fault:
        ``status``: an error response with ``status``, ``headers`` and ``error`` (an OpenAI error object).
        ``reply``: status 200 with ``text`` as the body, whatever that is.
        ``cut``: half an answer, then the connection is closed. ``close``: the connection is closed at once.
        ``hang``: nothing, for ``seconds``.
    first: only so many tries of each prompt; None: always.
    after: only once the server has received so many requests.
    share: only this share of the prompts, chosen by hash.
    has: only requests whose body has this field.
    contains: only requests whose body holds this text.
    """

    fault: str
    first: int | None = None
    after: int = 0
    share: float = 1.0
    has: str | None = None
    contains: str = ""
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=lambda: {"message": "scripted"})
    text: str = ""
    seconds: float = 60.0

    def fits(self, body: dict[str, Any], key: str, tries: int, parsed: int) -> bool:
        return (
            (self.first is None or tries <= self.first)
            and parsed > self.after
            and share_of("fault", key) < self.share
            and (self.has is None or self.has in body)
            and self.contains in json.dumps(body, ensure_ascii=False)
        )


@dataclass(frozen=True)
class Script:
    """How the server behaves.

    model: its name; None: there is no ``/v1/models``.
    aliases: names that ``/v1/models/NAME`` knows and the list does not.
    key: what the client must send as its key; None: any will do.
    latency, jitter: seconds before an answer; the jitter is a function of the request.
    reasoning: name of the message's field for thinking; None: the model does not think.
    choice, usage: put over the choice and the usage of every answer.
    tokenize: whether ``/tokenize`` and ``/detokenize`` are there.
    character: what the answers to the fixed prompts depend on, which tell whether an endpoint is the same.
    fickle: so many of the fixed prompts are answered otherwise each time.
    probe_rules: faults that meet the fixed prompts; ``rules`` do not.
    opening_rules: faults that meet the request that finds out what the server takes; ``rules`` do not.
    system: what the template does with a system message: ``keep``, ``drop`` or ``refuse``; ``no chats``: ``/tokenize``
        takes texts alone.
    """

    model: str | None = "scripted"
    aliases: tuple[str, ...] = ()
    key: str | None = None
    latency: float = 0.0
    jitter: float = 0.0
    reasoning: str | None = None
    choice: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    tokenize: bool = True
    system: str = "keep"
    rules: tuple[Rule, ...] = ()
    character: str = "calm"
    fickle: int = 0
    probe_rules: tuple[Rule, ...] = ()
    opening_rules: tuple[Rule, ...] = ()

    def changed(self, **values: Any) -> Script:
        """A copy with other values; rules may be given as dicts."""
        if "aliases" in values:
            values["aliases"] = tuple(values["aliases"])
        for name in {"rules", "probe_rules", "opening_rules"} & set(values):
            values[name] = tuple(rule if isinstance(rule, Rule) else Rule(**rule) for rule in values[name])
        return replace(self, **values)


@dataclass(frozen=True)
class Sent:
    """A request that the server has dealt with.

    ``key`` is the hash of prompt and seed, ``body`` the whole body; ``arrived`` and ``answered`` are Unix times,
    ``outcome`` is ``answer`` or the fault.
    """

    path: str
    key: str
    body: dict[str, Any]
    arrived: float
    answered: float
    outcome: str


class ScriptedServer:
    """The server, in a thread of its own while the ``with`` block lasts."""

    def __init__(
        self, script: Script | None = None, *, answer: Answer = answer, log: TextIO | None = None, port: int = 0
    ):
        self.script = script or Script()
        self.sent: list[Sent] = []
        self.probes: list[Sent] = []
        self.openings: list[Sent] = []
        self.port = port
        self._answer = answer
        self._log = log
        self._tries: Counter[str] = Counter()
        self._received = 0
        self._ready = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def change(self, **values: Any) -> None:
        """Change the script from now on."""
        self.script = self.script.changed(**values)

    def __enter__(self) -> ScriptedServer:
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(30), "the scripted server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    async def serve(self) -> None:
        """Serve until :meth:`stop`."""
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        app = web.Application(client_max_size=2**28)
        app.add_routes(
            [
                web.get("/v1/models", self._models),
                web.get("/v1/models/{name}", self._model),
                web.post("/v1/chat/completions", self._complete),
                web.post("/v1/completions", self._complete),
                web.post("/tokenize", self._tokenize),
                web.post("/detokenize", self._detokenize),
                web.get("/control", self._state),
                web.post("/control", self._change),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, backlog=2048)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    def stop(self) -> None:
        """End :meth:`serve`; to be called in its event loop."""
        self._stop.set()

    # What a model server has.

    async def _models(self, request: web.Request) -> web.Response:
        script = self.script
        if refused := self._refuse_key(request):
            return refused
        if script.model is None:
            raise web.HTTPNotFound
        return web.json_response({"object": "list", "data": [self._entry(script.model)]})

    async def _model(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.script.aliases:
            raise web.HTTPNotFound
        return web.json_response(self._entry(name))

    def _entry(self, name: str) -> dict[str, Any]:
        now = time.time_ns()
        return {
            "id": name,
            "object": "model",
            "created": now,
            "owned_by": "tests",
            "root": f"/models/{name}",
            "parent": None,
            "max_model_len": 4096,
            "permission": [{"id": f"modelperm-{now}"}],
        }

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        arrived = time.time()
        if refused := self._refuse_key(request):
            return refused
        body = await request.json()
        if self.script.model is not None and body["model"] not in (self.script.model, *self.script.aliases):
            error = {"message": f"The model {body['model']} does not exist.", "code": "model_not_found"}
            return web.json_response({"error": error}, status=404)
        is_probe, is_opening = _is_probe(body), _is_opening(body)
        self._received += not (is_probe or is_opening)
        parsed = len(self.openings) + 1 if is_opening else self._received
        prompt = body.get("messages", body.get("prompt"))
        key = hashlib.blake2b(json.dumps([prompt, body.get("seed")]).encode(), digest_size=16).hexdigest()
        self._tries[key] += 1
        tries = self._tries[key]
        rules = self.script.opening_rules if is_opening else self.script.rules
        rules = self.script.probe_rules if is_probe else rules
        rule = next((rule for rule in rules if rule.fits(body, key, tries, parsed)), None)
        outcome = rule.fault if rule else "answer"
        try:
            await asyncio.sleep(self.script.latency + self.script.jitter * share_of("jitter", key))
            if rule is not None and rule.fault == "hang":
                await asyncio.sleep(rule.seconds)
            return self._fail(request, rule, body) if rule else web.json_response(self._reply(body))
        finally:
            self._note(Sent(request.path, key, body, arrived, time.time(), outcome))

    def _reply(self, body: dict[str, Any]) -> dict[str, Any]:
        script = self.script
        messages = body.get("messages")
        asked = messages or [{"role": "user", "content": body["prompt"]}]
        if _is_opening(body):
            text = "OK."
        elif _is_probe(body):
            is_fickle = PROMPTS.index(asked[0]["content"]) < script.fickle
            text = f"{share_of(script.character, asked, len(self.probes) if is_fickle else 0)}: so I am."
        else:
            text = self._answer(asked, body.get("seed", 0))
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        if messages is None:
            choice["text"] = text
        else:
            choice["message"] = {"role": "assistant", "content": text}
            if script.reasoning is not None:
                choice["message"][script.reasoning] = f"I was asked with seed {body.get('seed')}."
        read, written = sum(len(message["content"]) for message in asked), len(text)
        usage: dict[str, Any] = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
        usage["prompt_tokens_details"] = {"cached_tokens": read // 2}
        return {
            "id": "scripted",
            "object": "text_completion" if messages is None else "chat.completion",
            "created": int(time.time()),
            "model": body["model"],
            "choices": [choice | script.choice],
            "usage": usage | script.usage,
        }

    def _fail(self, request: web.Request, rule: Rule, body: dict[str, Any]) -> web.StreamResponse:
        if rule.fault == "status":
            return web.json_response({"error": rule.error}, status=rule.status, headers=rule.headers)
        if rule.fault == "reply":
            return web.Response(text=rule.text, content_type="application/json")
        transport = request.transport
        if transport is not None:
            if rule.fault == "cut":
                whole = json.dumps(self._reply(body)).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(whole)}\r\n\r\n"
                transport.write(head.encode() + whole[: len(whole) // 2])
            transport.close()
        return web.Response()

    def _refuse_key(self, request: web.Request) -> web.Response | None:
        wanted = self.script.key
        if wanted is None or request.headers.get("Authorization") == f"Bearer {wanted}":
            return None
        return web.json_response({"error": {"message": "scripted: wrong key"}}, status=401)

    async def _tokenize(self, request: web.Request) -> web.Response:
        """Take each character for a token of a template in the manner of ChatML."""
        if not self.script.tokenize:
            raise web.HTTPNotFound
        body = await request.json()
        messages = body["messages"]
        if self.script.system == "no chats":
            return web.json_response({"error": {"message": "Field required: prompt"}}, status=400)
        if self.script.system != "keep" and messages[0]["role"] == "system":
            if self.script.system == "refuse":
                error = {"message": "System role not supported", "code": 400}
                return web.json_response({"error": error}, status=400)
            messages = messages[1:]
        text = "".join(f"<|{message['role']}|>{message['content']}\n" for message in messages) + "<|assistant|>"
        text += "".join(f"[{name}={value}]" for name, value in sorted(body.get("chat_template_kwargs", {}).items()))
        return web.json_response({"count": len(text), "max_model_len": 4096, "tokens": [ord(c) for c in text]})

    async def _detokenize(self, request: web.Request) -> web.Response:
        if not self.script.tokenize:
            raise web.HTTPNotFound
        return web.json_response({"prompt": "".join(map(chr, (await request.json())["tokens"]))})

    # What a test has beside.

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response({"script": asdict(self.script), "received": self._received})

    async def _change(self, request: web.Request) -> web.Response:
        try:
            self.change(**await request.json())
        except TypeError as error:
            known = [one.name for one in fields(Script)]
            return web.json_response({"error": f"{error}; fields: {known}"}, status=400)
        return await self._state(request)

    def _note(self, sent: Sent) -> None:
        if _is_probe(sent.body):
            # No request of a run: tests count those.
            self.probes.append(sent)
        elif _is_opening(sent.body):
            self.openings.append(sent)
        elif self._log is None:
            self.sent.append(sent)
        else:
            digest = hashlib.blake2b(json.dumps(sent.body, sort_keys=True).encode(), digest_size=16).hexdigest()
            print(json.dumps(asdict(sent) | {"body": digest}), file=self._log, flush=True)


def _is_probe(body: dict[str, Any]) -> bool:
    messages = body.get("messages")
    return isinstance(messages, list) and len(messages) == 1 and messages[0].get("content") in PROMPTS


def _is_opening(body: dict[str, Any]) -> bool:
    """Whether it is asked what the server takes, before a run."""
    asked = (body.get("messages") or [{"content": body.get("prompt")}])[-1]["content"]
    return isinstance(asked, str) and asked.endswith(QUESTION)


def main() -> None:
    """Serve in this process until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description="An OpenAI-compatible server whose answers and faults are scripted.")
    parser.add_argument("--port", type=int, default=0, help="0: a free one, which is printed")
    parser.add_argument("--log", type=Path, help="file to which each request is appended as a line of JSON")
    parser.add_argument("--script", type=json.loads, default={}, help="fields of Script as JSON")
    parser.add_argument("--answer", default="tests.scripted_server:answer", help="MODULE:FUNCTION that answers")
    arguments = parser.parse_args()
    module, _, name = arguments.answer.partition(":")
    answers: Answer = getattr(importlib.import_module(module), name)
    log = arguments.log.open("a", encoding="utf-8") if arguments.log else None
    server = ScriptedServer(Script().changed(**arguments.script), answer=answers, log=log, port=arguments.port)

    async def serve() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, server.stop)
        serving = asyncio.create_task(server.serve())
        while not server._ready.is_set() and not serving.done():
            await asyncio.sleep(0.01)
        print(server.port, flush=True)
        await serving

    asyncio.run(serve())


if __name__ == "__main__":
    main()
