"""Requests for the scripted server, and what comes back."""

import asyncio

from personaeval.models.engines import EngineSettings
from personaeval.models.engines.endpoint import Endpoint
from personaeval.models.engines.openai import OpenAIEngine
from personaeval.types import Completion, Request, Sampling
from tests.scripted_server import ScriptedServer, answer

NOW = {"retry-after-ms": "1"}
"""Makes the client's own retries quick."""
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=64)


def requests(count: int, sampling: Sampling = SAMPLING) -> list[Request]:
    prompts = [
        ({"role": "system", "content": "You are a pirate."}, {"role": "user", "content": f"What is {n} + 1?"})
        for n in range(count)
    ]
    return [Request(n, b"key%d" % n, prompt, sampling, seed=100 + n) for n, prompt in enumerate(prompts)]


def settings(**values) -> EngineSettings:
    return EngineSettings(**{"concurrency": 8, "patience": 0} | values)


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


def message(**values) -> dict:
    return {"message": {"role": "assistant", **values}}
