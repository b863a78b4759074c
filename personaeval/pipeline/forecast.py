"""Forecast of a run: its cost, and the smallest change it can detect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from personaeval.config import RunConfig
from personaeval.errors import PersonaevalError
from personaeval.generation.pending import CHUNK, PendingRequests
from personaeval.generation.plan import Plan, TaskPlan, describe_greedy_samples
from personaeval.judge.exemplars import worst_case
from personaeval.judge.judge_prompt import LONGEST
from personaeval.judge.judging import blank_judge_inputs
from personaeval.judge.panel import JudgeInput, Panel
from personaeval.judge.usage import JudgeUsage, PriceList, describe_usage
from personaeval.models.model import InProcessModel, Model
from personaeval.pipeline.prepare import Checkpoint, EvalSet, Prepared, make_checkpoint, prepare
from personaeval.results.ledger import LEDGER, Ledger
from personaeval.results.runs import finished_runs
from personaeval.results.summaries import StabilitySummary, read_summary

SAMPLES = (1, 2, 4, 8)

_ASSUMED = 0.6


@dataclass(frozen=True)
class Outlook:
    """Changes that a task with n items, m personas and S samples can detect.

    Attributes:
        task: its name.
        items: n.
        personas: m.
        samples: S.
        basis: where the assumed population comes from, in words.
        minimum_detectable_effect: metric -> smallest decline detected with a power of 80 %; None if the metric cannot
            fall that far; empty for a judged task or m < 2.
        required_sample_size: metric -> samples -> items that detect the given decline; empty without one.
    """

    task: str
    items: int
    personas: int
    samples: int
    basis: str
    minimum_detectable_effect: dict[str, float | None]
    required_sample_size: dict[str, dict[int, int | None]]


@dataclass(frozen=True)
class Forecast:
    """Cost of one checkpoint's run.

    Attributes:
        checkpoint: its short name.
        requests: number of requests in the plan.
        present: number of those with an answer in the ledger.
        missing: number of those to generate; equal requests of two tasks count once.
        prompt_tokens: prompt tokens to process; exact for a local checkpoint, None for an endpoint, whose server makes
            the prompts.
        characters: approximate characters of those prompts.
        most_output: new tokens if every answer reaches its limit.
        mean_output: mean new tokens per answer in earlier runs of these tasks in the results folder; None without any.
        outlooks: one per task.
        judges: upper bound of each judge's requests and tokens, with an empty ledger.
        prices: prices of the judges' tokens.
        cautions: what else the prompts tell the model.
    """

    checkpoint: str
    requests: int
    present: int
    missing: int
    prompt_tokens: int | None
    characters: int
    most_output: int
    mean_output: float | None
    outlooks: tuple[Outlook, ...]
    judges: tuple[JudgeUsage, ...]
    prices: PriceList
    cautions: tuple[str, ...] = ()


def forecast(config: RunConfig, detect: float | None, models: Sequence[Model] = ()) -> list[Forecast]:
    """Cost of a run for every checkpoint, and the smallest change it can detect.

    Args:
        config: the run's configuration.
        detect: a change of accuracy or PSS; adds the sample sizes that detect it.
        models: open models to use instead of the configuration's.

    Raises:
        PersonaevalError: as :func:`personaeval.pipeline.run.run` before it generates.
    """
    prepared = prepare(config, models)
    outlooks: tuple[Outlook, ...] | None = None
    found = []
    for model, placement in prepared.models:
        checkpoint = make_checkpoint(config, model, placement, prepared.eval_set)
        plan = checkpoint.plan
        outlooks = outlooks or tuple(_outlook(task, config.output, detect) for task in plan.tasks)
        kept = config.output / LEDGER
        with TemporaryDirectory() as empty, Ledger(kept if kept.exists() else Path(empty) / LEDGER) as ledger:
            found.append(_cost(config, prepared, checkpoint, PendingRequests(plan, ledger), outlooks))
    return found


def _cost(
    config: RunConfig,
    prepared: Prepared,
    checkpoint: Checkpoint,
    pending: PendingRequests,
    outlooks: tuple[Outlook, ...],
) -> Forecast:
    model, plan = checkpoint.model, checkpoint.plan
    missing = pending.counts.wanted
    most = sum(request.sampling.max_tokens for request in plan.requests(pending.is_missing))
    return Forecast(
        checkpoint=model.spec.short_name,
        requests=plan.size,
        present=pending.present,
        missing=missing,
        prompt_tokens=count_prompt_tokens(model, plan, pending.is_missing),
        characters=round(plan.prompt_characters * config.samples * missing / max(plan.size, 1)),
        most_output=most,
        mean_output=_past_length(config.output, {task.items.task.name for task in plan.tasks}),
        outlooks=outlooks,
        judges=_worst_case(prepared.panel, prepared.eval_set, plan),
        prices=prepared.prices,
        cautions=(*checkpoint.placement.cautions, *filter(None, [describe_greedy_samples(plan)])),
    )


def _worst_case(panel: Panel | None, eval_set: EvalSet, plan: Plan) -> tuple[JudgeUsage, ...]:
    if panel is None:
        return ()
    judge_inputs: list[JudgeInput] = []
    longest = 0
    for task in plan.tasks:
        if task.items.task.is_judged:
            judge_inputs += blank_judge_inputs(task.items, eval_set.rubrics[task.items.task.name], task.samples)
            longest = max(longest, min(task.sampling.max_tokens, LONGEST // 4))
    authors = [worst_case(panel, judge_inputs)] if panel.exemplars else []
    return (*authors, *panel.worst_case(judge_inputs, longest))


def count_prompt_tokens(model: Model, plan: Plan, wanted: Callable[[int], bool]) -> int | None:
    """Prompt tokens of the wanted rows, as the engine counts them; None for an endpoint."""
    if not isinstance(model, InProcessModel):
        return None
    requests = plan.requests(wanted)
    total = 0
    while part := list(islice(requests, CHUNK)):
        total += sum(map(len, model.tokenise(part)))
    return total


def _outlook(task: TaskPlan, output: Path, detect: float | None) -> Outlook:
    from personaeval.metrics.population import Population, like
    from personaeval.metrics.power import PLANNED, minimum_detectable_effect, required_sample_size

    name, n, m = task.items.task.name, len(task.items.items), len(task.personas) - 1
    if task.items.task.is_judged:
        return Outlook(name, n, len(task.personas), task.samples, "judged: no forecast", {}, {})
    if m < 2:
        return Outlook(name, n, m, task.samples, "fewer than two personas: no forecast", {}, {})
    past = _past_metrics(output, name)
    if past is None:
        population, basis = Population(_ASSUMED), f"an assumed accuracy of {_ASSUMED}: no run of it in {output}"
    else:
        population = like(past["accuracy"], past["pss"], past["repeatability"])
        basis = f"accuracy {past['accuracy']:.3f} and PSS {past['pss']:.3f} of {past['short_name']} in {output}"
    wanted = sorted({*SAMPLES, task.samples}) if detect is not None else []
    sizes: dict[str, dict[int, int | None]] = {
        metric: {samples: required_sample_size(population, metric, detect or 0, m, samples) for samples in wanted}
        for metric in PLANNED
        if wanted
    }
    shown: dict[str, float | None] = {
        metric: minimum_detectable_effect(population, metric, n, m, task.samples) for metric in PLANNED
    }
    return Outlook(name, n, m, task.samples, basis, shown, sizes)


def _past_metrics(output: Path, task: str) -> dict[str, Any] | None:
    """Accuracy, PSS and repeatability of the newest run of a task that has the first two."""
    for run in finished_runs(output):
        try:
            part = read_summary(run.folder).tasks.get(task)
        except PersonaevalError:
            continue  # a broken file is no reason not to plan this run
        if not isinstance(part, StabilitySummary):
            continue
        values = {name: part.stability[name]["value"] for name in ("accuracy", "pss", "repeatability")}
        if values["accuracy"] is not None and values["pss"] is not None:
            return {**values, "short_name": run.record.short_name}
    return None


def _past_length(output: Path, tasks: set[str]) -> float | None:
    """Mean number of new tokens of an answer in the newest run of just these tasks."""
    for run in finished_runs(output):
        sessions = [session for session in run.record.sessions if session.generated]
        generated = sum(session.generated or 0 for session in sessions)
        if generated and set(run.record.tasks) == tasks:
            return sum(session.tokens["output"] for session in sessions) / generated
    return None


def describe(found: Forecast, detect: float | None) -> str:
    """A forecast in lines for people."""
    duplicates = found.requests - found.present - found.missing
    alike = f", {duplicates:,} duplicates of others" if duplicates else ""
    lines = [f"{found.checkpoint}: {found.requests:,} requests, {found.present:,} in the ledger already{alike}."]
    if found.missing:
        prompt = (
            f"about {found.characters / 4:,.0f} prompt tokens (an endpoint makes its own prompts)"
            if found.prompt_tokens is None
            else f"{found.prompt_tokens:,} prompt tokens"
        )
        guess = (
            "no estimate without an earlier run of these tasks in the results folder"
            if found.mean_output is None
            else f"about {found.mean_output * found.missing:,.0f}, as in the last run of these tasks"
        )
        lines.append(f"To generate: {found.missing:,} requests, {prompt}.")
        lines.append(f"New tokens: at most {found.most_output:,}; {guess}.")
    else:
        lines.append("Nothing to generate.")
    lines += [
        f"At most (less what the ledger already holds): {describe_usage(usage, found.prices)}" for usage in found.judges
    ]
    lines += [f"Caution: {caution}." for caution in found.cautions]
    for outlook in found.outlooks:
        lines += _describe_outlook(outlook, detect)
    return "\n".join(lines)


def _describe_outlook(outlook: Outlook, detect: float | None) -> list[str]:
    size = f"n = {outlook.items:,} items, m = {outlook.personas}, S = {outlook.samples}"
    if not outlook.minimum_detectable_effect:
        return [f"{outlook.task} ({size}): {outlook.basis}."]
    declines = ", ".join(
        f"{_TITLES[name]} {'–' if value is None else format(value, '.3f')}"
        for name, value in outlook.minimum_detectable_effect.items()
    )
    lines = [f"{outlook.task} ({size}): minimum detectable decline between two checkpoints: {declines}."]
    for name, sizes in outlook.required_sample_size.items():
        wanted = ", ".join(
            f"{'–' if items is None else format(items, ',')} at S = {samples}" for samples, items in sizes.items()
        )
        lines.append(f"  For a decline of {detect:g} in {_TITLES[name]}, items: {wanted}.")
    found = [items for sizes in outlook.required_sample_size.values() for items in sizes.values()]
    unreached = " –: it cannot fall that far." if None in (*outlook.minimum_detectable_effect.values(), *found) else ""
    lines.append(f"  (Power 80 %, one-sided 2.5 %; from {outlook.basis}.{unreached})")
    return lines


_TITLES = {"accuracy": "accuracy", "pss": "PSS"}
