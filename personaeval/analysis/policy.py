"""Policy of a regression check: which metrics gate, and by how much each may decline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from personaeval.documents import read_document, validate
from personaeval.errors import UsageError
from personaeval.metrics.catalogue import METRICS
from personaeval.results.files import write_text
from personaeval.results.runs import CheckpointRuns

EVERY_TASK = "*"

if TYPE_CHECKING:
    MetricName = str
else:
    MetricName = Literal[tuple(METRICS)]


class Severity(StrEnum):
    """How a metric counts for the overall verdict."""

    CRITICAL = "critical"
    SUPPORTING = "supporting"
    ADVISORY = "advisory"


def _no_flag(value: object) -> object:
    # True equals 1 in Python.
    if isinstance(value, bool):
        raise ValueError("must be 2")
    return value


class Gate(BaseModel):
    """One gated metric."""

    model_config = ConfigDict(extra="forbid", strict=True)

    task: str = Field(
        default=EVERY_TASK,
        min_length=1,
        description="Name of a task; * means every task of the base that has the metric.",
    )
    metric: MetricName = Field(
        description="Name of the metric; persona_score is for judged tasks, the others are for all other tasks."
    )
    max_drop: float = Field(
        ge=0,
        allow_inf_nan=False,
        description="Non-inferiority margin: the largest tolerated decline, in the metric's own unit "
        "(accuracy 0.02: two points).",
    )

    @model_validator(mode="after")
    def _can_fail(self) -> Gate:
        if self.max_drop >= METRICS[self.metric].span:
            raise ValueError(f"max_drop: {self.max_drop:g} can never be exceeded; 0.05 means five percentage points")
        return self

    severity: Annotated[Severity, Field(strict=False)] = Field(
        default=Severity.CRITICAL,
        description="critical: must be shown to be no worse; supporting: counts only if it regressed; advisory: shown "
        "only.",
    )


class Policy(BaseModel):
    """Requirements for a candidate, compared with its base."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Annotated[Literal[2], BeforeValidator(_no_flag)] = Field(description="Version of this format.")
    max_unscored: float = Field(
        default=0.01, ge=0, le=1, description="Largest share of unscored answers in either run."
    )
    generalise_to_personas: bool = Field(
        default=False, description="Whether intervals must hold for other personas as well."
    )
    gates: list[Gate] = Field(min_length=1, description="Gated metrics.")

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, values: Any) -> Any:
        return upgrade_policy(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _check_gates(self) -> Policy:
        names = [(gate.task, gate.metric) for gate in self.gates]
        twice = sorted({f"{metric} of {task}" for task, metric in names if names.count((task, metric)) > 1})
        if twice:
            raise ValueError(f"gates: {', '.join(twice)} is gated twice")
        if all(gate.severity is Severity.ADVISORY for gate in self.gates):
            raise ValueError("gates: all are advisory, so the check could never fail")
        return self


_CLAIMS = {"items": False, "items,personas": True}


def upgrade_policy(policy: dict[str, Any]) -> dict[str, Any]:
    """A policy in the current format. Version 1 had ``generalise``: ``items`` or ``items,personas``.

    Raises:
        ValueError: version 1 with another value of ``generalise``.
    """
    if policy.get("version") is True or policy.get("version") != 1:
        return policy
    claim = policy.get("generalise", "items")
    if claim not in _CLAIMS:
        raise ValueError(f"generalise: items or items,personas is expected in version 1 (got {claim!r})")
    kept = {name: value for name, value in policy.items() if name != "generalise"}
    return {"generalise_to_personas": _CLAIMS[claim], **kept, "version": 2}


def make_policy(values: Mapping[str, Any]) -> Policy:
    """A policy from its content, as Python code gives it.

    Raises:
        UsageError: the content is invalid; the message names the key.
    """
    if "version" not in values:
        raise UsageError("policy: the key 'version' is missing; add \"version\": 2, the version of this format.")
    try:
        return validate(values, Policy)
    except UsageError as error:
        raise UsageError(f"policy: {error}") from error


def read_policy(path: Path) -> Policy:
    """Read a policy.

    Raises:
        UsageError: the file cannot be read or is invalid; the message names file, line and key.
    """
    return read_document(path, Policy)


def write_starting_policy(path: Path, base: CheckpointRuns | None = None) -> None:
    """Write a commented policy to start from.

    Args:
        path: the file to write.
        base: gates that do not fit its tasks are commented out. Without it, those that not every run supports.

    Raises:
        UsageError: the file exists, or its folder does not.
    """
    if path.exists():
        raise UsageError(f"{path}: exists already; name another file with --policy.")
    if not path.absolute().parent.is_dir():
        raise UsageError(
            f"--policy {path}: there is no folder {path.absolute().parent}; make it, or name another file."
        )
    write_text(path, _STARTING.format(**_fitting(base)))


def _fitting(base: CheckpointRuns | None) -> dict[str, str]:
    """Values for the starting policy: "# " before gates that do not fit the base, and the task with two samples."""
    if base is None:
        return {"counted": "", "crossed": "", "repeated": "# ", "judged": "# ", "task": '"*"'}
    own = {name: record.tasks[name] for name, record in base.records.items()}
    counted = {name: task for name, task in own.items() if not task.is_judged}
    # Stability needs two personas beside none.
    crossed = [name for name in counted if base.records[name].personas.count > 2]
    repeated = [name for name in crossed if counted[name].samples > 1]
    fits = {"counted": counted, "crossed": crossed, "repeated": repeated, "judged": len(counted) < len(own)}
    every = '"*"' if len(repeated) in (0, len(counted)) else json.dumps(repeated[0])
    return {name: "" if fit else "# " for name, fit in fits.items()} | {"task": every}


_STARTING = """\
# Requirements for a candidate: personaeval check BASE CANDIDATE --policy THIS_FILE
# PASS: shown to be worse by no more than max_drop (97.5 % confidence, one-sided), for every critical metric.
# REGRESSION: shown to be worse by more. INCONCLUSIVE: the data show neither; more items or samples would.
version: 2

# Unscored answers (engine errors, scorer time-outs) are no evidence: above this share there is no verdict.
max_unscored: 0.01

# false: intervals hold for other items like these, under these personas.
# true: for other personas as well; they are wider, and worst_persona, which cannot claim that, is left out.
generalise_to_personas: false

# task: a task's name, or "*" for every task of the base that has the metric. max_drop is in the metric's own unit:
# 0.05 of accuracy is five points. severity: critical gates; supporting counts only if it regressed; advisory is only
# shown. A gate that names its task replaces that of "*".
gates:
  {counted}- {{task: "*", metric: accuracy, max_drop: 0.05, severity: critical}}
  # PSS rises and falls with accuracy by itself; therefore accuracy is gated too.
  {crossed}- {{task: "*", metric: pss, max_drop: 0.05, severity: critical}}
  # The worst persona, chosen on one half of the items and measured on the other: averages hide the loss of a few.
  {crossed}- {{task: "*", metric: worst_persona, max_drop: 0.10, severity: supporting}}
  # PSS without the noise of decoding; it needs two samples or more.
  {repeated}- {{task: {task}, metric: corrected_pss, max_drop: 0.05, severity: supporting}}
  # kappa divides by 1 - accuracy: at an accuracy of 0.95, a decline of one point moves it by about 0.1. Shown only.
  {crossed}- {{task: "*", metric: kappa, max_drop: 0.10, severity: advisory}}
  # For judged tasks, on the scale from 1 to 5.
  {judged}- {{task: "*", metric: persona_score, max_drop: 0.2, severity: critical}}
"""
