"""The texts that ``tasks`` and ``personas`` print: lists, single entries, checks of files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from personaeval.config import ModelOptions, PersonasShowOptions, part
from personaeval.errors import UsageError
from personaeval.judge.rubrics import rubrics_of
from personaeval.library.external_personas import describe_import
from personaeval.library.lint import likenesses, problems
from personaeval.library.registry import Registry
from personaeval.library.sources import load_items
from personaeval.library.tasks import (
    ExactScorer,
    FileSource,
    GeneratedSource,
    GymScorer,
    HarnessScorer,
    HarnessSource,
    HubSource,
    Item,
    JudgedScorer,
    PythonScorer,
    QuestionSource,
    Source,
    Task,
    VerifiedScorer,
)
from personaeval.models.checkpoints import parse_model
from personaeval.models.prompts import persona_sentence

_SHOWN = 3


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
    return "\n".join([*lines, *_shown(loaded.items[:count])])


def _shown(items: Sequence[Item]) -> list[str]:
    lines = []
    for item in items:
        lines += ["", f"--- item {item.id}", item.prompt]
        lines.append(f"--- persona: {item.persona}" if item.persona else f"--- gold: {item.gold}")
    return lines


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
    from personaeval.verify import Verifier

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
    return summary if task.withhold_text else "\n".join([*_shown(loaded.items[:_SHOWN]), "", summary])


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


def show_personas(asked: PersonasShowOptions) -> str:
    """Personas with their sentence, and with the whole prompt if a checkpoint is given."""
    model = asked.model
    personas = Registry(asked.include).personas([asked.personas])
    sentences = {persona.id: persona_sentence(asked.template, persona) for persona in personas}
    lines = []
    if model is not None:
        from personaeval.models.model import open_model, place_personas
        from personaeval.models.prompts import PROBE, chat

        options = part(asked, ModelOptions)
        opened = open_model(parse_model(model), options)
        placement = place_personas(opened, sentences, asked.persona_role, options.reasoning_end)
        lines.append(f"placement: {placement.role}, {'verified' if placement.verified else 'not verified'}")
        lines += [f"caution: {caution}" for caution in placement.cautions]
        shown = {
            persona_id: opened.probe(chat(sentence, placement.role, PROBE))
            for persona_id, sentence in sentences.items()
        }
    for persona in personas:
        lines += ["", f"{persona.id} ({persona.category.value}): {sentences[persona.id] or '(nothing)'}"]
        if model is not None:
            prompt = shown[persona.id]
            lines.append("not shown by the endpoint" if prompt is None else prompt.replace(PROBE, "{{ item }}"))
    return "\n".join(lines).strip()


def check_personas(name: str, include: tuple[Path, ...]) -> str:
    """Check a persona set, file or hub dataset.

    Raises:
        UsageError: a key, id, text, tag or length is wrong; names every persona that is.
    """
    selection = Registry(include).select([name])
    personas = [persona for persona in selection.personas if not persona.is_baseline]
    wrong = problems(personas)
    if wrong:
        raise UsageError(f"persona set {name}:\n" + "\n".join(f"  {line}" for line in wrong))
    categories = ", ".join(sorted({persona.category.value for persona in personas}))
    lines = [f"persona set {name}: {len(personas)} personas, categories {categories}: all right."]
    lines += [describe_import(origin) for origin in selection.origins if origin["kind"] != "set"]
    return "\n".join(lines + [f"  {line}" for line in likenesses(personas)])
