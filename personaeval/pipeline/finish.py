"""What ``run`` and ``score`` do once every response has its verdict: write the tables, run.json and summary.json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from personaeval.generation.plan import Plan, TaskPlan
from personaeval.judge.judgements import Ratings
from personaeval.judge.judging import compare_with_humans
from personaeval.models.placement import Placement
from personaeval.models.sentences import persona_sentence
from personaeval.pipeline.prepare import EvalSet
from personaeval.pipeline.summary import summarise_run
from personaeval.results.cells import Cells, empty_cells, write_cells
from personaeval.results.files import RUN
from personaeval.results.item_table import write_items
from personaeval.results.persona_table import PersonaRow, write_personas
from personaeval.results.records import RunRecord
from personaeval.results.responses import response_writer
from personaeval.types import Response

_ITEM = "{{ item }}"
"""Placeholder in an example prompt if no item may be shown."""


def finish(
    folder: Path,
    record: RunRecord,
    eval_set: EvalSet,
    responses: Iterable[Response],
    personas: Iterable[PersonaRow],
    ratings: Mapping[str, Ratings],
) -> None:
    """Write everything a finished run has, in an order that leaves a readable folder if it is interrupted.

    Args:
        folder: the run's, locked.
        record: its manifest, complete.
        eval_set: tasks and personas.
        responses: all, in plan order.
        personas: rows of personas.parquet.
        ratings: of each judged task.

    Raises:
        StorageError: a file cannot be written.
    """
    tables = _write_responses(folder, eval_set, responses)
    write_cells(folder, tables)
    write_items(folder, ((items.task, items.items) for items in eval_set.items))
    write_personas(folder, personas)
    record.write(folder / RUN)
    people = compare_with_humans(folder, record, eval_set.judged(), ratings)
    own = {items.task.name: eval_set.personas_of(items) for items in eval_set.items}
    summarise_run(record, tables, own, ratings, people).write(folder)


def _write_responses(folder: Path, eval_set: EvalSet, responses: Iterable[Response]) -> list[Cells]:
    """Write responses.parquet; the counts of each task's cells."""
    tables, places, questions = {}, {}, {}
    for items in eval_set.items:
        name = items.task.name
        tables[name] = empty_cells(items.task, items.items, eval_set.personas_of(items))
        places[name] = {item.id: number for number, item in enumerate(items.items)}
        questions[name] = items.items
    columns = {persona.id: number for number, persona in enumerate(eval_set.personas)}
    with response_writer(folder) as writer:
        for response in responses:
            writer.add(response)
            place = places[response.task][response.item]
            # A judged task's cells are by item alone.
            column = columns.get(response.persona, 0)
            tables[response.task].count(place, column, response, questions[response.task][place].prompt)
    return list(tables.values())


def persona_rows(plan: Plan, placement: Placement, template: str) -> Iterator[PersonaRow]:
    """The personas of a plan: first those that tasks are crossed with, then those of each judged task."""
    crossed = [task for task in plan.tasks if not task.items.personas]
    shown = [task for task in crossed if not task.items.task.withhold_text]
    for task in (*(shown or crossed)[:1], *(task for task in plan.tasks if task.items.personas)):
        owner = task.items.task.name if task.items.personas else None
        for place, persona in enumerate(task.personas):
            yield PersonaRow.of(
                persona,
                owner,
                sentence=persona_sentence(template, persona),
                role=None if persona.is_baseline else placement.role,
                example=_example(task, place),
            )


def _example(task: TaskPlan, place: int) -> str:
    begin, end = task.spans[place]
    hidden = task.items.task.withhold_text or begin == end
    prompt = task.prompt_templates[place].fill(_ITEM if hidden else task.items.items[begin].prompt)
    return prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False)
