"""The main path: a configuration in, a finished run on disk for every checkpoint.

plan -> what the ledger lacks -> engine -> ledger and verification, side by side -> tables -> summary
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personaeval import results
from personaeval.checkpoints import ModelSpec, parse_model
from personaeval.config import RunConfig
from personaeval.engines import Sampling
from personaeval.errors import EngineError, UsageError
from personaeval.fidelity import (
    Hearing,
    exhibits_of,
    hear_people,
    judge_run,
    report_judging,
    warn_of_judges,
    with_score,
)
from personaeval.imports import describe_import
from personaeval.judge.judgements import Ratings
from personaeval.judge.panel import Exhibit, Panel, open_panel
from personaeval.judge.rubrics import Rubrics, rubrics_of
from personaeval.ledger import LEDGER, Ledger
from personaeval.personas import Persona, Selection
from personaeval.plan import Plan, choose_frames, lay_out
from personaeval.prices import read_prices
from personaeval.progress import Display
from personaeval.prompts import Placement, opening, persona_sentence, place, with_system
from personaeval.record import add_judging, describe_run, hash_json
from personaeval.registry import Registry
from personaeval.results import Cells, Response, empty_cells, response_writer
from personaeval.scoring import Scoring
from personaeval.sessions import Sessions, hold, past_speed
from personaeval.sources import ItemSet, load_items
from personaeval.subject import Subject, open_subject, refuse_long_personas, refuse_unfit
from personaeval.summary import summarise_run
from personaeval.tasks import Task
from personaeval.work import CHUNK, Work, perform

_OF_JUDGES = (
    "judge_repeats",
    "judge_max_tokens",
    "judge_engine_args",
    "judge_chat_template_kwargs",
    "exemplars",
    "expected_score",
)


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


@dataclass(frozen=True)
class Benchmark:
    """What every checkpoint of one command is asked: read once, the same for all.

    ``personas`` are those that tasks are crossed with; ``rubrics`` are those of each judged task.
    """

    items: tuple[ItemSet, ...]
    personas: tuple[Persona, ...]
    rubrics: Mapping[str, Rubrics]
    persona_origins: tuple[dict[str, Any], ...]

    def personas_of(self, items: ItemSet) -> tuple[Persona, ...]:
        """Return the personas of a task: those it brings, or the run's."""
        return items.personas or self.personas

    def judged(self) -> list[tuple[ItemSet, Rubrics]]:
        """Return the judged tasks with their rubrics."""
        return [(items, self.rubrics[items.task.name]) for items in self.items if items.task.is_judged]

    def sentences(self, template: str) -> dict[str, str | None]:
        """Return every persona's sentence by a name for messages."""
        found = {persona.id: persona_sentence(template, persona) for persona in self.personas}
        for items in self.items:
            name = items.task.name
            found |= {f"{name}/{persona.id}": persona_sentence(template, persona) for persona in items.personas}
        return found


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


def load_benchmark(config: RunConfig) -> Benchmark:
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
    if not config.judge and any(getattr(config, name) != RunConfig.model_fields[name].default for name in _OF_JUDGES):
        raise UsageError("options for judges were given, but no --judge.")
    if config.judge and not judged:
        raise UsageError(f"--judge: none of the tasks ({', '.join(names)}) is scored by judges; add personagym.")
    for value, flag in ((config.per_task, "--per-task"), (config.limit_personas, "--limit-personas")):
        if value is not None and not judged:
            raise UsageError(f"{flag}: is for tasks that judges score, and --tasks names none; use --limit.")
    items = tuple(load_task(config, task, file, config.data.get(task.name)) for task, file in tasks)
    rubrics = {task.name: rubrics_of(own, file) for own, (task, file) in zip(items, tasks, strict=True)}
    selection = _select_personas(config, registry) if len(judged) < len(tasks) else Selection((), ())
    return Benchmark(items, selection.personas, {name: rubrics[name] for name in judged}, selection.origins)


def load_task(config: RunConfig, task: Task, file: Path, data: Path | None) -> ItemSet:
    """Read a task's items, those that the run asks for."""
    return load_items(task, file, data, config.limit, config.seed, config.per_task, config.limit_personas)


def _select_personas(config: RunConfig, registry: Registry) -> Selection:
    selection = registry.select(config.personas)
    return selection if config.n_personas is None else selection.sample(config.n_personas, config.seed)


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
        results.write_json(folder / results.RUN, record)
        people = hear_people(folder, record, benchmark.judged(), hearing.ratings)
        summary = summarise_run(record, tables, benchmark.personas, hearing.ratings, people)
        results.write_json(folder / results.SUMMARY, summary)
    engine_error = engine_error or next((bench.engine_error for bench in hearing.benches if bench.engine_error), None)
    unjudged = sum(bench.failed for bench in hearing.benches)
    return RunResult(folder, len(work.errors), work.counts.completed, engine_error, unjudged)


def build_plan(config: RunConfig, subject: Subject, placement: Placement, benchmark: Benchmark) -> tuple[Plan, bool]:
    """Return the plan, and whether prompts could be rendered the fast way."""
    parts = []
    fast = True
    for items in benchmark.items:
        refuse_unfit(subject, items)
        system = items.task.item.system
        personas = benchmark.personas_of(items)
        sentences = [with_system(persona_sentence(config.template, persona), system) for persona in personas]
        frames, quick = choose_frames(subject.renderer, items, sentences, placement.role)
        fast = fast and quick
        stop = subject.renderer.stop(items.task.plain)
        parts.append((items, frames, choose_sampling(items.task, config, stop)))
    return Plan(lay_out(parts, benchmark.personas, config.samples, config.seed), subject.identity()), fast


def choose_sampling(task: Task, config: RunConfig, stop: tuple[str, ...]) -> Sampling:
    """Return the task's sampling with what the user set put over it."""
    own = task.sampling
    return Sampling(
        temperature=own.temperature if config.temperature is None else config.temperature,
        top_p=own.top_p if config.top_p is None else config.top_p,
        max_tokens=own.max_tokens if config.max_tokens is None or task.labels else config.max_tokens,
        stop=(*own.stop, *stop),
        labels=task.labels,
    )


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
    results.write_cells(folder, tables)
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
