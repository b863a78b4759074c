"""What two runs were asked, and how they were scored: only like is compared with like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from personaeval.results.runs import CheckpointRuns

_OF_A_TASK = ("revision", "template", "sampling", "samples", "scorer", "correct_at")

_SHOWN_ITEMS = 3

_LONGEST = 60


def settings_that_differ(base: CheckpointRuns, candidate: CheckpointRuns, task: str) -> list[str]:
    """Return in words how two checkpoints were asked or scored differently on a task.

    What a leaderboard's groups go by, and the seed and date besides; prompts and gold answers are compared item by item
    (:func:`items_that_differ`), personas by their texts.
    """
    runs = base.records[task], candidate.records[task]
    tasks = [run.tasks[task] for run in runs]
    asked = [own.asked for own in tasks]
    pairs: list[tuple[str, Any, Any]] = [
        (name, getattr(tasks[0], name), getattr(tasks[1], name)) for name in _OF_A_TASK
    ]
    pairs += [(name, asked[0].get(name), asked[1].get(name)) for name in dict.fromkeys([*asked[0], *asked[1]])]
    pairs += [(name, runs[0].config.get(name), runs[1].config.get(name)) for name in ("seed", "date")]
    found = [_say(name, before, after) for name, before, after in pairs if before != after]
    panels = [run.panel and run.panel.hash for run in runs]
    if tasks[0].is_judged and panels[0] != panels[1]:
        found.append("judges or rubrics")
    return found


def items_that_differ(rows: Sequence[pa.Table]) -> list[str]:
    """Return in words which common items have another prompt or gold answer in the other run's cells."""
    before, after = ({row["item"]: row["digest"] for row in _items(table)} for table in rows)
    names = [name for name, digest in before.items() if after.get(name, digest) != digest]
    if not names:
        return []
    shown = ", ".join(names[:_SHOWN_ITEMS]) + (", …" if len(names) > _SHOWN_ITEMS else "")
    return [f"prompts or gold answers of {len(names)} items ({shown})"]


def placement_notes(base: CheckpointRuns, candidate: CheckpointRuns, task: str) -> list[str]:
    """Say where the personas stand, where a template made that differ; each model is asked as it wants to be."""
    roles = [side.records[task].placement.role for side in (base, candidate)]
    if roles[0] == roles[1]:
        return []
    return [f"The persona stands in different places: {base.name} {roles[0]}, {candidate.name} {roles[1]}."]


def _items(table: pa.Table) -> list[dict[str, Any]]:
    """Return each item's row once."""
    found: list[dict[str, Any]] = (
        table.select(["item", "digest"]).group_by(["item", "digest"]).aggregate([]).to_pylist()
    )
    return found


def _say(name: str, before: Any, after: Any) -> str:
    words = name.replace("_", " ")
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        return ", ".join(_against(f"{words} {key}", before.get(key), after.get(key)) for key in keys)
    return _against(words, before, after)


def _against(words: str, before: Any, after: Any) -> str:
    texts = repr(before), repr(after)
    if max(map(len, texts)) > _LONGEST:
        return f"{words} differs"
    return f"{words} {texts[0]} against {texts[1]}"
