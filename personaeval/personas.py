"""Personas: who the model is told to be.

A persona set is a YAML file::

    name: core
    description: Sixteen personas over eight categories.
    personas:
      - id: pirate
        text: a swaggering pirate captain of the 1700s who ...
        category: style
        tags: [style, historical]

``text`` completes the sentence of the prompt template (``You are {{ persona }}.``). The baseline ``none`` is in
every run and in no file.
"""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Category(StrEnum):
    """What a persona varies."""

    BASELINE = "baseline"
    NEUTRAL = "neutral"
    EXPERT = "expert"
    NOVICE = "novice"
    ADVERSE = "adverse"
    STYLE = "style"
    IRRELEVANT = "irrelevant"
    BIOGRAPHY = "biography"


class Persona(BaseModel):
    """One persona."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    text: str = Field(description="Completes 'You are …'; one line, no full stop at its end.")
    category: Category
    tags: tuple[str, ...] = ()
    domain: str | None = Field(default=None, description="Field of an expert, such as mathematics.")

    @field_validator("text")
    @classmethod
    def _one_clean_line(cls, text: str) -> str:
        # Chat templates trim what they are given; a text with edges to trim would not be found in the prompt.
        if not text.strip() or text != text.strip() or "\n" in text:
            raise ValueError("must be one line of text without blanks at its ends")
        return text

    @field_validator("category")
    @classmethod
    def _not_the_baseline(cls, category: Category) -> Category:
        if category is Category.BASELINE:
            raise ValueError("is for the persona `none` alone, which is in every run and in no file")
        return category

    @property
    def is_baseline(self) -> bool:
        """Whether this is ``none``: the prompt without any persona."""
        return self.category is Category.BASELINE


BASELINE = Persona.model_construct(id="none", text="", category=Category.BASELINE, tags=(), domain=None)
"""No persona at all. What the model's template then says by itself is recorded with the run."""


class PersonaSet(BaseModel):
    """The content of a persona file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    description: str
    personas: tuple[Persona, ...] = Field(min_length=1)
