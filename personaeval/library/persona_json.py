"""Rows from the shapes of JSON in which personas come: lists, {name: text}, cards, and lists inside objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from personaeval.errors import UsageError
from personaeval.library.items import Row
from personaeval.library.persona_columns import MESSAGES, NAME, PROMPT, TEXT, find_column, is_filled, plain_name

_MAKES_PERSONAS = {plain_name(name) for names in (TEXT, PROMPT, MESSAGES) for name in names}

_CARD_PARTS = ("personality", "scenario", "first_mes", "mes_example")

_WRAPPERS = {"personas", "characters", "roles", "prompts", "profiles", "agents", "data"}
"""Keys that hold all personas, and name none of them."""

_WANTED = (
    "a list of objects or of texts, an object {name: text} or {name: {columns}}, or a character card. Name the column "
    "of the texts with FILE:COLUMN"
)


def rows_of_json(value: Any, where: str) -> list[Row]:
    """Rows of a JSON value.

    Raises:
        UsageError: its shape is none of the known ones; says what was found and what is wanted.
    """
    if isinstance(value, list):
        return [row for place, entry in enumerate(value, start=1) for row in _entry(entry, where, place, len(value))]
    if isinstance(value, dict):
        rows = _rows_of_object(value)
        if rows is not None:
            return rows
        raise UsageError(f"{where}: found {_describe(value)}; wanted is {_WANTED}.")
    raise UsageError(f"{where}: found {_describe(value)}; wanted is {_WANTED}.")


def _entry(entry: Any, where: str, place: int, count: int) -> list[Row]:
    if isinstance(entry, str):
        return [{"text": entry}]
    if isinstance(entry, dict):
        return [_card(entry) or _unwrapped(entry)]
    at = where if count == 1 else f"{where}, entry {place}"
    raise UsageError(f"{at}: found {_describe(entry)}; wanted is an object or a text.")


def _unwrapped(entry: Mapping[str, Any]) -> Row:
    """The row inside an entry of the hub's dataset viewer: {"row_idx": 0, "row": {…}}."""
    row = entry.get("row")
    return row if isinstance(row, dict) and "row_idx" in entry else entry


def _rows_of_object(value: Mapping[str, Any]) -> list[Row] | None:
    card = _card(value)
    if card is not None:
        return [card]
    if _is_table(value):
        return _from_columns(value)
    lists = [held for held in value.values() if _is_list_of_objects(held) and not _is_conversation(held)]
    if len(lists) == 1 and any(_makes_persona(entry) for entry in lists[0]):
        return [_card(entry) or _unwrapped(entry) for entry in lists[0]]
    if any(plain_name(key) in _MAKES_PERSONAS and isinstance(held, str | list) for key, held in value.items()):
        return [dict(value)]
    if len(lists) == 1:
        return [_card(entry) or _unwrapped(entry) for entry in lists[0]]
    if value and all(isinstance(held, str) for held in value.values()):
        return [{"name": name, "text": text} for name, text in value.items()]
    if value and all(_is_list_of_texts(held) for held in value.values()):
        return [{"name": name, "text": texts} for name, texts in value.items()]
    if value and all(isinstance(held, dict) for held in value.values()):
        return _rows_of_objects(value)
    return None


def _rows_of_objects(value: Mapping[str, Any]) -> list[Row] | None:
    """Rows of {name: {columns}}; of {key: {…}} with one key, whatever is inside."""
    makes_rows = any(_makes_persona(held) for held in value.values())
    if len(value) == 1 and not makes_rows:
        only = next(iter(value))
        if plain_name(only) in _WRAPPERS:
            return _rows_of_object(value[only])
        inside = _rows_of_object(next(iter(value.values())))
        if inside is not None and not _is_flat(next(iter(value.values()))):
            return inside
    if any(_is_list_of_objects(inner) for held in value.values() for inner in held.values()):
        return None
    return [{**({} if _is_named(held) else {"name": name}), **(_card(held) or held)} for name, held in value.items()]


def _is_flat(value: Mapping[str, Any]) -> bool:
    return all(isinstance(held, str) for held in value.values())


def _is_named(row: Mapping[str, Any]) -> bool:
    column = find_column(NAME[:5], {plain_name(name): name for name in row})
    return column is not None and is_filled(row[column])


def _makes_persona(row: Mapping[str, Any]) -> bool:
    return any(plain_name(column) in _MAKES_PERSONAS for column in _unwrapped(row))


def _is_conversation(value: Sequence[Mapping[str, Any]]) -> bool:
    return all({"role", "from"} & turn.keys() and {"content", "value"} & turn.keys() for turn in value)


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, dict) for entry in value)


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, str) for entry in value)


def _is_table(value: Mapping[str, Any]) -> bool:
    """Whether an object holds a table by columns, as pandas writes: {"text": [...]} or {"text": {"0": …}}."""
    if not any(plain_name(column) in _MAKES_PERSONAS for column in value):
        return False
    columns = list(value.values())
    if all(isinstance(column, list) for column in columns):
        # {"traits": ["brave", "kind"]} alone is one persona, {"name": [...], "traits": [...]} is a table.
        return len({len(column) for column in columns}) == 1 and (len(columns) > 1 or "traits" not in value)
    return all(isinstance(column, dict) and all(str(key).isdecimal() for key in column) for column in columns)


def _from_columns(value: Mapping[str, Any]) -> list[Row]:
    columns = {name: column if isinstance(column, dict) else dict(enumerate(column)) for name, column in value.items()}
    places = dict.fromkeys(place for column in columns.values() for place in column)
    return [{name: column.get(place) for name, column in columns.items()} for place in places]


def _card(value: Mapping[str, Any]) -> Row | None:
    """The row of a character card (version 1, 2 or 3); None if it is none.

    The description, then personality and scenario in sentences of their own; a card with a system prompt is a whole
    prompt, in which that comes first.
    """
    data = value.get("data")
    if str(value.get("spec", "")).startswith("chara_card") and isinstance(data, dict):
        value = data
    elif not ("description" in value and any(part in value for part in _CARD_PARTS) and "name" in value):
        return None
    parts = [_text(value.get("description"))]
    for title in ("personality", "scenario"):
        told = _text(value.get(title))
        parts += [f"{title.capitalize()}: {_sentence(told)}"] if told else []
    text = "\n".join(part for part in (_sentence(parts[0]) if len(parts) > 1 else parts[0], *parts[1:]) if part)
    row: dict[str, Any] = {"name": value.get("name"), "text": text}
    if system := _text(value.get("system_prompt")):
        row["prompt"] = f"{system}\n{text}"
    if isinstance(value.get("tags"), list) and value["tags"]:
        row["tags"] = [str(tag) for tag in value["tags"]]
    return row


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _sentence(text: str) -> str:
    return text if not text or not text[-1].isalnum() else f"{text}."


def _describe(value: Any) -> str:
    if isinstance(value, Mapping):
        keys = ", ".join(map(str, list(value)[:8])) + (", …" if len(value) > 8 else "")
        kinds = sorted({_kind(held) for held in value.values()})
        return f"an object with the keys {keys} ({', '.join(kinds)})" if value else "an empty object"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"a list of {len(value)}"
    return f"{_kind(value)} ({str(value)[:40]!r})"


def _kind(value: Any) -> str:
    kinds = {bool: "a truth value", str: "texts", int: "numbers", float: "numbers", dict: "objects", list: "lists"}
    return kinds.get(type(value), "null")
