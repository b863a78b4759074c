"""How fast the panel judges: 10 000 responses × 2 judges against a server on loopback that answers at once.

Compared with a bare loop: the same client, the same server, the same requests, the same number under way, nothing kept.
The two take turns, a part of the requests at a time, so that whatever else the machine does meets both::

    python benchmarks/judge.py [--responses 10000] [--concurrency 64]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from personaeval.config import JudgeOptions, ModelOptions
from personaeval.judge.judge_prompt import judge_prompt, preamble
from personaeval.judge.judgements import collect, judgement_rows
from personaeval.judge.panel import JudgeInput, in_order, open_panel
from personaeval.judge.rubrics import load_rubrics
from personaeval.library.registry import builtin_folder
from personaeval.models.engines.endpoint import Endpoint
from personaeval.progress import open_progress
from personaeval.results.ledger import LEDGER, Ledger

JUDGES = 2
PARTS = 5
REPLY = json.dumps({"reasoning": "It holds. " * 20, "refusal": False, "ai_admission": False, "score": 4})


def serve(ports: Any) -> None:
    """Answer every chat at once with the same reply."""
    from aiohttp import web

    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": REPLY}}
    usage = {"prompt_tokens": 900, "completion_tokens": 60, "total_tokens": 960}
    answer = json.dumps({"id": "x", "object": "chat.completion", "created": 0, "choices": [choice], "usage": usage})

    async def complete(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text=answer, content_type="application/json")

    async def models(_: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": f"judge-{n}"} for n in range(JUDGES)]})

    async def run() -> None:
        app = web.Application(client_max_size=2**28)
        app.add_routes([web.get("/v1/models", models), web.post("/v1/chat/completions", complete)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
        ports.put(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


def make_exhibits(count: int) -> list[JudgeInput]:
    """Responses of the usual length, all different, over all rubrics."""
    folder = builtin_folder() / "tasks" / "personagym" / "rubrics"
    rubrics = load_rubrics(folder, [path.stem for path in folder.glob("*.yaml")])
    leads = [(name, preamble(rubric)) for name, rubric in rubrics.items()]
    judge_inputs = []
    for number in range(count):
        name, lead = leads[number % len(leads)]
        text = f"Listen, number {number}. “I have been at sea since I was a boy” – " * 18
        who = "a 61-year-old skipper who never sails on a Friday"
        judge_inputs.append(
            JudgeInput(lead, "bench", str(number), "skipper", 0, name, who, "What do you do now?", text)
        )
    return in_order(judge_inputs)


def bare(url: str, judge_inputs: list[JudgeInput], concurrency: int) -> float:
    """The seconds that the bare loop takes."""

    async def run() -> float:
        client = Endpoint(url, "judge-0").connect(60, 0, concurrency)
        prompts: Iterator[tuple[str, str]] = iter(
            [
                (f"judge-{judge}", judge_prompt(one.lead, one.persona, one.question, one.response))
                for judge in range(JUDGES)
                for one in judge_inputs
            ]
        )

        async def pending() -> None:
            for model, prompt in prompts:
                await client.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": prompt}], temperature=0, max_tokens=1024
                )

        began = time.perf_counter()
        await asyncio.gather(*(pending() for _ in range(concurrency)))
        seconds = time.perf_counter() - began
        await client.close()
        return seconds

    return asyncio.run(run())


def judged(url: str, judge_inputs: list[JudgeInput], concurrency: int, folder: Path) -> float:
    """The seconds that the panel takes, from responses to ratings."""
    judges = tuple(f"openai:judge-{number}@{url}" for number in range(JUDGES))
    panel = open_panel(JudgeOptions(judge=judges), ModelOptions(concurrency=concurrency), folder)
    assert panel is not None
    began = time.perf_counter()
    with Ledger(folder / LEDGER) as ledger:
        panel_result = panel.judge(judge_inputs, ledger, open_progress(quiet=True))
        ratings = collect(judgement_rows(panel, judge_inputs, panel_result))["bench"]
    seconds = time.perf_counter() - began
    assert ratings.scores.shape == (len(judge_inputs), JUDGES, 1)
    assert (ratings.scores == 4).all()
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--responses", type=int, default=10_000)
    parser.add_argument("--concurrency", type=int, default=64)
    arguments = parser.parse_args()
    ports: Any = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(ports,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ports.get()}/v1"
    judge_inputs = make_exhibits(arguments.responses)
    size = -(-len(judge_inputs) // PARTS)
    loop = panel = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for start in range(0, len(judge_inputs), size):
            part = judge_inputs[start : start + size]
            loop += bare(url, part, arguments.concurrency)
            panel += judged(url, part, arguments.concurrency, Path(folder))
    server.terminate()
    calls = len(judge_inputs) * JUDGES
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{calls:,} judgements: panel {calls / panel:,.0f}/s, bare loop {calls / loop:,.0f}/s")
    print(f"the panel has {loop / panel:.0%} of the bare loop's rate; peak memory {memory:.2f} GiB")


if __name__ == "__main__":
    main()
