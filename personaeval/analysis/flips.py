"""The items that flipped most between two checkpoints, with both answers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from personaeval.analysis.compare import AlignedTask
from personaeval.errors import printable
from personaeval.results.files import RESPONSES
from personaeval.results.runs import CheckpointRuns

SHOWN = 5

_LONGEST = 200

_Samples = dict[int, tuple[bool, str]]

_Answers = dict[tuple[str, str], _Samples]


@dataclass(frozen=True, slots=True)
class Flip:
    """One item that flipped.

    Attributes:
        item: its id.
        gained: under how many personas it became right (for several samples, the sum of the shares); not under none.
        lost: under how many it became wrong.
        persona: under which it flipped most.
        answers: what the base and the candidate answered there, in a sample that flipped; None where the text may not
            be shown, is not kept, or cannot be read.
    """

    item: str
    gained: float
    lost: float
    persona: str
    answers: tuple[str | None, str | None]


def find_flips(
    pair: AlignedTask, base: CheckpointRuns, candidate: CheckpointRuns, count: int = SHOWN
) -> tuple[list[Flip], list[Flip]]:
    """Return the items that gained most and those that lost most; nothing for a judged task.

    Only the rows of these cells are read from responses.parquet.
    """
    if pair.cells is None:
        return [], []
    # The baseline, in column 0, is no persona.
    change = (pair.cells[1].q - pair.cells[0].q)[:, 1:]
    gained, lost = np.clip(change, 0, None).sum(axis=1), np.clip(-change, 0, None).sum(axis=1)
    names = pair.cells[0].persona_ids[1:]
    chosen = [
        [
            (int(place), names[int(np.argmax(sign * change[place]))])
            for place in np.argsort(-sums, kind="stable")[:count]
            if sums[place] > 0
        ]
        for sums, sign in ((gained, 1), (lost, -1))
    ]
    wanted = {(pair.items[place], persona) for own in chosen for place, persona in own}
    given: list[_Answers] = [{}, {}]
    if wanted and not pair.record.withhold_text:
        given = [_answers(side.folders[pair.task], pair, wanted) for side in (base, candidate)]
    found = []
    for own, became_right in zip(chosen, (True, False), strict=True):
        flips = []
        for place, persona in own:
            cell = pair.items[place], persona
            answers = _flipped(given[0].get(cell, {}), given[1].get(cell, {}), became_right)
            flips.append(Flip(cell[0], float(gained[place]), float(lost[place]), persona, answers))
        found.append(flips)
    return found[0], found[1]


def _answers(folder: Path, pair: AlignedTask, cells: Collection[tuple[str, str]]) -> _Answers:
    """Return by cell and sample whether an answer is right, and the answer; if none was found, how its text ends."""
    path = folder / RESPONSES
    if not path.is_file():
        return {}
    items, personas = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    try:
        table = pq.read_table(
            path,
            columns=["item", "persona", "sample", "answer", "text", "score"],
            filters=[("task", "=", pair.task), ("item", "in", items), ("persona", "in", personas)],
        )
    except (OSError, pa.ArrowException):
        return {}  # the numbers do not need the texts; running the same command again writes them anew
    found: _Answers = {}
    for row in table.to_pylist():
        if row["score"] is not None and (row["item"], row["persona"]) in cells:
            text = _plain(row["answer"]) if row["answer"] else _end(row["text"] or "")
            own = found.setdefault((row["item"], row["persona"]), {})
            own[row["sample"]] = row["score"] >= pair.record.correct_at, text
    return found


def _flipped(base: _Samples, candidate: _Samples, became_right: bool) -> tuple[str | None, str | None]:
    """Return the answers of a sample that flipped; where none has just this number, of one that was each."""
    before = {sample: text for sample, (right, text) in base.items() if right != became_right}
    after = {sample: text for sample, (right, text) in candidate.items() if right == became_right}
    for sample, text in before.items():
        if sample in after:
            return text, after[sample]
    return next(iter(before.values()), None), next(iter(after.values()), None)


def _plain(text: str) -> str:
    """Return a model's text without what a terminal would obey, and no longer than a table can hold."""
    shown = printable(text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _end(text: str, length: int = 60) -> str:
    line = " ".join(printable(text).split())
    return f"no answer found: …{line[-length:]}" if len(line) > length else f"no answer found: {line}"
