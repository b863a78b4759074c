"""Any causal language model on PyTorch: a checkpoint where vLLM is not at hand, or a live model inside a trainer.

Prompts of similar length are decoded together, left-padded, in a worker thread. A row that has finished leaves the
batch at once, so that a few long answers do not make the short ones' rows be computed to the end.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from personaeval.engines import Completion, EngineSettings, Request, Sampling
from personaeval.errors import EngineError, UsageError

_WINDOW = 1024
"""Requests looked at together to find prompts of similar length."""
_MAX_ROWS = {"cpu": 128, "cuda": 512, "mps": 64}
_PREFILL_TOKENS = {"cpu": 16_384, "cuda": 65_536, "mps": 8_192}
"""Padded prompt tokens of one batch: bounds the activations of the first forward pass."""
_MEMORY_SHARE = 0.6
_DROP_SHARE = 16
"""Finished rows leave once they are a sixteenth of the batch: leaving copies the cache of those that stay."""


def version() -> str:
    """Return the version of the installed transformers."""
    import transformers

    return str(transformers.__version__)


async def open_engine(model: str, tokenizer: Any, settings: EngineSettings) -> TransformersEngine:
    """Load the checkpoint directory ``model``.

    Raises:
        UsageError: an unknown device or engine argument.
        EngineError: PyTorch or transformers is missing, or the weights cannot be loaded.
    """
    loaded = await asyncio.to_thread(_load, model, settings)
    return TransformersEngine(loaded, tokenizer)


def _load(model: str, settings: EngineSettings) -> Any:
    try:
        import torch
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise EngineError(
            f"transformers engine: cannot be imported ({error}); pip install 'personaeval[transformers]'."
        ) from error
    device = choose_device(settings.device)
    # The argument was renamed in transformers 4.56.
    dtype_name = "dtype" if tuple(map(int, version().split(".")[:2])) >= (4, 56) else "torch_dtype"
    arguments = {
        dtype_name: getattr(torch, settings.dtype),
        "trust_remote_code": settings.trust_remote_code,
        **settings.arguments,
    }
    try:
        loaded = AutoModelForCausalLM.from_pretrained(model, **arguments)
        return loaded if "device_map" in settings.arguments else loaded.to(device)
    except TypeError as error:
        given = ", ".join(settings.arguments) or "none"
        raise UsageError(
            f"transformers engine, {model}: {error}. Engine arguments given: {given}; what --engine-arg names must "
            "be an argument of transformers' from_pretrained."
        ) from error
    except Exception as error:
        raise EngineError(
            f"transformers engine, {model}: the model cannot be loaded ({type(error).__name__}: {error}). Check the "
            "checkpoint, --dtype and the memory of the device, or use the vllm engine."
        ) from error


def choose_device(wanted: str) -> str:
    """Return the device to use: ``auto`` is the first of CUDA, MPS and CPU that is there.

    Raises:
        UsageError: a device that PyTorch does not know or does not see.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, present in there.items() if present)
    try:
        kind = torch.device(wanted).type
    except RuntimeError as error:
        raise UsageError(f"--device {wanted}: PyTorch knows no such device; take auto, cuda, mps or cpu.") from error
    if not there.get(kind, True):
        raise UsageError(f"--device {wanted}: PyTorch sees no such device on this machine; take auto or cpu.")
    return wanted


@dataclass(slots=True)
class _Row:
    """A request being decoded: its prompt and what has been written so far."""

    request: Request
    prompt: list[int]
    limit: int
    written: list[int] = field(default_factory=list)
    text: str | None = None
    finish_reason: str = ""

    def completion(self, decode: Callable[[list[int]], str]) -> Completion:
        return Completion(
            row=self.request.row,
            key=self.request.key,
            text=decode(self.written) if self.text is None else self.text,
            finish_reason=self.finish_reason,
            prompt_tokens=len(self.prompt),
            completion_tokens=len(self.written),
        )


class TransformersEngine:
    """Decodes batches with a loaded causal language model, which may be in the middle of its training."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """Take a model that sits on its device in its dtype, and its tokenizer (which is not changed)."""
        self._model = model
        self._tokenizer = tokenizer
        self._limits = _Limits(model)
        self._eos = _eos_ids(model, tokenizer)
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._stop = threading.Event()
        self._thread: asyncio.Task[None] | None = None
        self._keep = next((name for name in ("logits_to_keep", "num_logits_to_keep") if name in accepted), None)

    async def generate(self, requests: Iterator[Request]) -> AsyncIterator[Completion]:
        """Yield one completion for each request, as each finishes.

        Raises:
            EngineError: the model failed; what was yielded until then stays valid.
        """
        while window := list(islice(requests, _WINDOW)):
            rows, refused = await asyncio.to_thread(self._prepare, window)
            for completion in refused:
                yield completion
            async with aclosing(self._in_thread(rows)) as completions:
                async for completion in completions:
                    yield completion

    async def close(self) -> None:
        """Stop, and let go of the model: its memory is free once the caller has let go of it too."""
        if self._model is None:
            return
        # A caller that failed between two completions has left generate() waiting.
        self._stop.set()
        if self._thread is not None and not self._thread.done():
            await asyncio.wait([self._thread])
        self._model = None
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _prepare(self, window: Sequence[Request]) -> tuple[list[_Row], list[Completion]]:
        """Tokenise, and refuse what has no room for a single new token."""
        rows, refused = [], []
        context = self._limits.context
        for request, prompt in zip(window, tokenise(self._tokenizer, window), strict=True):
            room = context - len(prompt)
            if room < 1 or not prompt:
                refused.append(refuse(request, len(prompt), context))
            else:
                rows.append(_Row(request, prompt, int(min(request.sampling.max_tokens, room))))
        return rows, refused

    async def _in_thread(self, rows: list[_Row]) -> AsyncGenerator[Completion, None]:
        """Decode rows in a worker thread and yield what it completes; leaving early stops the thread."""
        loop = asyncio.get_running_loop()
        finished: asyncio.Queue[Completion | None] = asyncio.Queue()
        stop = self._stop = threading.Event()

        def emit(completion: Completion | None) -> None:
            loop.call_soon_threadsafe(finished.put_nowait, completion)

        def work() -> None:
            try:
                self._decode_all(rows, emit, stop)
            finally:
                emit(None)

        thread = self._thread = asyncio.create_task(asyncio.to_thread(work))
        try:
            while (completion := await finished.get()) is not None:
                yield completion
            await thread
        except RuntimeError as error:
            raise EngineError(
                f"transformers engine: the model failed ({type(error).__name__}: {error}). What it had answered is "
                "kept; run the same command again to go on."
            ) from error
        finally:
            stop.set()
            await asyncio.wait([thread])

    def _decode_all(self, rows: list[_Row], emit: Callable[[Completion], None], stop: threading.Event) -> None:
        """Decode rows batch by batch; a batch that does not fit into memory is halved."""
        import torch

        was_training = self._model.training
        self._model.eval()
        waiting = list(self._limits.batches(rows))[::-1]
        try:
            while waiting and not stop.is_set():
                batch = waiting.pop()
                try:
                    with torch.inference_mode():
                        self._decode(batch, emit, stop)
                    continue
                except RuntimeError as error:
                    if not _out_of_memory(error):
                        raise
                # Outside of the except clause, whose traceback holds the tensors that did not fit.
                left = [row for row in batch if not row.finish_reason]
                self._limits.shrink(len(batch) // 2)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                if len(batch) == 1:
                    emit(_too_big(batch[0]))
                    continue
                for row in left:
                    row.written.clear()
                waiting.extend(half for half in (left[len(left) // 2 :], left[: len(left) // 2]) if half)
        finally:
            self._model.train(was_training)

    def _decode(self, rows: list[_Row], emit: Callable[[Completion], None], stop: threading.Event) -> None:
        """Write all rows of a batch to their ends. Shapes: ids, mask and positions are (rows, tokens)."""
        import torch

        sampling = rows[0].request.sampling
        ids, mask = self._pad(rows)
        draw = _Drawer(sampling, rows, ids.device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = None
        alive = list(rows)
        places = list(range(len(rows)))
        for step in range(max(row.limit for row in rows)):
            logits, cache = self._forward(ids, mask, positions, cache)
            tokens = draw(logits, step)
            for place, token in enumerate(tokens.tolist()):
                row = alive[place]
                if not row.finish_reason and self._append(row, token):
                    emit(row.completion(self._text))
            places = [place for place, row in enumerate(alive) if not row.finish_reason]
            if not places or stop.is_set():
                return
            if (len(alive) - len(places)) * _DROP_SHARE >= len(alive):
                index = torch.tensor(places, device=ids.device)
                alive = [alive[place] for place in places]
                cache.reorder_cache(index)
                tokens, mask, positions = tokens[index], mask[index], positions[index]
                draw.keep(index)
            ids = tokens[:, None]
            mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
            positions = positions[:, -1:] + 1

    def _pad(self, rows: Sequence[_Row]) -> tuple[Any, Any]:
        """Return token ids and attention mask, (rows, longest prompt), padded on the left."""
        import torch

        width = max(len(row.prompt) for row in rows)
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, width - len(row.prompt) :] = torch.tensor(row.prompt)
            mask[index, width - len(row.prompt) :] = 1
        device = self._model.device
        return ids.to(device), mask.to(device)

    def _forward(self, ids: Any, mask: Any, positions: Any, cache: Any) -> tuple[Any, Any]:
        """Return the logits of the last position, (rows, vocabulary) in float32, and the grown cache."""
        arguments = {"input_ids": ids, "attention_mask": mask, "past_key_values": cache, "use_cache": True}
        if self._takes_positions:
            arguments["position_ids"] = positions
        if self._keep:
            arguments[self._keep] = 1
        output = self._model(**arguments)
        cache = getattr(output, "past_key_values", None)
        if not hasattr(cache, "reorder_cache"):
            raise EngineError(
                f"transformers engine: {type(self._model).__name__} keeps no key-value cache that batches can be "
                "decoded with. Use the vllm engine for this architecture."
            )
        return output.logits[:, -1].float(), cache

    def _append(self, row: _Row, token: int) -> bool:
        """Add a token to a row; return whether that finished it."""
        row.written.append(token)
        if token in self._eos:
            row.text = self._text(row.written[:-1])
            row.finish_reason = "stop"
        elif (cut := self._stopped(row)) is not None:
            row.text = cut
            row.finish_reason = "stop"
        elif len(row.written) >= row.limit:
            row.finish_reason = "length"
        return bool(row.finish_reason)

    def _stopped(self, row: _Row) -> str | None:
        """Return the text up to the first stop string, once there is one."""
        stops = row.request.sampling.stop
        if not stops:
            return None
        # A token is at least a byte, so a stop string ending now lies within this many of the last ones.
        reach = max(len(stop.encode()) for stop in stops) + 4
        tail = self._text(row.written[-reach:])
        if not any(stop in tail for stop in stops):
            return None
        text = self._text(row.written)
        found = [at for stop in stops if (at := text.find(stop)) >= 0]
        return text[: min(found)] if found else None

    def _text(self, tokens: list[int]) -> str:
        decoded = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(decoded)


class _Drawer:
    """Draws a batch's next tokens: the likeliest, or by each row's own random numbers."""

    def __init__(self, sampling: Sampling, rows: Sequence[_Row], device: Any) -> None:
        self._sampling = sampling
        if sampling.temperature > 0:
            self._uniform = _uniform(rows, device)

    def __call__(self, logits: Any, step: int) -> Any:
        """Return (rows,) token ids for (rows, vocabulary) logits.

        Sampling inverts the cumulative distribution of the tokens sorted by probability, cut to the smallest
        nucleus of at least ``top_p``: one uniform number a token, whatever the other rows of the batch are.
        """
        import torch

        if self._sampling.temperature <= 0:
            return logits.argmax(-1)
        ordered, tokens = (logits / self._sampling.temperature).softmax(-1).sort(dim=-1, descending=True)
        mass = ordered.cumsum(-1)
        nucleus = mass - ordered < self._sampling.top_p
        kept = torch.where(nucleus, ordered, 0).cumsum(-1)
        goal = self._uniform[:, step, None] * kept[:, -1:]
        # A goal rounded up to the whole mass would otherwise fall behind the last token.
        place = torch.searchsorted(kept, goal, right=True).clamp(max=nucleus.sum(-1, keepdim=True) - 1)
        return tokens.gather(-1, place)[:, 0]

    def keep(self, index: Any) -> None:
        """Forget all rows but these."""
        if self._sampling.temperature > 0:
            self._uniform = self._uniform[index]


def _uniform(rows: Sequence[_Row], device: Any) -> Any:
    """Return (rows, tokens) uniform numbers in [0, 1); a row's depend on its seed alone, not on the device."""
    import torch

    numbers = torch.empty(len(rows), max(row.limit for row in rows))
    for index, row in enumerate(rows):
        generator = torch.Generator().manual_seed(row.request.seed % 2**63)
        drawn = torch.rand(row.request.sampling.max_tokens, generator=generator)
        numbers[index, : row.limit] = drawn[: row.limit]
    return numbers.to(device)


class _Limits:
    """How many rows a batch may have: bounded by memory and, on a failure, by experience."""

    def __init__(self, model: Any) -> None:
        config = model.config.get_text_config()
        kind = model.device.type
        self.context: float = getattr(config, "max_position_embeddings", None) or math.inf
        self._max_rows = _MAX_ROWS.get(kind, 64)
        self._prefill = _PREFILL_TOKENS.get(kind, 8_192)
        self._cached = max(1, int(_free_memory(model.device) * _MEMORY_SHARE / _cache_bytes(config, model.dtype)))

    def shrink(self, rows: int) -> None:
        """Keep to this many rows from now on."""
        self._max_rows = max(1, min(self._max_rows, rows))

    def batches(self, rows: Sequence[_Row]) -> Iterator[list[_Row]]:
        """Split rows into batches of one sampling each, the longest prompts first."""
        groups: dict[Sampling, list[_Row]] = {}
        for row in rows:
            groups.setdefault(row.request.sampling, []).append(row)
        for group in groups.values():
            group.sort(key=lambda row: len(row.prompt), reverse=True)
            while group:
                longest = len(group[0].prompt)
                fit = min(
                    self._max_rows,
                    self._prefill // longest,
                    self._cached // (longest + group[0].request.sampling.max_tokens),
                )
                count = max(1, fit)
                yield group[:count]
                del group[:count]


def _cache_bytes(config: Any, dtype: Any) -> int:
    """Return the bytes of keys and values for one token of one row."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * dtype.itemsize)


def _free_memory(device: Any) -> int:
    """Return the bytes a batch may count on."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    # Main memory is shared with everything else that runs on the machine.
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") // 3


def _out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _too_big(row: _Row) -> Completion:
    return Completion(
        row=row.request.row,
        key=row.request.key,
        text="",
        finish_reason="",
        error=f"out of memory on a prompt of {len(row.prompt)} tokens alone: take a smaller --dtype or max tokens",
    )


def refuse(request: Request, length: int, context: float) -> Completion:
    """Return the completion of a prompt that has no room for an answer."""
    reason = f"the prompt has {length} tokens and the model's context {context:.0f}, which leaves none for an answer"
    if length == 0:
        reason = "the prompt is empty: it has no token to go on from"
    return Completion(row=request.row, key=request.key, text="", finish_reason="", error=reason)


def tokenise(tokenizer: Any, requests: Sequence[Request]) -> list[list[int]]:
    """Return the token ids of each request's prompt, a rendered text."""
    ids: list[list[int]] = [[] for _ in requests]
    for special in (False, True):
        places = [place for place, request in enumerate(requests) if request.special_tokens is special]
        texts = [requests[place].prompt for place in places]
        if texts:
            encoded = tokenizer(texts, add_special_tokens=special, return_attention_mask=False)["input_ids"]
            for place, tokens in zip(places, encoded, strict=True):
                ids[place] = tokens
    return ids


def _eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return every token id that ends an answer, of the generation config and of the tokenizer."""
    ids: set[int] = set()
    for stated in (getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id):
        if stated is not None:
            ids.update([stated] if isinstance(stated, int) else stated)
    return frozenset(ids)
