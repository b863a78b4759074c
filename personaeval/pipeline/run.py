"""The main path: a configuration in, a finished run on disk for every checkpoint.

plan -> what the ledger lacks -> engine -> ledger and verification, side by side -> tables -> summary
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from personaeval.config import RunConfig
from personaeval.errors import EngineError, UsageError
from personaeval.generation.pending import CHUNK, PendingRequests, run_requests
from personaeval.generation.plan import Plan
from personaeval.judge.judgements import Ratings
from personaeval.judge.judging import (
    JudgingResult,
    compare_with_humans,
    judge_run,
    make_judge_inputs,
    warn_of_judges,
    with_score,
)
from personaeval.judge.panel import JudgeInput, Panel, open_panel
from personaeval.judge.usage import read_prices, report_judging
from personaeval.library.external_personas import describe_import
from personaeval.models.checkpoints import ModelSpec, parse_model
from personaeval.models.model import Model, open_model, refuse_long_personas
from personaeval.models.prompts import Placement, opening, place
from personaeval.pipeline.manifest import add_judging, describe_run, hash_json
from personaeval.pipeline.prepare import EvalSet, build_plan, load_eval_set
from personaeval.pipeline.scoring import Scoring
from personaeval.pipeline.sessions import Sessions, past_speed
from personaeval.pipeline.summary import summarise_run
from personaeval.progress import Progress
from personaeval.results.cells import Cells, empty_cells, write_cells
from personaeval.results.files import RUN, SUMMARY, write_json
from personaeval.results.ledger import LEDGER, Ledger
from personaeval.results.lock import run_lock
from personaeval.results.responses import response_writer
from personaeval.types import Response


@dataclass(frozen=True)
class RunResult:
    """What came of one checkpoint: its folder, and how many requests failed (running again tries only those).

    ``folder`` is None where nothing could be asked, because the engine failed or another process holds the run.
    ``unjudged`` is how many judgements the judges' engines did not give.
    """

    folder: Path | None
    failed: int
    generated: int
    engine_error: str | None
    unjudged: int = 0


def run(config: RunConfig, progress: Progress, models: Sequence[Model] = ()) -> list[RunResult]:
    """Evaluate every checkpoint of the configuration, one after the other.

    Args:
        config: what is asked of whom.
        progress: shows the work.
        models: models that are open already, in place of opening the configuration's.

    Raises:
        PersonaevalError: bad input, an unusable model, a results folder that cannot be written, or no checkpoint at
            all that its engine could answer for. An engine that fails on the way does not raise: its cells are
            unscored and the result says so.
        KeyboardInterrupt: interrupted; everything completed is in the ledger.
    """
    eval_set = load_eval_set(config)
    for origin in eval_set.persona_origins:
        if origin["kind"] != "set":
            progress.message(describe_import(origin))
    sentences = eval_set.sentences(config.template)
    # All of them first: a wrong path or a refused persona in the last place is not to be found out after hours.
    models = models or [open_model(parse_model(text), config.model_options) for text in config.model]
    panel = open_panel(config.judge_options, config.model_options)
    read_prices(config.prices)  # a broken file is not to be found out at the end
    thinking = opening(config.reasoning_end)
    placements = [place(one.probe, sentences, config.persona_role, thinking) for one in models]
    for model, placement in zip(models, placements, strict=True):
        refuse_long_personas(model, placement.role, sentences)
    finished = []
    for model, placement in zip(models, placements, strict=True):
        try:
            finished.append(_run_checkpoint(config, model, placement, panel, eval_set, progress))
        except (EngineError, UsageError) as error:
            if model is models[-1] and all(result.folder is None for result in finished):
                raise
            progress.message(f"{model.spec.short_name}: {error}")
            finished.append(RunResult(None, failed=0, generated=0, engine_error=str(error)))
    return finished


def _run_checkpoint(
    config: RunConfig,
    model: Model,
    placement: Placement,
    panel: Panel | None,
    eval_set: EvalSet,
    progress: Progress,
) -> RunResult:
    spec = model.spec
    plan, fast = build_plan(config, model, placement, eval_set)
    record = describe_run(config, model, placement, plan, eval_set.personas, fast_rendering=fast)
    add_judging(record, eval_set.rubrics, panel, config.output)
    if panel is not None:
        # A run with other judges has a folder of its own.
        record["plan"] = hash_json([record["plan"], record["panel"]["hash"]])
    folder = config.output / f"{spec.short_name}-{model.fingerprint[:8]}" / record["plan"][:8]
    with run_lock(folder), Ledger(config.output / LEDGER) as ledger:
        plan.compute_keys()
        pending = PendingRequests(plan, ledger)
        sessions = Sessions(folder)
        progress.message(announce(spec, folder, plan, pending, config))
        warn_of_judges(record, progress)
        if not placement.verified:
            progress.message(
                "The endpoint does not show its prompts: that the personas reach the model is not verified."
            )
        if not fast:
            progress.message("This chat template looks into the question: every prompt is rendered in full (slower).")
        with Scoring(plan, ledger, config.reasoning_end, placement.opens_thinking, pending.counts) as scoring:
            engine_error = _generate(model, pending, scoring, progress, sessions)
            scoring.flush()
            ledger.flush()
            judging = _judge(panel, folder, eval_set, plan, pending, scoring, progress)
            tables = _write_tables(folder, plan, pending, scoring, judging.ratings)
        record["persona_origins"] = eval_set.persona_origins
        record["counts"] = {"requests": plan.size, "failed": len(pending.errors)}
        sessions.judged(judging.usages)
        report_judging(judging.usages, read_prices(config.prices), progress)
        record["sessions"] = sessions.entries
        write_json(folder / RUN, record)
        people = compare_with_humans(folder, record, eval_set.judged(), judging.ratings)
        summary = summarise_run(record, tables, eval_set.personas, judging.ratings, people)
        write_json(folder / SUMMARY, summary)
    engine_error = engine_error or next((usage.engine_error for usage in judging.usages if usage.engine_error), None)
    unjudged = sum(usage.failed for usage in judging.usages)
    return RunResult(folder, len(pending.errors), pending.counts.completed, engine_error, unjudged)


def _generate(
    model: Model, pending: PendingRequests, scoring: Scoring, progress: Progress, sessions: Sessions
) -> str | None:
    """Have the engine answer what is missing; return why it failed as a whole, if it did."""
    scoring.resume(pending.done_rows())
    if pending.counts.wanted == 0:
        return None
    failure: EngineError | None = None
    answered: list[int] = []
    sessions.begin()
    began = time.monotonic()
    try:
        try:
            run_requests(model, [pending], progress, model.spec.short_name, scoring.submit)
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
    """Have the panel score the responses of the judged tasks."""
    if panel is None:
        return JudgingResult()
    judge_inputs: list[JudgeInput] = []
    for task in plan.tasks:
        if task.items.task.is_judged:
            rows = range(task.first_row, task.first_row + task.rows)
            responses = _responses(scoring, pending, rows, {})
            judge_inputs += make_judge_inputs(task.items, eval_set.rubrics[task.items.task.name], responses)
    return judge_run(panel, judge_inputs, eval_set.rubrics, folder, pending.ledger, progress)


def _write_tables(
    folder: Path, plan: Plan, pending: PendingRequests, scoring: Scoring, ratings: Mapping[str, Ratings]
) -> list[Cells]:
    """Write responses.parquet and cells.parquet from the ledger, in plan order."""
    tables = [empty_cells(task.items.task, task.items.items, task.personas) for task in plan.tasks]
    by_name = {table.task: table for table in tables}
    with response_writer(folder) as writer:
        for number, response in enumerate(_responses(scoring, pending, range(plan.size), ratings)):
            writer.add(response)
            row = plan.row(number)
            by_name[response.task].count(row.item_index, row.persona_index, response, row.item.prompt)
    write_cells(folder, tables)
    return tables


def _responses(
    scoring: Scoring, pending: PendingRequests, rows: range, ratings: Mapping[str, Ratings]
) -> Iterator[Response]:
    for start in range(rows.start, rows.stop, CHUNK):
        for response in scoring.responses(range(start, min(start + CHUNK, rows.stop)), pending.errors):
            yield with_score(response, ratings[response.task]) if response.task in ratings else response


def announce(spec: ModelSpec, folder: Path, plan: Plan, pending: PendingRequests, config: RunConfig) -> str:
    """Return what is still to be generated, in a line."""
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
        f"at most {worst / speed / 60:,.0f} min at the {speed:,.0f} tokens/s of the last run"
        if speed
        else "ETA once it runs"
    )
    return (
        f"{line} To generate: {missing:,} (about {prompt:,} prompt tokens, at most {worst:,.0f} new tokens; {eta}). "
        f"-> {folder}"
    )
