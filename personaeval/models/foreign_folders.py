"""Folders that trainers write and that are no checkpoint yet: what they are, and the command that makes them one.

>>> explain(Path("checkpoint-500"))  # a DeepSpeed training state
'It is a training state of DeepSpeed: the weights are in shards. Merge them: python checkpoint-500/zero_to_fp32.py …'
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_SHARD_OF_STATE = re.compile(
    r"model_world_size_\d+_rank_\d+\.pt|optim_world_size_.*|extra_state_world_size_.*|.*_model_states\.pt|"
    r".*_optim_states\.pt|model_optim_rng\.pt|distrib_optim\.pt|consolidated\.\d+\.pth"
)


def explain(folder: Path) -> str | None:
    """What a folder that is no checkpoint is, and how to make one of it; None if it is nothing known."""
    for found in _FOUND:
        told = found(folder)
        if told is not None:
            return told
    return None


def explain_unless_checkpoint(folder: Path, weights: Sequence[Path]) -> str | None:
    """As :func:`explain`, for a folder that lacks a model's configuration or whole weights.

    Args:
        folder: the folder.
        weights: its files with an ending of weights.
    """
    config = _read(folder / "config.json")
    is_whole = any(not _SHARD_OF_STATE.fullmatch(path.name) for path in weights)
    if config is not None and "model_type" in config and is_whole:
        return None
    holds_checkpoints = config is None and any((path / "config.json").is_file() for path in folder.iterdir())
    return _verl(folder) if holds_checkpoints else explain(folder)


def _adapter(folder: Path) -> str | None:
    config = _read(folder / "adapter_config.json")
    if config is None and not any(folder.glob("adapter_model.*")):
        return None
    config = config or {}
    base = config.get("base_model_name_or_path") or config.get("model") or "BASE"
    kind = str(config.get("peft_type") or config.get("fine_tune_type") or "LoRA").replace("LORA", "LoRA")
    kind = "LoRA" if kind.lower() == "lora" else kind
    merged = _merged(folder)
    if (folder / "adapters.safetensors").is_file():
        return (
            f"It is a {kind} adapter of {base}, written by mlx-lm. Merge it: mlx_lm.fuse --model {base} --adapter-path "
            f"{folder} --save-path {merged}"
        )
    return (
        f'It is a {kind} adapter of {base}. Merge it: python -c "from peft import AutoPeftModelForCausalLM as A; from '
        f"transformers import AutoTokenizer as T; A.from_pretrained('{folder}', dtype='auto').merge_and_unload()"
        f".save_pretrained('{merged}'); T.from_pretrained('{base}').save_pretrained('{merged}')\""
    )


def _verl(folder: Path) -> str | None:
    for place in (folder, folder / "actor", folder.parent):
        if any(place.glob("model_world_size_*_rank_*.pt")):
            backend = "fsdp"
        elif place.name == "actor" and (any(place.glob("dist_ckpt*")) or any(place.glob("model/dist_ckpt*"))):
            backend = "megatron"
        else:
            continue
        return (
            f"It is a training state of verl: an actor's weights in shards. Merge them: python -m verl.model_merger "
            f"merge --backend {backend} --local_dir {place} --target_dir {_merged(folder)}"
        )
    return None


def _deepspeed(folder: Path) -> str | None:
    states = [path for pattern in ("*_model_states.pt", "*/*_model_states.pt") for path in folder.glob(pattern)]
    if not states and not (folder / "zero_to_fp32.py").is_file():
        return None
    script = folder / "zero_to_fp32.py"
    place = folder
    if not script.is_file() and (folder.parent / "zero_to_fp32.py").is_file():
        script, place = folder.parent / "zero_to_fp32.py", folder.parent
    named = f"python {script}" if script.is_file() else "python -m deepspeed.utils.zero_to_fp32"
    return (
        "It is a training state of DeepSpeed: the weights are in shards. Merge them: "
        f"{named} {place} {_merged(folder)} "
        "--safe_serialization, and copy config.json and the tokenizer there. (With ZeRO 3, "
        "stage3_gather_16bit_weights_on_model_save saves them whole.)"
    )


def _fsdp(folder: Path) -> str | None:
    for place in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
        if not any(place.glob("*.distcp")) or "optim" in place.name:
            continue
        merged = _merged(folder)
        if place.name.startswith("pytorch_model_fsdp"):
            command = f"accelerate merge-weights {place} {merged}"
        else:
            command = f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {place} {merged}.pt"
        return (
            f"It is a training state of FSDP: {place.name} holds the weights in shards. Merge them: {command}, and "
            "save the result with config.json and the tokenizer. (fsdp_state_dict_type FULL_STATE_DICT saves them "
            "whole.)"
        )
    return None


def _megatron(folder: Path) -> str | None:
    if (folder / "context").is_dir() and (folder / "weights").is_dir():
        return (
            f"It is a checkpoint of NeMo. Convert it: nemo llm export path={folder} target=hf "
            f"output_path={_merged(folder)}"
        )
    states = [path for pattern in ("mp_rank_*", "iter_*/mp_rank_*", "iter_*/*.distcp") for path in folder.glob(pattern)]
    if not states and not (folder / "latest_checkpointed_iteration.txt").is_file():
        return None
    return (
        "It is a training state of Megatron-LM. Convert it to Hugging Face's format, with your trainer's own converter "
        "or with Megatron-LM's tools/checkpoint/convert.py."
    )


def _original(folder: Path) -> str | None:
    if not (folder / "params.json").is_file() or not any(folder.glob("consolidated*")):
        return None
    return (
        "It holds weights in the original format of Llama or Mistral. Convert them: python -m "
        f"transformers.models.llama.convert_llama_weights_to_hf --input_dir {folder} --output_dir {_merged(folder)}"
    )


def _gguf(folder: Path) -> str | None:
    files = sorted(folder.glob("*.gguf"))
    if not files:
        return None
    return (
        f"It holds {files[0].name}, weights for llama.cpp. Serve them: llama-server -m {files[0]} --port 8080, and "
        "evaluate openai:NAME@http://127.0.0.1:8080/v1"
    )


def _lightning(folder: Path) -> str | None:
    files = sorted(folder.glob("*.ckpt"))
    if not files:
        return None
    return (
        f"It holds {files[0].name}, a checkpoint of Lightning: save the model inside with save_pretrained, beside its "
        "tokenizer."
    )


def _other_framework(folder: Path) -> str | None:
    endings = {"*.h5": "TensorFlow", "*.msgpack": "Flax", "*.onnx": "ONNX", "weights*.npz": "MLX"}
    found = next(((path, name) for pattern, name in endings.items() for path in folder.glob(pattern)), None)
    if found is None:
        return None
    path, name = found
    return f"It holds {path.name}, weights for {name}; export them in PyTorch's format (*.safetensors)."


def _state_alone(folder: Path) -> str | None:
    if not any(folder.glob("trainer_state.json")) and not any(folder.glob("optimizer*")):
        return None
    return (
        "It holds a trainer's state without the model's weights (save_only_model, or a state saved apart?): pass the "
        "folder that save_model or save_pretrained wrote."
    )


_FOUND: tuple[Callable[[Path], str | None], ...] = (
    *(_verl, _deepspeed, _megatron, _fsdp, _original, _adapter, _gguf, _lightning, _other_framework, _state_alone),
)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _merged(folder: Path) -> str:
    return f"{str(folder).rstrip('/')}-merged"
