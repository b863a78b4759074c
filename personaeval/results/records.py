"""run.json as typed records, and the upgrade that reads files of older formats.

A reader never sees an old format: :func:`read_record` upgrades the content before it is validated::

    record, personas = read_record(folder / "run.json")
    record.tasks["gsm8k"].samples

Fields that only some engines or judges have are kept as they were written (``extra="allow"``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from personaeval.config import upgrade_config
from personaeval.documents import hash_json
from personaeval.errors import UsageError
from personaeval.results.files import RUN_FORMAT, read_json, write_json


class _Record(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())

    def to_json(self) -> dict[str, Any]:
        """The content to write: what was set, and no defaults."""
        return self.model_dump(exclude_unset=True)


class ModelRecord(_Record):
    """A model: its identity and its known properties. Endpoints and local checkpoints add further fields."""

    fingerprint: str
    fingerprint_verifiable: bool = False
    engine: str | None = Field(default=None, description="vllm, transformers or openai.")
    name: str | None = None
    dtype: str | None = Field(default=None, description="Of a local checkpoint.")
    family: str | None = Field(default=None, description="Such as Qwen; null if no name reveals it.")
    step: int | None = Field(default=None, description="Training step, if given.")
    arguments: dict[str, Any] = Field(default={}, description="Engine arguments that can change an answer.")
    rendering: dict[str, Any] = Field(default={}, description="How prompts are made.")


class JudgeRecord(ModelRecord):
    """A judge: a model with its sampling, and the result of its last judge check."""

    short_name: str = Field(description="The judge's name in tables.")
    sampling: dict[str, Any] = {}
    reasoning_end: str | None = None
    form: str = Field(default="json", description="How it replies.")
    check: dict[str, Any] | None = None


class PanelRecord(_Record):
    """The judges of a run."""

    hash: str = Field(description="Identifies the judges and how they are asked; part of the plan and of groups.")
    judges: list[JudgeRecord] = []
    repeats: int = 1
    wording: int | None = None
    exemplars_by: str | None = None


class PersonasRecord(_Record):
    """Personas, listed in personas.parquet."""

    count: int = Field(description="The baseline included.")
    hash: str = Field(description="Of all ids and texts.")


class TaskRecord(_Record):
    """One task: what was asked, and how answers are scored."""

    kind: Literal["stability", "fidelity"] = Field(description="fidelity: scored by judges.")
    title: str
    domain: str
    revision: int = 1
    work: str = Field(default="", description="Identifies the questions, independently of the model.")
    asked: dict[str, Any] = Field(default={}, description="Settings of the run that shape the prompts.")
    origin: dict[str, Any] = Field(default={}, description="Where the items came from.")
    prompts_hash: str = ""
    gold_hash: str = ""
    items: int
    samples: int
    template: str = Field(description="How a persona is put to the model.")
    system: str | None = Field(default=None, description="The task's own system text, after the persona's sentence.")
    sampling: dict[str, Any]
    scorer: dict[str, Any]
    correct_at: float = 1.0
    chance: float | None = None
    withhold_text: bool = False
    personas: PersonasRecord | None = Field(default=None, description="Those the task brings itself, if any.")

    @property
    def is_judged(self) -> bool:
        """Whether judges score it: each item has its own persona, and no answer is right or wrong."""
        return self.kind == "fidelity"


class PlacementRecord(_Record):
    """Where the persona stands in the model's prompts."""

    role: str | None = Field(default=None, description="system or user_prefix.")
    verified: bool = Field(default=False, description="Whether the rendered prompts were seen to hold the personas.")
    no_persona_prompt: str | None = Field(default=None, description="The rendered prompt without a persona.")
    opens_thinking: bool = False
    cautions: list[str] = Field(default=[], description="What else the prompts tell the model; tables repeat it.")


class SessionRecord(_Record):
    """One command's part in a run: generation (``began``) or judging (``judged``)."""

    began: float | None = None
    judged: float | None = None
    versions: dict[str, Any] = {}
    hardware: dict[str, Any] = {}
    generated: int | None = None
    failed: int | None = None
    tokens: dict[str, int] = Field(default={}, description="prompt, cached, output")
    engine_error: str | None = None
    seconds: float | None = None
    judges: list[dict[str, Any]] = []


class CountsRecord(_Record):
    """Requests of the plan, and those without an answer."""

    requests: int
    failed: int


class RunRecord(_Record):
    """run.json: everything needed to repeat a run."""

    format: int = RUN_FORMAT
    plan: str = Field(description="Identifies the work: the same command is the same plan.")
    short_name: str = Field(description="The checkpoint's name in tables and folders.")
    config: dict[str, Any]
    model: ModelRecord
    placement: PlacementRecord
    fast_rendering: bool = True
    tasks: dict[str, TaskRecord]
    personas: PersonasRecord = Field(description="Those that tasks are crossed with, the baseline first.")
    panel: PanelRecord | None = None
    persona_origins: list[dict[str, Any]] = []
    counts: CountsRecord | None = None
    sessions: list[SessionRecord] = []

    @property
    def rows(self) -> int:
        """Number of answers that the plan asks for."""
        crossed = self.personas.count
        return sum(own.items * own.samples * (1 if own.is_judged else crossed) for own in self.tasks.values())

    @property
    def checkpoint(self) -> str:
        """The short name with eight digits of the fingerprint: the name of the checkpoint's folder."""
        return f"{self.short_name}-{self.model.fingerprint[:8]}"

    def write(self, path: Path) -> None:
        """Write run.json, whole or not at all."""
        write_json(path, {"format": RUN_FORMAT, **self.to_json()})


Personas = Mapping[str | None, Sequence[dict[str, Any]]]
"""Personas by the task that brings them; None: those that tasks are crossed with."""


def read_record(path: Path) -> tuple[RunRecord, Personas | None]:
    """A run's record; and its personas if run.json holds them itself, as it did before format 2.

    Raises:
        UsageError: it is missing, broken, of a newer format, or not a run's.
    """
    content, personas = upgrade_run(read_json(path), path)
    try:
        return RunRecord.model_validate(content), personas
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise UsageError(f"{path}: not the record of a personaeval run ({where}: {problem['msg']}).") from error


def upgrade_run(content: dict[str, Any], path: Path) -> tuple[dict[str, Any], Personas | None]:
    """The content of run.json in today's format, and the personas that it held itself.

    Format 1 lists the personas, and marks a judged task by the list of its own. ``label`` is the old name of
    ``short_name``.
    """
    content = rename_label(content)
    if isinstance(panel := content.get("panel"), dict):
        content |= {"panel": panel | {"judges": [rename_label(judge) for judge in panel.get("judges", ())]}}
    if content.get("format", 1) >= RUN_FORMAT:
        return content, None
    if not isinstance(content.get("tasks"), dict) or not isinstance(content.get("personas"), list):
        raise UsageError(f"{path}: not the record of a personaeval run.")
    personas: dict[str | None, Sequence[dict[str, Any]]] = {None: content["personas"]}
    tasks = {}
    for name, task in content["tasks"].items():
        own = task.get("personas")
        if own is not None:
            personas[name] = own
        tasks[name] = task | {"kind": "stability"} if own is None else _judged(task, own)
    upgraded = {
        "format": RUN_FORMAT,
        "config": upgrade_config(content.get("config", {}), judged=len(personas) > 1),
        "tasks": tasks,
        "personas": describe_personas(content["personas"]),
    }
    return content | upgraded, personas


def rename_label(record: dict[str, Any]) -> dict[str, Any]:
    """The record with its ``label``, as older versions wrote it, under the name ``short_name``."""
    return {"short_name" if key == "label" else key: value for key, value in record.items()}


def _judged(task: dict[str, Any], personas: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return task | {"kind": "fidelity", "personas": describe_personas(personas)}


def describe_personas(personas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entry of run.json for personas: their number, and the hash of their ids, texts and whole prompts."""
    told = [[one["id"], one["text"], *([one["prompt"]] if one.get("prompt") else [])] for one in personas]
    return {"count": len(personas), "hash": hash_json(sorted(told))}
