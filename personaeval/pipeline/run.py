"""The main path: a configuration in, a finished run on disk for every checkpoint.

plan -> what the ledger lacks -> engine -> ledger and verification, side by side -> tables -> summary
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from personaeval.config import RunConfig
from personaeval.documents import hash_json
from personaeval.errors import EngineError, UsageError
from personaeval.generation.pending import CHUNK, PendingRequests, count_reasons, run_requests
from personaeval.generation.plan import Plan, describe_greedy_samples
from personaeval.generation.sameness import check_sameness
from personaeval.judge.judgements import Ratings
from personaeval.judge.judging import JudgingResult, judge_run, make_judge_inputs, warn_of_judges, with_score
from personaeval.judge.panel import JudgeInput, Panel
from personaeval.judge.usage import add_cost, report_judging
from personaeval.library.duplicates import alike_share
from personaeval.library.external_personas import describe_import
from personaeval.library.personas import prompted_texts
from personaeval.models.checkpoints import ModelSpec
from personaeval.models.model import InProcessModel, Model
from personaeval.pipeline.finish import finish, persona_rows
from personaeval.pipeline.manifest import add_panel, make_manifest
from personaeval.pipeline.prepare import Checkpoint, EvalSet, Prepared, make_checkpoint, prepare
from personaeval.pipeline.scoring import Scoring
from personaeval.pipeline.sessions import Sessions, past_speed
from personaeval.pipeline.truncation import warn_of_truncation
from personaeval.progress import Progress, duration
from personaeval.results.ledger import LEDGER, Ledger
from personaeval.results.lock import run_lock
from personaeval.results.records import CountsRecord
from personaeval.types import Response


@dataclass(frozen=True)
class RunResult:
    """Result for one checkpoint: its folder, and how many requests failed (running again retries only those).

    ``folder`` is None if nothing could be asked, because the engine failed or another process holds the run.
    ``unjudged`` is how many judgements the judges' engines did not give. ``reasons`` says why requests failed and
    ``judge_reasons`` why judgements did, with counts.
    """

    folder: Path | None
    failed: int
    generated: int
    engine_error: str | None
    unjudged: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    judge_reasons: Mapping[str, int] = field(default_factory=dict)


def run(config: RunConfig, progress: Progress, models: Sequence[Model] = ()) -> list[RunResult]:
    """Evaluate every checkpoint of the configuration, one after the other.

    Args:
        config: the run's configuration.
        progress: shows the work.
        models: open models to evaluate instead of the configuration's.

    Raises:
        PersonaevalError: bad input, an unusable model, a results folder that cannot be written, or no checkpoint at
            all that its engine could answer for. An engine that fails on the way does not raise: its cells are
            unscored and the result says so.
        KeyboardInterrupt: interrupted; everything completed is in the ledger.
    """
    prepared = prepare(config, models, progress)
    for note in prepared.notes:
        progress.message(note)
    for origin in prepared.eval_set.persona_origins:
        if origin["kind"] != "set":
            progress.message(describe_import(origin))
    alike = alike_share(prompted_texts(prepared.eval_set.personas))
    if alike.share:
        progress.message(f"Of {alike.of:,} personas, {alike}.")
    finished: list[RunResult] = []
    for model, placement in prepared.models:
        try:
            checkpoint = make_checkpoint(config, model, placement, prepared.eval_set)
            finished.append(_run_checkpoint(config, prepared, checkpoint, progress))
        except (EngineError, UsageError) as error:
            if model is prepared.models[-1][0] and all(result.folder is None for result in finished):
                raise
            progress.message(f"{model.spec.short_name}: {error}")
            finished.append(RunResult(None, failed=0, generated=0, engine_error=str(error)))
    return finished


def _run_checkpoint(config: RunConfig, prepared: Prepared, checkpoint: Checkpoint, progress: Progress) -> RunResult:
    model, placement, plan = checkpoint.model, checkpoint.placement, checkpoint.plan
    eval_set, panel = prepared.eval_set, prepared.panel
    manifest = make_manifest(config, checkpoint, eval_set)
    add_panel(manifest, eval_set.rubrics, panel, config.output)
    if manifest.panel is not None:
        # A run with other judges has a folder of its own.
        manifest.plan = hash_json([manifest.plan, manifest.panel.hash])
    folder = config.output / manifest.checkpoint / manifest.plan[:8]
    with run_lock(folder), Ledger(config.output / LEDGER) as ledger:
        pending = PendingRequests(plan, ledger)
        if pending.counts.wanted:
            model.refuse_unavailable()
        sessions = Sessions(folder, manifest)
        progress.message(announce(model.spec, folder, plan, pending, config))
        if (blank := pending.describe_blank()) is not None:
            progress.message(blank)
        if (dropped := describe_dropped_marks(model, plan, pending)) is not None:
            progress.message(dropped)
        if (greedy := describe_greedy_samples(plan)) is not None:
            progress.message(f"{greedy}.")
        warn_of_judges(manifest, progress)
        check_sameness(model, ledger, progress, is_reused=pending.present > 0)
        if panel is not None:
            panel.check_sameness(ledger, progress)
        if not placement.verified:
            progress.message(
                "The endpoint does not show its prompts: that the personas reach the model is not verified."
            )
        for caution in placement.cautions:
            progress.message(f"{model.spec.short_name}: {caution}.")
        if not checkpoint.fast_rendering:
            progress.message("This chat template looks into the question: every prompt is rendered in full (slower).")
        with Scoring(plan, ledger, model.thinking, placement.opens_thinking, pending.counts) as scoring:
            engine_error = _generate(model, pending, scoring, progress, sessions)
            scoring.flush()
            ledger.flush()
            judging = _judge(panel, folder, eval_set, plan, pending, scoring, progress)
            add_cost(judging.usages, prepared.prices)
            sessions.judged(judging.usages)
            report_judging(judging.usages, prepared.prices, progress)
            manifest.counts = CountsRecord(requests=plan.size, failed=len(pending.errors))
            manifest.sessions = sessions.records()
            responses = _responses(scoring, pending, range(plan.size), judging.ratings)
            personas = persona_rows(plan, placement, config.template)
            finish(folder, manifest, eval_set, responses, personas, judging.ratings)
    engine_error = engine_error or next((usage.engine_error for usage in judging.usages if usage.engine_error), None)
    unjudged = sum(usage.failed for usage in judging.usages)
    return RunResult(
        folder,
        len(pending.errors),
        pending.counts.completed,
        engine_error,
        unjudged,
        count_reasons(pending.errors.values()),
        sum((Counter(usage.reasons) for usage in judging.usages), Counter()),
    )


def _generate(
    model: Model, pending: PendingRequests, scoring: Scoring, progress: Progress, sessions: Sessions
) -> str | None:
    """Generate what the ledger lacks; why the engine failed as a whole, if it did."""
    scoring.resume(pending.done_rows())
    if pending.counts.wanted == 0:
        return None
    failure: EngineError | None = None
    answered: list[int] = []
    sessions.begin()
    began = time.monotonic()
    try:
        try:
            submit = warn_of_truncation(scoring.submit, progress.message, model.spec.short_name)
            run_requests(model, [pending], progress, model.spec.short_name, submit)
        except EngineError as error:
            failure = error
        answered = pending.finish(str(failure or "the engine gave no answer"))
    finally:
        sessions.end(pending.counts, len(pending.errors), str(failure) if failure else None, time.monotonic() - began)
    if failure is not None and pending.counts.completed == 0:
        raise failure
    if answered:
        pending.ledger.flush()
        scoring.resume(iter(answered))
    return str(failure) if failure else None


def _judge(
    panel: Panel | None,
    folder: Path,
    eval_set: EvalSet,
    plan: Plan,
    pending: PendingRequests,
    scoring: Scoring,
    progress: Progress,
) -> JudgingResult:
    """Judge the responses of the judged tasks."""
    if panel is None:
        return JudgingResult()
    judge_inputs: list[JudgeInput] = []
    for task in plan.tasks:
        if task.items.task.is_judged:
            rows = range(task.first_row, task.first_row + task.rows)
            responses = _responses(scoring, pending, rows, {})
            judge_inputs += make_judge_inputs(task.items, eval_set.rubrics[task.items.task.name], responses)
    return judge_run(panel, judge_inputs, eval_set.rubrics, folder, pending.ledger, progress)


def _responses(
    scoring: Scoring, pending: PendingRequests, rows: range, ratings: Mapping[str, Ratings]
) -> Iterator[Response]:
    for start in range(rows.start, rows.stop, CHUNK):
        for response in scoring.responses(range(start, min(start + CHUNK, rows.stop)), pending.errors):
            yield with_score(response, ratings[response.task]) if response.task in ratings else response


def describe_dropped_marks(model: Model, plan: Plan, pending: PendingRequests) -> str | None:
    """How many stored answers lack the marks of the model's thinking and are generated again; None if none do."""
    former = model.former_identity() if isinstance(model, InProcessModel) and pending.counts.wanted else None
    # The keys of the earlier version cost as much as the plan's own.
    if former is None or pending.ledger.is_empty:
        return None
    earlier = Plan(plan.tasks, former)
    earlier.compute_keys()
    stored = 0
    for start in range(0, plan.size, CHUNK):
        keys = earlier.keys(start, min(start + CHUNK, plan.size))
        missing = [key for row, key in enumerate(keys, start) if pending.is_missing(row)]
        stored += len(pending.ledger.present(missing))
    if not stored:
        return None
    return (
        f"{model.spec.short_name}: {stored:,} stored answers are generated again: earlier versions dropped the marks "
        f"of this model's thinking ({', '.join(model.identity()['kept_tokens'])}) in decoding and read it as the "
        "answer."
    )


def announce(spec: ModelSpec, folder: Path, plan: Plan, pending: PendingRequests, config: RunConfig) -> str:
    """One line: requests, how many the ledger has, tokens and time of the rest."""
    missing = pending.counts.wanted
    held = plan.size - missing
    line = f"{spec.short_name}: {plan.size:,} requests, {held:,} of them in the ledger already."
    if missing == 0:
        return f"{line} Nothing to generate. -> {folder}"
    share = missing / plan.size
    prompt = round(plan.prompt_characters * config.samples * share / 4)
    worst = sum(task.rows * task.sampling.max_tokens for task in plan.tasks) * share
    speed = past_speed(config.output, spec.engine)
    eta = (
        f"at most {duration(worst / speed)} at the {speed:,.0f} tokens/s of the last run"
        if speed
        else "ETA once it runs"
    )
    return (
        f"{line} To generate: {missing:,} (about {prompt:,} prompt tokens, at most {worst:,.0f} new tokens; {eta}). "
        f"-> {folder}"
    )
