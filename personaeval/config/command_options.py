"""Options of every command but ``run``, one class each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from personaeval.config.flags import Flag, Options
from personaeval.config.run_config import RunConfig
from personaeval.config.shared_options import (
    ConnectionOptions,
    EndpointOptions,
    EngineOptions,
    JudgeCallOptions,
    JudgeOptions,
    LibraryOptions,
    PriceOptions,
    PromptOptions,
    SentenceOptions,
    TemplateOptions,
    TrustOptions,
    VersionOptions,
)


class InitOptions(Options):
    """Options of ``init``."""

    example: ClassVar[str] = "personaeval init --model openai:NAME@http://HOST:PORT/v1"

    model: Annotated[tuple[str, ...], Flag(short="-m", value="MODEL")] = Field(
        default=(), description="Checkpoint to write into run.yaml: engine:NAME[@URL], a directory or a hub id."
    )
    tasks: Annotated[tuple[str, ...], Flag(short="-t", commas=True, value="TASKS")] = Field(
        default=("mini-arith",), min_length=1, description="Task names or YAML files."
    )
    output: Annotated[Path, Flag(short="-o", value="FOLDER")] = Field(
        default=Path(), description="Folder for the two files."
    )


class PlanOptions(RunConfig):
    """Options of ``plan``: those of the run that is planned."""

    example: ClassVar[str] = "personaeval plan --model ./checkpoint --tasks mini-arith"

    detect: Annotated[float | None, Flag(value="CHANGE")] = Field(
        default=None,
        gt=0,
        lt=1,
        description="Also report sample sizes that detect a change of this size, such as 0.02.",
    )


class ScoreOptions(PriceOptions, LibraryOptions, JudgeOptions):
    """Options of ``score``."""

    example: ClassVar[str] = "personaeval score results/checkpoint-500"

    folder: Annotated[Path, Flag(argument=True)] = Field(
        description="Folder of a finished run, or RESULTS/NAME if the checkpoint has one run there."
    )
    data: Annotated[dict[str, Path], Flag(value="TASK=FILE")] = Field(
        default={}, description="Task name and its data file, if the run's own has moved."
    )
    human: Annotated[Path | None, Flag(value="FILE")] = Field(
        default=None,
        description="CSV or Parquet file with people's scores: persona, task, question, response, score, annotator. "
        "Tells how far judges agree with them; where they are a sample of this run's responses, corrects its score.",
    )


FORMAT = (
    "markdown, html or latex; csv, json or parquet: one long table for programs. "
    "[default: fitted to the terminal; markdown in a pipe]"
)


class TableOptions(Options):
    """How tables are shown."""

    format: Annotated[str | None, Flag(short="-f", value="FORMAT")] = Field(default=None, description=FORMAT)
    columns: Annotated[tuple[str, ...], Flag(commas=True, value="COLUMNS")] = Field(
        default=(), description="Only these columns, by heading or metric, such as accuracy,pss."
    )
    task: str | None = Field(default=None, description="Only this task.")
    generalise_to_personas: bool = Field(
        default=False, description="Intervals and tests that also hold for personas that were not evaluated."
    )
    intervals: Annotated[bool, Flag("--no-interval", off=True)] = Field(default=True, description="Figures alone.")


class LeaderboardOptions(TableOptions):
    """Options of ``leaderboard``."""

    example: ClassVar[str] = "personaeval leaderboard results/ --baseline checkpoint-500"

    folder: Annotated[Path, Flag(argument=True)] = Field(default=Path("results"), description="Results folder.")
    personas: bool = Field(default=False, description="A row per persona.")
    baseline: Annotated[str | None, Flag(value="NAME")] = Field(
        default=None, description="Checkpoint against which changes are shown."
    )
    by: Annotated[str | None, Flag(value="SETTING")] = Field(
        default=None, description="A row per value of a setting, of runs that differ in it alone, such as template."
    )
    trade_off: bool = Field(default=False, description="Stability and fidelity of each checkpoint side by side.")


class ShowOptions(Options):
    """Options of ``show``."""

    example: ClassVar[str] = "personaeval show results/checkpoint-500 --persona pirate --wrong -n 3"

    run: Annotated[str, Flag(argument=True)] = Field(description="A run's folder, or RESULTS/NAME.")
    task: Annotated[str | None, Flag(short="-t", value="TASK")] = Field(default=None, description="Only this task.")
    persona: Annotated[tuple[str, ...], Flag(short="-p", commas=True, value="PERSONAS")] = Field(
        default=(), description="Only these personas; none is the baseline."
    )
    item: Annotated[tuple[str, ...], Flag(short="-i", value="ITEM")] = Field(
        default=(), description="Only this item, by its id."
    )
    wrong: bool = Field(default=False, description="Only wrong answers, those without an answer among them.")
    no_answer: bool = Field(default=False, description="Only answers in which no final answer was found.")
    suspect: bool = Field(default=False, description="Only wrong answers whose text holds the gold answer.")
    flipped: Annotated[str | None, Flag(value="BASE")] = Field(
        default=None,
        description="Only answers that became right or wrong since this run; a folder, or RESULTS/NAME.",
    )
    number: Annotated[int, Flag(short="-n")] = Field(
        default=5, ge=0, description="How many answers to show; 0 shows all."
    )
    thinking: bool = Field(default=False, description="Show the thinking in full.")


class RunsOptions(Options):
    """Options of ``runs``."""

    example: ClassVar[str] = "personaeval runs results/"

    folder: Annotated[Path, Flag(argument=True)] = Field(default=Path("results"), description="Results folder.")
    format: Annotated[str | None, Flag(short="-f", value="FORMAT")] = Field(default=None, description=FORMAT)


class SettingsOptions(Options):
    """Whether runs with different settings are compared."""

    allow_different_settings: bool = Field(
        default=False, description="Compare runs whose settings differ; a note says so."
    )


class CompareOptions(SettingsOptions, TableOptions):
    """Options of ``compare``."""

    example: ClassVar[str] = "personaeval compare results/checkpoint-500 results/checkpoint-1000"

    base: Annotated[str, Flag(argument=True)] = Field(description="A run's or a baseline's folder, or RESULTS/NAME.")
    candidates: Annotated[tuple[str, ...], Flag(argument=True)] = Field(
        description="Checkpoints to compare with it, named the same way."
    )


class CheckOptions(SettingsOptions):
    """Options of ``check``."""

    example: ClassVar[str] = "personaeval check results/checkpoint-500 results/checkpoint-1000 --policy gate.yaml"

    base: Annotated[str | None, Flag(argument=True)] = Field(
        default=None, description="A run's or a baseline's folder, or RESULTS/NAME."
    )
    candidate: Annotated[str | None, Flag(argument=True)] = Field(
        default=None, description="Checkpoint to check, named the same way."
    )
    policy: Annotated[Path, Flag(value="FILE")] = Field(
        default=Path("gate.yaml"), description="YAML file: which metrics gate, and by how much."
    )
    init: bool = Field(default=False, description="Write a commented policy to start from, adapted to BASE if given.")
    format: Annotated[str | None, Flag(short="-f", value="FORMAT")] = Field(default=None, description=FORMAT)
    as_json: Annotated[bool, Flag("--json")] = Field(default=False, description="The report as JSON.")
    junit: Annotated[Path | None, Flag(value="FILE")] = Field(
        default=None, description="Write a JUnit file with a test case per gating metric."
    )


class BaselineOptions(Options):
    """Options of ``baseline``."""

    example: ClassVar[str] = "personaeval baseline results/checkpoint-500 --output baseline/"

    run: Annotated[str, Flag(argument=True)] = Field(description="A run's folder, or RESULTS/NAME.")
    output: Annotated[Path, Flag(short="-o", value="FOLDER")] = Field(description="Folder of the baseline.")


class JudgeCheckOptions(ConnectionOptions, JudgeCallOptions):
    """Options of ``judge-check``."""

    example: ClassVar[str] = "personaeval judge-check --judge openai:NAME@http://HOST:PORT/v1"

    judge: Annotated[tuple[str, ...], Flag(short="-j", value="MODEL")] = Field(
        min_length=1, description="Judge to check, named like a model."
    )
    judge_repeats: int = Field(default=2, ge=2, le=100, description="How often each control is judged.")
    output: Annotated[Path, Flag(short="-o", value="FOLDER")] = Field(
        default=Path("results"), description="Results folder, where the record is kept."
    )


class QuestionsOptions(VersionOptions, EndpointOptions, EngineOptions, LibraryOptions):
    """Options of ``questions``."""

    example: ClassVar[str] = "personaeval questions --model vllm:NAME --personas core --output mine/"

    model: Annotated[str, Flag(short="-m", value="MODEL")] = Field(
        description="Model that writes them: engine:NAME[@URL]."
    )
    personas: Annotated[tuple[str, ...], Flag(short="-p", commas=True, value="PERSONAS")] = Field(
        min_length=1, description="Persona sets, YAML files or SET/ID."
    )
    output: Annotated[Path, Flag(short="-o", value="FOLDER")] = Field(description="Folder for the questions.")
    questions_per_dimension: int = Field(
        default=4, ge=1, le=50, description="Questions of each persona for each dimension."
    )
    seed: int = Field(default=0, ge=0, description="Another seed, other questions.")


class TaskOptions(LibraryOptions):
    """Options of ``tasks check``."""

    example: ClassVar[str] = "personaeval tasks check mine/tasks/capitals.yaml"

    name: Annotated[str, Flag(argument=True)] = Field(description="Task name or YAML file.")
    data: Annotated[Path | None, Flag(value="FILE")] = Field(
        default=None, description="Local file that replaces the task's source."
    )


class TasksShowOptions(TaskOptions):
    """Options of ``tasks show``."""

    example: ClassVar[str] = "personaeval tasks show math500 --items 1"

    items: int = Field(default=3, ge=0, description="How many items.")
    yaml: bool = Field(default=False, description="Print the task's YAML file instead, to adapt it.")


class TasksNewOptions(Options):
    """Options of ``tasks new``."""

    example: ClassVar[str] = "personaeval tasks new roman"

    name: Annotated[str, Flag(argument=True)] = Field(description="Name of the task.")
    output: Annotated[Path, Flag(short="-o", value="FOLDER")] = Field(
        default=Path(), description="Folder for the two files."
    )


class PersonasOptions(LibraryOptions):
    """Which personas a command shows or checks."""

    example: ClassVar[str] = "personaeval personas check mine/personas/office.yaml"

    personas: Annotated[str, Flag(argument=True)] = Field(
        description="Persona set, SET/ID, file or folder (FILE[:TEXT[,ID]]), or hf:DATASET[:TEXT[,ID]][@SPLIT]."
    )


class PersonasCheckOptions(SentenceOptions, PersonasOptions):
    """Options of ``personas check``."""

    drop_near_duplicates: bool = Field(
        default=False,
        description="Leave out personas of a file that share 80 % of their words with an earlier one.",
    )


class PersonasShowOptions(TemplateOptions, TrustOptions, PromptOptions, PersonasOptions):
    """Options of ``personas show``."""

    example: ClassVar[str] = "personaeval personas show core --model ./checkpoint-500"

    model: Annotated[str | None, Flag(short="-m", value="MODEL")] = Field(
        default=None, description="Show the prompts as this checkpoint sees them."
    )
