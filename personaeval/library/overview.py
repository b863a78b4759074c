"""Tasks and persona sets as text: lists, single tasks with their items, checks of persona sets.

::

    print(list_tasks(include=()))
    print(show_task("gsm8k", data=None, count=3, include=()))
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from personaeval.errors import UsageError
from personaeval.library.duplicates import alike_share
from personaeval.library.external_personas import Reading, describe_import
from personaeval.library.lint import likenesses, problems
from personaeval.library.personas import prompted_texts
from personaeval.library.registry import Registry
from personaeval.library.sources import load_items
from personaeval.library.tasks import (
    FileSource,
    GeneratedSource,
    HarnessSource,
    HubSource,
    Item,
    QuestionSource,
    Source,
    Task,
)
from personaeval.library.wording import Fit


def list_tasks(include: tuple[Path, ...]) -> str:
    """A table of all tasks, and one of the groups."""
    from tabulate import tabulate

    registry = Registry(include)
    rows = []
    for name in registry.task_files():
        task, _ = registry.task(name)
        rows.append(
            [task.name, task.title, size_of(task), task.domain, task.scorer.kind, source_of(task.source), task.license]
        )
    tasks = tabulate(rows, headers=["task", "title", "items", "domain", "scorer", "source", "licence"])
    groups = [[group.name, group.title, ", ".join(group.tasks)] for group in registry.groups().values()]
    return f"{tasks}\n\n{tabulate(groups, headers=['group', 'title', 'tasks'])}"


def size_of(task: Task) -> str:
    """The number of a task's items, if its file says it."""
    count = task.source.size if isinstance(task.source, GeneratedSource) else task.size
    variants = f" in {len(task.variants)} variants" if task.variants else ""
    return (f"{count}" if count else "") + variants


def source_of(source: Source) -> str:
    """The source of a task's rows, in a few words."""
    if isinstance(source, HubSource):
        return f"hub {source.dataset}" + (f" ({source.config})" if source.config else "") + f", {source.split}"
    if isinstance(source, FileSource):
        return f"file {source.path}"
    if isinstance(source, QuestionSource):
        return f"questions {source.folder}/"
    if isinstance(source, HarnessSource):
        return f"lm-evaluation-harness, {source.task}"
    return f"generated, {source.size} items"


def show_task(name: str, data: Path | None, count: int, include: tuple[Path, ...]) -> str:
    """The description of a task or a group, and a task's first items."""
    registry = Registry(include)
    if (group := registry.groups().get(name)) is not None:
        return f"{group.name}: {group.title}\n{group.description.strip()}\ntasks: {', '.join(group.tasks)}"
    found = registry.tasks(name)
    if len(found) > 1:
        variants = ", ".join(task.name for task, _ in found)
        return f"{name}: {found[0][0].description.strip()}\nvariants, each a task: {variants}"
    return _show_one(*found[0], data, count)


def task_yaml(name: str, include: tuple[Path, ...]) -> str:
    """The YAML of a task or a group, to be saved under another name and adapted.

    For a built-in task, its file with the comments, and with paths that work from everywhere; for one that is made
    from its selector, what it stands for.
    """
    registry = Registry(include)
    if (group := registry.groups().get(name)) is not None:
        return yaml.safe_dump(group.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)
    task, path = registry.tasks(name)[0]
    if path.is_file():
        return _absolute_paths(path)
    content = task.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def _absolute_paths(file: Path) -> str:
    """The text of a task's file, its data named from the root."""

    def absolute(found: re.Match[str]) -> str:
        target = file.parent.absolute() / found[2]
        return f"{found[1]}{target}" if target.exists() else found[0]

    return re.sub(r"(?m)^( +(?:path|folder|rubrics): )(\S+)$", absolute, file.read_text(encoding="utf-8"))


def _show_one(task: Task, file: Path, data: Path | None, count: int) -> str:
    loaded = load_items(task, file, data, None, 0)
    task = loaded.task
    chance = "" if loaded.chance is None else f"; chance level {loaded.chance:.3f}"
    lines = [
        f"{task.name}: {task.title}, revision {task.revision}",
        task.description.strip(),
        f"source: {source_of(task.source)}; read: {dict(loaded.origin)}",
        f"scorer: {task.scorer.kind}{chance}; sampling: {task.sampling.model_dump()}; licence: {task.license}",
        f"citation: {task.citation.strip()}",
    ]
    if task.withhold_text:
        names = ", ".join(item.id for item in loaded.items[:count])
        return "\n".join([*lines, f"items (their authors ask that the texts be shown nowhere): {names}"])
    return "\n".join([*lines, *item_lines(loaded.items[:count])])


def item_lines(items: Sequence[Item]) -> list[str]:
    """Each item's prompt, and its gold answer or persona."""
    lines = []
    for item in items:
        lines += ["", f"--- item {item.id}", item.prompt]
        lines.append(f"--- persona: {item.persona}" if item.persona else f"--- gold: {item.gold}")
    return lines


def list_personas(include: tuple[Path, ...]) -> str:
    """A table of all persona sets."""
    from tabulate import tabulate

    registry = Registry(include)
    rows = []
    for name in registry.persona_files():
        found = registry.persona_set(name)
        categories = dict.fromkeys(persona.category.value for persona in found.personas)
        rows.append([name, len(found.personas), ", ".join(categories), found.description.strip()])
    headers = ["set", "personas", "categories", "description"]
    return tabulate(rows, headers=headers, maxcolwidths=[None, None, 30, 70])


def check_personas(name: str, include: tuple[Path, ...], reading: Reading | None = None) -> str:
    """Check a persona set, file or hub dataset.

    Args:
        name: its selector.
        include: more folders with persona sets.
        reading: the template that the texts must fit.

    Raises:
        UsageError: a key, id, text, tag or length is wrong; names every persona that is.
    """
    selection = Registry(include).select([name], reading)
    personas = [persona for persona in selection.personas if not persona.is_baseline]
    is_written = selection.origins[0]["kind"] == "set" and (reading is None or reading.fit is not Fit.VERBATIM)
    wrong = problems(personas, is_written)
    if wrong:
        raise UsageError(f"persona set {name}:\n" + "\n".join(f"  {line}" for line in wrong))
    categories = ", ".join(sorted({persona.category.value for persona in personas}))
    lines = [f"persona set {name}: {len(personas)} personas, categories {categories}: all right."]
    lines += [describe_import(origin) for origin in selection.origins if origin["kind"] != "set"]
    alike = alike_share(prompted_texts(personas))
    lines += [f"  {line}" for line in likenesses(personas)]
    return "\n".join([*lines, f"{alike.caution or alike}."])
