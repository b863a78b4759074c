"""Items that flipped most between two checkpoints, with both answers."""

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
        gained: number of personas, without the baseline, under which it became right; with several samples, the sum of
            the shares.
        lost: number of personas under which it became wrong.
        persona: the one under which it flipped most.
        answers: the base's and the candidate's answers under that persona in a sample that flipped; None if the text
            must not be shown, is not kept, or cannot be read.
    """

    item: str
    gained: float
    lost: float
    persona: str
    answers: tuple[str | None, str | None]


def find_flips(
    aligned: AlignedTask, base: CheckpointRuns, candidate: CheckpointRuns, count: int = SHOWN
) -> tuple[list[Flip], list[Flip]]:
    """The ``count`` items that gained most, and those that lost most; both empty for a judged task.

    Only the rows of these cells are read from responses.parquet.
    """
    if aligned.cells is None:
        return [], []
    # Column 0 is the baseline, not a persona.
    change = (aligned.cells[1].q - aligned.cells[0].q)[:, 1:]
    gained, lost = np.clip(change, 0, None).sum(axis=1), np.clip(-change, 0, None).sum(axis=1)
    names = aligned.cells[0].persona_ids[1:]
    chosen = [
        [
            (int(place), names[int(np.argmax(sign * change[place]))])
            for place in np.argsort(-sums, kind="stable")[:count]
            if sums[place] > 0
        ]
        for sums, sign in ((gained, 1), (lost, -1))
    ]
    wanted = {(aligned.items[place], persona) for own in chosen for place, persona in own}
    given: list[_Answers] = [{}, {}]
    if wanted and not aligned.record.withhold_text:
        given = [_answers(checkpoint.folders[aligned.task], aligned, wanted) for checkpoint in (base, candidate)]
    found = []
    for own, became_right in zip(chosen, (True, False), strict=True):
        flips = []
        for place, persona in own:
            cell = aligned.items[place], persona
            answers = _flipped(given[0].get(cell, {}), given[1].get(cell, {}), became_right)
            flips.append(Flip(cell[0], float(gained[place]), float(lost[place]), persona, answers))
        found.append(flips)
    return found[0], found[1]


def _answers(folder: Path, aligned: AlignedTask, cells: Collection[tuple[str, str]]) -> _Answers:
    """Per cell and sample: whether the answer is right, and the answer, or the end of the text if none was found."""
    path = folder / RESPONSES
    if not path.is_file():
        return {}
    items, personas = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
    try:
        table = pq.read_table(
            path,
            columns=["item", "persona", "sample", "answer", "text", "score"],
            filters=[("task", "=", aligned.task), ("item", "in", items), ("persona", "in", personas)],
        )
    except (OSError, pa.ArrowException):
        return {}  # The tables do without texts; running the run's command again rewrites the file.
    found: _Answers = {}
    for row in table.to_pylist():
        if row["score"] is not None and (row["item"], row["persona"]) in cells:
            text = _plain(row["answer"]) if row["answer"] else _end(row["text"] or "")
            own = found.setdefault((row["item"], row["persona"]), {})
            own[row["sample"]] = row["score"] >= aligned.record.correct_at, text
    return found


def _flipped(base: _Samples, candidate: _Samples, became_right: bool) -> tuple[str | None, str | None]:
    """Both answers of a sample that flipped; if no sample number flipped in both, of any two that differ."""
    before = {sample: text for sample, (right, text) in base.items() if right != became_right}
    after = {sample: text for sample, (right, text) in candidate.items() if right == became_right}
    for sample, text in before.items():
        if sample in after:
            return text, after[sample]
    return next(iter(before.values()), None), next(iter(after.values()), None)


def _plain(text: str) -> str:
    """A model's text without control characters, cut to fit a table."""
    shown = printable(text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _end(text: str, length: int = 60) -> str:
    line = " ".join(printable(text).split())
    return f"no answer found: …{line[-length:]}" if len(line) > length else f"no answer found: {line}"
