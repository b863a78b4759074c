"""A model in memory, such as one in the middle of its training: identified by its weights as they are now.

    model = LiveModel(policy, tokenizer, ModelOptions(), name="policy", step=300)

The model is not changed: not its modes, gradients, hooks, configuration or device, nor any random state.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from personaeval.config import ModelOptions
from personaeval.documents import canonical_json
from personaeval.errors import UsageError
from personaeval.models.checkpoints import ModelSpec
from personaeval.models.engines import Engine
from personaeval.models.model import InProcessModel

_CHUNK = 1 << 20
"""Eight-byte words that are summed at once."""

_VOLATILE = frozenset(
    {
        "_name_or_path",
        "_model_name_or_path",
        "_attn_implementation",
        "_attn_implementation_internal",
        "_experts_implementation",
        "attn_implementation",
        "transformers_version",
        "torch_dtype",
        "dtype",
        "use_cache",
        "gradient_checkpointing",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
    }
)
"""Entries of a configuration that say where a model was loaded from or how it runs, not what it answers."""

_WRAPPERS = {"DistributedDataParallel": "module", "DataParallel": "module", "OptimizedModule": "_orig_mod"}

_REFUSED_OPTIONS = {
    "dtype": "it keeps its own dtype",
    "device": "it stays on its device",
    "engine_args": "it is loaded already",
    "tokenizer": "it brings its own",
}


class LiveModel(InProcessModel):
    """A causal language model of transformers in memory, with its tokenizer."""

    def __init__(
        self, model: Any, tokenizer: Any, options: ModelOptions, name: str | None = None, step: int | None = None
    ) -> None:
        """Take the fingerprint of the weights as they are now.

        Args:
            model: the model, also as wrapped by DistributedDataParallel or ``torch.compile``.
            tokenizer: its tokenizer, with its chat template.
            options: how it is prompted; where and in what dtype it runs is the model's own affair.
            name: the checkpoint's name in tables; by default, the name it was loaded from.
            step: the training step, which tables and frames show.

        Raises:
            UsageError: no model and tokenizer of transformers, weights that this process does not hold, or an option
                that only a checkpoint on disk can have.
        """
        self._live = _unwrapped(model)
        _refuse(self._live, tokenizer, options)
        self.step = step
        self._full_hash = options.full_hash
        config = self._live.config.to_dict()
        name = name or Path(str(config.get("_name_or_path") or "")).name or "model"
        super().__init__(
            ModelSpec("transformers", name if step is None else f"{name}-step{step}"),
            options,
            fingerprint(self._live, tokenizer, options.full_hash),
            config,
            main_dtype(self._live),
            tokenizer,
        )

    def _origin(self) -> dict[str, Any]:
        return {
            "live": True,
            "step": self.step,
            "full_hash": self._full_hash,
            "attention": getattr(self._live.config, "_attn_implementation", None),
        }

    def embedding_rows(self) -> int | None:
        """As the model has them now."""
        rows = getattr(self._live.get_input_embeddings(), "num_embeddings", None)
        return rows if isinstance(rows, int) else None

    async def open_engine(self) -> Engine:
        """See :class:`~personaeval.models.model.Model`; nothing is loaded."""
        from personaeval.models.engines.transformers import TransformersEngine

        return TransformersEngine(self._live, self._tokenizer, self._kept_tokens, in_training=True)


def fingerprint(model: Any, tokenizer: Any, full: bool = False) -> str:
    """32 hexadecimal digits that identify a model in memory: configuration, tokenizer, chat template, every weight.

    The weights enter as checksums of all their bytes, computed where they are; they are the same on every device.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        full: hash the bytes themselves, which takes longer.
    """
    state = hashlib.blake2b(b"live full" if full else b"live", digest_size=16)
    for part in (_describe_model(model), _describe_tokenizer(tokenizer)):
        state.update(canonical_json(part) + b"\0")
    state.update(weights_hash(model, full))
    return state.hexdigest()


def weights_hash(model: Any, full: bool = False) -> bytes:
    """Hash of the weights: a part of :func:`fingerprint`."""
    state = hashlib.blake2b(digest_size=16)
    known: dict[tuple[Any, ...], bytes] = {}
    for name, tensor in _tensors(model):
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if place not in known:  # tied weights are read once
            known[place] = _hashed(tensor) if full else _checksum(tensor)
        state.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode() + known[place])
    return state.digest()


def main_dtype(model: Any) -> str:
    """The dtype that most of a model's weights have, such as bfloat16."""
    sizes: dict[str, int] = {}
    for _, tensor in _tensors(model):
        if tensor.is_floating_point():
            sizes[str(tensor.dtype)] = sizes.get(str(tensor.dtype), 0) + tensor.numel()
    return max(sizes, key=lambda name: sizes[name]).removeprefix("torch.") if sizes else "unknown"


def _unwrapped(model: Any) -> Any:
    while (inside := _WRAPPERS.get(type(model).__name__)) is not None and hasattr(model, inside):
        model = getattr(model, inside)
    return model


def _refuse(model: Any, tokenizer: Any, options: ModelOptions) -> None:
    if not callable(getattr(model, "named_parameters", None)) or not hasattr(getattr(model, "config", None), "to_dict"):
        raise UsageError(
            f"model: {type(model).__name__} is neither a checkpoint's name nor a causal language model of transformers."
        )
    if not callable(getattr(tokenizer, "get_vocab", None)):
        raise UsageError("model: a model in memory needs its tokenizer: run(model=model, tokenizer=tokenizer, …).")
    for option, reason in _REFUSED_OPTIONS.items():
        if getattr(options, option) != ModelOptions.model_fields[option].get_default(call_default_factory=True):
            raise UsageError(f"{option}: not for a model in memory: {reason}.")
    for name, tensor in _tensors(model):
        if hasattr(tensor, "device_mesh") or hasattr(tensor, "ds_id"):
            raise UsageError(
                f"model: {name} is sharded over processes (FSDP, tensor parallelism or ZeRO-3). Save a checkpoint and "
                "evaluate that, or gather the model in one process."
            )
        if tensor.device.type == "meta":
            raise UsageError(f"model: {name} has no data (it is on the meta device, or offloaded).")
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        raise UsageError("model: it is sharded over processes (FSDP). Save a checkpoint and evaluate that.")


def _tensors(model: Any) -> Iterator[tuple[str, Any]]:
    """Every parameter and every buffer that a checkpoint of the model would hold, under all of its names."""
    yield from model.named_parameters(remove_duplicate=False)
    for prefix, module in model.named_modules(remove_duplicate=False):
        # Others are made from the configuration, and some of them grow with use.
        passing = getattr(module, "_non_persistent_buffers_set", ())
        for name, buffer in module.named_buffers(recurse=False):
            if name not in passing:
                yield f"{prefix}.{name}".removeprefix("."), buffer


def _describe_model(model: Any) -> dict[str, Any]:
    generation = getattr(model, "generation_config", None)
    adapters = {name: config.to_dict() for name, config in getattr(model, "peft_config", {}).items()}
    states = {
        (str(module.active_adapters), bool(module.disable_adapters), bool(module.merged))
        for module in model.modules()
        if hasattr(module, "disable_adapters") and hasattr(module, "active_adapters") and hasattr(module, "merged")
    }
    return {
        "class": type(model).__name__,
        "config": _lasting(model.config.to_dict()),
        "eos": getattr(generation, "eos_token_id", None),
        "adapters": _lasting(adapters),
        "adapter_states": sorted(states),
    }


def _lasting(config: Mapping[Any, Any]) -> dict[str, Any]:
    """A configuration without its volatile entries, at every depth."""
    return {
        str(key): _lasting(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in _VOLATILE
    }


def _describe_tokenizer(tokenizer: Any) -> dict[str, Any]:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        content: Any = sorted(tokenizer.get_vocab().items(), key=lambda pair: (pair[1], pair[0]))
    else:
        content = json.loads(backend.to_str())
        # Every call of the tokenizer sets these two.
        content = {key: value for key, value in content.items() if key not in ("padding", "truncation")}
    return {
        "content": content,
        "special": {key: str(value) for key, value in tokenizer.special_tokens_map.items()},
        "chat_template": tokenizer.chat_template,
    }


def _flat_bytes(tensor: Any) -> Any:
    import torch

    flat = tensor.detach().contiguous().reshape(-1)
    return (torch.view_as_real(flat).reshape(-1) if flat.is_complex() else flat).view(torch.uint8)


def _hashed(tensor: Any) -> bytes:
    return hashlib.blake2b(_flat_bytes(tensor).cpu().numpy(), digest_size=16).digest()


def _checksum(tensor: Any) -> bytes:
    """Two sums of the tensor's eight-byte words, modulo 2^64: plain, and weighted by odd numbers.

    A change of one word changes both. Integer sums are exact, so that neither device nor order matters.
    """
    import torch

    data = _flat_bytes(tensor)
    whole = data.numel() // 8 * 8
    words = data[:whole]
    if words.data_ptr() % 8:
        words = words.clone()
    words = words.view(torch.int64)
    weights = torch.arange(min(len(words), _CHUNK), device=words.device) * 2 + 1
    state = hashlib.blake2b(bytes(data[whole:].tolist()), digest_size=16)
    state.update((_sums_on_cpu if words.device.type == "cpu" else _sums)(words, weights))
    return state.digest()


def _sums(words: Any, weights: Any) -> bytes:
    import torch

    chunks = [words[start : start + _CHUNK] for start in range(0, len(words), _CHUNK)]
    sums = [(chunk.sum(), (chunk * weights[: len(chunk)]).sum()) for chunk in chunks]
    return torch.stack([one for pair in sums for one in pair]).cpu().numpy().tobytes() if sums else b""


def _sums_on_cpu(words: Any, weights: Any) -> bytes:
    """The same numbers in one pass over the memory, six times as fast as PyTorch's."""
    words, weights = words.numpy(), weights.numpy()
    chunks = [words[start : start + _CHUNK] for start in range(0, len(words), _CHUNK)]
    return np.array([(chunk.sum(), chunk @ weights[: len(chunk)]) for chunk in chunks], dtype=np.int64).tobytes()
