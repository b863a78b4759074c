"""items.parquet: a row per item, so that a run's folder can be read without the task's data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from personaeval.library.tasks import Item, Task
from personaeval.results.files import ITEMS, RowWriter, row_writer

ITEM_SCHEMA = pa.schema(
    [
        pa.field("task", pa.string(), False),
        pa.field("item", pa.string(), False),
        pa.field("prompt", pa.string(), False),
        pa.field("gold", pa.string(), False),
        pa.field("choices", pa.list_(pa.field("element", pa.string(), False)), False),
        pa.field("persona", pa.string()),
        pa.field("dimension", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class ItemRow:
    """One item; ``persona`` and ``dimension`` are a judged task's."""

    task: str
    item: str
    prompt: str
    gold: str
    choices: tuple[str, ...]
    persona: str | None
    dimension: str | None


def write_items(folder: Path, tasks: Iterable[tuple[Task, Iterable[Item]]]) -> None:
    """Write items.parquet, without the items of tasks whose text is withheld."""
    rows: RowWriter[ItemRow]
    with row_writer(folder / ITEMS, ITEM_SCHEMA) as rows:
        for task, items in tasks:
            if task.withhold_text:
                continue
            for item in items:
                rows.add(
                    ItemRow(
                        task.name, item.id, item.prompt, item.gold, item.choices, item.persona or None, item.dimension
                    )
                )
