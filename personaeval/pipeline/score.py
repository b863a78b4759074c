"""Verifies or judges stored responses again: a better extractor or another judge never generates anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from personaeval import verify
from personaeval.config import JudgeOptions, RunConfig, upgrade_config
from personaeval.errors import InvalidRunError, UsageError
from personaeval.judge.judgements import Ratings, collect, read_judgements
from personaeval.judge.judging import (
    JudgingResult,
    compare_with_humans,
    judge_run,
    make_judge_inputs,
    warn_of_judges,
    with_score,
)
from personaeval.judge.labels import keep_labels, read_labels
from personaeval.judge.panel import JudgeInput, open_panel
from personaeval.judge.rubrics import Rubrics, rubrics_of
from personaeval.library.personas import BASELINE, Category, Persona
from personaeval.library.registry import Registry
from personaeval.library.sources import ItemSet, load_items
from personaeval.library.tasks import JudgedScorer
from personaeval.pipeline.manifest import add_judging
from personaeval.pipeline.sessions import Sessions
from personaeval.pipeline.summary import summarise_run
from personaeval.progress import Progress, open_progress
from personaeval.results.cells import Cells, empty_cells, write_cells
from personaeval.results.files import JUDGEMENTS, RUN, SUMMARY, read_json, write_json
from personaeval.results.ledger import LEDGER, Ledger
from personaeval.results.lock import run_lock
from personaeval.results.responses import read_responses, response_writer
from personaeval.types import Response, Verdict
from personaeval.verify import Verifier

_CHUNK = 4096


@dataclass(frozen=True)
class Rescored:
    """How many verdicts changed, and what judges who were asked did."""

    changed: int
    judging: JudgingResult


@dataclass(frozen=True)
class _Task:
    items: ItemSet
    rubrics: Rubrics
    places: dict[str, int]
    cells: Cells


def rescore(
    folder: Path,
    data: dict[str, Path],
    include: tuple[Path, ...],
    judging: JudgeOptions | None = None,
    progress: Progress | None = None,
    human: Path | None = None,
) -> Rescored:
    """Verify a finished run's responses again, or have judges score them, and rewrite its tables.

    Args:
        folder: the run's folder.
        data: local files that have moved since, task name -> file.
        include: more folders with tasks, beside those of the run.
        judging: judges that score the judged tasks now; nothing is taken over from the judges before them. None:
            judged tasks keep their judgements.
        display: shows the judges' work.
        human: file of people's scores, which the judges are compared with from now on.

    Raises:
        UsageError: no finished run is there, or another process is at work on it.
        InvalidRunError: a task's prompts or personas are no longer those that were answered, or the judgements
            are not those of the judges that the run names.
    """
    folder = folder.resolve()
    record = read_json(folder / RUN)
    judged = any("personas" in task for task in record["tasks"].values())
    record["config"] = upgrade_config(record["config"], judged=judged)
    labels = read_labels(human) if human is not None else ()
    if human is not None and not (judging or record.get("panel")):
        raise UsageError(f"--human {human}: no judge has scored this run, so there is none to compare; add --judge ….")
    with run_lock(folder):
        if labels:
            keep_labels(folder, labels)
        return _rescore(folder, record, data, include, judging, progress or open_progress(quiet=True))


def _rescore(
    folder: Path,
    record: dict[str, Any],
    data: dict[str, Path],
    include: tuple[Path, ...],
    judging: JudgeOptions | None,
    progress: Progress,
) -> Rescored:
    personas = [_persona(entry) for entry in record["personas"]]
    tasks = _load_tasks(record, data, include, personas)
    places = {persona.id: number for number, persona in enumerate(personas)}
    judged_now = _judge_again(folder, record, tasks, judging, progress)
    ratings = judged_now.ratings
    changed = 0
    with Verifier() as verifier, response_writer(folder) as writer:
        for before, after in _verify_again(read_responses(folder), tasks, ratings, verifier):
            changed += (before.status, before.score, before.answer) != (after.status, after.score, after.answer)
            writer.add(after)
            task = tasks[after.task]
            item = task.places[after.item]
            task.cells.count(item, places.get(after.persona, 0), after, task.items.items[item].prompt)
    for name, task in tasks.items():
        if not task.items.task.is_judged:
            scorer = task.items.task.scorer.model_dump(mode="json")
            record["tasks"][name]["scorer"] = scorer | {"version": verify.VERSION}
        record["tasks"][name] |= {
            "revision": task.items.task.revision,
            "gold_hash": task.items.gold_hash,
            "correct_at": task.items.task.pass_threshold,
        }
    tables = [task.cells for task in tasks.values()]
    write_cells(folder, tables)
    write_json(folder / RUN, record)
    judged = [(task.items, task.rubrics) for task in tasks.values() if task.items.task.is_judged]
    people = compare_with_humans(folder, record, judged, ratings)
    write_json(folder / SUMMARY, summarise_run(record, tables, personas, ratings, people))
    return Rescored(changed, judged_now)


def _judge_again(
    folder: Path,
    record: dict[str, Any],
    tasks: Mapping[str, _Task],
    judging: JudgeOptions | None,
    progress: Progress,
) -> JudgingResult:
    """Return the ratings of the judged tasks: those the run has, or those of judges asked now."""
    judged = {name: task for name, task in tasks.items() if task.items.task.is_judged}
    if judging is None:
        return (
            JudgingResult(_kept_ratings(folder, record["panel"])) if judged and record.get("panel") else JudgingResult()
        )
    if not judged:
        raise UsageError(f"--judge: none of this run's tasks ({', '.join(tasks)}) is scored by judges.")
    config = RunConfig.model_validate(record["config"]).model_copy(update=dict(judging))
    record["config"] = config.model_dump(mode="json")
    panel = open_panel(judging, config.model_options)
    rubrics = {name: task.rubrics for name, task in judged.items()}
    add_judging(record, rubrics, panel, folder.parent.parent)
    if panel is None:
        raise UsageError("--judge: names no judge.")
    warn_of_judges(record, progress)
    judge_inputs: list[JudgeInput] = []
    for name, task in judged.items():
        own = (response for response in read_responses(folder) if response.task == name)
        judge_inputs += make_judge_inputs(task.items, task.rubrics, own)
    with Ledger(folder.parent.parent / LEDGER) as ledger:
        judged_now = judge_run(panel, judge_inputs, rubrics, folder, ledger, progress)
    sessions = Sessions(folder)
    sessions.judged(judged_now.usages)
    record["sessions"] = sessions.entries
    return judged_now


def _kept_ratings(folder: Path, panel: Mapping[str, Any]) -> Mapping[str, Ratings]:
    """Return the ratings in judgements.parquet, which must be those of the panel in run.json.

    A `score --judge` that was cut off has written the one and not the other.
    """
    rows = list(read_judgements(folder))
    found = {(row.judge, row.fingerprint, row.repeat) for row in rows}
    named = {
        (judge["label"], judge["fingerprint"], repeat)
        for judge in panel["judges"]
        for repeat in range(panel["repeats"])
    }
    if rows and found != named:
        judges = ", ".join(judge["label"] for judge in panel["judges"])
        raise InvalidRunError(
            f"{folder / JUDGEMENTS}: it is not by the judges that run.json names ({judges}): it was cut "
            "off. Have it judged again, personaeval score RUN --judge …; what was judged before is not asked again."
        )
    return collect(rows)


def _persona(entry: dict[str, Any]) -> Persona:
    return BASELINE if entry["category"] == Category.BASELINE else Persona.model_validate(entry)


def _load_tasks(
    record: dict[str, Any], data: dict[str, Path], include: tuple[Path, ...], personas: list[Persona]
) -> dict[str, _Task]:
    config = RunConfig.model_validate(record["config"])
    registry = Registry(tuple({path.resolve(): path for path in (*config.include, *include)}.values()))
    tasks: dict[str, _Task] = {}
    for task, file in (found for selector in config.tasks for found in registry.tasks(selector)):
        own = data.get(task.name) or config.data.get(task.name)
        items = load_items(
            task, file, own, config.limit, config.seed, config.questions_per_dimension, config.limit_personas
        )
        if items.prompts_hash != record["tasks"][task.name]["prompts_hash"]:
            raise InvalidRunError(
                f"task {task.name}: its prompts have changed since this run; its answers are to other questions. "
                "Use `personaeval run` again."
            )
        told = {entry["id"]: entry["text"] for entry in record["tasks"][task.name].get("personas", ())}
        if task.is_judged and told != {persona.id: persona.text for persona in items.personas}:
            raise InvalidRunError(
                f"task {task.name}: the texts of its personas have changed since this run; its answers were given by "
                "others. Use `personaeval run` again."
            )
        places = {item.id: number for number, item in enumerate(items.items)}
        tasks[task.name] = _Task(items, rubrics_of(items, file), places, empty_cells(task, items.items, personas))
    unknown = set(data) - set(tasks)
    if unknown:
        raise UsageError(f"--data names {', '.join(sorted(unknown))}, which this run does not have.")
    return tasks


def _verify_again(
    responses: Iterator[Response], tasks: dict[str, _Task], ratings: Mapping[str, Ratings], verifier: Verifier
) -> Iterator[tuple[Response, Response]]:
    """Yield each response as it was and as it is now; one the engine never gave stays unscored."""
    while chunk := list(islice(responses, _CHUNK)):
        futures: list[Future[Verdict] | None] = []
        for response in chunk:
            if response.text is None:
                futures.append(None)
                continue
            task = tasks[response.task]
            item = task.items.items[task.places[response.item]]
            scorer = task.items.task.scorer
            if isinstance(scorer, JudgedScorer):
                futures.append(None)
            else:
                futures.append(verifier.submit(scorer, item.gold, response.text, choices=item.choices))
        for response, future in zip(chunk, futures, strict=True):
            if future is None:
                own = ratings.get(response.task)
                yield response, with_score(response, own) if own else response
                continue
            verdict = future.result()
            task = tasks[response.task]
            yield (
                response,
                replace(
                    response,
                    gold=task.items.items[task.places[response.item]].gold,
                    answer=verdict.answer,
                    status=verdict.status.value,
                    score=verdict.score,
                    reason=verdict.reason,
                ),
            )
