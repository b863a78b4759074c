"""cells.parquet: counts per (item, persona), which all statistics read."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from personaeval.library.personas import Persona
from personaeval.library.tasks import Item, Task
from personaeval.results.files import CELLS, _replacing
from personaeval.types import Response, Status

_LOOKED_AT = 2000


def script(text: str) -> str | None:
    """The Unicode script of most letters in a text's first 2 000 characters; None without letters.

    The script is the first word of a letter's Unicode name: LATIN, CYRILLIC, CJK, ARABIC, ….
    """
    part = text[:_LOOKED_AT]
    if part.isascii():
        return "LATIN" if any(map(str.isalpha, part)) else None
    letters = Counter(
        "LATIN" if letter.isascii() else unicodedata.name(letter, "UNKNOWN").split(" ", 1)[0]
        for letter in part
        if letter.isalpha()
    )
    return letters.most_common(1)[0][0] if letters else None


COUNTS = ("scored", "correct", "no_answer", "truncated", "wrong_truncated", "unscored", "other_script")


EVIDENCE = ("box", "hashes", "statement", "pattern", "letter", "words", "option_text", "last_number")
"""Kinds of evidence by which an answer is recognised."""

READINGS = ("suspect", "suspect_chance", *(f"read_by_{kind}" for kind in EVIDENCE))
"""Columns that older files lack: suspect answers, how many chance gives, and answers by their evidence."""

EMPTY = ("empty", "empty_with_reasoning")
"""Columns that older files lack: answers without text though not cut off, and those of them with reasoning."""


class CellTable:
    """Counts of one task per (item, persona); personas in the run's order, the baseline first."""

    def __init__(self, task: str, items: Sequence[Item], personas: Sequence[str], pass_threshold: float) -> None:
        self.task = task
        self.items = tuple(items)
        self.personas = tuple(personas)
        self._pass_threshold = pass_threshold
        self.counts = {name: np.zeros((len(items), len(personas)), dtype=np.int32) for name in COUNTS}
        self.score_sum = np.zeros((len(items), len(personas)))
        self.readings = {
            name: np.zeros((len(items), len(personas)), dtype=np.float64 if name == "suspect_chance" else np.int32)
            for name in READINGS
        }
        self.empty = {name: np.zeros((len(items), len(personas)), dtype=np.int32) for name in EMPTY}

    def count(self, item: int, persona: int, response: Response, question: str) -> None:
        """Add one response of item number ``item`` under persona number ``persona``."""
        _count_empty(self.empty, (item, persona), response)
        counts = self.counts
        if response.truncated:
            counts["truncated"][item, persona] += 1
        if response.score is None:
            counts["unscored"][item, persona] += 1
            return
        counts["scored"][item, persona] += 1
        self.score_sum[item, persona] += response.score
        if response.evidence in EVIDENCE:
            self.readings[f"read_by_{response.evidence}"][item, persona] += 1
        if response.suspect is not None:
            self.readings["suspect"][item, persona] += response.suspect
            self.readings["suspect_chance"][item, persona] += response.suspect_chance or 0.0
        if response.score >= self._pass_threshold:
            counts["correct"][item, persona] += 1
            return
        counts["wrong_truncated"][item, persona] += response.truncated
        counts["no_answer"][item, persona] += response.status == Status.NO_ANSWER
        written = script(response.text or "")
        if written is not None and written != script(question):
            counts["other_script"][item, persona] += 1

    def to_arrow(self) -> pa.Table:
        """The cells as rows, item by item."""
        items, personas = len(self.items), len(self.personas)
        columns: dict[str, Any] = {
            "task": pa.array([self.task] * (items * personas)),
            "item": pa.array(np.repeat(np.array([item.id for item in self.items], dtype=object), personas)),
            "persona": pa.array(list(self.personas) * items),
        }
        columns |= {name: pa.array(values.ravel()) for name, values in self.counts.items()}
        columns["score_sum"] = pa.array(self.score_sum.ravel())
        columns["dimension"] = pa.nulls(items * personas, pa.string())
        columns["digest"] = _digests(self.items, personas)
        columns |= {name: pa.array(values.ravel()) for name, values in (self.readings | self.empty).items()}
        return pa.table(columns)


class JudgedCells:
    """Counts of one judged task per item, each under its own persona; there is no right or wrong to count.

    ``score_sum`` adds up the panel's scores.
    """

    def __init__(self, task: str, items: Sequence[Item]) -> None:
        self.task = task
        self.items = tuple(items)
        self.counts = {name: np.zeros(len(items), dtype=np.int32) for name in ("scored", "truncated", "unscored")}
        self.score_sum = np.zeros(len(items))
        self.empty = {name: np.zeros(len(items), dtype=np.int32) for name in EMPTY}

    def count(self, item: int, persona: int, response: Response, question: str) -> None:
        """Add one response to item number ``item``, whose persona and question are its own."""
        _count_empty(self.empty, (item,), response)
        self.counts["truncated"][item] += response.truncated
        self.counts["unscored" if response.score is None else "scored"][item] += 1
        self.score_sum[item] += response.score or 0.0

    def to_arrow(self) -> pa.Table:
        """The cells as rows; what is not counted is null."""
        columns: dict[str, Any] = {
            "task": pa.array([self.task] * len(self.items)),
            "item": pa.array([item.id for item in self.items]),
            "persona": pa.array([item.persona for item in self.items]),
        }
        absent = pa.nulls(len(self.items), pa.int32())
        columns |= {name: pa.array(self.counts[name]) if name in self.counts else absent for name in COUNTS}
        columns["score_sum"] = pa.array(self.score_sum)
        columns["dimension"] = pa.array([item.dimension for item in self.items])
        columns["digest"] = _digests(self.items, 1)
        columns |= {name: pa.nulls(len(self.items), _reading_type(name)) for name in READINGS}
        columns |= {name: pa.array(values) for name, values in self.empty.items()}
        return pa.table(columns)


def _count_empty(empty: dict[str, Any], place: tuple[int, ...], response: Response) -> None:
    if response.text is None or response.text.strip() or response.truncated:
        return
    empty["empty"][place] += 1
    empty["empty_with_reasoning"][place] += bool((response.thinking or "").strip())


def _reading_type(name: str) -> pa.DataType:
    return pa.float64() if name == "suspect_chance" else pa.int32()


def with_readings(table: pa.Table) -> pa.Table:
    """Cells with the columns that older files lack, null."""
    for name in (*READINGS, *EMPTY):
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(len(table), _reading_type(name)))
    return table


def _digests(items: Sequence[Item], times: int) -> pa.Array:
    """Digest of each item's content, repeated for its rows: two items may share an id."""
    digests = np.repeat(np.array([item.digest for item in items], dtype=object), times)
    return pa.array(digests, type=pa.binary(8))


Cells = CellTable | JudgedCells


def empty_cells(task: Task, items: Sequence[Item], personas: Sequence[Persona]) -> Cells:
    """Cells of a task with nothing counted yet."""
    if task.is_judged:
        return JudgedCells(task.name, items)
    return CellTable(task.name, items, [persona.id for persona in personas], task.pass_threshold)


def write_cells(folder: Path, tables: Sequence[Cells]) -> None:
    """Write cells.parquet."""
    with _replacing(folder / CELLS) as temporary:
        pq.write_table(pa.concat_tables(table.to_arrow() for table in tables), temporary, compression="zstd")
