"""Any causal language model on PyTorch: a checkpoint without vLLM, or a live model inside a trainer.

Prompts of similar length are decoded together, left-padded, in a worker thread. A finished row leaves the batch at
once, so that a few long answers do not keep short ones computing.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from itertools import islice
from typing import Any

from personaeval.errors import EngineError, UsageError
from personaeval.models.engines import EngineSettings
from personaeval.models.engines.availability import choose_device
from personaeval.models.engines.batch_planner import BatchPlanner, Row, common_start
from personaeval.models.engines.grammar import Grammars
from personaeval.models.engines.local import (
    SpecialTokenFilter,
    answer_token_ids,
    failed,
    not_computing,
    refused,
    tokenise,
)
from personaeval.models.engines.token_sampler import TokenSampler
from personaeval.models.weights import refuse_misfits, without_bars
from personaeval.progress import Activity
from personaeval.types import Completion, Request

_WINDOW = 1024
"""Requests looked at together to find prompts of similar length."""

_DROP_SHARE = 16
"""Finished rows leave once they are a sixteenth of the batch: leaving copies the cache of those that stay."""


def version() -> str:
    """Version of the installed transformers."""
    import transformers

    return str(transformers.__version__)


async def open_engine(model: str, tokenizer: Any, settings: EngineSettings) -> TransformersEngine:
    """Load the checkpoint directory ``model``.

    Raises:
        UsageError: an unknown device or engine argument.
        EngineError: PyTorch or transformers is missing, or the weights cannot be loaded.
    """
    loaded = await asyncio.to_thread(_load, model, settings)
    return TransformersEngine(loaded, tokenizer, settings.kept_tokens)


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
        # What does not fit would be random numbers; it is named below, in words of our own.
        with without_bars():
            loaded, info = AutoModelForCausalLM.from_pretrained(
                model, output_loading_info=True, ignore_mismatched_sizes=True, **arguments
            )
        if not getattr(loaded, "is_quantized", False):
            refuse_misfits(model, loaded.config.to_dict(), info)
        return loaded if "device_map" in settings.arguments else loaded.to(device)
    except UsageError:
        raise
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


class TransformersEngine:
    """Decodes batches with a loaded causal language model, which may be in the middle of its training."""

    def __init__(self, model: Any, tokenizer: Any, kept_tokens: Sequence[str] = (), in_training: bool = False) -> None:
        """Decode with a model as it is: on its device, in its dtype.

        Args:
            model: the loaded model.
            tokenizer: its tokenizer.
            kept_tokens: special tokens that stay in the text.
            in_training: the model is trained on afterwards. What a forward pass leaves in the model (cached rotary
                frequencies, for one) can then be used with gradients, which tensors of inference mode cannot.
        """
        self._model = model
        self._in_training = in_training
        self._tokenizer = tokenizer
        self._marks = SpecialTokenFilter(tokenizer, kept_tokens)
        self._limits = BatchPlanner(model)
        self._eos = _eos_ids(model, tokenizer)
        self._grammars = Grammars(tokenizer, self._eos)
        # An adapter's forward takes anything and hands it on.
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        accepted = inspect.signature(inner.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self.activity = Activity()
        self._stop = threading.Event()
        self._thread: asyncio.Task[None] | None = None
        self._keep = next((name for name in ("logits_to_keep", "num_logits_to_keep") if name in accepted), None)

    async def generate(self, requests: Iterator[Request]) -> AsyncIterator[Completion]:
        """Yield one completion for each request, as each finishes.

        Raises:
            EngineError: the model failed; what was yielded until then stays valid.
        """
        while window := list(islice(requests, _WINDOW)):
            rows, without_room = await asyncio.to_thread(self._prepare, window)
            for completion in without_room:
                yield completion
            async with aclosing(self._in_thread(rows)) as completions:
                async for completion in completions:
                    yield completion

    async def close(self) -> None:
        """Stop, and drop the model; its memory is freed once the caller drops it too."""
        if self._model is None:
            return
        # A caller that failed between two completions leaves generate() waiting.
        self._stop.set()
        if self._thread is not None and not self._thread.done():
            await asyncio.wait([self._thread])
        self._model = None
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _prepare(self, window: Sequence[Request]) -> tuple[list[Row], list[Completion]]:
        """Tokenise prompts, and refuse those without room for a single new token."""
        rows, without_room = [], []
        context = self._limits.context
        for request, prompt in zip(window, tokenise(self._tokenizer, window), strict=True):
            if (completion := refused(request, len(prompt), context)) is not None:
                without_room.append(completion)
            else:
                limit = min(request.sampling.max_tokens, context - len(prompt))
                rows.append(Row(request, prompt, int(limit)))
        return rows, without_room

    async def _in_thread(self, rows: list[Row]) -> AsyncGenerator[Completion, None]:
        """Decode rows in a worker thread and yield its completions; closing the generator stops the thread."""
        loop = asyncio.get_running_loop()
        finished: asyncio.Queue[Completion | None] = asyncio.Queue()
        stop = self._stop = threading.Event()

        def emit(completion: Completion | None) -> None:
            loop.call_soon_threadsafe(finished.put_nowait, completion)

        def pending() -> None:
            try:
                self._decode_all(rows, emit, stop)
            finally:
                emit(None)

        thread = self._thread = asyncio.create_task(asyncio.to_thread(pending))
        try:
            while (completion := await finished.get()) is not None:
                yield completion
            await thread
        except Exception as error:
            # A model's own code can raise anything, such as an index error for missing embeddings.
            raise EngineError(
                f"transformers engine: the model failed ({type(error).__name__}: {error}). What it had answered is "
                "kept; run the same command again to go on."
            ) from error
        finally:
            stop.set()
            await asyncio.wait([thread])

    def _decode_all(self, rows: list[Row], emit: Callable[[Completion], None], stop: threading.Event) -> None:
        """Decode rows batch by batch, halving batches that do not fit into memory."""
        import torch

        modes = [(module, module.training) for module in self._model.modules()]
        self._model.eval()
        waiting = list(self._limits.batches(rows))[::-1]
        try:
            while waiting and not stop.is_set():
                batch = waiting.pop()
                try:
                    with _device_of(self._model), torch.no_grad() if self._in_training else torch.inference_mode():
                        self._decode(batch, emit, stop)
                    continue
                except RuntimeError as error:
                    if not _out_of_memory(error):
                        raise
                # Outside the except clause, whose traceback keeps the tensors that did not fit alive.
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
            # Each module's own mode: a trainer may keep some of them in evaluation mode.
            for module, was_training in modes:
                module.training = was_training

    def _decode(self, rows: list[Row], emit: Callable[[Completion], None], stop: threading.Event) -> None:
        """Decode all rows of a batch to their ends. Shapes: ids, mask and positions are (rows, tokens)."""
        import torch

        sampling = rows[0].request.sampling
        longest = max(row.limit for row in rows)
        start = common_start(rows)
        ids, mask = self._pad(rows, start)
        allowed = answer_token_ids(self._tokenizer, sampling.answer_tokens)
        draw = TokenSampler(sampling, [row.request.seed for row in rows], longest, ids.device, allowed)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, start:]
        cache = self._begin(rows, start)
        held = None
        alive = list(rows)
        places = list(range(len(rows)))
        for step in range(longest):
            logits, cache = self._forward(ids, mask, positions, cache)
            if step == 0 and bool(logits.isnan().any()):
                raise not_computing("transformers engine")
            if step == 0 and sampling.schema is not None:
                held = self._grammars.hold(sampling.schema, len(rows), logits.shape[-1])
            tokens = draw(held.mask(logits) if held else logits, step)
            for place, token in enumerate(tokens.tolist()):
                row = alive[place]
                if row.finish_reason:
                    continue
                if held:
                    held.take(place, token)
                if self._append(row, token):
                    emit(row.completion(self._text))
            places = [place for place, row in enumerate(alive) if not row.finish_reason]
            self.activity.under_way = len(places)
            self.activity.decoded = sum(len(alive[place].written) for place in places)
            if not places or stop.is_set():
                return
            if (len(alive) - len(places)) * _DROP_SHARE >= len(alive):
                index = torch.tensor(places, device=ids.device)
                alive = [alive[place] for place in places]
                cache.reorder_cache(index)
                tokens, mask, positions = tokens[index], mask[index], positions[index]
                draw.keep(index)
                if held:
                    held.keep(places)
            ids = tokens[:, None]
            mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
            positions = positions[:, -1:] + 1

    def _begin(self, rows: Sequence[Row], start: int) -> Any:
        """Compute the common prefix once; return the cache for all rows, None without a common prefix."""
        import torch

        if start == 0:
            return None
        ids = torch.tensor([rows[0].prompt[:start]], device=self._model.device)
        positions = torch.arange(start, device=ids.device)[None]
        _, cache = self._forward(ids, torch.ones_like(ids), positions, None)
        cache.batch_repeat_interleave(len(rows))
        return cache

    def _pad(self, rows: Sequence[Row], start: int) -> tuple[Any, Any]:
        """Token ids and attention mask, padded between the common ``start`` tokens and the rest of a prompt.

        The ids are those of the rest, (rows, longest rest); the mask covers both, (rows, start + longest rest).
        """
        import torch

        width = max(len(row.prompt) for row in rows) - start
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros(len(rows), start + width, dtype=torch.long)
        mask[:, :start] = 1
        for index, row in enumerate(rows):
            rest = row.prompt[start:]
            ids[index, width - len(rest) :] = torch.tensor(rest)
            mask[index, start + width - len(rest) :] = 1
        device = self._model.device
        return ids.to(device), mask.to(device)

    def _forward(self, ids: Any, mask: Any, positions: Any, cache: Any) -> tuple[Any, Any]:
        """Logits of the last position, (rows, vocabulary) in float32, and the extended cache."""
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

    def _append(self, row: Row, token: int) -> bool:
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

    def _stopped(self, row: Row) -> str | None:
        """Text up to the first stop string, if there is one yet."""
        stops = row.request.sampling.stop
        if not stops:
            return None
        # A token is at least one byte, so a stop string that ends now lies within this many last tokens.
        reach = max(len(stop.encode()) for stop in stops) + 4
        tail = self._text(row.written[-reach:])
        if not any(stop in tail for stop in stops):
            return None
        text = self._text(row.written)
        found = [at for stop in stops if (at := text.find(stop)) >= 0]
        return text[: min(found)] if found else None

    def _text(self, tokens: list[int]) -> str:
        skip = not self._marks.any_kept
        decoded = self._tokenizer.decode(tokens, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
        return self._marks.strip(str(decoded))


def _device_of(model: Any) -> AbstractContextManager[Any]:
    """The model's device as this thread's current one: some kernels look for it there."""
    import torch

    return torch.cuda.device(model.device) if model.device.type == "cuda" else nullcontext()


def _out_of_memory(error: RuntimeError) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _too_big(row: Row) -> Completion:
    reason = f"out of memory on a prompt of {len(row.prompt)} tokens alone: take a smaller --dtype or fewer max tokens"
    return failed(row.request, reason)


def _eos_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """All token ids that end an answer, from the generation config and the tokenizer."""
    ids: set[int] = set()
    for stated in (getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id):
        if stated is not None:
            ids.update([stated] if isinstance(stated, int) else stated)
    return frozenset(ids)
