"""Check of a task: can its rows be read, and does its scorer accept every gold answer?"""

from __future__ import annotations

import json
from pathlib import Path

from personaeval.errors import UsageError
from personaeval.judge.rubrics import rubrics_of
from personaeval.library.overview import item_lines
from personaeval.library.registry import Registry
from personaeval.library.sources import load_items
from personaeval.library.tasks import (
    ExactScorer,
    GymScorer,
    HarnessScorer,
    JudgedScorer,
    PythonScorer,
    Task,
    VerifiedScorer,
)
from personaeval.verify import Verifier

_SHOWN = 3


def check_task(name: str, data: Path | None, include: tuple[Path, ...]) -> str:
    """Load a task, or each of a group, and verify that every gold answer is right by its scorer.

    Raises:
        UsageError: a row does not fill the templates, or a gold answer is wrong by the task's own scorer.
    """
    found = Registry(include).tasks(name)
    if data is not None and len(found) > 1:
        raise UsageError(f"--data is for one task; {name} is {len(found)} of them, such as {found[0][0].name}.")
    return "\n".join(_check_one(task, file, data) for task, file in found)


def _check_one(task: Task, file: Path, data: Path | None) -> str:
    loaded = load_items(task, file, data, None, 0)
    task = loaded.task
    scorer, threshold = task.scorer, task.pass_threshold
    if isinstance(scorer, JudgedScorer):
        rubrics = rubrics_of(loaded, file)
        return (
            f"task {task.name}: {len(loaded.items)} questions for {len(loaded.personas)} personas, with a rubric for "
            f"each of {', '.join(rubrics)}: all right."
        )
    with Verifier() as verifier:
        futures = [
            (item, verifier.submit(scorer, item.gold, given, choices=item.choices))
            for item in loaded.items
            if (given := _ideal_answer(scorer, item.gold)) is not None
        ]
        failed = [
            (item, verdict)
            for item, verdict in ((item, future.result()) for item, future in futures)
            if verdict.score is None or verdict.score < threshold
        ]
    if failed:
        shown = "\n".join(
            f"  item {item.id}: gold {item.gold!r} was read as {verdict.answer!r} ({verdict.reason or verdict.status})"
            for item, verdict in failed[:10]
        )
        raise UsageError(f"task {task.name}: {len(failed)} gold answers are not right by its own scorer:\n{shown}")
    prompts = {item.prompt for item in loaded.items}
    duplicates = len(loaded.items) - len(prompts)
    note = f"; {duplicates} duplicate prompts" if duplicates else ""
    golds = "every gold answer is right by the scorer" if futures else "and its scorer knows no right answer to try"
    summary = f"task {task.name}: {len(loaded.items)} items, {golds}{note}."
    return summary if task.withhold_text else "\n".join([*item_lines(loaded.items[:_SHOWN]), "", summary])


def _ideal_answer(scorer: VerifiedScorer, gold: str) -> str | None:
    """A completion that gives the gold answer; None if a generator knows none of its own."""
    if isinstance(scorer, PythonScorer):
        return gold
    if isinstance(scorer, HarnessScorer):
        return None
    if isinstance(scorer, GymScorer):
        answer = json.loads(gold)["answer"]
        return None if answer is None else f"<answer>{answer}</answer>"
    # A string may hold braces of its own.
    return f"Answer: {gold}" if isinstance(scorer, ExactScorer) else f"\\boxed{{{gold}}}"
