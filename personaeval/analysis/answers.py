"""Answers of a finished run to read: by task, persona, item and verdict, or those that flipped since another run.

::

    found = find_answers(open_runs("results/checkpoint-500"), ShowOptions(run="", wrong=True, number=3))
    found.answers[0].response.text

Answers to one question stand together, persona after persona. Only the rows that are shown are read in full.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from personaeval.analysis.compare import AlignedTask, align
from personaeval.config import ShowOptions
from personaeval.errors import InvalidRunError, UsageError, suggest
from personaeval.results.files import JUDGEMENTS, RESPONSES
from personaeval.results.records import TaskRecord
from personaeval.results.responses import RESPONSE_SCHEMA
from personaeval.results.runs import CheckpointRuns, FinishedRun
from personaeval.results.stored_prompts import AskedPrompt, StoredPrompts
from personaeval.types import Response, Status

_LIGHT = ("persona", "item", "sample", "status", "score", "suspect")

_Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one judge said of an answer; ``score`` is None if it is unscored, and ``reason`` says why."""

    judge: str
    repeat: int
    score: int | None
    explanation: str | None
    reason: str | None
    refusal: bool | None
    ai_admission: bool | None


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer with everything known of it.

    Attributes:
        response: the row of responses.parquet.
        record: its task.
        prompt: as it was asked; None if the text is withheld or not stored.
        dimension: what a judged question is about.
        judgements: of a judged answer.
        before: the other run's answer to the same prompt, if flips were asked for.
    """

    response: Response
    record: TaskRecord
    prompt: AskedPrompt | None = None
    dimension: str | None = None
    judgements: tuple[Judgement, ...] = ()
    before: Response | None = None

    @property
    def is_right(self) -> bool | None:
        """Whether it counts as correct; None if unscored or judged."""
        return _is_right(self.response, self.record)

    @property
    def was_right(self) -> bool | None:
        """Whether the other run's answer counted as correct."""
        return None if self.before is None else _is_right(self.before, self.record)


@dataclass(frozen=True)
class FoundAnswers:
    """Answers that were asked for.

    Attributes:
        checkpoint: whose they are.
        base: the checkpoint before, if flips were asked for.
        answers: the first of them.
        total: how many there are.
        notes: what was left out of the comparison with ``base``.
    """

    checkpoint: str
    base: str | None
    answers: tuple[Answer, ...]
    total: int
    notes: tuple[str, ...] = ()


def find_answers(checkpoint: CheckpointRuns, query: ShowOptions, base: CheckpointRuns | None = None) -> FoundAnswers:
    """The answers that fit a query, up to its number.

    Args:
        checkpoint: where to look.
        query: which answers.
        base: the run since which answers flipped, if that is asked.

    Raises:
        UsageError: an unknown task, persona or item, or verdicts asked of judged tasks alone.
        InvalidRunError: ``base`` has none of the tasks.
    """
    notes: list[str] = []
    chosen: list[tuple[str, NDArray[np.int64], dict[_Key, int]]] = []
    tasks = _tasks(checkpoint, query, base)
    light = {task: _read_light(checkpoint.runs[task], task) for task in tasks}
    _refuse_unknown(checkpoint, query, light)
    for task in tasks:
        flips: dict[_Key, int] = {}
        rows = _rows(light[task], query, checkpoint.task_record(task))
        if base is not None:
            aligned = align(base, checkpoint, task, allow_different_settings=True)
            notes += aligned.notes
            rows, flips = _flipped(rows, light[task], aligned, base)
        chosen.append((task, light[task]["row"].to_numpy()[rows], flips))
    total, left = sum(len(rows) for _, rows, _ in chosen), query.number or None
    answers: list[Answer] = []
    for task, rows, flips in chosen:
        own = rows if left is None else rows[: left - len(answers)]
        answers += _read(checkpoint, task, own.tolist(), base, flips)
    return FoundAnswers(
        checkpoint.name, None if base is None else base.name, tuple(answers), total, tuple(dict.fromkeys(notes))
    )


def _tasks(checkpoint: CheckpointRuns, query: ShowOptions, base: CheckpointRuns | None) -> list[str]:
    """The tasks to look in; judged ones have no right and wrong answers."""
    known = list(checkpoint.runs)
    if query.task is not None and query.task not in known:
        raise UsageError(f"--task {query.task}: {checkpoint.name} has no such task.{suggest(query.task, known)}")
    tasks = known if query.task is None else [query.task]
    asked = {"--wrong": query.wrong, "--no-answer": query.no_answer, "--suspect": query.suspect}
    flags = [flag for flag, given in asked.items() if given] + (["--flipped"] if base is not None else [])
    if flags:
        tasks = [task for task in tasks if not checkpoint.task_record(task).is_judged]
        if not tasks:
            raise UsageError(f"{flags[0]}: judges score these answers; none is right or wrong.")
    if base is not None:
        tasks = [task for task in tasks if task in base.runs]
        if not tasks:
            raise InvalidRunError(f"--flipped: {base.name} has none of {', '.join(known)}.")
    return tasks


def _read_light(run: FinishedRun, task: str) -> pa.Table:
    """Ids and verdicts of a task's rows, with their place in the file."""
    path = run.folder / RESPONSES
    if not path.is_file():
        raise UsageError(f"{run.folder}: it holds no answers (no {RESPONSES}); a baseline keeps counts only.")
    try:
        file = pq.ParquetFile(path)
        present = [name for name in ("task", *_LIGHT) if name in file.schema_arrow.names]
        table = file.read(columns=present)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path}: cannot be read ({error}); run the run's command again to rewrite it.") from error
    table = table.append_column("row", pa.array(np.arange(len(table))))
    return table.filter(pc.equal(table["task"], task))


def _refuse_unknown(checkpoint: CheckpointRuns, query: ShowOptions, light: dict[str, pa.Table]) -> None:
    """Refuse personas and items that no task has."""
    for flag, column, wanted in (("--persona", "persona", query.persona), ("--item", "item", query.item)):
        if wanted:
            known = {name for table in light.values() for name in table[column].unique().to_pylist()}
            for name in wanted:
                if name not in known:
                    raise UsageError(f"{flag} {name}: {checkpoint.name} has no such {column}.{_closest(name, known)}")


def _closest(name: str, known: set[str]) -> str:
    """The closest names; a few of them if none is close, since there may be thousands."""
    if "Did you mean" in (text := suggest(name, known)):
        return text
    few = ", ".join(sorted(known)[:5])
    return f" Known: {few}{', …' if len(known) > 5 else ''}."


def _rows(light: pa.Table, query: ShowOptions, record: TaskRecord) -> NDArray[np.int64]:
    """Places in the light table of the rows that fit, item after item and persona after persona."""
    keep = np.ones(len(light), dtype=bool)
    if query.persona:
        keep &= _isin(light["persona"], query.persona)
    if query.item:
        keep &= _isin(light["item"], query.item)
    if query.wrong:
        score = light["score"].to_numpy(zero_copy_only=False).astype(float)
        keep &= score < record.correct_at  # NaN, an unscored answer, is not wrong
    if query.no_answer:
        keep &= _isin(light["status"], (Status.NO_ANSWER,))
    if query.suspect:
        has = "suspect" in light.column_names
        keep &= pc.fill_null(light["suspect"], False).to_numpy() if has else np.zeros(len(light), dtype=bool)
    places = np.flatnonzero(keep)
    order = np.lexsort([_codes(light[name])[places] for name in ("sample", "persona", "item")])
    chosen: NDArray[np.int64] = places[order]
    return chosen


def _isin(column: pa.ChunkedArray, values: Sequence[str]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.is_in(column, value_set=pa.array(list(map(str, values)), column.type)).to_numpy()
    return found


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Numbers that order a column's values as they first occur in the plan."""
    codes: NDArray[np.int64] = column.combine_chunks().dictionary_encode().indices.to_numpy()
    return codes


def _flipped(
    rows: NDArray[np.int64], light: pa.Table, aligned: AlignedTask, base: CheckpointRuns
) -> tuple[NDArray[np.int64], dict[_Key, int]]:
    """The rows whose verdict differs from the base's on the same prompt, and where the base's answers are."""
    other = _read_light(base.runs[aligned.task], aligned.task)
    personas = aligned.cells[0].persona_ids if aligned.cells is not None else ()
    both = _isin(other["item"], aligned.items) & _isin(other["persona"], personas)
    before = {key: (row, right) for key, row, right in _verdicts(other.filter(pa.array(both)), aligned.record)}
    now = list(_verdicts(light.take(pa.array(rows)), aligned.record))
    keep, flips = [], {}
    for place, (key, _, right) in zip(rows, now, strict=True):
        there = before.get(key)
        if there is not None and None not in (right, there[1]) and right != there[1]:
            keep.append(place)
            flips[key] = there[0]
    return np.array(keep, dtype=np.int64), flips


def _verdicts(light: pa.Table, record: TaskRecord) -> Iterable[tuple[_Key, int, bool | None]]:
    columns = [light[name].to_pylist() for name in ("item", "persona", "sample", "row", "score")]
    for item, persona, sample, row, score in zip(*columns, strict=True):
        yield (item, persona, sample), row, None if score is None else score >= record.correct_at


def _is_right(response: Response, record: TaskRecord) -> bool | None:
    return None if record.is_judged or response.score is None else response.score >= record.correct_at


def _read(
    checkpoint: CheckpointRuns,
    task: str,
    rows: list[int],
    base: CheckpointRuns | None,
    flips: dict[_Key, int],
) -> list[Answer]:
    """The answers in these rows of responses.parquet."""
    if not rows:
        return []
    run, record = checkpoint.runs[task], checkpoint.task_record(task)
    responses = _responses(run.folder / RESPONSES, rows)
    prompts = StoredPrompts(run)
    judgements = _judgements(run.folder, responses) if record.is_judged else {}
    earlier = {}
    if base is not None:
        wanted = [flips[_key(one)] for one in responses]
        found = _responses(base.runs[task].folder / RESPONSES, wanted)
        earlier = {_key(one): one for one in found}
    answers = []
    for one in responses:
        item = prompts.item(task, one.item)
        answers.append(
            Answer(
                _withheld(one) if record.withhold_text else one,
                record,
                prompt=None if record.withhold_text else prompts.find(task, one.persona, one.item),
                dimension=None if item is None else item.dimension,
                judgements=tuple(judgements.get(_key(one), ())),
                before=_hidden(earlier.get(_key(one)), record),
            )
        )
    return answers


def _hidden(response: Response | None, record: TaskRecord) -> Response | None:
    return _withheld(response) if response is not None and record.withhold_text else response


def _withheld(response: Response) -> Response:
    """The response without anything that may show the item: an answer often quotes its question."""
    return replace(response, gold="", text=None, thinking=None, answer=None)


def _key(response: Response) -> _Key:
    return response.item, response.persona, response.sample


def _responses(path: Path, rows: Sequence[int]) -> list[Response]:
    """Rows of responses.parquet by number, in the order asked for; other row groups are not read."""
    file = pq.ParquetFile(path)
    ends = np.cumsum([file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)])
    groups: dict[int, list[int]] = {}
    for row in rows:
        groups.setdefault(int(np.searchsorted(ends, row, side="right")), []).append(row)
    found: dict[int, dict[str, Any]] = {}
    names = [name for name in RESPONSE_SCHEMA.names if name in file.schema_arrow.names]
    for group, own in groups.items():
        first = int(ends[group - 1]) if group else 0
        table = file.read_row_group(group, columns=names).take(pa.array([row - first for row in own]))
        found |= dict(zip(own, table.to_pylist(), strict=True))
    return [Response(**found[row]) for row in rows]


def _judgements(folder: Path, responses: Sequence[Response]) -> dict[_Key, list[Judgement]]:
    """Judgements of these answers, in the order of the file."""
    path = folder / JUDGEMENTS
    if not path.is_file() or not responses:
        return {}
    keys = {_key(one) for one in responses}
    names = list(Judgement.__dataclass_fields__)
    table = pq.read_table(
        path,
        columns=["item", "persona", "sample", *names],
        filters=[("task", "=", responses[0].task), ("item", "in", [item for item, _, _ in keys])],
    )
    found: dict[_Key, list[Judgement]] = {}
    for row in table.to_pylist():
        key = row.pop("item"), row.pop("persona"), row.pop("sample")
        if key in keys:
            found.setdefault(key, []).append(Judgement(**row))
    return found
