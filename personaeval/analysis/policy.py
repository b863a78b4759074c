"""The policy of a check: which metrics gate, and how much each may fall."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from personaeval.documents import read_document
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
    """What a verdict on a metric does to the whole."""

    CRITICAL = "critical"
    SUPPORTING = "supporting"
    ADVISORY = "advisory"


def _no_flag(value: object) -> object:
    # True equals 1 in Python.
    if isinstance(value, bool):
        raise ValueError("must be 2")
    return value


class Gate(BaseModel):
    """One metric that is checked."""

    model_config = ConfigDict(extra="forbid", strict=True)

    task: str = Field(default=EVERY_TASK, min_length=1, description="Name of a task; * is every task of the base.")
    metric: MetricName = Field(
        description="What is checked; persona_score of judged tasks, the others of tasks with right and wrong."
    )
    max_drop: float = Field(
        ge=0, allow_inf_nan=False, description="How much worse it may be, in its own unit (accuracy 0.02: two points)."
    )

    @model_validator(mode="after")
    def _can_fail(self) -> Gate:
        if self.max_drop >= METRICS[self.metric].span:
            raise ValueError(f"max_drop: {self.max_drop:g} can never be exceeded; 0.05 is five points of a share")
        return self

    severity: Annotated[Severity, Field(strict=False)] = Field(
        default=Severity.CRITICAL,
        description="critical: must be shown to be no worse; supporting: counts only when it regressed; advisory: "
        "is only shown.",
    )


class Policy(BaseModel):
    """What a candidate must hold against its base."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Annotated[Literal[2], BeforeValidator(_no_flag)] = Field(description="Of this format.")
    max_unscored: float = Field(
        default=0.01, ge=0, le=1, description="Largest share of answers without a score, in either run."
    )
    generalise_to_personas: bool = Field(
        default=False, description="Whether the claims are about personas that were not tried, too."
    )
    gates: list[Gate] = Field(min_length=1, description="The metrics.")

    @model_validator(mode="before")
    @classmethod
    def _upgrade(cls, values: Any) -> Any:
        return upgrade_policy(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _check_gates(self) -> Policy:
        names = [(gate.task, gate.metric) for gate in self.gates]
        twice = sorted({f"{metric} of {task}" for task, metric in names if names.count((task, metric)) > 1})
        if twice:
            raise ValueError(f"gates: {', '.join(twice)} is given twice")
        if all(gate.severity is Severity.ADVISORY for gate in self.gates):
            raise ValueError("gates: all are advisory, so that nothing could ever fail")
        return self


_CLAIMS = {"items": False, "items,personas": True}


def upgrade_policy(policy: dict[str, Any]) -> dict[str, Any]:
    """A policy in today's format. Version 1 had ``generalise``, which was ``items`` or ``items,personas``.

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


def read_policy(path: Path) -> Policy:
    """Read a policy.

    Raises:
        UsageError: it cannot be read, or does not fit; the message has file, line and key.
    """
    return read_document(path, Policy)


def write_starting_policy(path: Path, base: CheckpointRuns | None = None) -> None:
    """Write a commented policy to start from.

    Args:
        path: the file.
        base: gates that do not fit its tasks are commented out; without it, all that not every run has.

    Raises:
        UsageError: the file exists.
    """
    if path.exists():
        raise UsageError(f"{path}: exists already; name another file with --policy.")
    write_text(path, _STARTING.format(**_fitting(base)))


def _fitting(base: CheckpointRuns | None) -> dict[str, str]:
    """Return what comments out the gates that do not fit a base, and the names of its tasks with two samples."""
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
# What a candidate must hold against its base: personaeval check BASE CANDIDATE --policy THIS_FILE
# PASS: shown to be worse by no more than max_drop (97.5 % confidence, one-sided), for every critical metric.
# REGRESSION: shown to be worse by more. INCONCLUSIVE: the data can tell neither; more items or samples would.
version: 2

# Answers without a score (engine errors, checks that timed out) are no evidence: no verdict above this share.
max_unscored: 0.01

# false: claims about other items like these, under these personas.
# true: about personas not tried as well; the intervals get wider.
generalise_to_personas: false

# task: a task's name, or "*" for every task of the base that has the metric. max_drop is in the metric's own unit:
# 0.05 of accuracy is five points. severity: critical gates; supporting counts only when it regressed; advisory is only
# shown. A gate of a task by its name stands in the place of that of "*".
gates:
  {counted}- {{task: "*", metric: accuracy, max_drop: 0.05, severity: critical}}
  # PSS rises and falls with accuracy by itself, so it stands beside accuracy and kappa.
  {crossed}- {{task: "*", metric: pss, max_drop: 0.05, severity: critical}}
  {crossed}- {{task: "*", metric: kappa, max_drop: 0.10, severity: supporting}}
  # PSS without the noise of decoding; it needs two samples or more.
  {repeated}- {{task: {task}, metric: corrected_pss, max_drop: 0.05, severity: supporting}}
  # The worst persona, chosen on one half of the items and measured on the other.
  {crossed}- {{task: "*", metric: worst_persona, max_drop: 0.10, severity: advisory}}
  # Of judged tasks, on their scale from 1 to 5.
  {judged}- {{task: "*", metric: persona_score, max_drop: 0.2, severity: critical}}
"""
