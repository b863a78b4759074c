"""The main path: a configuration in, a finished run on disk for every checkpoint.

plan -> what the ledger lacks -> engine -> ledger and verification, side by side -> tables -> summary
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from personaeval.config import RunConfig
from personaeval.errors import EngineError, UsageError
from personaeval.generation.plan import Plan
from personaeval.generation.work import CHUNK, Work, perform
from personaeval.judge.judgements import Ratings
from personaeval.judge.judging import Hearing, exhibits_of, hear_people, judge_run, warn_of_judges, with_score
from personaeval.judge.panel import Exhibit, Panel, open_panel
from personaeval.judge.usage import read_prices, report_judging
from personaeval.library.external_personas import describe_import
from personaeval.models.checkpoints import ModelSpec, parse_model
from personaeval.models.prompts import Placement, opening, place
from personaeval.models.subject import Subject, open_subject, refuse_long_personas
from personaeval.pipeline.prepare import Benchmark, build_plan, load_benchmark
from personaeval.pipeline.record import add_judging, describe_run, hash_json
from personaeval.pipeline.scoring import Scoring
from personaeval.pipeline.sessions import Sessions, past_speed
from personaeval.pipeline.summary import summarise_run
from personaeval.progress import Display
from personaeval.results.cells import Cells, empty_cells, write_cells
from personaeval.results.files import RUN, SUMMARY, write_json
from personaeval.results.ledger import LEDGER, Ledger
from personaeval.results.lock import hold
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


def run(config: RunConfig, display: Display) -> list[RunResult]:
    """Evaluate every checkpoint of the configuration, one after the other.

    Raises:
        PersonaevalError: bad input, an unusable model, a results folder that cannot be written, or no checkpoint at
            all that its engine could answer for. An engine that fails on the way does not raise: its cells are
            unscored and the result says so.
        KeyboardInterrupt: interrupted; everything completed is in the ledger.
    """
    benchmark = load_benchmark(config)
    for origin in benchmark.persona_origins:
        if origin["kind"] != "set":
            display.say(describe_import(origin))
    sentences = benchmark.sentences(config.template)
    # All of them first: a wrong path or a refused persona in the last place is not to be found out after hours.
    subjects = [open_subject(parse_model(text), config) for text in config.model]
    panel = open_panel(config)
    read_prices(config.prices)  # a broken file is not to be found out at the end
    thinking = opening(config.reasoning_end)
    placements = [place(one.probe, sentences, config.persona_role, thinking) for one in subjects]
    for subject, placement in zip(subjects, placements, strict=True):
        refuse_long_personas(subject, placement.role, sentences)
    finished = []
    for subject, placement in zip(subjects, placements, strict=True):
        try:
            finished.append(_run_checkpoint(config, subject, placement, panel, benchmark, display))
        except (EngineError, UsageError) as error:
            if subject is subjects[-1] and all(result.folder is None for result in finished):
                raise
            display.say(f"{subject.spec.label}: {error}")
            finished.append(RunResult(None, failed=0, generated=0, engine_error=str(error)))
    return finished


def _run_checkpoint(
    config: RunConfig,
    subject: Subject,
    placement: Placement,
    panel: Panel | None,
    benchmark: Benchmark,
    display: Display,
) -> RunResult:
    spec = subject.spec
    plan, fast = build_plan(config, subject, placement, benchmark)
    record = describe_run(config, subject, placement, plan, benchmark.personas, fast_rendering=fast)
    add_judging(record, benchmark.rubrics, panel, config.output)
    if panel is not None:
        # A run with other judges has a folder of its own.
        record["plan"] = hash_json([record["plan"], record["panel"]["hash"]])
    folder = config.output / f"{spec.label}-{subject.fingerprint[:8]}" / record["plan"][:8]
    with hold(folder), Ledger(config.output / LEDGER) as ledger:
        plan.compute_keys()
        work = Work(plan, ledger)
        sessions = Sessions(folder)
        display.say(announce(spec, folder, plan, work, config))
        warn_of_judges(record, display)
        if not placement.verified:
            display.say("The endpoint does not show its prompts: that the personas reach the model is not verified.")
        if not fast:
            display.say("This chat template looks into the question: every prompt is rendered in full (slower).")
        with Scoring(plan, ledger, config.reasoning_end, placement.opens_thinking, work.counts) as scoring:
            engine_error = _generate(subject, work, scoring, display, sessions)
            scoring.drain()
            ledger.flush()
            hearing = _judge(panel, folder, benchmark, plan, work, scoring, display)
            tables = _write_tables(folder, plan, work, scoring, hearing.ratings)
        record["persona_origins"] = benchmark.persona_origins
        record["counts"] = {"requests": plan.size, "failed": len(work.errors)}
        sessions.judged(hearing.benches)
        report_judging(hearing.benches, read_prices(config.prices), display)
        record["sessions"] = sessions.entries
        write_json(folder / RUN, record)
        people = hear_people(folder, record, benchmark.judged(), hearing.ratings)
        summary = summarise_run(record, tables, benchmark.personas, hearing.ratings, people)
        write_json(folder / SUMMARY, summary)
    engine_error = engine_error or next((bench.engine_error for bench in hearing.benches if bench.engine_error), None)
    unjudged = sum(bench.failed for bench in hearing.benches)
    return RunResult(folder, len(work.errors), work.counts.completed, engine_error, unjudged)


def _generate(subject: Subject, work: Work, scoring: Scoring, display: Display, sessions: Sessions) -> str | None:
    """Have the engine answer what is missing; return why it failed as a whole, if it did."""
    scoring.take_up(work.done_rows())
    if work.counts.wanted == 0:
        return None
    failure: EngineError | None = None
    answered: list[int] = []
    sessions.begin()
    began = time.monotonic()
    try:
        try:
            perform(subject, [work], display, subject.spec.label, scoring.put)
        except EngineError as error:
            failure = error
        answered = work.settle(str(failure or "the engine gave no answer"))
    finally:
        sessions.end(work.counts, len(work.errors), str(failure) if failure else None, time.monotonic() - began)
    if failure is not None and work.counts.completed == 0:
        raise failure
    if answered:
        work.ledger.flush()
        scoring.take_up(iter(answered))
    return str(failure) if failure else None


def _judge(
    panel: Panel | None, folder: Path, benchmark: Benchmark, plan: Plan, work: Work, scoring: Scoring, display: Display
) -> Hearing:
    """Have the panel score the responses of the judged tasks."""
    if panel is None:
        return Hearing()
    exhibits: list[Exhibit] = []
    for task in plan.tasks:
        if task.items.task.is_judged:
            rows = range(task.first_row, task.first_row + task.rows)
            responses = _responses(scoring, work, rows, {})
            exhibits += exhibits_of(task.items, benchmark.rubrics[task.items.task.name], responses)
    return judge_run(panel, exhibits, benchmark.rubrics, folder, work.ledger, display)


def _write_tables(
    folder: Path, plan: Plan, work: Work, scoring: Scoring, ratings: Mapping[str, Ratings]
) -> list[Cells]:
    """Write responses.parquet and cells.parquet from the ledger, in plan order."""
    tables = [empty_cells(task.items.task, task.items.items, task.personas) for task in plan.tasks]
    by_name = {table.task: table for table in tables}
    with response_writer(folder) as writer:
        for number, response in enumerate(_responses(scoring, work, range(plan.size), ratings)):
            writer.add(response)
            row = plan.row(number)
            by_name[response.task].count(row.item_index, row.persona_index, response, row.item.prompt)
    write_cells(folder, tables)
    return tables


def _responses(scoring: Scoring, work: Work, rows: range, ratings: Mapping[str, Ratings]) -> Iterator[Response]:
    for start in range(rows.start, rows.stop, CHUNK):
        for response in scoring.responses(range(start, min(start + CHUNK, rows.stop)), work.errors):
            yield with_score(response, ratings[response.task]) if response.task in ratings else response


def announce(spec: ModelSpec, folder: Path, plan: Plan, work: Work, config: RunConfig) -> str:
    """Return what is still to be generated, in a line."""
    missing = work.counts.wanted
    held = plan.size - missing
    line = f"{spec.label}: {plan.size:,} requests, {held:,} of them in the ledger already."
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
