"""Arrays of a task's cells for the items and personas that two checkpoints share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pyarrow as pa

from personaeval.metrics.fidelity import LOWEST, PersonaSums
from personaeval.metrics.paired import shared
from personaeval.metrics.sums import Cells
from personaeval.results.persona_table import PersonaRow

COUNTED = tuple(field.name for field in fields(Cells))[3:]
"""Columns of cells.parquet that the statistics of right and wrong answers read."""


def arrange(table: pa.Table, items: Sequence[str], personas: Sequence[str], described: dict[str, PersonaRow]) -> Cells:
    """Cells, as arrays [items, personas], from their rows."""
    place, keep = _places(table, items, personas)
    arrays = {}
    for name in COUNTED:
        values = table[name].to_numpy()[keep]
        array = np.zeros(len(items) * len(personas), dtype=values.dtype)
        array[place] = values
        arrays[name] = array.reshape(len(items), len(personas))
    return Cells(
        persona_ids=tuple(personas),
        categories=tuple(described[name].category for name in personas),
        domains=tuple(described[name].domain for name in personas),
        **arrays,
    )


def _places(table: pa.Table, items: Sequence[str], personas: Sequence[str]) -> tuple[Any, Any]:
    """Positions of the kept rows in the flattened array, and which rows are kept."""
    numbers = []
    for column, known in (("item", items), ("persona", personas)):
        encoded = table[column].combine_chunks().dictionary_encode()
        number = {name: place for place, name in enumerate(known)}
        lookup = np.array([number.get(name, -1) for name in encoded.dictionary.to_pylist()])
        numbers.append(lookup[encoded.indices.to_numpy(zero_copy_only=False)])
    keep = (numbers[0] >= 0) & (numbers[1] >= 0)
    return numbers[0][keep] * len(personas) + numbers[1][keep], keep


def with_unscored_wrong(cells: Sequence[Cells]) -> tuple[Cells, Cells] | None:
    """Cells of both with every unscored answer counted as a wrong one; None if there is none."""
    if not any(own.unscored.any() for own in cells):
        return None
    whole = [replace(own, scored=own.scored + own.unscored, unscored=np.zeros_like(own.unscored)) for own in cells]
    both = shared(whole)
    return both[0], both[1]


def judged_with_unscored_wrong(
    tables: Sequence[dict[str, Any]], items: Sequence[str], dimensions: Sequence[str]
) -> tuple[PersonaSums, PersonaSums] | None:
    """Sums of both with the lowest score in place of every missing one; None if none is missing."""
    if not any(own[item]["unscored"] for own in tables for item in items):
        return None
    whole = [
        {
            item: row
            | {"score_sum": row["score_sum"] + LOWEST * row["unscored"], "scored": row["scored"] + row["unscored"]}
            for item, row in own.items()
        }
        for own in tables
    ]
    asked = [item for item in items if all(own[item]["scored"] for own in whole)]
    first, second = (PersonaSums.of_rows([own[item] for item in asked], dimensions) for own in whole)
    return first, second
