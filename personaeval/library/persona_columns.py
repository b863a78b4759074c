"""Columns of persona files by the names that people give them; the table in docs/personas.md is made from it.

Names are compared without regard to case, blanks, underscores and hyphens: ``Input Persona`` is ``input_persona``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personaeval.library.items import Row

TEXT = (
    *("text", "persona", "input persona", "persona text", "persona description", "description", "profile", "desc"),
    *("char_persona", "character description", "role description", "bio", "biography", "backstory", "personality"),
    *("traits", "personas"),
    *(
        "описание",
        "персона",
        "人设",
        "人物设定",
        "角色描述",
        "描述",
        "简介",
        "ペルソナ",
        "説明",
        "設定",
        "페르소나",
        "설명",
    ),
    *("descripción", "beschreibung", "descrição", "descrizione", "الوصف", "विवरण"),
)
"""Descriptions of a person, which a template's sentence introduces; the first that holds anything is read."""

PROMPT = (
    "prompt",
    "system_prompt",
    "system message",
    "system instruction",
    "system",
    "instructions",
    "промпт",
    "提示词",
    "プロンプト",
)
"""Whole prompts, which are sent as they are."""

MESSAGES = ("messages", "conversations", "conversation")
"""Conversations, whose system turn is a whole prompt."""

NAME = (
    *("name", "act", "char_name", "character", "character name", "persona name", "role_name", "role", "display name"),
    *(
        "full name",
        "title",
        "имя",
        "姓名",
        "名字",
        "角色",
        "名前",
        "이름",
        "nombre",
        "nom",
        "nome",
        "naam",
        "الاسم",
        "नाम",
    ),
)
"""Names, shown in tables; they make the id where there is none."""

ID = ("id", "uuid", "persona id", "character id")

OWN = ("category", "tags", "domain", "expect", "paraphrase_of")
"""Columns read as in a persona set, beside a column text or prompt."""

KNOWN = (
    ("description of a person", TEXT, "PersonaHub, Nemotron-Personas, RoleBench, CoSER, character cards"),
    ("whole prompt, sent as it is", PROMPT, "awesome-chatgpt-prompts, prompt libraries"),
    ("conversation: its system turn is a whole prompt", MESSAGES, "chat and ShareGPT files"),
    ("name shown in tables; makes the id where there is none", NAME, "awesome-chatgpt-prompts, character cards"),
    ("id", ID, "Nemotron-Personas"),
    ("as in a persona set, beside text or prompt", OWN, ""),
)
"""What a column is, its names in order of preference, and where it comes from."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one file that are read; None where it has none."""

    text: str | None = None
    prompt: str | None = None
    messages: str | None = None
    name: str | None = None
    id: str | None = None

    @property
    def main(self) -> str:
        """The column that makes the personas, for records and messages."""
        return self.prompt or self.messages or self.text or ""


def plain_name(column: object) -> str:
    """A column's name for comparison."""
    return re.sub(r"[\s_-]+", "", str(column)).casefold()


def find_column(names: Iterable[str], present: Mapping[str, str]) -> str | None:
    """The first of some known names that a file has, in the file's own spelling."""
    return next((present[plain_name(name)] for name in names if plain_name(name) in present), None)


def spellings(rows: Sequence[Row]) -> dict[str, str]:
    """Plain name -> the file's own spelling, over all columns."""
    found: dict[str, str] = {}
    for column in dict.fromkeys(str(column) for row in rows for column in row):
        found.setdefault(plain_name(column), column)
    return found


def is_filled(value: Any) -> bool:
    """Whether a cell holds anything: a text that is not blank, or a list or mapping that is not empty."""
    if isinstance(value, str):
        return bool(value.strip())
    is_nan = isinstance(value, float) and math.isnan(value)
    return not is_nan and value not in (None, [], {}, ())


def filled_column(names: Iterable[str], rows: Sequence[Row], present: Mapping[str, str]) -> str | None:
    """The first of some known names whose column holds anything; else the first that the file has."""
    there = [present[plain_name(name)] for name in names if plain_name(name) in present]
    return next((name for name in there if any(is_filled(row.get(name)) for row in rows)), there[0] if there else None)
