"""The configuration of a run, read from flags, from a ``--config`` file or from an earlier run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from personaeval.config.flags import Flag, Options, make_options, part
from personaeval.config.keywords import given
from personaeval.config.shared_options import (
    JudgeOptions,
    LibraryOptions,
    ModelOptions,
    PriceOptions,
    PromptOptions,
    Temperature,
)
from personaeval.documents import read_document

SAMPLING = "Sampling"
"""Heading of the options about completions."""


class EvaluationOptions(Options):
    """What is evaluated: checkpoints, tasks, personas, and how many answers of each.

    ``None`` for a sampling field means the task's own default.
    """

    group: ClassVar[str] = "What to evaluate"

    model: Annotated[tuple[str, ...], Flag(short="-m", value="MODEL")] = Field(
        min_length=1, description="Checkpoint: engine:NAME[@URL], a directory or a hub id."
    )
    tasks: Annotated[tuple[str, ...], Flag(short="-t", commas=True, value="TASKS")] = Field(
        min_length=1, description="Task names or YAML files."
    )
    personas: Annotated[tuple[str, ...], Flag(short="-p", commas=True, value="PERSONAS")] = Field(
        default=("core",),
        description="Persona sets, SET/ID, YAML files, data files and folders (FILE[:TEXT[,ID]]), "
        "hf:DATASET[:TEXT[,ID]][@SPLIT]; a judged task has its own.",
    )
    drop_near_duplicates: bool = Field(
        default=False,
        description="Leave out personas of a file that share 80 % of their words with an earlier one.",
    )
    output: Annotated[Path, Flag(short="-o", value="FOLDER")] = Field(
        default=Path("results"), description="Results folder."
    )
    data: Annotated[dict[str, Path], Flag(value="TASK=FILE")] = Field(
        default={},
        description="Task name and a local JSONL, JSON, CSV or Parquet file that replaces its source; for a judged "
        "task a folder of questions, its own or PersonaGym's.",
    )

    limit: int | None = Field(
        default=None,
        gt=0,
        description="A seeded random subset of this many items of each task, for all checkpoints.",
    )
    limit_personas: int | None = Field(
        default=None,
        gt=0,
        description="Evaluate a seeded random sample of this many personas besides none; in a judged task, of its own.",
    )
    questions_per_dimension: int | None = Field(
        default=None,
        gt=0,
        description="In a judged task, a seeded random subset of this many questions per persona and dimension.",
    )
    seed: Annotated[int, Flag(group=SAMPLING)] = Field(
        default=0,
        ge=0,
        description="Seed of sampling (each row derives its own) and of random subsets.",
    )
    samples: Annotated[int, Flag(group=SAMPLING)] = Field(
        default=1, gt=0, le=1000, description="Completions per item and persona."
    )
    temperature: Annotated[Temperature | None, Flag(default="the task's", value="NUMBER", group=SAMPLING)] = Field(
        default=None, description="Sampling temperature, or the word default: none is sent, an endpoint's own holds."
    )
    top_p: Annotated[float | None, Flag(default="the task's", group=SAMPLING)] = Field(
        default=None, gt=0, le=1, description="Nucleus sampling: the probability mass that is kept."
    )
    max_tokens: Annotated[int | None, Flag(default="the task's", group=SAMPLING)] = Field(
        default=None, gt=0, description="New tokens, thinking included."
    )

    @field_validator("model", "tasks")
    @classmethod
    def _each_once(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(values))


class RunConfig(PriceOptions, JudgeOptions, ModelOptions, PromptOptions, LibraryOptions, EvaluationOptions):
    """All options of ``run``; kept in run.json."""

    example: ClassVar[str] = "personaeval run --model ./checkpoint --tasks mini-arith"

    @property
    def model_options(self) -> ModelOptions:
        """The options that open a model."""
        return part(self, ModelOptions)

    @property
    def judge_options(self) -> JudgeOptions:
        """The options about judges."""
        return part(self, JudgeOptions)


def make_config(
    file: Path | None, given: Mapping[str, Any], kind: type[RunConfig] | None = None, *, flags: bool = False
) -> RunConfig:
    """The configuration of a ``--config`` file, overridden by the given values.

    Args:
        file: the file, if there is one.
        given: by field name.
        kind: the options class of a command with more options than ``run``.
        flags: errors name the flags of the command line; else the fields.

    Raises:
        UsageError: the file or a value does not fit; names the key.
    """
    values = {} if file is None else read_document(file, _PartialConfig).model_dump(exclude_unset=True)
    return make_options(kind or RunConfig, {**values, **given}, flags=flags)


class _PartialConfig(RunConfig):
    """A ``--config`` file, which may leave model and tasks to flags, and may have been written for format 1."""

    model: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        texts = {name: value for name, value in values.items() if isinstance(value, str)}
        values = {**values, **given(RunConfig, texts)}  # one value, or several with commas, as on the command line
        sampled, own = values.get("n_personas"), values.get("limit_personas")
        if sampled is not None and own is not None and sampled != own:
            raise ValueError(
                f"n_personas ({sampled}) and limit_personas ({own}) are one key now, limit_personas, for the personas "
                "of every task; keep only one of them"
            )
        return upgrade_config(values, judged=own is not None)


def upgrade_config(config: Mapping[str, Any], *, judged: bool) -> dict[str, Any]:
    """The configuration in today's keys, from a run.json or a ``--config`` file of any version.

    Format 1 had ``per_task``, and one limit of the personas that tasks are crossed with (``n_personas``) beside one of
    the personas that a judged task brings (``limit_personas``). Today's are recognised by their keys.

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
