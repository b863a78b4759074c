"""The main path: a configuration in, a finished run on disk for every checkpoint.

plan -> what the ledger lacks -> engine -> ledger and verification, side by side -> tables -> summary
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personaeval import results
from personaeval.checkpoints import ModelSpec, parse_model
from personaeval.config import RunConfig
from personaeval.engines import Completion, Sampling
from personaeval.errors import EngineError, UsageError
from personaeval.imports import describe_import
from personaeval.ledger import Ledger
from personaeval.personas import Persona
from personaeval.plan import Plan, choose_frames, lay_out
from personaeval.progress import Counts, Display
from personaeval.prompts import Placement, opening, persona_sentence, place
from personaeval.record import describe_run
from personaeval.registry import Registry
from personaeval.results import CellTable, ResponseWriter
from personaeval.scoring import Scoring
from personaeval.sessions import Sessions, hold, past_speed
from personaeval.sources import ItemSet, load_items
from personaeval.subject import Subject, open_subject, refuse_long_personas
from personaeval.summary import summarise_run
from personaeval.tasks import Task

_CHUNK = 4096
_REFRESH_SECONDS = 0.25


@dataclass(frozen=True)
class RunResult:
    """What came of one checkpoint: its folder, and how many requests failed (running again tries only those).

    ``folder`` is None where nothing could be asked, because the engine failed or another process holds the run.
    """

    folder: Path | None
    failed: int
    generated: int
    engine_error: str | None


@dataclass(frozen=True)
class Benchmark:
    """What every checkpoint of one command is asked: read once, the same for all."""

    items: tuple[ItemSet, ...]
    personas: tuple[Persona, ...]
    sentences: dict[str, str | None]
    persona_origins: tuple[dict[str, Any], ...]


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
    # All of them first: a wrong path or a refused persona in the last place is not to be found out after hours.
    subjects = [open_subject(parse_model(text), config) for text in config.model]
    thinking = opening(config.reasoning_end)
    placements = [place(one.probe, benchmark.sentences, config.persona_role, thinking) for one in subjects]
    for subject, placement in zip(subjects, placements, strict=True):
        refuse_long_personas(subject, placement.role, benchmark.sentences)
    finished = []
    for subject, placement in zip(subjects, placements, strict=True):
        try:
            finished.append(_run_checkpoint(config, subject, placement, benchmark, display))
        except (EngineError, UsageError) as error:
            if subject is subjects[-1] and all(result.folder is None for result in finished):
                raise
            display.say(f"{subject.spec.label}: {error}")
            finished.append(RunResult(None, failed=0, generated=0, engine_error=str(error)))
    return finished


def load_benchmark(config: RunConfig) -> Benchmark:
    """Read the tasks' items and the personas."""
    registry = Registry(config.include)
    tasks = [registry.task(selector) for selector in config.tasks]
    names = [task.name for task, _ in tasks]
    unused = sorted(set(config.data) - set(names))
    if unused:
        raise UsageError(f"--data names {', '.join(unused)}, which --tasks does not (it names {', '.join(names)}).")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"--tasks: two of them are named {', '.join(twice)}; rename one.")
    items = tuple(load_items(task, file, config.data.get(task.name), config.limit, config.seed) for task, file in tasks)
    selection = registry.select(config.personas)
    if config.n_personas is not None:
        selection = selection.sample(config.n_personas, config.seed)
    sentences = {persona.id: persona_sentence(config.template, persona) for persona in selection.personas}
    return Benchmark(items, selection.personas, sentences, selection.origins)


def _run_checkpoint(
    config: RunConfig, subject: Subject, placement: Placement, benchmark: Benchmark, display: Display
) -> RunResult:
    spec = subject.spec
    plan, fast = build_plan(config, subject, placement, benchmark)
    record = describe_run(config, subject, placement, plan, fast_rendering=fast)
    folder = config.output / f"{spec.label}-{subject.fingerprint[:8]}" / record["plan"][:8]
    with hold(folder), Ledger(config.output / "ledger.sqlite") as ledger:
        plan.compute_keys()
        work = Work(plan, ledger)
        sessions = Sessions(folder)
        display.say(_announce(spec, folder, work, config))
        if not placement.verified:
            display.say("The endpoint does not show its prompts: that the personas reach the model is not verified.")
        if not fast:
            display.say("This chat template looks into the question: every prompt is rendered in full (slower).")
        with Scoring(plan, ledger, config.reasoning_end, placement.opens_thinking, work.counts) as scoring:
            engine_error = _generate(subject, work, scoring, display, sessions)
            scoring.drain()
            ledger.flush()
            tables = _write_tables(folder, work, scoring)
        record["persona_origins"] = benchmark.persona_origins
        record["counts"] = {"requests": plan.size, "failed": len(work.errors)}
        record["sessions"] = sessions.entries
        results.write_json(folder / results.RUN, record)
        results.write_json(folder / results.SUMMARY, summarise_run(record, tables, benchmark.personas))
    return RunResult(folder, len(work.errors), work.counts.completed, engine_error)


def build_plan(config: RunConfig, subject: Subject, placement: Placement, benchmark: Benchmark) -> tuple[Plan, bool]:
    """Return the plan, and whether prompts could be rendered the fast way."""
    parts = []
    fast = True
    sentences = [benchmark.sentences[persona.id] for persona in benchmark.personas]
    for items in benchmark.items:
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
        max_tokens=own.max_tokens if config.max_tokens is None else config.max_tokens,
        stop=stop,
    )


class Work:
    """What is still to be done, and what went wrong on the way.

    Rows with one key (two tasks that differ in their scorers alone, say) are one request: the first row asks, the
    others have the same answer.
    """

    def __init__(self, plan: Plan, ledger: Ledger) -> None:
        self.plan = plan
        self.ledger = ledger
        self.errors: dict[int, str] = {}
        self._missing = bytearray(plan.size)
        self._twins: dict[int, int] = {}
        asked: dict[bytes, int] = {}
        for start in range(0, plan.size, _CHUNK):
            keys = plan.keys(start, min(start + _CHUNK, plan.size))
            present = ledger.present(keys)
            for row, key in enumerate(keys, start):
                if key in present:
                    continue
                self._missing[row] = True
                first = asked.setdefault(key, row)
                if first != row:
                    self._twins[row] = first
        self.counts = Counts(wanted=len(asked))

    def is_missing(self, row: int) -> bool:
        """Whether a row is to be asked for."""
        return bool(self._missing[row]) and row not in self._twins

    def done_rows(self) -> Iterator[int]:
        """Yield the rows that an earlier run completed."""
        # A copy, because rows are completed while another thread goes through these.
        missing = bytes(self._missing)
        return (row for row in range(self.plan.size) if not missing[row])

    def take(self, completion: Completion) -> None:
        """Keep a completion, or note why there is none."""
        counts = self.counts
        if completion.error is not None:
            self.errors[completion.row] = completion.error
            counts.failed += 1
            return
        self.ledger.add(completion)
        self._missing[completion.row] = False
        counts.completed += 1
        counts.output_tokens += completion.completion_tokens
        counts.prompt_tokens += completion.prompt_tokens
        counts.cached_tokens += completion.cached_tokens

    def settle(self, reason: str) -> list[int]:
        """Return the twins that have an answer now; every row left without one gets its reason, or this one."""
        answered = []
        for row, first in self._twins.items():
            if self._missing[first]:
                self.errors[row] = self.errors.get(first, reason)
            else:
                self._missing[row] = False
                answered.append(row)
        for row in range(self.plan.size):
            if self._missing[row]:
                self.errors.setdefault(row, reason)
        return answered


def _generate(subject: Subject, work: Work, scoring: Scoring, display: Display, sessions: Sessions) -> str | None:
    """Have the engine answer what is missing; return why it failed as a whole, if it did."""
    scoring.take_up(work.done_rows())
    if work.counts.wanted == 0:
        return None
    failure: EngineError | None = None
    answered: list[int] = []
    sessions.begin()
    began = time.monotonic()
    display.start(subject.spec.label, work.counts)
    try:
        try:
            asyncio.run(drive(subject, work, scoring, display))
        except EngineError as error:
            failure = error
        answered = work.settle(str(failure or "the engine gave no answer"))
    finally:
        display.stop()
        sessions.end(work.counts, len(work.errors), str(failure) if failure else None, time.monotonic() - began)
    if failure is not None and work.counts.completed == 0:
        raise failure
    if answered:
        work.ledger.flush()
        scoring.take_up(iter(answered))
    return str(failure) if failure else None


async def drive(subject: Subject, work: Work, scoring: Scoring, display: Display) -> None:
    """Have the engine answer what is missing; completions go to the ledger and to scoring as they come.

    Raises:
        EngineError: the engine failed as a whole.
    """
    refresher = asyncio.create_task(_refresh(display))
    try:
        engine = await subject.open_engine()
        try:
            async for completion in engine.generate(work.plan.requests(work.is_missing)):
                work.take(completion)
                if completion.error is None:
                    scoring.put(completion)
        finally:
            await engine.close()
    finally:
        refresher.cancel()


async def _refresh(display: Display) -> None:
    while True:
        await asyncio.sleep(_REFRESH_SECONDS)
        display.refresh()


def _write_tables(folder: Path, work: Work, scoring: Scoring) -> list[CellTable]:
    """Write responses.parquet and cells.parquet from the ledger, in plan order."""
    plan = work.plan
    tables = [
        CellTable(
            task.items.task.name,
            [item.id for item in task.items.items],
            [persona.id for persona in task.personas],
            task.items.task.correct_at,
        )
        for task in plan.tasks
    ]
    by_name = {table.task: table for table in tables}
    with ResponseWriter(folder) as writer:
        for start in range(0, plan.size, _CHUNK):
            rows = range(start, min(start + _CHUNK, plan.size))
            for number, response in zip(rows, scoring.responses(rows, work.errors), strict=True):
                writer.add(response)
                row = plan.row(number)
                by_name[response.task].count(row.item_index, row.persona_index, response, row.item.prompt)
    results.write_cells(folder, tables)
    return tables


def _announce(spec: ModelSpec, folder: Path, work: Work, config: RunConfig) -> str:
    plan, missing = work.plan, work.counts.wanted
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
