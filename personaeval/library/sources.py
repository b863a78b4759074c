"""Reads a task's rows from its source and makes items of them.

Every source gives a list of rows and a record of what was read (revision or file, and a hash), which run.json keeps.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from personaeval.errors import UsageError, first_line
from personaeval.library.columns import rename_columns, split_mapping
from personaeval.library.custom_scorers import find_scorer
from personaeval.library.data_files import hub_revision, read_file, without_hub_bars
from personaeval.library.items import ItemBuilder, Row, build_items, rank
from personaeval.library.lm_eval import load_harness
from personaeval.library.personas import Persona
from personaeval.library.question_sets import load_questions
from personaeval.library.reasoning_gym import OVERSAMPLING, refuse_missing, refuse_unknown
from personaeval.library.tasks import (
    FileSource,
    GeneratedSource,
    GymScorer,
    HarnessSource,
    HubSource,
    Item,
    PythonScorer,
    QuestionSource,
    RowSource,
    Task,
)


@dataclass(frozen=True, slots=True)
class ItemSet:
    """The items of one task, in the source's order, and their origin.

    ``prompts_hash`` identifies the prompts, ``gold_hash`` the gold answers: correcting a gold answer scores again and
    generates nothing. ``origin`` records what was read. Items with their own ``personas`` are ordered by persona and
    are not crossed with other personas. ``notes`` are for the user: columns that were matched, rows left out.
    """

    task: Task
    items: tuple[Item, ...]
    origin: Mapping[str, Any]
    prompts_hash: str
    gold_hash: str
    personas: tuple[Persona, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def chance(self) -> float | None:
        """Accuracy of guessing; None if answers are free."""
        if self.task.chance is not None:
            return self.task.chance
        shares = [1 / len(item.choices) for item in self.items if item.choices]
        return sum(shares) / len(shares) if shares else None


def load_items(
    task: Task,
    task_file: Path,
    data: Path | None,
    limit: int | None,
    seed: int,
    questions_per_dimension: int | None = None,
    limit_personas: int | None = None,
) -> ItemSet:
    """Load a task's items.

    Subsets are random, nested (20 items include the 10) and equal for every checkpoint: items are ranked by a hash of
    ``seed`` and id.

    Args:
        task: the task.
        task_file: its YAML file; relative paths of its source start there.
        data: a local file that replaces the task's source (``--data``); a folder if the source is a question set.
        limit: keep a subset of this size.
        seed: seed of the subsets, and of the order of choices if the task shuffles them.
        questions_per_dimension: of a judged task, keep this many of each persona for each dimension.
        limit_personas: of a judged task, keep the questions of this many of its own personas.

    Raises:
        UsageError: the source is missing or broken (file and row are named), 1 % of the rows or more lack a column
            that a template needs, or two items have the same id.
    """
    personas: tuple[Persona, ...] = ()
    notes: list[str] = []
    numbers: Sequence[int]
    if isinstance(task.scorer, PythonScorer):
        find_scorer(task.scorer.name)
    if isinstance(task.scorer, GymScorer):
        refuse_missing(f"task {task.name}")
    if isinstance(task.source, HarnessSource):
        task, items, origin = load_harness(task, data)
        named, numbers = task.title, range(1, len(items) + 1)
    else:
        build = ItemBuilder(task, seed)
        if isinstance(task.source, QuestionSource):
            rows, origin, named, personas = _read_questions(task.source, task_file, data)
        else:
            rows, origin, named = _read_rows(task.source, task.name, task_file, data, build.columns)
            if columns := origin.get("columns"):
                matched = ", ".join(f"{column} as {name}" for name, column in columns.items())
                notes.append(f"task {task.name}, {named}: columns read under the task's names: {matched}.")
        built, left_out = build_items(build, rows, named)
        numbers, items = list(built), list(built.values())
        if left_out:
            notes.append(f"task {task.name}, {left_out}")
            origin = {**origin, "rows_left_out": sorted(set(range(1, len(rows) + 1)) - set(numbers))}
    if not items:
        raise UsageError(f"{named}: it holds no rows.")
    _refuse_repeated_ids(items, numbers, named)
    total = len(items)
    if personas:
        items = _choose_paired(items, personas, seed, questions_per_dimension, limit_personas)
    kept = _choose(items, seed, limit)
    own = {item.persona for item in kept}
    order = {"option_order_seed": seed} if task.item.shuffle else {}
    return ItemSet(
        task=task,
        items=tuple(kept),
        origin={**origin, **order, "items": total, "items_used": len(kept)},
        prompts_hash=digest([item.id, item.prompt, *([item.persona] if personas else [])] for item in kept),
        gold_hash=digest([item.id, item.dimension or item.gold, *item.choices] for item in kept),
        personas=tuple(persona for persona in personas if persona.id in own),
        notes=tuple(notes),
    )


def _choose(items: list[Item], seed: int, limit: int | None) -> list[Item]:
    if limit is None or limit >= len(items):
        return items
    kept = {item.id for item in sorted(items, key=lambda item: rank(seed, item.id))[:limit]}
    return [item for item in items if item.id in kept]


def _choose_paired(
    items: list[Item],
    personas: tuple[Persona, ...],
    seed: int,
    questions_per_dimension: int | None,
    limit_personas: int | None,
) -> list[Item]:
    """Subset of items with their own personas, by persona; balanced over personas and dimensions."""
    order = {persona.id: place for place, persona in enumerate(personas)}
    ranked = sorted({item.persona for item in items}, key=lambda name: rank(seed, name))
    chosen = set(ranked[:limit_personas])
    cells: dict[tuple[str, str | None], list[str]] = {}
    for item in sorted(items, key=lambda item: rank(seed, item.id)):
        if item.persona in chosen:
            cells.setdefault((item.persona, item.dimension), []).append(item.id)
    kept = {name for cell in cells.values() for name in cell[:questions_per_dimension]}
    return sorted((item for item in items if item.id in kept), key=lambda item: order[item.persona])


def digest(parts: Iterator[list[str]] | Any) -> str:
    """16 hexadecimal digits that identify a sequence of JSON values."""
    state = hashlib.blake2b(digest_size=8)
    for part in parts:
        state.update(json.dumps(part, ensure_ascii=False).encode() + b"\n")
    return state.hexdigest()


def _refuse_repeated_ids(items: Sequence[Item], numbers: Sequence[int], named: str) -> None:
    seen: dict[str, int] = {}
    for number, item in zip(numbers, items, strict=True):
        if item.id in seen:
            raise UsageError(f"{named}: rows {seen[item.id]} and {number} have the same item id {item.id!r}.")
        seen[item.id] = number


def _read_questions(
    source: QuestionSource, task_file: Path, data: Path | None
) -> tuple[list[Row], dict[str, Any], str, tuple[Persona, ...]]:
    folder = data or task_file.parent / source.folder
    found = load_questions(folder)
    return list(found.rows), dict(found.origin), str(folder), found.personas


def _read_rows(
    source: RowSource, task_name: str, task_file: Path, data: Path | None, wanted: Collection[str]
) -> tuple[list[Row], dict[str, Any], str]:
    """Rows with the wanted columns, the record of what was read, and the name for messages."""
    if data is not None or isinstance(source, FileSource):
        own = task_file.parent / source.path if isinstance(source, FileSource) else Path()
        path, names = split_mapping(data) if data is not None else (own, {})
        rows, origin, named = read_file(path)
        renamed = rename_columns(rows, wanted, names, named)
        return renamed.rows, origin | ({"columns": dict(renamed.columns)} if renamed.columns else {}), named
    if isinstance(source, HubSource):
        return _read_hub(source, task_name)
    return _generate(source, task_name)


def _read_hub(source: HubSource, task_name: str) -> tuple[list[Row], dict[str, Any], str]:
    import datasets

    named = f"hub dataset {source.dataset}" + (f" ({source.config})" if source.config else "")
    try:
        with without_hub_bars():
            dataset = datasets.load_dataset(source.dataset, source.config, split=source.split, revision=source.revision)
    except Exception as error:
        # The library raises a dozen unrelated types for "not there", "no network" and "no such split".
        raise UsageError(
            f"{named}, split {source.split}: cannot be loaded ({first_line(error)}). "
            f"Without network, pass a local copy: --data {task_name}=FILE.jsonl"
        ) from error
    origin = {
        "kind": "hub",
        "dataset": source.dataset,
        "config": source.config,
        "split": source.split,
        "revision": hub_revision(dataset, source.dataset) or source.revision,
        "data_fingerprint": dataset._fingerprint,
    }
    return list(dataset), origin, named


def _generate(source: GeneratedSource, task_name: str) -> tuple[list[Row], dict[str, Any], str]:
    """Make ``size`` problems with distinct questions, the parts in proportion to their shares."""
    refuse_missing(f"task {task_name}")
    import reasoning_gym

    shares = sum(part.share for part in source.parts)
    rows: dict[str, Row] = {}
    for index, part in enumerate(source.parts):
        last = index == len(source.parts) - 1
        wanted = source.size - len(rows) if last else round(source.size * part.share / shares)
        target = len(rows) + wanted
        if part.name in reasoning_gym.factory.DATASETS:
            refuse_unknown(f"task {task_name}", part.name, part.parameters)
        try:
            drawn = reasoning_gym.create_dataset(
                part.name, size=wanted * OVERSAMPLING, seed=source.seed, **part.parameters
            )
        except (ValueError, TypeError, AssertionError) as error:
            raise UsageError(f"task {task_name}: reasoning-gym refuses {part.name}: {error}.") from error
        for place, entry in enumerate(drawn):
            if len(rows) == target:
                break
            rows.setdefault(entry["question"], {**entry, "index": place})
        if len(rows) < target:
            raise UsageError(
                f"task {task_name}: {part.name} gives {wanted - target + len(rows)} distinct problems, but {wanted} "
                "are needed; lower `size` or widen its parameters."
            )
    origin = {"kind": "reasoning_gym", "seed": source.seed, "version": version("reasoning-gym")}
    return list(rows.values()), origin, f"task {task_name} (generated)"
