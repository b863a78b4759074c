"""The vLLM engine: real vLLM on the real small model (``make test-vllm``)."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from personaeval.errors import EngineError, UsageError
from personaeval.models.engines import EngineSettings
from personaeval.models.engines import vllm as engine_module
from personaeval.types import Completion, Request, Sampling

pytestmark = pytest.mark.vllm

ROOT = Path(__file__).resolve().parent.parent
# Many processors multiply bfloat16 in software, seven times as slowly.
SETTINGS = EngineSettings(dtype="float32", arguments={"max_model_len": 512})
SYSTEM = "You are a swaggering pirate captain, feared on all the seven seas, who loves rum, parrots and maps. " * 8

CHILD = """
import asyncio, sys
from transformers import AutoTokenizer
from personaeval.models.engines import EngineSettings
from personaeval.types import Request
from personaeval.types import Sampling
from personaeval.models.engines.vllm import open_engine

async def main(path):
    settings = EngineSettings(dtype="float32", arguments={"max_model_len": 512})
    engine = await open_engine(path, AutoTokenizer.from_pretrained(path), settings)
    try:
        lengths = [Sampling(max_tokens=1), Sampling(max_tokens=400, temperature=1.0)]
        requests = (Request(row, b"", f"Count from {row}:", lengths[row > 0], row) for row in range(10**9))
        async for _ in engine.generate(requests):
            print("generating", flush=True)
    finally:
        await engine.close()
        print("closed", flush=True)

if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(smollm2)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def engine(smollm2: Path, tokenizer: Any, runner: asyncio.Runner) -> Iterator[Any]:
    """One engine for the tests that leave it well. None of its processes may be left at the end."""
    engine = runner.run(engine_module.open_engine(str(smollm2), tokenizer, SETTINGS))
    processes = engine_processes(os.getpid())
    assert processes
    yield engine
    runner.run(engine.close())
    runner.run(engine.close())
    assert_gone(processes)


def engine_processes(pid: int) -> list[Any]:
    """The descendants of a process that vLLM or the engine started."""
    found = psutil.Process(pid).children(recursive=True)
    return [process for process in found if "resource_tracker" not in command(process)]


def assert_gone(processes: list[Any], seconds: float = 30) -> None:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    alive = [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    assert not alive, f"left after {seconds} s: {alive}"


def ask(tokenizer: Any, questions: Iterable[str], sampling: Sampling, seed: int = 0) -> list[Request]:
    chats = [[{"role": "system", "content": SYSTEM}, {"role": "user", "content": q}] for q in questions]
    prompts = [tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) for chat in chats]
    return [Request(row, b"key%d" % row, prompt, sampling, seed) for row, prompt in enumerate(prompts)]


def answer(runner: asyncio.Runner, engine: Any, requests: Iterable[Request]) -> list[Completion]:
    async def collect() -> list[Completion]:
        return [completion async for completion in engine.generate(iter(requests))]

    return sorted(runner.run(collect()), key=lambda completion: completion.row)


def test_each_request_is_answered_once(engine: Any, tokenizer: Any, runner: asyncio.Runner) -> None:
    requests = ask(tokenizer, [f"What is {n} + {n}?" for n in range(24)], Sampling(max_tokens=16))
    completions = answer(runner, engine, requests)
    assert [(c.row, c.key) for c in completions] == [(r.row, r.key) for r in requests]
    for request, completion in zip(requests, completions, strict=True):
        assert completion.error is None
        assert completion.prompt_tokens == len(tokenizer(request.prompt)["input_ids"])
        assert (completion.finish_reason == "length") == (
            completion.completion_tokens == 16 and not completion.text.endswith("<|im_end|>")
        )
        assert "<|im_" not in completion.text
    assert "stop" in {c.finish_reason for c in completions}, "the end token of the generation config does not stop"
    again = answer(runner, engine, [replace(requests[3], row=0)])
    assert again[0].cached_tokens >= 128
    assert again[0].text == completions[3].text


def test_a_seed_gives_its_own_sample(engine: Any, tokenizer: Any, runner: asyncio.Runner) -> None:
    sampling = Sampling(temperature=1.0, top_p=0.95, max_tokens=12)
    first = ask(tokenizer, ["Tell a story."] * 4, sampling)
    requests = [replace(request, seed=request.row // 2) for request in first]
    texts = [c.text for c in answer(runner, engine, requests)]
    assert texts[0] == texts[1]
    assert texts[2] == texts[3]
    assert texts[0] != texts[2]


def test_many_long_prompts_are_drawn_from_with_seeds(engine: Any, tokenizer: Any, runner: asyncio.Runner) -> None:
    # Together more than vLLM reads in one step; on a CPU it fails on a seeded prompt that it has read in part.
    prompts = [f"{number}: {'one two three four five ' * 60}" for number in range(48)]
    sampling = Sampling(temperature=1.0, max_tokens=4)
    requests = [Request(row, b"long%d" % row, prompt, sampling, row) for row, prompt in enumerate(prompts)]
    completions = answer(runner, engine, requests)
    assert len(completions) == len(prompts)
    assert not any(completion.error for completion in completions)
    assert sum(completion.prompt_tokens for completion in completions) > 48 * 250


def test_a_stop_string_ends_the_answer(engine: Any, tokenizer: Any, runner: asyncio.Runner) -> None:
    (free,) = answer(runner, engine, ask(tokenizer, ["Count from one to five."], Sampling(max_tokens=24)))
    stop = free.text[5:9]
    sampling = Sampling(max_tokens=24, stop=("never written", stop))
    (stopped,) = answer(runner, engine, ask(tokenizer, ["Count from one to five."], sampling))
    assert stopped.text == free.text[: free.text.index(stop)]
    assert stopped.finish_reason == "stop"


def test_the_context_bounds_prompt_and_answer(engine: Any, tokenizer: Any, runner: asyncio.Runner) -> None:
    near = "word " * 500
    requests = [
        Request(0, b"long", "word " * 900, Sampling(max_tokens=8), 0),
        Request(1, b"near", near, Sampling(max_tokens=400), 0),
        Request(2, b"short", "word", Sampling(max_tokens=8), 0),
        Request(3, b"empty", "", Sampling(max_tokens=8), 0),
        Request(4, b"wrong", "word", Sampling(max_tokens=8, top_p=7.0, temperature=1.0), 0),
    ]
    long, near_end, short, empty, wrong = answer(runner, engine, requests)
    assert long.error is not None
    assert str(len(tokenizer("word " * 900)["input_ids"])) in long.error
    assert "512" in long.error
    assert near_end.prompt_tokens + near_end.completion_tokens <= 512
    assert near_end.error is None
    assert short.error is None
    assert empty.error is not None
    assert wrong.error is not None
    assert "top_p" in wrong.error


def test_leaving_early_leaves_a_working_engine(engine: Any, tokenizer: Any, runner: asyncio.Runner) -> None:
    template = ask(tokenizer, ["Tell a story."], Sampling(max_tokens=32))[0]
    pulled = 0

    def endless() -> Iterator[Request]:
        nonlocal pulled
        while True:
            yield replace(template, row=pulled)
            pulled += 1

    async def take(count: int) -> int:
        completions = engine.generate(endless())
        for _ in range(count):
            await anext(completions)
        await completions.aclose()
        return count

    assert runner.run(take(3)) == 3
    assert 3 <= pulled <= 2 * 4096
    assert answer(runner, engine, [template])[0].error is None


def start_child(smollm2: Path, folder: Path) -> subprocess.Popen[str]:
    script = folder / "child.py"
    script.write_text(CHILD)
    return subprocess.Popen(
        [sys.executable, str(script), str(smollm2)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def await_descendants(child: subprocess.Popen[str], phase: str) -> list[Any]:
    """Wait until the child starts its engine or writes its first completion; return all its descendants."""
    if phase == "generating":
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "generating"
        return psutil.Process(child.pid).children(recursive=True)
    while not (found := [p for p in psutil.Process(child.pid).children() if "spawn_main" in command(p)]):
        assert child.poll() is None
        time.sleep(0.05)
    time.sleep(2)
    return found + psutil.Process(child.pid).children(recursive=True)


def command(process: Any) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has gone, or is a zombie
        return ""


@pytest.mark.parametrize("phase", ["starting", "generating"])
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_no_engine_process_outlives_its_parent(smollm2: Path, tmp_path: Path, phase: str, how: str) -> None:
    child = start_child(smollm2, tmp_path)
    try:
        processes = await_descendants(child, phase)
        assert len(processes) >= 2
        if how == "SIGKILL":
            os.kill(child.pid, signal.SIGKILL)
        else:  # Ctrl-C reaches every process of the terminal's foreground group.
            os.killpg(child.pid, signal.SIGINT)
            assert child.wait(timeout=60) == 130
        assert_gone(processes)
    finally:
        child.kill()
        child.wait()


def test_an_engine_that_dies_is_an_engine_error(smollm2: Path, tokenizer: Any) -> None:
    before = set(engine_processes(os.getpid()))

    async def use() -> None:
        engine = await engine_module.open_engine(str(smollm2), tokenizer, SETTINGS)
        processes = set(engine_processes(os.getpid())) - before
        assert processes
        try:
            first, *others = ask(tokenizer, ["Tell a story."] * 100, Sampling(max_tokens=200))
            requests = [replace(first, sampling=Sampling(max_tokens=1)), *others]
            with pytest.raises(EngineError, match="died"):
                async for _ in engine.generate(iter(requests)):
                    for process in engine._processes:
                        process.kill()
        finally:
            await engine.close()
        assert_gone(list(processes))

    asyncio.run(use())


def test_a_start_that_fails_says_why(smollm2: Path, tokenizer: Any) -> None:
    before = set(engine_processes(os.getpid()))

    def opening(**settings: Any) -> None:
        asyncio.run(engine_module.open_engine(str(smollm2), tokenizer, EngineSettings(**settings)))

    with pytest.raises(UsageError, match=r"max_modellen.*max_model_len"):
        opening(arguments={"max_modellen": 512})
    with pytest.raises(UsageError, match="--dtype"):
        opening(arguments={"dtype": "float16"})
    with pytest.raises(EngineError, match=r"bfloat16.*--dtype"):
        opening(dtype="float99")
    with pytest.raises(EngineError, match=r"KV cache.*max_model_len"):
        opening(arguments={"num_gpu_blocks_override": 2})
    assert_gone([process for process in engine_processes(os.getpid()) if process not in before])


def test_cores_are_named_as_ranges() -> None:
    assert engine_module._ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"
    assert engine_module._ranges([3]) == "3"


def test_the_version_is_that_of_the_module() -> None:
    import vllm

    assert engine_module.version() == vllm.__version__
