"""The items that flipped most between two checkpoints, with both answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from personaeval.compare import Pair
from personaeval.errors import UsageError
from personaeval.results import RESPONSES
from personaeval.sides import Side

SHOWN = 5
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Flip:
    """One item that flipped.

    Attributes:
        item: its id.
        gained: over how many personas it became right (for several samples, the sum of the shares).
        lost: over how many it became wrong.
        persona: under which the answers were given.
        answers: what the base and the candidate answered there; None where the text may not be shown or is not kept.
    """

    item: str
    gained: float
    lost: float
    persona: str
    answers: tuple[str | None, str | None]


def find_flips(pair: Pair, base: Side, candidate: Side, count: int = SHOWN) -> tuple[list[Flip], list[Flip]]:
    """Return the items that gained most and those that lost most; nothing for a judged task.

    Only the rows of these items are read from responses.parquet.
    """
    if pair.cells is None:
        return [], []
    change = pair.cells[1].q - pair.cells[0].q
    gained, lost = np.clip(change, 0, None).sum(axis=1), np.clip(-change, 0, None).sum(axis=1)
    chosen = [
        [place for place in np.argsort(-sums, kind="stable")[:count] if sums[place] > 0] for sums in (gained, lost)
    ]
    wanted = sorted({pair.items[place] for places in chosen for place in places})
    texts: list[dict[tuple[str, str], str]] = [{}, {}]
    if wanted and not pair.record.get("withhold_text"):
        texts = [_answers(side.folders[pair.task], pair.task, wanted) for side in (base, candidate)]
    found = []
    for places, sign in zip(chosen, (1, -1), strict=True):
        flips = []
        for place in places:
            item = pair.items[place]
            persona = pair.cells[0].persona_ids[int(np.argmax(sign * change[place]))]
            answers = texts[0].get((item, persona)), texts[1].get((item, persona))
            flips.append(Flip(item, float(gained[place]), float(lost[place]), persona, answers))
        found.append(flips)
    return found[0], found[1]


def _answers(folder: Path, task: str, items: Sequence[str]) -> dict[tuple[str, str], str]:
    """Return the first sample's answer by item and persona; where none was found, how its text ends."""
    path = folder / RESPONSES
    if not path.is_file():
        return {}
    try:
        table = pq.read_table(
            path,
            columns=["item", "persona", "answer", "text"],
            filters=[("task", "=", task), ("sample", "=", 0), ("item", "in", list(items))],
        )
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path}: cannot be read ({error}); running the same command again writes it anew.") from error
    return {
        (row["item"], row["persona"]): _plain(row["answer"]) if row["answer"] else _end(row["text"] or "")
        for row in table.to_pylist()
    }


def _plain(text: str) -> str:
    """Return a model's text without what a terminal would obey, and no longer than a table can hold."""
    shown = "".join(char if char.isprintable() else " " for char in text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _end(text: str, length: int = 60) -> str:
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return f"no answer found: …{line[-length:]}" if len(line) > length else f"no answer found: {line}"
