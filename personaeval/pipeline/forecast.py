"""Forecast of a run: its cost, and the smallest change it can detect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from personaeval.config import RunConfig
from personaeval.generation.pending import CHUNK, PendingRequests
from personaeval.generation.plan import Plan, describe_greedy_samples
from personaeval.judge.exemplars import worst_case
from personaeval.judge.judge_prompt import LONGEST
from personaeval.judge.judging import blank_judge_inputs
from personaeval.judge.panel import JudgeInput, Panel
from personaeval.judge.usage import JudgeUsage, PriceList
from personaeval.models.model import InProcessModel, Model
from personaeval.pipeline.outlook import Outlook, make_outlook
from personaeval.pipeline.prepare import Checkpoint, EvalSet, Prepared, make_checkpoint, prepare
from personaeval.pipeline.sessions import past_speed
from personaeval.results.ledger import LEDGER, Ledger
from personaeval.results.runs import finished_runs


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
        speed: new tokens per second of this engine's last run in the results folder; None without one.
        notes: how models and data were read.
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
    speed: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float | None:
        """Time to generate, if answers are as long and as fast as in the last run; None without one."""
        if self.mean_output is None or not self.speed:
            return None
        return self.mean_output * self.missing / self.speed


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
        outlooks = outlooks or tuple(make_outlook(task, config.output, detect) for task in plan.tasks)
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
        speed=past_speed(config.output, model.spec.engine),
        notes=prepared.notes,
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


def _past_length(output: Path, tasks: set[str]) -> float | None:
    """Mean number of new tokens of an answer in the newest run of just these tasks."""
    for run in finished_runs(output):
        sessions = [session for session in run.record.sessions if session.generated]
        generated = sum(session.generated or 0 for session in sessions)
        if generated and set(run.record.tasks) == tasks:
            return sum(session.tokens["output"] for session in sessions) / generated
    return None
