"""summary.json as typed records: every number a table shows, with its interval.

::

    summary = read_summary(Path("results/model-1a2b3c4d/5e6f7a8b"))
    summary.tasks["gsm8k"].counts["unscored"]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from personaeval.errors import UsageError
from personaeval.results.files import FORMAT, SUMMARY, read_json, write_json
from personaeval.results.records import rename_label


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())


class _TaskSummary(_Part):
    title: str
    group: str = Field(description="Only runs with the same group are ranked with each other.")
    items: int
    personas: int = Field(description="Without the baseline.")
    samples: int
    template: str
    sampling: dict[str, Any]
    counts: dict[str, int] = Field(description="Responses by outcome; total is their sum.")
    warnings: list[str] = Field(description="Warnings shown under every table.")
    persona_names: dict[str, str] = Field(default={}, description="Names of personas that have one beside their id.")


class StabilitySummary(_TaskSummary):
    """A task with right and wrong answers."""

    kind: Literal["stability"]
    stability: dict[str, Any] = Field(
        description="Metrics by name: a number, or an estimate with value, low and high; by_persona, by_category."
    )
    wording: dict[str, Any] | None = Field(default=None, description="Variance of wordings; null without paraphrases.")
    reader: int | None = Field(default=None, description="Version of the reader of answers; null if older than 3.")
    readings: dict[str, Any] | None = Field(
        default=None, description="Suspect answers, how many chance gives, the excess; by_persona, with the evidence."
    )


class JudgeSummary(_Part):
    """One judge of a task."""

    short_name: str
    fingerprint: str
    persona_score: dict[str, Any]
    dimensions: dict[str, Any]
    judgements: int
    unscored: int
    self_agreement: float | None
    relation: str | None = Field(description="How it is related to the model it judges; null if it is not.")
    check: dict[str, Any] | None


class FidelitySummary(_TaskSummary):
    """A task scored by judges; without judges, counts alone."""

    kind: Literal["fidelity"]
    judged: bool
    exemplars_by: str | None = None
    expected_score: bool = False
    fidelity: dict[str, Any] = Field(default={}, description="persona_score and dimensions: value, low and high.")
    by_persona: dict[str, float | None] = {}
    by_category: dict[str, float | None] = {}
    refusal: float | None = None
    ai_admission: float | None = None
    judgements: dict[str, Any] = Field(default={}, description="total, unscored, reasons")
    alpha: float | None = Field(default=None, description="Krippendorff's α between judges.")
    kappas: list[dict[str, Any]] = []
    spread_between_judges: float | None = None
    judges: list[JudgeSummary] = []
    people: dict[str, Any] | None = Field(default=None, description="Agreement with human labels, if there are any.")


TaskSummary = Annotated[StabilitySummary | FidelitySummary, Field(discriminator="kind")]


class RunSummary(_Part):
    """summary.json."""

    format: int
    short_name: str
    fingerprint: str | None = None
    fingerprint_verifiable: bool = False
    engine: str | None = None
    dtype: str | None = None
    plan: str | None = None
    persona_role: str | None = None
    placement_verified: bool = False
    tasks: dict[str, TaskSummary]

    def to_json(self) -> dict[str, Any]:
        """The content to write: what was set, and no defaults."""
        return self.model_dump(exclude_unset=True)

    def write(self, folder: Path) -> None:
        """Write summary.json, whole or not at all."""
        write_json(folder / SUMMARY, self.to_json())


def read_summary(folder: Path) -> RunSummary:
    """The summary of a run.

    Raises:
        UsageError: it is missing, broken, of a newer format, or not a run's.
    """
    path = folder / SUMMARY
    try:
        return RunSummary.model_validate(upgrade_summary(read_json(path, FORMAT)))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise UsageError(f"{path}: not the summary of a personaeval run ({where}: {problem['msg']}).") from error


def upgrade_summary(content: dict[str, Any]) -> dict[str, Any]:
    """The content of summary.json with today's keys.

    The first files lack the kind of a task; ``label`` is the old name of ``short_name``, and ``strangers`` that of
    ``unmatched_labels``.
    """
    content = rename_label(content)
    tasks = content.get("tasks")
    if not isinstance(tasks, dict):
        return content
    return content | {"tasks": {name: _upgrade_task(part) for name, part in tasks.items()}}


def _upgrade_task(part: dict[str, Any]) -> dict[str, Any]:
    part = {"kind": "stability", **part}
    if "judges" in part:
        part["judges"] = [rename_label(judge) for judge in part["judges"]]
    if people := part.get("people"):
        part["people"] = {"unmatched_labels" if key == "strangers" else key: value for key, value in people.items()}
    return part
