"""What ``run`` and ``plan`` do before anything is asked: read tasks and personas, open models, lay out prompts.

::

    prepared = prepare(config)
    for model, placement in prepared.models:
        checkpoint = make_checkpoint(config, model, placement, prepared.eval_set)
        checkpoint.plan.size
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personaeval.config import RunConfig
from personaeval.errors import UsageError
from personaeval.generation.plan import Plan, choose_templates, lay_out
from personaeval.generation.sameness import open_known_model
from personaeval.judge.panel import Panel, open_panel
from personaeval.judge.rubrics import Rubrics, rubrics_of
from personaeval.judge.usage import PriceList, read_prices
from personaeval.library.external_personas import Reading
from personaeval.library.personas import BASELINE, Persona, Selection
from personaeval.library.registry import Registry
from personaeval.library.sources import ItemSet, load_items
from personaeval.library.tasks import Task
from personaeval.library.wording import refuse_misfit_personas
from personaeval.models.checkpoints import parse_model
from personaeval.models.model import Model
from personaeval.models.placement import Placement
from personaeval.models.prompts import fit_of, persona_sentence, with_system
from personaeval.models.suitability import place_personas, refuse_long_personas, refuse_unfit
from personaeval.types import Sampling


@dataclass(frozen=True)
class EvalSet:
    """The tasks and personas of a command, read once for all its checkpoints.

    ``personas`` are those that tasks are crossed with; ``rubrics`` are those of each judged task.
    """

    items: tuple[ItemSet, ...]
    personas: tuple[Persona, ...]
    rubrics: Mapping[str, Rubrics]
    persona_origins: tuple[dict[str, Any], ...]

    def personas_of(self, items: ItemSet) -> tuple[Persona, ...]:
        """The personas of a task: those it brings, or the run's."""
        return items.personas or self.personas

    def judged(self) -> list[tuple[ItemSet, Rubrics]]:
        """The judged tasks with their rubrics."""
        return [(items, self.rubrics[items.task.name]) for items in self.items if items.task.is_judged]

    def sentences(self, template: str) -> dict[str, str | None]:
        """Every persona's sentence, by a name for messages."""
        found = {persona.id: persona_sentence(template, persona) for persona in self.personas}
        for items in self.items:
            name = items.task.name
            found |= {f"{name}/{persona.id}": persona_sentence(template, persona) for persona in items.personas}
        return found


def load_eval_set(config: RunConfig) -> EvalSet:
    """Read the tasks' items and the personas."""
    registry = Registry(config.include)
    tasks = [task for selector in config.tasks for task in registry.tasks(selector)]
    names = [task.name for task, _ in tasks]
    unused = sorted(set(config.data) - set(names))
    if unused:
        raise UsageError(f"--data names {', '.join(unused)}, which --tasks does not (it names {', '.join(names)}).")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"--tasks: two of them are named {', '.join(twice)}; rename one.")
    judged = [task.name for task, _ in tasks if task.is_judged]
    config.refuse_unused()
    if config.judge and not judged:
        raise UsageError(f"--judge: none of the tasks ({', '.join(names)}) is scored by judges; add personagym.")
    if config.questions_per_dimension is not None and not judged:
        raise UsageError("--questions-per-dimension: only for judged tasks, and --tasks names none; use --limit.")
    if len(judged) == len(tasks) and config.personas != RunConfig.model_fields["personas"].default:
        raise UsageError(
            f"--personas {','.join(config.personas)}: a judged task has questions for its own personas, and --tasks "
            f"names no other ({', '.join(names)}). To judge your own personas, write questions for them: personaeval "
            f"questions --personas {config.personas[0]} …; or add a task that is crossed with personas, such as "
            "mini-arith."
        )
    items = tuple(load_task(config, task, file, config.data.get(task.name)) for task, file in tasks)
    fit = fit_of(config.template)
    for own in items:
        refuse_misfit_personas(f"task {own.task.name}", own.personas, fit)
    rubrics = {task.name: rubrics_of(own, file) for own, (task, file) in zip(items, tasks, strict=True)}
    selection = _select_personas(config, registry) if len(judged) < len(tasks) else Selection((), ())
    return EvalSet(items, selection.personas, {name: rubrics[name] for name in judged}, selection.origins)


def load_task(config: RunConfig, task: Task, file: Path, data: Path | None) -> ItemSet:
    """Read the items of a task that the run asks for."""
    return load_items(
        task, file, data, config.limit, config.seed, config.questions_per_dimension, config.limit_personas
    )


def _select_personas(config: RunConfig, registry: Registry) -> Selection:
    reading = Reading(fit_of(config.template), config.drop_near_duplicates)
    selection = registry.select(config.personas, reading)
    if len(selection.personas) == 1 and BASELINE.id not in config.personas:
        raise UsageError(
            f"--personas {','.join(config.personas)}: no persona at all, so there is nothing to compare with none. "
            "Name a set (personaeval personas list), or a file with texts."
        )
    return selection if config.limit_personas is None else selection.sample(config.limit_personas, config.seed)


@dataclass(frozen=True)
class Prepared:
    """What a configuration names, read and checked; no weights are loaded.

    Attributes:
        eval_set: tasks and personas.
        models: each checkpoint, and where the personas stand in its prompts.
        panel: the judges; None without.
        prices: price per million tokens, by model.
    """

    eval_set: EvalSet
    models: tuple[tuple[Model, Placement], ...]
    panel: Panel | None
    prices: PriceList


def prepare(config: RunConfig, models: Sequence[Model] | None = None) -> Prepared:
    """Read and check everything that a configuration names, so that mistakes are found before hours of work.

    Args:
        config: of the run.
        models: open models to evaluate instead of the configuration's.

    Raises:
        PersonaevalError: bad input, an unusable model, or a persona that does not fit a model's context.
    """
    eval_set = load_eval_set(config)
    # Before any model is opened: a wrong template is found in milliseconds.
    sentences = eval_set.sentences(config.template)
    models = models or [
        open_known_model(parse_model(text), config.model_options, config.output) for text in config.model
    ]
    panel = open_panel(config.judge_options, config.model_options, config.output)
    prices = read_prices(config.prices)
    placed = [(one, place_personas(one, sentences, config.persona_role)) for one in models]
    for model, placement in placed:
        refuse_long_personas(model, placement.role, sentences)
    return Prepared(eval_set, tuple(placed), panel, prices)


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of a run with its plan.

    Attributes:
        model: the checkpoint.
        placement: where the personas stand in its prompts.
        plan: every request, with its key.
        fast_rendering: whether prompts could be rendered the fast way.
    """

    model: Model
    placement: Placement
    plan: Plan
    fast_rendering: bool


def make_checkpoint(config: RunConfig, model: Model, placement: Placement, eval_set: EvalSet) -> Checkpoint:
    """Lay out the requests of one checkpoint and compute their keys.

    Raises:
        UsageError: a task cannot be put to this model.
    """
    plan, fast = build_plan(config, model, placement, eval_set)
    plan.compute_keys()
    return Checkpoint(model, placement, plan, fast)


def build_plan(config: RunConfig, model: Model, placement: Placement, eval_set: EvalSet) -> tuple[Plan, bool]:
    """The plan, its keys still to be computed, and whether prompts could be rendered the fast way."""
    parts = []
    fast = True
    for items in eval_set.items:
        refuse_unfit(model, items)
        system = items.task.item.system
        personas = eval_set.personas_of(items)
        sentences = [with_system(persona_sentence(config.template, persona), system) for persona in personas]
        prompt_templates, quick = choose_templates(model.renderer, items, sentences, placement.role)
        fast = fast and quick
        stop = model.renderer.stop(items.task.plain)
        parts.append((items, prompt_templates, choose_sampling(items.task, config, stop)))
    return Plan(lay_out(parts, eval_set.personas, config.samples, config.seed), model.identity()), fast


def choose_sampling(task: Task, config: RunConfig, stop: tuple[str, ...]) -> Sampling:
    """The task's sampling, with what the user set in its place."""
    own = task.sampling
    return Sampling(
        temperature=own.temperature if config.temperature is None else config.temperature,
        top_p=own.top_p if config.top_p is None else config.top_p,
        max_tokens=own.max_tokens if config.max_tokens is None or task.answer_tokens else config.max_tokens,
        stop=(*own.stop, *stop),
        answer_tokens=task.answer_tokens,
    )
