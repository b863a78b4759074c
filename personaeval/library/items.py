"""Items from rows: a task's templates filled with the columns of its source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jinja2
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from personaeval.errors import UsageError
from personaeval.library.tasks import Item, Task

Row = Mapping[str, Any]

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PER_LEFT_OUT = 100
"""Rows for each one that may be left out."""

_LETTERED = ("lettered_choices", "options")
"""Template variable with the lettered choices, and its old name."""


def _refuse_none(value: object) -> object:
    # Rendered, a missing value would become the text "None", and be asked and compared.
    if value is None:
        raise ValueError("the value is null")
    return value


_jinja = ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined, keep_trailing_newline=True, finalize=_refuse_none
)


def _named(templates: Iterable[str]) -> set[str]:
    """The columns that templates name."""
    found = {name for text in templates for name in jinja2.meta.find_undeclared_variables(_jinja.parse(text))}
    return found - {"row"}


class ItemBuilder:
    """Makes items by filling a task's templates with the columns of a row; ``columns`` are those that they name."""

    def __init__(self, task: Task, seed: int) -> None:
        self._task = task
        self._seed = seed
        fields = {"prompt": task.item.prompt, "gold": task.item.gold or "", "id": task.item.id or ""}
        try:
            self._templates = {name: _jinja.from_string(text) for name, text in fields.items()}
            self._choice_list = _jinja.compile_expression(task.item.choices or "none", undefined_to_none=False)
            self.columns = _named(fields.values()) - set(_LETTERED) | _named(
                [f"{{{{ {task.item.choices or 'none'} }}}}"]
            )
        except jinja2.TemplateSyntaxError as error:
            raise UsageError(f"task {task.name}: a template is broken: {error.message}.") from error

    def __call__(self, number: int, row: Row, where: str) -> Item:
        """Item of row ``number`` of the source; ``where`` names the row in messages."""
        row = {**row, "row": row}
        filled = {name: self._fill(name, row, where) for name in ("id", "gold")}
        item_id = filled["id"].strip() or str(number)
        choices = self._choices(row, where)
        order = self._order(len(choices), item_id)
        choices = tuple(choices[place] for place in order)
        lettered = "\n".join(f"{_LETTERS[i]}. {choice}" for i, choice in enumerate(choices))
        row |= dict.fromkeys(_LETTERED, lettered)
        filled["prompt"] = self._fill("prompt", row, where)
        if any(not _is_text(value) for value in filled.values()):
            raise UsageError(f"{where}: it holds half a surrogate pair, which is not valid text.")
        gold = filled["gold"].strip()
        # Chat templates trim a message's edges, so an item has none.
        prompt = filled["prompt"].strip()
        if self._task.is_judged:
            return Item(item_id, prompt, "", persona=row["persona"], dimension=row["dimension"])
        if not gold:
            raise UsageError(f"{where}: the gold answer of task {self._task.name} is empty.")
        if choices:
            gold = _LETTERS[order.index(self._place(gold, len(choices), where))]
        return Item(item_id, prompt, gold, choices)

    def _order(self, count: int, item_id: str) -> list[int]:
        """Which choice goes to which place."""
        places = range(count)
        if not self._task.item.shuffle:
            return list(places)
        return sorted(places, key=lambda place: rank(self._seed, f"{item_id}\0{place}"))

    def _fill(self, name: str, row: Row, where: str) -> str:
        try:
            return self._templates[name].render(row)
        except jinja2.UndefinedError as error:
            columns = ", ".join(sorted(str(column) for column in row if column not in ("row", *_LETTERED)))
            raise UsageError(
                f"{where}: the {name} template of task {self._task.name} cannot be filled: {error.message}; "
                f"columns there: {columns}."
            ) from error
        except Exception as error:
            raise UsageError(f"{where}: the {name} template of task {self._task.name} fails: {error}.") from error

    def _choices(self, row: Row, where: str) -> tuple[str, ...]:
        if self._task.item.choices is None:
            return ()
        try:
            values = self._choice_list(row)
            texts = [str(value).strip() for value in values] if isinstance(values, list) else []
        except Exception as error:
            raise UsageError(f"{where}: item.choices of task {self._task.name} fails: {error}.") from error
        if not 2 <= len(texts) <= len(_LETTERS):
            raise UsageError(
                f"{where}: item.choices of task {self._task.name}, {self._task.item.choices!r}, must give a list of "
                f"2 to {len(_LETTERS)} choices."
            )
        return tuple(texts)

    @staticmethod
    def _place(gold: str, count: int, where: str) -> int:
        letters = _LETTERS[:count]
        if gold.isdecimal() and int(gold) < count:
            return int(gold)
        if len(gold) == 1 and gold.upper() in letters:
            return letters.index(gold.upper())
        raise UsageError(
            f"{where}: the gold answer {gold!r} is neither a letter of {letters} nor an index below {count}."
        )


def build_items(build: ItemBuilder, rows: Sequence[Row], named: str) -> tuple[dict[int, Item], str | None]:
    """Items by row number, and a note on the rows that were left out because they cannot be used.

    Rows are left out only where they are fewer than one in a hundred: real datasets have a few without an answer.

    Raises:
        UsageError: a larger share cannot be used; names every such row.
    """
    items: dict[int, Item] = {}
    broken: dict[int, UsageError] = {}
    for number, row in enumerate(rows, start=1):
        try:
            items[number] = build(number, row, f"{named}, row {number}")
        except UsageError as error:
            broken[number] = error
    if not broken:
        return items, None
    first = next(iter(broken.values()))
    if len(broken) == 1 and len(rows) <= _PER_LEFT_OUT:
        raise first
    if len(broken) * _PER_LEFT_OUT >= len(rows):
        raise UsageError(
            f"{first}\n{len(broken):,} of {len(rows):,} rows cannot be used: {ranges(list(broken))}. Correct or remove "
            "them; fewer than 1 % would be left out."
        ) from first
    count = f"{len(broken):,} of {len(rows):,} rows" if len(broken) > 1 else f"1 of {len(rows):,} rows"
    return items, f"{named}: {count} cannot be used and left out: {ranges(list(broken))}. The first: {first}"


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as ``1-3, 7``."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)


def rank(seed: int, name: str) -> bytes:
    """Sort key that gives names a random order, fixed by the seed."""
    return hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=16).digest()


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
