"""Settings, prompts and gold answers in which two runs differ: reasons not to compare them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from personaeval.results.records import PanelRecord
from personaeval.results.runs import CheckpointRuns

_OF_A_TASK = ("revision", "template", "sampling", "samples", "scorer", "correct_at")

_SHOWN_ITEMS = 3

_LONGEST = 60

_CONTEXT = 15
"""Characters shown before those in which two long values differ."""


def settings_that_differ(base: CheckpointRuns, candidate: CheckpointRuns, task: str) -> list[str]:
    """Differences between two checkpoints' settings of a task, in words.

    Compares the settings that define a leaderboard's groups, and seed and date. Prompts and gold answers are compared
    item by item (:func:`items_that_differ`), personas by their texts.
    """
    runs = base.records[task], candidate.records[task]
    tasks = [run.tasks[task] for run in runs]
    asked = [own.asked for own in tasks]
    settings: list[tuple[str, Any, Any]] = [
        (name, getattr(tasks[0], name), getattr(tasks[1], name)) for name in _OF_A_TASK
    ]
    settings += [(name, asked[0].get(name), asked[1].get(name)) for name in dict.fromkeys([*asked[0], *asked[1]])]
    settings += [(name, runs[0].config.get(name), runs[1].config.get(name)) for name in ("seed", "date")]
    found = [_difference(name, before, after) for name, before, after in settings if before != after]
    panels = [run.panel and run.panel.hash for run in runs]
    if tasks[0].is_judged and panels[0] != panels[1]:
        found.append(_panels(runs[0].panel, runs[1].panel))
    return found


def items_that_differ(rows: Sequence[pa.Table]) -> list[str]:
    """Common items whose prompt or gold answer differs between two runs' cells, in words."""
    before, after = ({row["item"]: row["digest"] for row in _items(table)} for table in rows)
    names = [name for name, digest in before.items() if after.get(name, digest) != digest]
    if not names:
        return []
    shown = ", ".join(names[:_SHOWN_ITEMS]) + (", …" if len(names) > _SHOWN_ITEMS else "")
    return [f"prompts or gold answers of {len(names)} items ({shown})"]


def placement_notes(base: CheckpointRuns, candidate: CheckpointRuns, task: str) -> list[str]:
    """A note if the models' chat templates put the personas in different roles. That alone is no reason to refuse."""
    roles = [checkpoint.records[task].placement.role for checkpoint in (base, candidate)]
    if roles[0] == roles[1]:
        return []
    return [f"The persona is in different places: {base.name} {roles[0]}, {candidate.name} {roles[1]}."]


def _items(table: pa.Table) -> list[dict[str, Any]]:
    """Each item's id and digest, once."""
    found: list[dict[str, Any]] = (
        table.select(["item", "digest"]).group_by(["item", "digest"]).aggregate([]).to_pylist()
    )
    return found


def _panels(before: PanelRecord | None, after: PanelRecord | None) -> str:
    """Both panels, in words; where the same judges were asked otherwise, their hashes."""
    named = [_judges(panel) for panel in (before, after)]
    if named[0] == named[1]:
        named = ["none" if panel is None else f"panel {panel.hash[:8]}" for panel in (before, after)]
    return f"judges or rubrics: {named[0]} against {named[1]}"


def _judges(panel: PanelRecord | None) -> str:
    return ", ".join(f"{judge.short_name} ({judge.fingerprint[:8]})" for judge in panel.judges) if panel else "none"


def _difference(name: str, before: Any, after: Any) -> str:
    words = name.replace("_", " ")
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        return ", ".join(_values(f"{words} {key}", before.get(key), after.get(key)) for key in keys)
    return _values(words, before, after)


def _values(words: str, before: Any, after: Any) -> str:
    return f"{words} {' against '.join(_excerpts(repr(before), repr(after)))}"


def _excerpts(before: str, after: str) -> tuple[str, str]:
    """Both texts; of long ones, the part from shortly before they begin to differ."""
    if max(len(before), len(after)) <= _LONGEST:
        return before, after
    pairs = enumerate(zip(before, after, strict=False))
    same = next((place for place, (one, other) in pairs if one != other), min(len(before), len(after)))
    start = max(0, same - _CONTEXT)
    return _excerpt(before, start), _excerpt(after, start)


def _excerpt(text: str, start: int) -> str:
    end = start + _LONGEST
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"
