"""Checkpoints: the model spec of the command line, the files, and a fingerprint that changes with them.

Training overwrites directories, so neither a path nor a name identifies a checkpoint. The fingerprint hashes the
configuration, tokenizer, chat template and generation config in full, and of every weight file its size, its
safetensors header and sampled blocks of every tensor: seconds for 100 GB, and a one-layer edit changes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from personaeval.errors import UsageError, first_line, suggest
from personaeval.library.data_files import without_hub_bars
from personaeval.models.checkpoint_patterns import describe_inside
from personaeval.models.foreign_folders import explain_unless_checkpoint
from personaeval.models.weights import Tensor, all_finite, check_every_number, not_finite, tensors

EngineKind = Literal["vllm", "openai", "transformers"]

ENGINES: tuple[EngineKind, ...] = ("vllm", "openai", "transformers")


_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")

_TEXTS = (".json", ".jinja", ".txt", ".model", ".py", ".tiktoken")

# Written beside the weights by trainers; they change without the model changing.
_TRAINING_STATE = re.compile(
    r"(optimizer|scheduler|scaler|rng_state|training_args|trainer_state|all_results|train_results|eval_results)"
)

_SAFETENSORS = ".safetensors"

_BLOCK = 4096

_FILE_STRIDE = 1 << 22


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The parts of ``engine:NAME[@URL]``; ``flag`` is the option that named it, for messages."""

    engine: EngineKind
    name: str
    url: str | None = None
    revision: str | None = None
    flag: str = field(default="--model", compare=False)

    @property
    def short_name(self) -> str:
        """Name for folders and tables: the last part of a path or hub id, with its revision."""
        base = Path(self.name.rstrip("/")).name or self.name
        name = base if self.revision is None else f"{base}@{self.revision}"
        return re.sub(r"[^A-Za-z0-9._@-]+", "_", name).strip("_.") or "model"


def parse_model(text: str, flag: str = "--model") -> ModelSpec:
    """Parse a model spec; a bare path or hub id means vllm if it is installed, else transformers.

    ``flag`` is the option that names it, for messages.

    Raises:
        UsageError: an unknown engine, an endpoint without URL, or a URL for a local engine.
    """
    name, at, address = text.rpartition("@http")
    url = f"http{address}" if at else None
    name = name if at else text
    head, colon, rest = name.partition(":")
    if colon and "/" not in head and not Path(name).exists():
        if head not in ENGINES:
            raise UsageError(f"{flag} {text}: unknown engine {head!r}.{suggest(head, ENGINES)}")
        engine: EngineKind = head
        name = rest
    elif url is not None:
        engine = "openai"
    else:
        engine = _default_engine()
    if not name:
        raise UsageError(f"{flag} {text}: the model's name is missing; write engine:NAME, such as vllm:./checkpoint.")
    if engine == "openai":
        if url is None:
            raise UsageError(f"{flag} {text}: an endpoint needs its URL: openai:NAME@http://HOST:PORT/v1")
        return ModelSpec(engine, name, url.rstrip("/"), flag=flag)
    if url is not None:
        raise UsageError(f"{flag} {text}: only openai: takes a URL; write openai:{name}@{url}.")
    return ModelSpec(engine, *_split_revision(name), flag=flag)


def _split_revision(name: str) -> tuple[str, None, str | None]:
    if Path(name).exists() or "@" not in name:
        return name, None, None
    repository, _, revision = name.rpartition("@")
    return repository, None, revision


def _default_engine() -> EngineKind:
    from importlib.util import find_spec

    if find_spec("vllm") is not None:
        return "vllm"
    if find_spec("transformers") is not None:
        return "transformers"
    raise UsageError(
        "neither vllm nor transformers is installed: pip install 'personaeval[vllm]' (or [transformers]), "
        "or name an endpoint: openai:NAME@http://HOST:PORT/v1."
    )


@dataclass(frozen=True, slots=True)
class LocalCheckpoint:
    """A checkpoint directory on this machine.

    ``fingerprint`` is 32 hexadecimal digits; ``revision`` is the hub commit if it came from the hub.
    """

    folder: Path
    fingerprint: str
    revision: str | None
    full_hash: bool

    def config(self) -> dict[str, Any]:
        """Content of config.json."""
        loaded: dict[str, Any] = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        return loaded


def resolve(spec: ModelSpec, full_hash: bool = False) -> LocalCheckpoint:
    """Find a local checkpoint or download it from the hub, and compute its fingerprint.

    Raises:
        UsageError: it is neither a checkpoint directory nor an available hub id; says what is missing.
    """
    folder = find_folder(spec)
    if folder is not None:
        return LocalCheckpoint(folder.resolve(), fingerprint(folder, full_hash), None, full_hash)
    return _from_hub(spec, full_hash)


def find_folder(spec: ModelSpec) -> Path | None:
    """The directory of a local checkpoint, whose files are all there; None for a hub id. Reads no weights.

    Raises:
        UsageError: no such directory, or it is not a checkpoint; says what is missing.
    """
    folder = Path(spec.name).expanduser()
    if folder.is_dir():
        check_folder(folder, spec.flag)
        return folder
    if folder.exists():
        raise UsageError(
            f"{spec.flag} {spec.name}: a file; pass the directory that holds config.json and the weights: "
            f"{folder.parent}"
        )
    if spec.name.startswith((".", "/", "~")) or spec.name.count("/") > 1:
        raise UsageError(
            f"{spec.flag} {spec.name}: no such directory (looked for {folder.absolute()}). Pass a checkpoint's "
            "directory, a hub id (ORG/NAME) or an endpoint (openai:NAME@URL)."
        )
    return None


def check_folder(folder: Path, flag: str = "--model") -> None:
    """Refuse a directory that is not a checkpoint, naming what is missing.

    Raises:
        UsageError: config.json, weights, a shard of the index or the tokenizer is missing or unreadable.
    """
    told = explain_unless_checkpoint(folder, _weight_files(folder))
    if told is not None:
        raise UsageError(f"{folder}: not a checkpoint. {told}")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{folder}: not a checkpoint: config.json is missing.{describe_inside(folder, flag)}"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder}/config.json: cannot be read ({error}).") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise UsageError(f"{folder}/config.json: it has no model_type.")
    files = _weight_files(folder)
    if not files:
        raise UsageError(f"{folder}: not a checkpoint: it holds no weights (*.safetensors or *.bin).")
    full = [path for path in files if not path.name.startswith("adapter_model.")]
    if full and (folder / "adapter_config.json").exists():
        # transformers applies the adapter where peft is installed, and leaves it out where it is not.
        raise UsageError(
            f"{folder}: it holds the weights of a model ({full[0].name}) and a LoRA adapter (adapter_config.json); "
            "which is meant? Merge the adapter, or move its files elsewhere to evaluate the weights alone."
        )
    for index in folder.glob("*.index.json"):
        try:
            wanted = set(json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values())
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise UsageError(f"{index}: cannot be read; was it still being written? ({error})") from error
        missing = sorted(name for name in wanted if not (folder / name).is_file())
        if missing:
            raise UsageError(f"{folder}: weight file {missing[0]} of {index.name} is missing ({len(missing)} in all).")
    if not any(
        (folder / name).is_file()
        for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenizer_config.json")
    ):
        raise UsageError(f"{folder}: not a checkpoint: it holds no tokenizer; save the tokenizer beside the weights.")


def _from_hub(spec: ModelSpec, full_hash: bool) -> LocalCheckpoint:
    from huggingface_hub import snapshot_download

    try:
        with without_hub_bars():
            folder = Path(
                snapshot_download(
                    spec.name,
                    revision=spec.revision,
                    ignore_patterns=["*.gguf", "original/*", "*.onnx", "*.h5", "*.msgpack"],
                )
            )
    except Exception as error:
        # The hub client's errors for "no such repository", "gated" and "no network" share no type.
        raise UsageError(
            f"{spec.flag} {spec.name}: no such directory, and the hub does not provide it ({first_line(error)}). "
            "Without network, download it elsewhere and pass its directory."
        ) from error
    check_folder(folder)
    commit = folder.name
    return LocalCheckpoint(
        folder,
        hashlib.blake2b(f"hub:{spec.name}@{commit}".encode(), digest_size=16).hexdigest(),
        commit,
        full_hash,
    )


def fingerprint(folder: Path, full: bool = False) -> str:
    """32 hexadecimal digits that identify a checkpoint directory's content.

    Args:
        folder: the directory.
        full: read every byte of the weights instead of sampled blocks.

    Raises:
        UsageError: a file cannot be read, or is cut short.
    """
    try:
        return _fingerprint(folder, full)
    except OSError as error:
        raise UsageError(
            f"{error.filename or folder}: cannot be read ({error.strerror}); is the checkpoint complete?"
        ) from error


def _fingerprint(folder: Path, full: bool) -> str:
    state = hashlib.blake2b(b"full" if full else b"sampled", digest_size=16)
    texts = _files(folder, _TEXTS)
    for path in texts:
        state.update(f"\0{path.name}\0".encode() + hashlib.blake2b(path.read_bytes()).digest())
    with ThreadPoolExecutor(max_workers=8) as pool:
        # Sampled reads are bound by disk latency, which threads hide.
        for path, digest in zip(
            _weight_files(folder),
            pool.map(lambda p: _weights_digest(p, full), _weight_files(folder)),
            strict=True,
        ):
            state.update(f"\0{path.name}\0".encode() + digest)
    return state.hexdigest()


def _weight_files(folder: Path) -> list[Path]:
    return _files(folder, _WEIGHTS)


def _files(folder: Path, endings: Collection[str]) -> list[Path]:
    """A checkpoint's files of some kind; dangling links are included, so that reading them fails."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in endings and not path.is_dir() and not _TRAINING_STATE.match(path.name)
    )


def _weights_digest(path: Path, full: bool) -> bytes:
    state = hashlib.blake2b(str(path.stat().st_size).encode())
    with path.open("rb") as file:
        if full:
            state.update(hashlib.file_digest(file, "blake2b").digest())
            if path.suffix == _SAFETENSORS:
                check_every_number(path)
            return state.digest()
        for start, length, tensor in _sampled_blocks(file.fileno(), path):
            block = os.pread(file.fileno(), length, start)
            if tensor is not None and not all_finite(block, tensor.dtype, start - tensor.begin):
                raise not_finite(path, tensor.name)
            state.update(block)
    return state.digest()


def _sampled_blocks(descriptor: int, path: Path) -> Iterator[tuple[int, int, Tensor | None]]:
    """Yield (start, length, tensor) of the header and of blocks of every tensor: its start, middle and end."""
    size = path.stat().st_size
    if path.suffix != _SAFETENSORS:
        yield 0, _BLOCK, None
        for start in range(_FILE_STRIDE, size, _FILE_STRIDE):
            yield start, _BLOCK, None
        yield max(0, size - _BLOCK), _BLOCK, None
        return
    header, found = tensors(descriptor, path)
    yield 0, header, None
    for tensor in found:
        for start, length in _tensor_blocks(tensor.begin, tensor.end):
            yield start, length, tensor


def _tensor_blocks(begin: int, end: int) -> Sequence[tuple[int, int]]:
    if end - begin <= 3 * _BLOCK:
        return [(begin, end - begin)]
    middle = (begin + end) // 2
    return [(begin, _BLOCK), (middle, _BLOCK), (end - _BLOCK, _BLOCK)]


def resolve_dtype(requested: str, config: dict[str, Any]) -> str:
    """Dtype of the loaded weights: for ``auto`` the checkpoint's own, with bfloat16 in place of float32.

    Raises:
        UsageError: an unknown dtype.
    """
    known = ("auto", "bfloat16", "float16", "float32")
    requested = _plain_dtype(requested)
    if requested not in known:
        raise UsageError(f"--dtype {requested}: unknown.{suggest(requested, known)}")
    if requested != "auto":
        return requested
    inner = config.get("text_config") or {}
    own = config.get("dtype") or config.get("torch_dtype") or inner.get("dtype") or "bfloat16"
    own = _plain_dtype(own.get("") or own.get("text_config") or "bfloat16" if isinstance(own, dict) else own)
    if own.startswith(("float8", "fp8", "int8", "uint8", "float4", "fp4")):
        raise UsageError(
            f"config.json: its dtype is {own}, in which a model is stored but not loaded. Name the one to compute in: "
            "--dtype bfloat16 (a quantised checkpoint also needs its quantization_config)."
        )
    return "bfloat16" if own in {"float32", "auto"} else own


def _plain_dtype(name: object) -> str:
    """PyTorch's name of a dtype, from what trainers write: torch.bfloat16, bf16, fp16, half."""
    plain = str(name).strip().removeprefix("torch.")
    return _DTYPES.get(plain.lower(), plain)


_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "f16": "float16", "fp32": "float32"} | {
    "f32": "float32",
    "float": "float32",
}
