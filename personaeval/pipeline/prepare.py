"""What ``run`` and ``plan`` do before anything is asked: read tasks and personas, open models, lay out prompts.

::

    prepared = prepare(config)
    for model, placement in prepared.models:
        checkpoint = make_checkpoint(config, model, placement, prepared.eval_set)
        checkpoint.plan.size
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personaeval.config import RunConfig
from personaeval.errors import UsageError, suggest
from personaeval.generation.plan import Plan, choose_templates, lay_out
from personaeval.generation.sameness import open_known_model
from personaeval.judge.panel import Panel, open_panel
from personaeval.judge.rubrics import Rubrics, rubrics_of
from personaeval.judge.usage import PriceList, read_prices
from personaeval.library.columns import split_mapping
from personaeval.library.external_personas import Reading
from personaeval.library.personas import BASELINE, Persona, Selection
from personaeval.library.registry import Registry
from personaeval.library.sources import ItemSet, load_items
from personaeval.library.tasks import Task
from personaeval.library.wording import refuse_misfit_personas
from personaeval.models.checkpoint_patterns import expand_models
from personaeval.models.checkpoints import ModelSpec, find_folder, parse_model
from personaeval.models.model import EndpointModel, Model
from personaeval.models.placement import Placement
from personaeval.models.prompts import with_system
from personaeval.models.sentences import fit_of, persona_sentence
from personaeval.models.suitability import place_personas, refuse_long_personas, refuse_unfit
from personaeval.progress import Progress, naming, open_progress
from personaeval.types import Sampling


@dataclass(frozen=True)
class EvalSet:
    """The tasks and personas of a command, read once for all its checkpoints.

    ``personas`` are those that tasks are crossed with; ``rubrics`` are those of each judged task; ``notes`` tell the
    user how the data was read.
    """

    items: tuple[ItemSet, ...]
    personas: tuple[Persona, ...]
    rubrics: Mapping[str, Rubrics]
    persona_origins: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()

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
    notes = _check_data(config, names, registry)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"--tasks: two of them are named {', '.join(twice)}; rename one.")
    judged = [task.name for task, _ in tasks if task.is_judged]
    config.refuse_unused()
    if config.judge and not judged:
        raise UsageError(f"--judge: none of the tasks ({', '.join(names)}) is scored by judges; add personagym.")
    if config.questions_per_dimension is not None and not judged:
        raise UsageError("--questions-per-dimension: only for judged tasks, and --tasks names none; use --limit.")
    if len(judged) == len(tasks) and _names_personas(config):
        raise UsageError(
            f"--personas {','.join(config.personas)}: a judged task has questions for its own personas, and --tasks "
            f"names no other ({', '.join(names)}). To judge your own personas, write questions for them: personaeval "
            f"questions --personas {config.personas[0]} …; or add a task that is crossed with personas, such as "
            "mini-arith."
        )
    # Before any data is loaded: a mistyped name is found at once.
    fit = fit_of(config.template)
    selection = _select_personas(config, registry) if len(judged) < len(tasks) else Selection((), ())
    items = tuple(load_task(config, task, file, config.data.get(task.name)) for task, file in tasks)
    for own in items:
        refuse_misfit_personas(f"task {own.task.name}", own.personas, fit)
    rubrics = {task.name: rubrics_of(own, file) for own, (task, file) in zip(items, tasks, strict=True)}
    notes += [note for own in items for note in own.notes]
    own_rubrics = {name: rubrics[name] for name in judged}
    return EvalSet(items, selection.personas, own_rubrics, selection.origins, tuple(notes))


def _check_data(config: RunConfig, names: Sequence[str], registry: Registry) -> list[str]:
    """Check that ``--data`` fits the tasks; what is given for a task that is not asked is a note, if others fit."""
    unused = sorted(set(config.data) - set(names))
    unknown = [name for name in unused if not _is_task(name, registry)]
    if unused and (unknown or len(unused) == len(config.data)):
        close = suggest(unknown[0], names) if unknown else f" It names {', '.join(names)}."
        raise UsageError(f"--data names {', '.join(unknown or unused)}, which --tasks does not.{close}")
    for name in names:
        path, _ = split_mapping(config.data.get(name, Path()))
        if not path.exists():
            raise UsageError(f"--data {name}={path}: no such file (looked for {path.absolute()}).")
    return [f"--data: not used, since --tasks does not name it: {', '.join(unused)}."] if unused else []


def _is_task(name: str, registry: Registry) -> bool:
    try:
        return bool(registry.tasks(name))
    except UsageError:
        return False


def load_task(config: RunConfig, task: Task, file: Path, data: Path | None) -> ItemSet:
    """Read the items of a task that the run asks for."""
    return load_items(
        task, file, data, config.limit, config.seed, config.questions_per_dimension, config.limit_personas
    )


def _names_personas(config: RunConfig) -> bool:
    """Whether the user named personas; a configuration that a run wrote names the default ones as well."""
    is_written_by_a_run = len(config.model_fields_set) > len(RunConfig.model_fields) / 2
    is_default = config.personas == RunConfig.model_fields["personas"].default
    return not is_default or ("personas" in config.model_fields_set and not is_written_by_a_run)


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
        notes: for the user, on how models and data were read.
    """

    eval_set: EvalSet
    models: tuple[tuple[Model, Placement], ...]
    panel: Panel | None
    prices: PriceList
    notes: tuple[str, ...] = ()


def prepare(config: RunConfig, models: Sequence[Model] | None = None, progress: Progress | None = None) -> Prepared:
    """Read and check everything that a configuration names, so that mistakes are found before hours of work.

    Args:
        config: of the run.
        models: open models to evaluate instead of the configuration's.
        progress: names steps that take long, and says what endpoints take. None: endpoints are not asked, which a
            forecast can do without.

    Raises:
        PersonaevalError: bad input, an unusable model, or a persona that does not fit a model's context.
    """
    # Names first, then data, then models: a mistake is found before what takes longer.
    texts, notes = ([], []) if models else expand_models(config.model)
    specs = [parse_model(text) for text in texts]
    for spec in (*specs, *(parse_model(text, "--judge") for text in config.judge)):
        if spec.engine != "openai":
            find_folder(spec)
    say = progress.message if progress is not None else None
    progress = progress or open_progress(quiet=True)
    with naming(progress, f"reading {', '.join(config.tasks)}"):
        eval_set = load_eval_set(config)
    sentences = eval_set.sentences(config.template)
    opened = list(models or ())
    for spec in specs:
        with naming(progress, _opening(spec)):
            opened.append(open_known_model(spec, config.model_options, config.output))
    for model in opened:
        with naming(progress, f"{model.spec.short_name}: asking what it takes"):
            _settle_sampling(config, model, eval_set, say)
    with naming(progress, f"opening {', '.join(config.judge)}"):
        panel = open_panel(config.judge_options, config.model_options, config.output, say)
    prices = read_prices(config.prices)
    placed = []
    for model in opened:
        with naming(progress, f"{model.spec.short_name}: looking at its prompts"):
            placed.append((model, place_personas(model, sentences, config.persona_role)))
    for model, placement in placed:
        refuse_long_personas(model, placement.role, sentences)
    return Prepared(eval_set, tuple(placed), panel, prices, (*notes, *eval_set.notes))


def _opening(spec: ModelSpec) -> str:
    return f"waiting for {spec.url}" if spec.url else f"reading the checkpoint {spec.name}"


def _settle_sampling(config: RunConfig, model: Model, eval_set: EvalSet, say: Callable[[str], None] | None) -> None:
    """Find out whether a model takes the run's sampling.

    Raises:
        UsageError: it does not; names the remedy.
    """
    name = model.spec.short_name
    if not isinstance(model, EndpointModel):
        if config.temperature == "default":
            raise UsageError(f"--temperature default: only an endpoint has one of its own, and {name} is none.")
        return
    if say is None:
        return
    samplings = [choose_sampling(items.task, config, ()) for items in eval_set.items]
    model.negotiate(samplings, has_system=config.persona_role != "user_prefix", say=say)
    refused = model.dialect.refused_temperature
    if refused is not None:
        raise UsageError(
            f"{name}: the endpoint refuses temperature {refused:g}. --temperature default asks it without one: the run "
            "is then sampled at the server's default, titled so, and never ranked with greedy ones."
        )


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
    given = own.temperature if config.temperature is None else config.temperature
    return Sampling(
        temperature=None if given == "default" else given,
        top_p=own.top_p if config.top_p is None else config.top_p,
        max_tokens=own.max_tokens if config.max_tokens is None or task.answer_tokens else config.max_tokens,
        stop=(*own.stop, *stop),
        answer_tokens=task.answer_tokens,
    )
