"""Personas: short descriptions that the model is asked to adopt.

A persona set is a YAML file::

    name: office
    description: People at work, and the pirate.
    include: [core/pirate]
    personas:
      - id: accountant
        text: an accountant who trusts nothing but a ledger
        category: biography
        tags: [work]

``text`` completes the sentence of the prompt template (``You are {{ persona }}.``); ``prompt`` in its place is a whole
system prompt, which is sent as it is. ``include`` adds other sets or
single personas of them (``SET/ID``), so that no text has to be copied. ``cross`` makes a persona of every combination
of attributes; ``paraphrases`` adds wordings of personas in the set. The baseline ``none`` is in every run and in no
file.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from personaeval.library.items import rank

ID_PATTERN = r"^[a-z0-9][a-z0-9_-]*$"

Expectation = Literal["helps", "neutral", "hurts"]


class Category(StrEnum):
    """Kind of persona."""

    BASELINE = "baseline"
    NEUTRAL = "neutral"
    EXPERT = "expert"
    NOVICE = "novice"
    ADVERSE = "adverse"
    STYLE = "style"
    IRRELEVANT = "irrelevant"
    BIOGRAPHY = "biography"
    LANGUAGE = "language"
    FICTION = "fiction"
    ROLE = "role"
    CONFLICTING = "conflicting"
    DEMOGRAPHIC = "demographic"
    IMPORTED = "imported"


def _one_clean_line(text: str) -> str:
    # Chat templates trim messages; a text with blanks at its ends would not be found in the prompt.
    if not text.strip() or text != text.strip() or "\n" in text:
        raise ValueError("must be one line of text without blanks at its ends")
    return text


Line = Annotated[str, AfterValidator(_one_clean_line)]
"""One line of text without blanks at its ends."""


class Persona(BaseModel):
    """One persona."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=ID_PATTERN)
    prompt: str | None = Field(
        default=None,
        description="A whole system prompt, sent as it is in place of the template's sentence; blanks at its ends are "
        "cut off.",
    )
    text: str = Field(
        description="Completes 'You are …'; one line, no full stop at its end. With `prompt`, it may be missing."
    )
    name: str | None = Field(default=None, description="Name shown beside the id.")
    category: Category
    tags: tuple[str, ...] = ()
    domain: str | None = Field(
        default=None,
        description="Field of an expert, such as mathematics; of others, the field that `expect` is about.",
    )
    expect: Expectation | None = Field(default=None, description="Its expected effect on correctness.")
    paraphrase_of: str | None = Field(
        default=None, pattern=ID_PATTERN, description="Id of the persona that this one paraphrases."
    )

    @model_validator(mode="before")
    @classmethod
    def _prompt_is_a_text(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("prompt"), str) and values["prompt"].strip():
            # Chat templates trim messages; a text with blanks at its ends would not be found in the prompt.
            prompt = values["prompt"].strip()
            return {"text": prompt, **values, "prompt": prompt}
        return values

    @field_validator("prompt", "name")
    @classmethod
    def _not_empty(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("must not be empty; leave it out")
        return value

    @field_validator("text")
    @classmethod
    def _one_line(cls, text: str, info: ValidationInfo) -> str:
        return text if text == info.data.get("prompt") else _one_clean_line(text)

    @field_validator("category")
    @classmethod
    def _not_the_baseline(cls, category: Category) -> Category:
        if category is Category.BASELINE:
            raise ValueError("is reserved for the persona `none`, which is in every run and in no file")
        return category

    @property
    def is_baseline(self) -> bool:
        """Whether this is ``none``: the prompt without any persona."""
        return self.category is Category.BASELINE


BASELINE = Persona.model_construct(
    id="none",
    text="",
    prompt=None,
    name=None,
    category=Category.BASELINE,
    tags=(),
    domain=None,
    expect=None,
    paraphrase_of=None,
)
"""No persona. The prompt that the chat template makes without one is recorded with the run."""


class Cross(BaseModel):
    """Makes one persona for every combination of attribute levels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Line = Field(description="The text, with {attribute} where an attribute's words go.")
    category: Category
    expect: Expectation | None = None
    attributes: Mapping[str, Mapping[Annotated[str, Field(pattern=ID_PATTERN)], Line]] = Field(
        description="Attribute -> level -> its words in the text."
    )

    @model_validator(mode="after")
    def _names_fit(self) -> Cross:
        try:
            named = {name for _, name, _, _ in string.Formatter().parse(self.text) if name is not None}
        except ValueError as error:
            raise ValueError(f"`text` cannot be read: {error}") from error
        if named != set(self.attributes):
            raise ValueError(f"`text` names {sorted(named)}, `attributes` has {sorted(self.attributes)}")
        if any(not levels for levels in self.attributes.values()):
            raise ValueError("every attribute needs a level")
        return self

    def expand(self) -> tuple[Persona, ...]:
        """The personas, the last attribute varying fastest; ids join levels, tags are ``attribute-level``."""
        names = list(self.attributes)
        made = []
        for levels in itertools.product(*self.attributes.values()):
            chosen = dict(zip(names, levels, strict=True))
            made.append(
                Persona(
                    id="-".join(levels),
                    text=self.text.format_map({name: self.attributes[name][level] for name, level in chosen.items()}),
                    category=self.category,
                    tags=tuple(f"{name}-{level}" for name, level in chosen.items()),
                    expect=self.expect,
                )
            )
        return tuple(made)


class PersonaSet(BaseModel):
    """Content of a persona file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    description: str
    include: tuple[str, ...] = Field(default=(), description="Other sets, or SET/ID for one persona of a set.")
    personas: tuple[Persona, ...] = ()
    cross: Cross | None = None
    paraphrases: Mapping[str, tuple[Line, ...]] = Field(
        default={}, description="Persona id -> further wordings; they get the ids ID-p1, ID-p2, …"
    )

    @model_validator(mode="before")
    @classmethod
    def _holds_something(cls, values: Any) -> Any:
        if isinstance(values, dict) and not any(values.get(key) for key in ("include", "personas", "cross")):
            raise ValueError("holds no personas: `personas`, `include` or `cross` is needed")
        return values


def prompted_texts(personas: Iterable[Persona]) -> list[str]:
    """What tells personas apart in their prompts: the whole prompt, else the text; without the baseline."""
    return [persona.prompt or persona.text for persona in personas if not persona.is_baseline]


def paraphrase(original: Persona, texts: tuple[str, ...]) -> tuple[Persona, ...]:
    """Personas that differ from ``original`` only in wording."""
    return tuple(
        Persona.model_validate(
            original.model_dump()
            | {
                "id": f"{original.id}-p{number}",
                "text": text,
                "prompt": original.prompt and text,
                "paraphrase_of": original.paraphrase_of or original.id,
            }
        )
        for number, text in enumerate(texts, start=1)
    )


@dataclass(frozen=True, slots=True)
class Selection:
    """The personas of a run, the baseline first; ``origins`` records what was read for each selector."""

    personas: tuple[Persona, ...]
    origins: tuple[dict[str, Any], ...]

    def sample(self, count: int, seed: int) -> Selection:
        """The baseline and ``count`` of the other personas, in their order.

        Samples are nested (10 of them are among the 20 of the same seed): a persona's rank is a hash of ``seed`` and
        its id.
        """
        others = [persona for persona in self.personas if not persona.is_baseline]
        kept = {persona.id for persona in sorted(others, key=lambda persona: rank(seed, persona.id))[:count]}
        return replace(self, personas=tuple(p for p in self.personas if p.is_baseline or p.id in kept))
