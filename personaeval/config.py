"""Every knob of a run. Flags of ``personaeval run`` and the keys of a ``--config`` file map to it one to one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from personaeval.documents import explain_validation, read_document
from personaeval.errors import UsageError

PersonaRole = Literal["auto", "system", "user_prefix"]

AnyOptions = TypeVar("AnyOptions", bound="Options")


class Options(BaseModel):
    """Base of every options class: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelOptions(Options):
    """How a model is prompted and opened; the same for every checkpoint of a command."""

    chat_template: Path | None = Field(default=None, description="Jinja file in the place of the checkpoint's own.")
    chat_template_kwargs: dict[str, Any] = Field(default={}, description="Variables for the chat template.")
    date: str = Field(default="2026-01-01", description="The date given to chat templates that ask for today's.")
    reasoning_end: str = Field(default="</think>", min_length=1, description="What ends a model's thinking.")

    dtype: str = Field(default="auto", description="auto: the checkpoint's own, float32 becoming bfloat16.")
    device: str = Field(default="auto", description="Device of the transformers engine.")
    engine_args: dict[str, Any] = Field(default={}, description="Passed through to the engine.")
    trust_remote_code: bool = False
    full_hash: bool = Field(default=False, description="Fingerprint every byte of the weights.")
    tokenizer: str | None = Field(default=None, description="Tokenizer with which an endpoint's prompts are checked.")
    concurrency: int = Field(default=64, gt=0, description="Requests under way at an endpoint.")
    requests_per_minute: int | None = Field(default=None, gt=0)
    tokens_per_minute: int | None = Field(default=None, gt=0)
    timeout: float = Field(default=600.0, gt=0, description="Seconds an endpoint may take for one request.")

    @field_validator("date")
    @classmethod
    def _iso_date(cls, value: str) -> str:
        import datetime

        datetime.date.fromisoformat(value)
        return value


class JudgeOptions(Options):
    """Who scores judged tasks, and how judges are asked."""

    judge: tuple[str, ...] = Field(default=(), description="Judges of judged tasks: engine:NAME[@URL], as for model.")
    judge_repeats: int = Field(default=1, gt=0, le=100, description="How often each judge scores each response.")
    exemplars: bool = Field(default=False, description="Judges are shown an answer for each score of each question.")
    expected_score: bool = Field(
        default=False, description="Scores are means over what a judge might have said; endpoints with logprobs only."
    )
    judge_max_tokens: int = Field(default=1024, gt=0, description="New tokens of a judge, thinking included.")
    judge_engine_args: dict[str, Any] = Field(default={}, description="Passed through to the judges' engines.")
    judge_chat_template_kwargs: dict[str, Any] = Field(
        default={}, description="Variables for the judges' chat templates."
    )

    @field_validator("judge")
    @classmethod
    def _each_judge_once(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(values))

    def has_unused_options(self) -> bool:
        """Whether options for judges were set although no judge is named."""
        own = JudgeOptions.model_fields
        return not self.judge and any(getattr(self, name) != field.default for name, field in own.items())

    def opening_options(self, shared: ModelOptions) -> ModelOptions:
        """How the judges are opened: connection, date and end of thinking as ``shared`` says, the rest their own."""
        return shared.model_copy(
            update={
                "engine_args": self.judge_engine_args,
                "chat_template": None,
                "chat_template_kwargs": self.judge_chat_template_kwargs,
                "dtype": "auto",
                "tokenizer": None,
            }
        )


class PromptOptions(Options):
    """How a persona is put to a model."""

    template: str = Field(default="you-are", description="How the persona is put to the model: a name or a text.")
    persona_role: PersonaRole = "auto"


class RunConfig(PromptOptions, ModelOptions, JudgeOptions):
    """The whole of what a user asks for; kept in run.json.

    ``None`` for a sampling field means the task's own default.
    """

    model: tuple[str, ...] = Field(min_length=1, description="Checkpoints: engine:NAME[@URL], a directory, a hub id.")
    tasks: tuple[str, ...] = Field(min_length=1, description="Task names or YAML files.")
    personas: tuple[str, ...] = Field(
        default=("core",), description="Persona sets, SET/ID, files, hf:DATASET; a judged task has its own."
    )
    output: Path = Field(default=Path("results"), description="Results folder.")
    include: tuple[Path, ...] = Field(default=(), description="Folders with more tasks/ and personas/.")
    data: dict[str, Path] = Field(
        default={}, description="Task name -> local file or folder in the place of its source."
    )

    limit: int | None = Field(default=None, gt=0, description="A seeded random subset of this many items a task.")
    limit_personas: int | None = Field(
        default=None, gt=0, description="A seeded random sample of this many personas; of a judged task, of its own."
    )
    questions_per_dimension: int | None = Field(
        default=None, gt=0, description="Of a judged task, this many questions of every persona for each dimension."
    )
    samples: int = Field(default=1, gt=0, le=1000, description="Completions of every (item, persona).")
    seed: int = Field(
        default=0,
        ge=0,
        description="Base of the random numbers, of which every row draws its own; also chooses subsets.",
    )
    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, gt=0, description="New tokens, thinking included.")

    prices: Path | None = Field(default=None, description="YAML file with what a million tokens cost.")

    @field_validator("model", "tasks", "personas")
    @classmethod
    def _each_once(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(values))

    @property
    def model_options(self) -> ModelOptions:
        """The part that opens a model."""
        return _part(self, ModelOptions)

    @property
    def judge_options(self) -> JudgeOptions:
        """The part about judges."""
        return _part(self, JudgeOptions)


def _part(config: RunConfig, kind: type[AnyOptions]) -> AnyOptions:
    return kind.model_construct(**{name: getattr(config, name) for name in kind.model_fields})


def make_config(file: Path | None, flags: dict[str, Any]) -> RunConfig:
    """Return the configuration of a ``--config`` file with the given flags put over it.

    Raises:
        UsageError: the file or a flag does not fit; names the key.
    """
    values: dict[str, Any] = {}
    if file is not None:
        values = read_document(file, _PartialConfig).model_dump(exclude_unset=True)
    values.update(flags)
    for required, flag in (("model", "--model"), ("tasks", "--tasks")):
        if not values.get(required):
            raise UsageError(f"{flag} is missing. Example: personaeval run --model ./checkpoint --tasks mini-arith")
    return make_options(RunConfig, values)


def make_options(kind: type[AnyOptions], values: Mapping[str, Any]) -> AnyOptions:
    """Options from values that flags gave; None means not given.

    Raises:
        UsageError: a value does not fit; names the key.
    """
    try:
        return kind.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        raise UsageError(explain_validation(error, kind)) from error


class _PartialConfig(RunConfig):
    """A ``--config`` file, which may leave model and tasks to flags, and may have been written for format 1."""

    model: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        sampled, own = values.get("n_personas"), values.get("limit_personas")
        if sampled is not None and own is not None and sampled != own:
            raise ValueError(
                f"n_personas ({sampled}) and limit_personas ({own}) are one key now, limit_personas, for the personas "
                "of every task; leave one of them"
            )
        return upgrade_config(values, judged=own is not None)


def upgrade_config(config: Mapping[str, Any], *, judged: bool) -> dict[str, Any]:
    """The configuration in today's keys, from a run.json or a ``--config`` file of any version.

    Format 1 had ``per_task``, and one limit of the personas that tasks are crossed with (``n_personas``) beside one of
    the personas that a judged task brings (``limit_personas``). Today's are told by their keys.

    Args:
        config: the keys as they were written.
        judged: whether the limit of the judged tasks' own personas is the one that counts. The personas with which a
            finished run crossed its tasks are in run.json, so that nothing is lost.
    """
    values = dict(config)
    if "per_task" in values:
        values["questions_per_dimension"] = values.pop("per_task")
    if "n_personas" in values:
        sampled = values.pop("n_personas")
        if not judged:
            values["limit_personas"] = sampled
    return values
