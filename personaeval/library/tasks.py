"""Tasks: where items come from, how they become prompts, and how an answer is scored.

A task is a YAML file, never Python::

    name: gsm8k
    source: {kind: hub, dataset: openai/gsm8k, config: main, split: test}
    item:
      prompt: "{{ question }}\n\nPut the final answer in \\boxed{}."
      gold: "{{ answer.split('####')[-1].strip() }}"
    scorer: {kind: numeric}
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    old_names: ClassVar[Mapping[str, str]] = {}
    """Keys that task files and records may still use -> the field they mean."""

    @model_validator(mode="before")
    @classmethod
    def upgrade(cls, content: Any) -> Any:
        """Read keys by their old names."""
        if not isinstance(content, Mapping):
            return content
        for old, new in cls.old_names.items():
            if old in content and new in content:
                raise ValueError(f"`{old}` is the old name of `{new}`: give one of them")
        return {cls.old_names.get(key, key): value for key, value in content.items()}


class HubSource(_Model):
    """A dataset on the Hugging Face hub; its resolved revision is recorded with the run."""

    kind: Literal["hub"]
    dataset: str = Field(description="Repository id of the dataset, such as openai/gsm8k.")
    config: str | None = Field(default=None, description="Configuration (subset) name; for a variant, its own name.")
    split: str = "test"
    revision: str | None = Field(default=None, description="Commit, tag or branch; default: the newest.")


class FileSource(_Model):
    """A local JSONL, JSON, CSV or Parquet file; a relative path starts at the task's YAML file."""

    kind: Literal["file"]
    path: str


class GeneratorPart(_Model):
    """One reasoning-gym dataset in a mixture."""

    name: str = Field(description="Name of a reasoning-gym dataset, such as chain_sum.")
    share: float = Field(default=1.0, gt=0, description="Its share of the items, relative to the other parts.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="Its own parameters.")


class GeneratedSource(_Model):
    """Problems generated from a seed by reasoning-gym: nothing to download, nothing leaked into training data."""

    kind: Literal["reasoning_gym"]
    size: int = Field(gt=0, description="Number of items, distinct by prompt.")
    seed: int = 0
    parts: list[GeneratorPart] = Field(min_length=1)


class QuestionSource(_Model):
    """Questions that belong to one persona each: a folder with ``personas.yaml`` and ``questions.jsonl``.

    A relative path starts at the task's YAML file. ``--data`` also takes PersonaGym's own layout.
    """

    kind: Literal["questions"]
    folder: str


class HarnessSource(_Model):
    """A task of lm-evaluation-harness: ``--tasks lm_eval:NAME``."""

    kind: Literal["lm_eval"]
    task: str = Field(description="Its name there, or its YAML file.")
    num_fewshot: int | None = Field(default=None, ge=0, description="Solved examples; default: the task's own.")


RowSource = HubSource | FileSource | GeneratedSource

Source = Annotated[RowSource | QuestionSource | HarnessSource, Field(discriminator="kind")]


class _Extracting(_Model):
    patterns: tuple[str, ...] = Field(
        default=(),
        description="Regular expressions, tried in order: the last match's first group (or the whole match) is one "
        "more candidate, below a box or a stated answer and above a bare number.",
    )

    @field_validator("patterns")
    @classmethod
    def _compile(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"not a regular expression ({error})") from error
        return patterns


class MathScorer(_Extracting):
    """Literal, then numeric, then symbolic comparison (Math-Verify)."""

    kind: Literal["math"]


class NumericScorer(_Extracting):
    """The answer is one number."""

    kind: Literal["numeric"]
    tolerance: float = Field(default=0.0, ge=0, description="Largest relative difference that still counts as correct.")


class ChoiceScorer(_Extracting):
    """The answer is the letter of a choice."""

    kind: Literal["choice"]


class ExactScorer(_Extracting):
    """The answer is a string."""

    kind: Literal["exact"]
    ignore_case: bool = True


class GymScorer(_Extracting):
    """reasoning-gym's scorer of one of its datasets; the gold answer holds the entry's ``index``."""

    kind: Literal["reasoning_gym"]
    dataset: str
    seed: int
    size: int = Field(gt=0, description="Entries drawn from the generator.")
    parameters: dict[str, Any] = Field(default_factory=dict)


class PythonScorer(_Model):
    """A custom function ``score(gold, text) -> float`` from 0 to 1, behind an entry point."""

    kind: Literal["python"]
    name: str = Field(description="Its name in the entry-point group personaeval.scorers.")
    version: int = Field(
        default=1, ge=1, description="Raise it when the function changes, so that answers are scored again."
    )


class HarnessScorer(_Model):
    """lm-evaluation-harness's filters and metrics; the gold answer is its document as JSON."""

    kind: Literal["lm_eval"]
    task: str
    metric: str | None = Field(default=None, description="Default: the first of the task.")
    filter: str | None = Field(default=None, description="Default: the first of the task.")
    answer_tokens: tuple[str, ...] = Field(
        default=(), description="Answers of one token each; the model's is the likeliest, by its logits."
    )
    targets: int = Field(default=0, ge=0, description="Number of right answers, if there can be several.")
    revision: str = Field(default="", description="Hash of the harness's scoring code and version.")

    old_names: ClassVar[Mapping[str, str]] = {"labels": "answer_tokens"}

    @model_serializer(mode="wrap")
    def _record(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The fields under the names that verdict keys, group hashes and run.json have always held."""
        stored = {field: name for name, field in self.old_names.items()}
        return {stored.get(name, name): value for name, value in fields(self).items()}


class JudgedScorer(_Model):
    """Judges score each response from 1 to 5 by the rubric of its dimension; there is no gold answer."""

    kind: Literal["judged"]
    rubrics: str = Field(description="Folder with a YAML file per dimension, relative to the task's YAML file.")


ExtractingScorer = MathScorer | NumericScorer | ChoiceScorer | ExactScorer | GymScorer

VerifiedScorer = ExtractingScorer | PythonScorer | HarnessScorer

Scorer = Annotated[VerifiedScorer | JudgedScorer, Field(discriminator="kind")]


class ItemTemplates(_Model):
    """Jinja2 templates over a row of the source (sandboxed).

    They see the row's columns by name, the whole row as ``row`` (for names that are not identifiers), and the lettered
    choices as ``lettered_choices`` (formerly ``options``).
    """

    id: str | None = Field(default=None, description="Default: the row number.")
    prompt: str
    system: str | None = Field(
        default=None,
        description="Text of the system turn after the persona's sentence; the same for all items.",
    )
    gold: str | None = Field(default=None, description="Required, except where judges score.")
    choices: str | None = Field(
        default=None,
        description="Jinja2 expression that gives the list of choices: a column's name, or such as choices.text. The "
        "gold answer is then the letter of a choice, or its index from 0, in this order.",
    )
    shuffle: bool = Field(default=False, description="Shuffle the choices of each item, by the run's seed.")


class SamplingDefaults(_Model):
    """Sampling unless the command line overrides it."""

    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=2048, gt=0, description="New tokens, thinking included.")
    stop: tuple[str, ...] = Field(default=(), description="Texts that end an answer; they are not part of it.")


class Example(_Model):
    """A solved example for models without a chat template."""

    prompt: str
    answer: str


class PlainPrompt(_Model):
    """Prompt for a base model, one without a chat template."""

    question: str = Field(default="Question:", description="Text before each question.")
    answer: str = Field(default="Answer:", description="Text before each answer.")
    stop: tuple[str, ...] = Field(
        default=("\nQuestion:",), description="Ends an answer; without it the model invents the next question."
    )
    examples: tuple[Example, ...] = ()


class Task(_Model):
    """Content of a task file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    title: str
    description: str
    domain: str = Field(description="Subject, such as mathematics: personas of this domain are its experts.")
    license: str
    citation: str
    reference: str | None = Field(default=None, description="Documentation of the dataset's id, split and columns.")
    size: int | None = Field(default=None, gt=0, description="Number of items in a source that has to be downloaded.")
    chance: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Accuracy of guessing; default: one over the number of choices, if there are choices.",
    )
    withhold_text: bool = Field(
        default=False, description="Its authors ask that no item be shown: reports name items only by id."
    )
    variants: dict[str, str] = Field(
        default_factory=dict,
        description="Configuration of the hub dataset -> title; each is a task NAME-VARIANT, and NAME runs all.",
    )
    revision: int = Field(default=1, ge=1, description="Raise it when prompt, gold or scoring change.")
    source: Source
    item: ItemTemplates
    scorer: Scorer
    pass_threshold: float = Field(default=1.0, description="Score from which an answer counts as correct.")
    sampling: SamplingDefaults = SamplingDefaults()
    plain: PlainPrompt = PlainPrompt()

    old_names: ClassVar[Mapping[str, str]] = {"correct_at": "pass_threshold"}

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if isinstance(self.source, QuestionSource) != isinstance(self.scorer, JudgedScorer):
            raise ValueError("a source of kind `questions` and a scorer of kind `judged` need each other")
        if (self.item.gold is None) != isinstance(self.scorer, JudgedScorer):
            raise ValueError("item.gold is required, except by the scorer `judged`, which must not have it")
        if self.item.choices is not None and not isinstance(self.scorer, ChoiceScorer):
            raise ValueError("item.choices needs a scorer of kind `choice`")
        if self.item.shuffle and self.item.choices is None:
            raise ValueError("item.shuffle needs item.choices")
        if self.variants and not isinstance(self.source, HubSource):
            raise ValueError("variants are configurations of a hub dataset: source.kind must be `hub`")
        return self

    def variant(self, name: str) -> Task:
        """One of ``variants`` as a separate task."""
        assert isinstance(self.source, HubSource), "validated"
        return self.model_copy(
            update={
                "name": f"{self.name}-{name}",
                "title": f"{self.title}: {self.variants[name]}",
                "source": self.source.model_copy(update={"config": name}),
                "variants": {},
            }
        )

    @property
    def answer_tokens(self) -> tuple[str, ...]:
        """The possible answers, one token each, if the likeliest of them is the answer; else empty."""
        return self.scorer.answer_tokens if isinstance(self.scorer, HarnessScorer) else ()

    @property
    def is_judged(self) -> bool:
        """Whether judges score it: its items have their own personas, and no gold answer."""
        return isinstance(self.scorer, JudgedScorer)


class TaskGroup(_Model):
    """Content of a file in ``tasks/groups/``: tasks run together under one name."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")
    title: str
    description: str
    tasks: tuple[str, ...] = Field(min_length=1, description="Names of tasks.")


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt with its gold answer; in a judged task, with its persona and dimension instead."""

    id: str
    prompt: str
    gold: str
    choices: tuple[str, ...] = ()
    persona: str = ""
    dimension: str | None = None

    @property
    def digest(self) -> bytes:
        """Eight bytes that identify the prompt and everything the answer is compared with."""
        parts = (self.prompt, self.gold, *self.choices, self.persona, self.dimension or "")
        return hashlib.blake2b("\0".join(parts).encode(errors="surrogatepass"), digest_size=8).digest()
