"""Verifies stored responses again: a better extractor or a corrected gold answer never generates anew."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from personaeval import results, verify
from personaeval.config import RunConfig
from personaeval.errors import InvalidRunError, UsageError
from personaeval.personas import BASELINE, Category, Persona
from personaeval.registry import Registry
from personaeval.results import CellTable, Response, ResponseWriter
from personaeval.sessions import hold
from personaeval.sources import ItemSet, load_items
from personaeval.summary import summarise_run
from personaeval.verify import Verdict, Verifier

_CHUNK = 4096


@dataclass(frozen=True)
class _Task:
    items: ItemSet
    places: dict[str, int]
    cells: CellTable


def rescore(folder: Path, data: dict[str, Path], include: tuple[Path, ...]) -> int:
    """Verify a finished run's responses again and rewrite its tables; return how many verdicts changed.

    Args:
        folder: the run's folder.
        data: local files that have moved since, task name -> file.
        include: more folders with tasks, beside those of the run.

    Raises:
        UsageError: no finished run is there, or another process is at work on it.
        InvalidRunError: a task's prompts are no longer those that were answered.
    """
    record = results.read_json(folder / results.RUN)
    with hold(folder):
        return _rescore(folder, record, data, include)


def _rescore(folder: Path, record: dict[str, Any], data: dict[str, Path], include: tuple[Path, ...]) -> int:
    personas = [_persona(entry) for entry in record["personas"]]
    tasks = _load_tasks(record, data, include, personas)
    places = {persona.id: number for number, persona in enumerate(personas)}
    changed = 0
    with Verifier() as verifier, ResponseWriter(folder) as writer:
        for before, after in _verify_again(results.read_responses(folder), tasks, verifier):
            changed += (before.status, before.score, before.answer) != (after.status, after.score, after.answer)
            writer.add(after)
            task = tasks[after.task]
            item = task.places[after.item]
            task.cells.count(item, places[after.persona], after, task.items.items[item].prompt)
    for name, task in tasks.items():
        scorer = task.items.task.scorer.model_dump(mode="json")
        record["tasks"][name] |= {
            "revision": task.items.task.revision,
            "gold_hash": task.items.gold_hash,
            "scorer": scorer | {"version": verify.VERSION},
            "correct_at": task.items.task.correct_at,
        }
    tables = [task.cells for task in tasks.values()]
    results.write_cells(folder, tables)
    results.write_json(folder / results.RUN, record)
    results.write_json(folder / results.SUMMARY, summarise_run(record, tables, personas))
    return changed


def _persona(entry: dict[str, Any]) -> Persona:
    return BASELINE if entry["category"] == Category.BASELINE else Persona.model_validate(entry)


def _load_tasks(
    record: dict[str, Any], data: dict[str, Path], include: tuple[Path, ...], personas: list[Persona]
) -> dict[str, _Task]:
    config = RunConfig.model_validate(record["config"])
    registry = Registry((*config.include, *include))
    tasks: dict[str, _Task] = {}
    for selector in config.tasks:
        task, file = registry.task(selector)
        own = data.get(task.name) or config.data.get(task.name)
        items = load_items(task, file, own, config.limit, config.seed)
        if items.prompts_hash != record["tasks"][task.name]["prompts_hash"]:
            raise InvalidRunError(
                f"task {task.name}: its prompts have changed since this run; its answers are to other questions. "
                "Use `personaeval run` again."
            )
        places = {item.id: number for number, item in enumerate(items.items)}
        cells = CellTable(task.name, list(places), [persona.id for persona in personas], task.correct_at)
        tasks[task.name] = _Task(items, places, cells)
    unknown = set(data) - set(tasks)
    if unknown:
        raise UsageError(f"--data names {', '.join(sorted(unknown))}, which this run does not have.")
    return tasks


def _verify_again(
    responses: Iterator[Response], tasks: dict[str, _Task], verifier: Verifier
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
            futures.append(verifier.submit(task.items.task.scorer, item.gold, response.text, choices=item.choices))
        for response, future in zip(chunk, futures, strict=True):
            if future is None:
                yield response, response
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
