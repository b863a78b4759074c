"""The prompts of a finished run, put together again from its files; no model or tokenizer is needed.

personas.parquet holds one rendered prompt of every persona. Prompts of a persona differ in the item alone, so the
others follow from it::

    prompts = StoredPrompts(open_run(folder))
    prompts.find("gsm8k", "pirate", "12").parts  # (("system", "You are a pirate."), ("user", "What is 2 + 3?"))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import pyarrow as pa
import pyarrow.parquet as pq

from personaeval.results.files import ITEMS
from personaeval.results.persona_table import PersonaRow
from personaeval.results.runs import FinishedRun

Parts = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class AskedPrompt:
    """One prompt as it was put to the model.

    Attributes:
        parts: role and text of each message; a single part ``prompt`` where the chat template was applied here.
        is_exact: whether this is what was sent; else the persona's sentence and the question, before the chat template
            and the task's solved examples.
    """

    parts: Parts
    is_exact: bool = True


@dataclass(frozen=True, slots=True)
class ItemText:
    """What items.parquet holds of one item."""

    prompt: str
    persona: str | None
    dimension: str | None


class StoredPrompts:
    """Prompts of one run by task, persona and item."""

    def __init__(self, run: FinishedRun) -> None:
        self._run = run
        self._example = lru_cache(maxsize=None)(self._read_example)

    def find(self, task: str, persona: str, item: str) -> AskedPrompt | None:
        """The prompt of an item under a persona; None if the item's text is not stored."""
        text = self.item(task, item)
        row = self._row(task, persona)
        if text is None or row is None:
            return None
        if self._sends_messages and self._knows_system(task):
            return AskedPrompt(self._messages(row, task, text.prompt))
        around = self._example(task, persona)
        if around is not None:
            before, after = around
            return AskedPrompt((("prompt", f"{before}{text.prompt}{after}"),))
        return AskedPrompt(self._messages(row, task, text.prompt), is_exact=False)

    def item(self, task: str, item: str) -> ItemText | None:
        """The stored text of an item."""
        return self._items.get(task, {}).get(item)

    @cached_property
    def _items(self) -> dict[str, dict[str, ItemText]]:
        path = self._run.folder / ITEMS
        try:
            table = pq.read_table(path, columns=["task", "item", "prompt", "persona", "dimension"])
        except (OSError, pa.ArrowException):
            return {}  # Not of this version, or a baseline: answers are shown without questions.
        found: dict[str, dict[str, ItemText]] = {}
        for row in table.to_pylist():
            found.setdefault(row["task"], {})[row["item"]] = ItemText(row["prompt"], row["persona"], row["dimension"])
        return found

    @cached_property
    def _sends_messages(self) -> bool:
        return self._run.record.model.rendering.get("kind") == "messages"

    def _knows_system(self, task: str) -> bool:
        return "system" in self._run.record.tasks[task].model_fields_set

    def _row(self, task: str, persona: str) -> PersonaRow | None:
        rows: dict[str, PersonaRow] = self._rows.get(task, {})
        return rows.get(persona)

    @cached_property
    def _rows(self) -> dict[str, dict[str, PersonaRow]]:
        return {task: {row.persona: row for row in self._run.personas(task)} for task in self._run.record.tasks}

    def _messages(self, row: PersonaRow, task: str, question: str) -> Parts:
        """The messages before any chat template."""
        record = self._run.record
        sentence = row.sentence
        if sentence is None and row.category != "baseline":
            sentence = row.text
        lead = "\n\n".join(part for part in (sentence, record.tasks[task].system) if part)
        if not lead:
            return (("user", question),)
        if record.placement.role == "system":
            return (("system", lead), ("user", question))
        return (("user", f"{lead}\n\n{question}"),)

    def _read_example(self, task: str, persona: str) -> tuple[str, str] | None:
        """What stands before and after an item in a persona's prompts for a task; None if that is not known."""
        row = self._row(task, persona)
        if row is None or row.example is None or self._sends_messages or not self._run.record.fast_rendering:
            return None
        # The longest: one item's prompt may be part of another's.
        shown = [(owner, prompt) for owner, prompt in self._first_items(task, row) if prompt in row.example]
        owner, prompt = max(shown, key=lambda one: len(one[1]), default=("", ""))
        if not owner or not self._same_frame(owner, task):
            return None
        before, _, after = row.example.rpartition(prompt)
        return before, after

    def _first_items(self, task: str, row: PersonaRow) -> Iterator[tuple[str, str]]:
        """The items that a persona's example may show: the first of each task, or the persona's own first."""
        if row.task is not None:
            own = self._items.get(task, {}).values()
            yield from ((task, item.prompt) for item in list(own) if item.persona == row.persona)
            return
        for name, items in self._items.items():
            if items and not self._run.record.tasks[name].is_judged:
                yield name, next(iter(items.values())).prompt

    def _same_frame(self, owner: str, task: str) -> bool:
        """Whether two tasks have the same text around their items."""
        if owner == task:
            return True
        records = [self._run.record.tasks[name] for name in (owner, task)]
        if not all(self._knows_system(name) for name in (owner, task)):
            return False
        return records[0].system == records[1].system and not any(record.asked.get("plain") for record in records)
