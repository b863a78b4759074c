"""The manifest of a run, run.json: everything needed to repeat it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from personaeval import verify
from personaeval.config import RunConfig
from personaeval.documents import hash_json
from personaeval.generation.plan import TaskPlan
from personaeval.judge.panel import Panel
from personaeval.judge.rubrics import Rubrics, rubrics_hash
from personaeval.judge.validation import find_check
from personaeval.library.sources import ItemSet
from personaeval.models.model import Model
from personaeval.models.sentences import drops_full_stop, template_text
from personaeval.pipeline.prepare import Checkpoint, EvalSet
from personaeval.results.records import (
    ModelRecord,
    PanelRecord,
    PersonasRecord,
    PlacementRecord,
    RunRecord,
    TaskRecord,
    describe_personas,
)


def make_manifest(config: RunConfig, checkpoint: Checkpoint, eval_set: EvalSet) -> RunRecord:
    """The manifest as it is known before anything is generated.

    ``plan`` identifies the work: same command, same plan. ``work`` of each task identifies what was asked, of whatever
    model.
    """
    model, plan = checkpoint.model, checkpoint.plan
    tasks = {task.items.task.name: _describe_task(config, model, task) for task in plan.tasks}
    identified = {
        "identity": model.identity(),
        "rendering": model.renderer.record(),
        **_reasoning(config),
        "tasks": {name: task.work for name, task in tasks.items()},
        "seed": config.seed,
    }
    return RunRecord(
        plan=hash_json(identified),
        short_name=model.spec.short_name,
        config=config.model_dump(mode="json", exclude={"model"}) | {"model": [_spec_text(model)]},
        model=ModelRecord(**model.record()),
        placement=PlacementRecord(
            **{name: value for name, value in asdict(checkpoint.placement).items() if value != ()}
        ),
        fast_rendering=checkpoint.fast_rendering,
        tasks=tasks,
        personas=_describe_personas(eval_set.personas),
        persona_origins=list(eval_set.persona_origins),
    )


def add_panel(manifest: RunRecord, rubrics: Mapping[str, Rubrics], panel: Panel | None, output: Path) -> None:
    """Add the judges of a run, the rubrics of its judged tasks, and the judges' last checks.

    Args:
        manifest: of the run.
        rubrics: of each judged task.
        panel: the judges; None without.
        output: the results folder, which may hold records of judge checks.
    """
    for name, own in rubrics.items():
        manifest.tasks[name].scorer = {"kind": "judged", "rubrics": rubrics_hash(own)}
    manifest.panel = None
    if panel is not None:
        described = PanelRecord(**{"hash": hash_json(panel.identity()), **panel.describe()})
        for judge in described.judges:
            judge.check = find_check(output, judge.fingerprint, judge.form)
        manifest.panel = described


def update_task(record: TaskRecord, items: ItemSet) -> None:
    """Record the revision, gold answers and scorer with which a task was scored again."""
    task = items.task
    if not task.is_judged:
        record.scorer = _describe_scorer(items)
    record.revision = task.revision
    record.gold_hash = items.gold_hash
    record.correct_at = task.pass_threshold


def _spec_text(model: Model) -> str:
    spec = model.spec
    revision = f"@{spec.revision}" if spec.revision else ""
    return f"{spec.engine}:{spec.name}{revision}" + (f"@{spec.url}" if spec.url else "")


def _reasoning(config: RunConfig) -> dict[str, str]:
    """The marks of thinking that were named, the default among them."""
    start = {"reasoning_start": config.reasoning_start} if config.reasoning_start else {}
    return {"reasoning_end": config.reasoning_end, **start}


def _describe_personas(personas: Any) -> PersonasRecord:
    return PersonasRecord(
        **describe_personas([{"id": one.id, "text": one.text, "prompt": one.prompt} for one in personas])
    )


def _describe_scorer(items: ItemSet) -> dict[str, Any]:
    return {**items.task.scorer.model_dump(mode="json"), "version": verify.VERSION}


def _describe_task(config: RunConfig, model: Model, plan: TaskPlan) -> TaskRecord:
    items, task, sampling = plan.items, plan.items.task, plan.sampling.record()
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
        **_reasoning(config),
    }
    if not plan.sampling.is_greedy:
        # Not so in earlier versions: one seed for all rows of a sample, so that items were no independent clusters.
        asked["random_numbers"] = "own of every row"
    if any(drops_full_stop(config.template, persona) for persona in plan.personas):
        # Not so in earlier versions: every sentence ended in the template's full stop, after "?" and "…" as well.
        asked["full_stop"] = "not doubled"
    personas = _describe_personas(plan.personas)
    identified = {
        "task": task.name,
        "prompts": items.prompts_hash,
        "personas": personas.hash,
        "template": template_text(config.template),
        "sampling": sampling,
        "samples": plan.samples,
        **asked,
    }
    return TaskRecord(
        kind="fidelity" if task.is_judged else "stability",
        title=task.title,
        domain=task.domain,
        revision=task.revision,
        work=hash_json(identified),
        asked=asked,
        origin=dict(items.origin),
        prompts_hash=items.prompts_hash,
        gold_hash=items.gold_hash,
        items=len(items.items),
        samples=plan.samples,
        template=template_text(config.template),
        system=task.item.system,
        sampling=sampling,
        scorer=_describe_scorer(items),
        correct_at=task.pass_threshold,
        chance=items.chance,
        withhold_text=task.withhold_text,
        personas=personas if task.is_judged else None,
    )
