"""Whether a checkpoint's weights are those of its configuration: every tensor there, of its shape, and finite.

    >>> ignored = check_weights(Path("checkpoint-500"), fingerprint, config, trust_remote_code=False)

transformers fills what a checkpoint lacks with random numbers and warns; a run on such a model measures nothing. So
names and shapes are compared before any engine starts, by transformers' own loader on the "meta" device, which reads
headers and no weights.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from personaeval.errors import UsageError

_SHOWN = 3

_BESIDE = re.compile(
    r"(^|\.)v_head\."  # value heads of trainers (PPO)
    r"|(^|\.)(mtp|mtp_layers|mtp_block|nextn)\."  # multi-token prediction
    r"|(^|\.)rotary_emb\.(inv_freq|cos_cached|sin_cached)$"  # buffers that old versions saved
)
"""Names that some checkpoints have beside the model's own; docs/usage.md lists them."""

_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")

_FINITE: Mapping[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "BF16": (np.uint16, 0x7F80),
    "F16": (np.uint16, 0x7C00),
    "F32": (np.uint32, 0x7F800000),
    "F64": (np.uint64, 0x7FF0000000000000),
}
"""dtype of safetensors -> its unsigned integers, and the exponent bits that are all set in NaN and infinity alone."""

_CHUNK = 1 << 24


def all_finite(block: bytes | memoryview, dtype: str, offset: int = 0) -> bool:
    """Whether no number of a block is NaN or infinite; True for dtypes that are not checked.

    Args:
        block: bytes of one tensor.
        dtype: as a safetensors header says it: "BF16", "F16", "F32", "F64", ….
        offset: place of the block's first byte in the tensor, which need not be a number's first.
    """
    if dtype not in _FINITE:
        return True
    kind, exponent = _FINITE[dtype]
    size = np.dtype(kind).itemsize
    skipped = -offset % size
    usable = (len(block) - skipped) // size * size
    if usable <= 0:
        return True
    numbers = np.frombuffer(block, kind, usable // size, skipped)
    return not bool(((numbers & kind(exponent)) == exponent).any())


def not_finite(path: Path, name: str) -> UsageError:
    """The error for a tensor with NaN or infinity."""
    return UsageError(
        f"{path}: tensor {name} holds NaN or infinity: the training step that wrote it has failed. Evaluate an earlier "
        "checkpoint."
    )


def check_every_number(path: Path) -> None:
    """Read a whole safetensors file and refuse it where a number is NaN or infinite.

    Raises:
        UsageError: names the first such tensor.
    """
    with path.open("rb") as file:
        _, found = tensors(file.fileno(), path)
        for tensor in found:
            for start in range(tensor.begin, tensor.end, _CHUNK):
                block = os.pread(file.fileno(), min(_CHUNK, tensor.end - start), start)
                if not all_finite(block, tensor.dtype, start - tensor.begin):
                    raise not_finite(path, tensor.name)


@dataclass(frozen=True, slots=True, order=True)
class Tensor:
    """One tensor of a safetensors file: its bytes are ``begin`` to ``end - 1`` of the file."""

    begin: int
    end: int
    name: str
    dtype: str


def tensors(descriptor: int, path: Path) -> tuple[int, list[Tensor]]:
    """The length of a safetensors file's header in bytes, and its tensors in file order.

    Raises:
        UsageError: the header cannot be read, or the file is shorter than it says.
    """
    length = int.from_bytes(os.pread(descriptor, 8, 0), "little")
    base = 8 + length
    try:
        header = json.loads(os.pread(descriptor, length, 8))
        found = sorted(
            Tensor(base + entry["data_offsets"][0], base + entry["data_offsets"][1], name, str(entry["dtype"]))
            for name, entry in header.items()
            if name != "__metadata__"
        )
    except (ValueError, KeyError, TypeError, AttributeError, MemoryError, OverflowError) as error:
        raise UsageError(f"{path}: not a readable safetensors file; was it still being written? ({error})") from error
    size = os.fstat(descriptor).st_size
    if found and found[-1].end > size:
        raise UsageError(f"{path}: cut short: {size} bytes, its header speaks of {found[-1].end}.")
    return base, found


def check_weights(
    folder: Path, fingerprint: str, config: Mapping[str, Any], trust_remote_code: bool
) -> list[str] | None:
    """Compare a checkpoint's tensors with what its configuration asks for.

    Args:
        folder: the checkpoint's directory.
        fingerprint: of its content; the same content is looked at once.
        config: its config.json.
        trust_remote_code: whether its own modelling code may run.

    Returns:
        Names of tensors that the model has no use for and that are known to be harmless; None where transformers
        cannot tell (quantised weights, an architecture that only vLLM knows): the engine's own check stands alone then.

    Raises:
        UsageError: a tensor is missing, has another shape or is not expected.
    """
    inner = config.get("text_config") or config
    if config.get("quantization_config") or inner.get("quantization_config"):
        return None
    info = _load_on_meta(str(folder), fingerprint, trust_remote_code)
    return None if info is None else refuse_misfits(str(folder), config, info)


def refuse_misfits(folder: str, config: Mapping[str, Any], info: Mapping[str, Any]) -> list[str]:
    """Refuse what transformers' loading report finds amiss; the harmless names it did not use otherwise.

    Args:
        folder: named in the message.
        config: the checkpoint's config.json.
        info: what ``from_pretrained(…, output_loading_info=True, ignore_mismatched_sizes=True)`` reports.

    Raises:
        UsageError: a tensor is missing, has another shape or is not expected.
    """
    missing = sorted(info.get("missing_keys") or ())
    unexpected = sorted(info.get("unexpected_keys") or ())
    misshapen = sorted(map(tuple, info.get("mismatched_keys") or ()))
    if missing:
        cause = _cause(missing, unexpected)
        raise UsageError(f"{folder}: its weights do not fit its configuration: missing {_list(missing)}. {cause}")
    if misshapen:
        named = [f"{name} is {tuple(own)}, config.json asks for {tuple(wanted)}" for name, own, wanted in misshapen]
        raise UsageError(f"{folder}: its weights do not fit its configuration: {_list(named)}. {_FOREIGN}")
    harmless = [name for name in unexpected if _is_harmless(name, config)]
    strange = [name for name in unexpected if name not in set(harmless)]
    if strange:
        raise UsageError(
            f"{folder}: its weights do not fit its configuration: not expected {_list(strange)}. {_FOREIGN}"
        )
    return harmless


_FOREIGN = "Are config.json and the weights of the same model? Save both again with save_pretrained."


def _is_harmless(name: str, config: Mapping[str, Any]) -> bool:
    """Whether a name that the model does not know is one that trainers and model authors are known to add."""
    inner = config.get("text_config") or config
    layers = inner.get("num_hidden_layers")
    layer = _LAYER.search(name)
    # Layers for multi-token prediction are numbered on from the last.
    beyond = layer is not None and isinstance(layers, int) and layers <= int(layer[1]) < layers + 4
    return beyond or bool(_BESIDE.search(name))


def _cause(missing: Collection[str], unexpected: Iterable[str]) -> str:
    """Likely cause of missing tensors."""
    for name in unexpected:
        for wanted in missing:
            if name.endswith(wanted) and name != wanted:
                prefix = name.removesuffix(wanted)
                why = " (torch.compile's)" if prefix == "_orig_mod." else ""
                return (
                    f"The file names them with {prefix!r} before{why}: save the unwrapped model, or rename the tensors."
                )
    if any(".lora_" in name for name in unexpected):
        return "It is a LoRA adapter: merge it into its base first."
    if set(missing) <= {"lm_head.weight", "embed_out.weight"}:
        return 'If the head is the embedding, config.json must say "tie_word_embeddings": true.'
    return "They would be random numbers. Was the checkpoint saved by one of several ranks alone? Save it again."


def _list(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


@functools.lru_cache(maxsize=64)
def _load_on_meta(folder: str, fingerprint: str, trust_remote_code: bool) -> Mapping[str, Any] | None:
    """transformers' loading report of a checkpoint, without reading its weights; None where it cannot make one."""
    from transformers import AutoModelForCausalLM

    del fingerprint  # part of the cache key: changed content is checked anew
    try:
        with _quiet():
            _, info = AutoModelForCausalLM.from_pretrained(
                folder,
                device_map="meta",
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except Exception as error:
        # The engine that loads the model reports anything else that is wrong with it.
        logging.getLogger(__name__).debug("%s: names and shapes not compared (%s)", folder, error)
        return None
    return dict(info)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from reporting what is checked here, and from drawing progress bars."""
    from transformers.utils import logging as reports

    level = reports.get_verbosity()
    reports.set_verbosity(logging.CRITICAL)
    try:
        with without_bars():
            yield
    finally:
        reports.set_verbosity(level)


@contextmanager
def without_bars() -> Iterator[None]:
    """Keep transformers from drawing progress bars while it loads: a run shows its own."""
    from transformers.utils import logging as reports

    bars = reports.is_progress_bar_enabled()
    reports.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            reports.enable_progress_bar()
