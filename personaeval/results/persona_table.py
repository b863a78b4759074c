"""personas.parquet: a row per persona, with the sentence that was put to the model and one rendered prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from personaeval.errors import UsageError
from personaeval.library.personas import BASELINE, Persona
from personaeval.results.files import PERSONAS, RowWriter, row_writer

PERSONA_SCHEMA = pa.schema(
    [
        pa.field("task", pa.string()),
        pa.field("persona", pa.string(), False),
        pa.field("name", pa.string(), False),
        pa.field("text", pa.string(), False),
        pa.field("category", pa.string(), False),
        pa.field("tags", pa.list_(pa.field("element", pa.string(), False)), False),
        pa.field("domain", pa.string()),
        pa.field("expect", pa.string()),
        pa.field("paraphrase_of", pa.string()),
        pa.field("sentence", pa.string()),
        pa.field("role", pa.string()),
        pa.field("example", pa.string()),
        pa.field("prompt", pa.string()),
    ]
)

_LATER = ("prompt",)
"""Columns that earlier versions did not write."""


@dataclass(frozen=True, slots=True)
class PersonaRow:
    """One persona of a run.

    Attributes:
        task: the judged task that brings it; None: all other tasks are crossed with it.
        persona: its id.
        name: as tables show it.
        sentence: the persona's sentence from the run's template; None for the baseline.
        role: where the sentence stands, ``system`` or ``user_prefix``.
        example: one rendered prompt, of an item whose text may be shown; as JSON messages where a server renders.
        prompt: the persona's own whole prompt, if it has one in place of a sentence.
    """

    task: str | None
    persona: str
    name: str
    text: str
    category: str
    tags: tuple[str, ...] = ()
    domain: str | None = None
    expect: str | None = None
    paraphrase_of: str | None = None
    sentence: str | None = None
    role: str | None = None
    example: str | None = None
    prompt: str | None = None

    @classmethod
    def of(cls, persona: Persona, task: str | None = None, **more: Any) -> Self:
        """The row of a persona."""
        fields = persona.model_dump(mode="json")
        identifier = fields.pop("id")
        name = fields.pop("name") or identifier
        return cls(task, identifier, name, **{**fields, "tags": tuple(fields["tags"])}, **more)

    @classmethod
    def of_record(cls, task: str | None, entry: Mapping[str, Any]) -> Self:
        """The row of a persona as run.json described it before format 2."""
        known = {name: entry[name] for name in ("category", "domain", "expect", "paraphrase_of") if name in entry}
        return cls(task, entry["id"], entry["id"], entry["text"], tags=tuple(entry.get("tags", ())), **known)

    def to_persona(self) -> Persona:
        """The persona itself."""
        if self.category == BASELINE.category:
            return BASELINE
        fields = ("text", "prompt", "category", "tags", "domain", "expect", "paraphrase_of")
        name = self.name if self.name != self.persona else None
        return Persona.model_validate(
            {"id": self.persona, "name": name} | {field: getattr(self, field) for field in fields}
        )


def write_personas(folder: Path, rows: Iterable[PersonaRow]) -> None:
    """Write personas.parquet."""
    writer: RowWriter[PersonaRow]
    with row_writer(folder / PERSONAS, PERSONA_SCHEMA) as writer:
        for row in rows:
            writer.add(row)


def read_personas(folder: Path) -> list[PersonaRow]:
    """The rows of a run's personas.parquet.

    Raises:
        UsageError: it is missing or broken.
    """
    path = folder / PERSONAS
    try:
        written = pq.read_schema(path).names
        table = pq.read_table(
            path, columns=[name for name in PERSONA_SCHEMA.names if name in written or name not in _LATER]
        )
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path}: cannot be read ({error}); run the same command again to rewrite it.") from error
    return [PersonaRow(**{**row, "tags": tuple(row["tags"])}) for row in table.to_pylist()]


def without_examples(rows: Iterable[PersonaRow]) -> list[PersonaRow]:
    """Rows that show no item's text."""
    return [replace(row, example=None) for row in rows]
