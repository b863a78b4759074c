"""What run.json says of the work itself: everything needed to repeat it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from personaeval import verify
from personaeval.config import RunConfig
from personaeval.generation.plan import Plan, TaskPlan
from personaeval.judge.panel import Panel
from personaeval.judge.rubrics import Rubrics, rubrics_hash
from personaeval.judge.validation import find_check
from personaeval.library.personas import Persona
from personaeval.models.model import Model
from personaeval.models.prompts import Placement, template_text
from personaeval.results.files import FORMAT


def describe_run(
    config: RunConfig,
    model: Model,
    placement: Placement,
    plan: Plan,
    personas: Sequence[Persona],
    fast_rendering: bool,
) -> dict[str, Any]:
    """Return the content of run.json as far as it is known before anything is generated.

    ``plan`` identifies the work: same command, same plan. ``work`` of each task identifies what was asked, whoever
    was asked. ``personas`` are those that tasks are crossed with.
    """
    tasks = {task.items.task.name: _describe_task(config, model, task) for task in plan.tasks}
    pending = {
        "identity": model.identity(),
        "rendering": model.renderer.record(),
        "reasoning_end": config.reasoning_end,
        "tasks": {name: task["work"] for name, task in tasks.items()},
        "seed": config.seed,
    }
    return {
        "format": FORMAT,
        "plan": hash_json(pending),
        "label": model.spec.short_name,
        "config": config.model_dump(mode="json", exclude={"model"}) | {"model": [_spec_text(model)]},
        "model": model.record(),
        "placement": asdict(placement),
        "fast_rendering": fast_rendering,
        "tasks": tasks,
        "personas": _describe_personas(personas),
    }


def add_judging(record: dict[str, Any], rubrics: Mapping[str, Rubrics], panel: Panel | None, output: Path) -> None:
    """Add to a run's record by which rubrics its judged tasks are scored, by whom, and what is known of them.

    Args:
        record: run.json.
        rubrics: of each judged task.
        panel: the judges, None where there are none.
        output: the results folder, which may hold records of judge checks.
    """
    for name, own in rubrics.items():
        record["tasks"][name]["scorer"] = {"kind": "judged", "rubrics": rubrics_hash(own)}
    record["panel"] = None
    if panel is not None:
        record["panel"] = {"hash": hash_json(panel.identity()), **panel.describe()}
        for judge in record["panel"]["judges"]:
            judge["check"] = find_check(output, judge["fingerprint"])


def _spec_text(model: Model) -> str:
    spec = model.spec
    revision = f"@{spec.revision}" if spec.revision else ""
    return f"{spec.engine}:{spec.name}{revision}" + (f"@{spec.url}" if spec.url else "")


def _describe_personas(personas: Sequence[Persona]) -> list[dict[str, Any]]:
    return [persona.model_dump(mode="json") for persona in personas]


def _describe_task(config: RunConfig, model: Model, plan: TaskPlan) -> dict[str, Any]:
    task, sampling = plan.items.task, plan.sampling.record()
    rendering = model.renderer.record()
    is_plain = rendering["kind"] == "plain"
    asked = {
        "persona_role": config.persona_role,
        # A base model is asked by the task's plain prompt; a chat model never sees it.
        "plain": task.plain.model_dump(mode="json") if is_plain else None,
        # A checkpoint's own template belongs to it; one put in its place is a setting of the run.
        "chat_template": rendering.get("chat_template"),
        # Where an endpoint is asked, these are fields of the request: top_k, penalties.
        "request_fields": config.engine_args if model.spec.engine == "openai" else {},
        "chat_template_kwargs": config.chat_template_kwargs,
        "reasoning_end": config.reasoning_end,
    }
    if plan.sampling.temperature > 0:
        # Not so in earlier versions: one seed for all rows of a sample, so that items were no independent clusters.
        asked["random_numbers"] = "own of every row"
    pending = {
        "task": task.name,
        "prompts": plan.items.prompts_hash,
        "personas": hash_json(sorted([persona.id, persona.text] for persona in plan.personas)),
        "template": template_text(config.template),
        "sampling": sampling,
        "samples": plan.samples,
        **asked,
    }
    return {
        "title": task.title,
        "domain": task.domain,
        "revision": task.revision,
        "work": hash_json(pending),
        "asked": asked,
        "origin": dict(plan.items.origin),
        "prompts_hash": plan.items.prompts_hash,
        "gold_hash": plan.items.gold_hash,
        "items": len(plan.items.items),
        "samples": plan.samples,
        "template": template_text(config.template),
        "sampling": sampling,
        "scorer": {**task.scorer.model_dump(mode="json"), "version": verify.VERSION},
        "correct_at": task.pass_threshold,
        "chance": plan.items.chance,
        "withhold_text": task.withhold_text,
    } | ({"personas": _describe_personas(plan.personas)} if task.is_judged else {})


def hash_json(content: Any) -> str:
    """Return 16 hexadecimal digits that identify a JSON value."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
