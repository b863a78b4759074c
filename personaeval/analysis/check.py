"""Regression check: is a candidate worse than its base by more than a policy allows?

A non-inferiority test for every gated metric, one-sided at α = 0.025. d is the decline: above 0 is worse, whichever
direction of the metric is better. PASS: H0 "d ≥ max_drop" is rejected (all critical metrics must: an intersection–union
test, so no correction). REGRESSION: H0 "d ≤ max_drop" is rejected, adjusted by Holm over the gating metrics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from personaeval.analysis.compare import AlignedTask, align
from personaeval.analysis.policy import EVERY_TASK, Gate, Policy, Severity
from personaeval.analysis.remedy import remedy
from personaeval.errors import InvalidRunError
from personaeval.metrics.catalogue import METRICS, WORST_PERSONA, StabilityMetric
from personaeval.metrics.inference import holm
from personaeval.metrics.noninferiority import ALPHA, NonInferiorityTest
from personaeval.metrics.paired import Change
from personaeval.metrics.split_half import worst_persona_change
from personaeval.results.runs import CheckpointRuns, numbered_names


class Outcome(StrEnum):
    """Verdict on one metric, or on all."""

    PASS = "PASS"  # noqa: S105 (no password)
    REGRESSION = "REGRESSION"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"


_NO_CHANGE: dict[str, Any] = {"low": 0.0, "high": 0.0, "low_if_wrong": None, "high_if_wrong": None}

_RESTS_ON_SCORED = "would not pass if all unscored answers were wrong; rerun both to retry them"

EXIT_CODES = {Outcome.PASS: 0, Outcome.REGRESSION: 1, Outcome.INCONCLUSIVE: 3, Outcome.INVALID: 4}


@dataclass(frozen=True)
class Finding:
    """Result for one gated metric.

    Attributes:
        task: name of the task.
        metric: name in the catalogue.
        severity: how it counts for the overall verdict.
        max_drop: the margin, in the metric's unit.
        outcome: the verdict.
        reason: how much data would decide it, or why it is not valid.
        base: the metric's value for the base; None if there is none.
        candidate: its value for the candidate.
        decline: by how much the candidate is worse.
        low: lower bound of the decline, 97.5 % one-sided.
        high: its upper bound, which must not exceed ``max_drop`` for a PASS.
        low_if_wrong: the lower bound if every unscored answer were wrong; None if none is unscored.
        high_if_wrong: the upper bound likewise.
        p: p-value of "decline ≤ max_drop", adjusted over all gating metrics; REGRESSION needs at most 0.025.
        defined: whether the formula gives a number for these answers. PSS is undefined if nothing is solved, corrected
            PSS with one sample.
    """

    task: str
    metric: str
    severity: Severity
    max_drop: float
    outcome: Outcome
    reason: str = ""
    base: float | None = None
    candidate: float | None = None
    decline: float | None = None
    low: float | None = None
    high: float | None = None
    low_if_wrong: float | None = None
    high_if_wrong: float | None = None
    p: float | None = None
    defined: bool = True

    @property
    def gates(self) -> bool:
        """Whether it can affect the overall verdict."""
        return self.severity is not Severity.ADVISORY

    @property
    def decides(self) -> bool:
        """Whether it does: a supporting metric without a value does not."""
        return self.gates and (self.defined or self.severity is Severity.CRITICAL)


@dataclass(frozen=True)
class Report:
    """Result of a check: the overall verdict and the findings behind it."""

    base: str
    candidate: str
    outcome: Outcome
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """0 PASS, 1 REGRESSION, 3 INCONCLUSIVE, 4 INVALID."""
        return EXIT_CODES[self.outcome]


@dataclass(frozen=True)
class _Test:
    """One metric of one task, before it is tested.

    Attributes:
        gate: the policy's entry.
        task: name of the task.
        change: the paired change; None if there is none.
        problem: why it cannot be tested; empty if it can.
        aligned: the task of both runs; None if it cannot be tested.
        generalise_to_personas: whether the bounds hold for other personas as well.
        if_wrong: the change if every unscored answer were wrong; None if none is unscored.
        same: whether base and candidate are one checkpoint with the same answers.
        defined: as in :class:`Finding`.
    """

    gate: Gate
    task: str
    change: Change | None
    problem: str = ""
    aligned: AlignedTask | None = None
    generalise_to_personas: bool = False
    if_wrong: Change | None = None
    same: bool = False
    defined: bool = True

    @property
    def gates(self) -> bool:
        """Whether it can affect the overall verdict."""
        return self.gate.severity is not Severity.ADVISORY

    @property
    def tested(self) -> NonInferiorityTest:
        """The non-inferiority test of the change."""
        assert self.change is not None, "only estimated changes are tested"
        return self._test(self.change)

    @property
    def bounds_if_wrong(self) -> tuple[float | None, float | None]:
        """Lower and upper bound of the decline if every unscored answer were wrong; None if none is unscored."""
        if self.if_wrong is None or self.if_wrong.absolute.value is None:
            return None, None
        return self._test(self.if_wrong).bounds

    def _test(self, change: Change) -> NonInferiorityTest:
        return NonInferiorityTest(change.decline(METRICS[self.gate.metric].better), change.items)


def check(
    base: CheckpointRuns, candidate: CheckpointRuns, policy: Policy, allow_different_settings: bool = False
) -> Report:
    """Verdict on a candidate.

    A metric that cannot be tested (one run lacks the task, too many unscored answers, undefined value) is a finding of
    its own, and never a pass. A supporting metric that the policy's claim rules out is left out, with a note.
    """
    aligned_tasks: dict[str, AlignedTask | str] = {}
    asked = _wanted(policy, base)
    wanted = [(task, gate) for task, gate in asked if not _is_left_out(gate, policy)]
    for task, _ in wanted:
        if task not in aligned_tasks and task != EVERY_TASK:
            aligned_tasks[task] = _align(base, candidate, task, allow_different_settings, policy)
    tests = [_prepare(gate, task, aligned_tasks.get(task, ""), policy, base, candidate) for task, gate in wanted]
    gating = [test for test in tests if test.gates]
    adjusted = iter(holm(np.array([_p_value(test) for test in gating])))
    family = max(len(gating), 1)
    findings = tuple(_judge(test, next(adjusted) if test.gates else _p_value(test), family) for test in tests)
    gated = {task for task, gate in wanted if gate.severity is not Severity.ADVISORY}
    notes = numbered_names((base, candidate))
    notes += [
        f"{task}: {gate.metric} is left out; it cannot be generalised to other personas."
        for task, gate in asked
        if _is_left_out(gate, policy)
    ]
    notes += [f"{task}: not gated by this policy." for task in base.records if task not in gated]
    if {path.resolve() for path in base.folders.values()} & {path.resolve() for path in candidate.folders.values()}:
        notes.append("Base and candidate are the same run.")
    found = [own for own in aligned_tasks.values() if isinstance(own, AlignedTask)]
    notes += [f"{aligned.task}: {note}" for aligned in found for note in (*aligned.notes, *aligned.warnings)]
    return Report(base.name, candidate.name, overall(findings), findings, tuple(notes))


def overall(findings: Sequence[Finding]) -> Outcome:
    """Overall verdict: supporting metrics count only if they regressed, advisory ones never.

    A metric without a value hides no regression: a model that no longer solves anything has no PSS, but its accuracy
    has regressed. A supporting metric without a value (κ of a perfect candidate) is ignored. A metric that could not be
    computed from these runs makes the check INVALID, and so does a policy without a gate for them.
    """
    gating = [finding for finding in findings if finding.decides]
    if not gating or any(finding.outcome is Outcome.INVALID and finding.defined for finding in gating):
        return Outcome.INVALID
    for outcome in (Outcome.REGRESSION, Outcome.INVALID):
        if any(finding.outcome is outcome for finding in gating):
            return outcome
    undecided = any(f.severity is Severity.CRITICAL and f.outcome is Outcome.INCONCLUSIVE for f in gating)
    return Outcome.INCONCLUSIVE if undecided else Outcome.PASS


def _wanted(policy: Policy, base: CheckpointRuns) -> list[tuple[str, Gate]]:
    """Tasks with their gates; a gate that names the task replaces that of ``*`` for the same metric."""
    named = {(gate.task, gate.metric) for gate in policy.gates}
    return [
        (task, gate)
        for gate in policy.gates
        for task in _tasks_of(gate, base)
        if gate.task == task or (task, gate.metric) not in named
    ]


def _is_left_out(gate: Gate, policy: Policy) -> bool:
    """Whether a supporting metric cannot be generalised to other personas, as the policy demands."""
    metric = METRICS[gate.metric]
    generalises = metric.judged or (isinstance(metric, StabilityMetric) and metric.generalises)
    return policy.generalise_to_personas and gate.severity is Severity.SUPPORTING and not generalises


def _tasks_of(gate: Gate, base: CheckpointRuns) -> list[str]:
    """Tasks a gate applies to; ``*`` itself if no task of the base has the metric."""
    if gate.task != EVERY_TASK:
        return [gate.task]
    judged = METRICS[gate.metric].judged
    return [name for name in base.records if _is_judged(base, name) == judged] or [EVERY_TASK]


def _is_judged(checkpoint: CheckpointRuns, task: str) -> bool:
    return checkpoint.task_record(task).is_judged


def _align(
    base: CheckpointRuns, candidate: CheckpointRuns, task: str, allow: bool, policy: Policy
) -> AlignedTask | str:
    """The aligned task, or why it cannot be tested."""
    try:
        aligned = align(base, candidate, task, allow)
    except InvalidRunError as error:
        return str(error)
    for checkpoint, share in zip((base, candidate), aligned.unscored, strict=True):
        if share > policy.max_unscored:
            return (
                f"{share:.1%} of {checkpoint.name}'s answers to {task} are unscored, more than the "
                f"{policy.max_unscored:.1%} allowed; run it again to retry only those"
            )
    return aligned


def _prepare(
    gate: Gate, task: str, aligned: AlignedTask | str, policy: Policy, base: CheckpointRuns, candidate: CheckpointRuns
) -> _Test:
    if task == EVERY_TASK:
        return _Test(gate, task, None, f"{base.name} has no task with {gate.metric}")
    if isinstance(aligned, str):
        return _Test(gate, task, None, aligned)
    if (aligned.judged is not None) != METRICS[gate.metric].judged:
        return _Test(gate, task, None, f"{task} has no {gate.metric}")
    generalise_to_personas = policy.generalise_to_personas
    change = _change(gate.metric, aligned, generalise_to_personas)
    if change is None:
        return _Test(gate, task, None, f"{gate.metric} cannot be generalised to other personas")
    if change.absolute.value is None:
        more = ": it needs two samples" if _needs_repeats(gate.metric) and not _is_repeated(aligned) else ""
        return _Test(gate, task, change, f"{gate.metric} is undefined for these answers{more}", defined=False)
    same = aligned.identical and _is_known(base, candidate, task)
    whole = aligned.with_unscored_wrong()
    if_wrong = None if whole is None else _change(gate.metric, whole, generalise_to_personas)
    return _Test(gate, task, change, "", aligned, generalise_to_personas, if_wrong, same)


def _change(metric: str, aligned: AlignedTask, generalise_to_personas: bool) -> Change | None:
    """The change of a metric; None if it cannot be generalised to other personas."""
    if metric == WORST_PERSONA.name:
        return None if generalise_to_personas or aligned.cells is None else worst_persona_change(*aligned.cells)
    return aligned.changes(generalise_to_personas and aligned.judged is None).get(metric)


def _is_known(base: CheckpointRuns, candidate: CheckpointRuns, task: str) -> bool:
    """Whether both are certainly one checkpoint; for endpoints, whether both are one run (or its baseline)."""
    if base.verifiable and candidate.verifiable:
        return base.fingerprint == candidate.fingerprint
    return base.records[task] == candidate.records[task]


def _needs_repeats(name: str) -> bool:
    metric = METRICS[name]
    return isinstance(metric, StabilityMetric) and metric.needs_repeats


def _is_repeated(aligned: AlignedTask) -> bool:
    return aligned.cells is not None and all((cells.scored[:, 1:] > 1).any() for cells in aligned.cells)


def _p_value(test: _Test) -> float:
    return math.nan if test.problem else test.tested.p_value(test.gate.max_drop)


def _judge(test: _Test, p: float, tests: int) -> Finding:
    """The finding, from a p-value already adjusted over so many tests."""
    gate, change = test.gate, test.change
    finding = Finding(
        test.task,
        gate.metric,
        gate.severity,
        gate.max_drop,
        Outcome.INVALID,
        test.problem,
        base=None if change is None else change.base,
        candidate=None if change is None else change.candidate,
        defined=test.defined,
    )
    if test.problem:
        return finding
    low, high = test.tested.bounds
    low_if_wrong, high_if_wrong = test.bounds_if_wrong
    finding = replace(
        finding,
        decline=test.tested.decline,
        low=low,
        high=high,
        low_if_wrong=low_if_wrong,
        high_if_wrong=high_if_wrong,
        p=float(p) if math.isfinite(p) else None,
    )
    if test.same:
        return replace(finding, outcome=Outcome.PASS, reason="same checkpoint, same answers", **_NO_CHANGE)
    if math.isfinite(p) and p <= ALPHA:
        return replace(finding, outcome=Outcome.REGRESSION)
    if high is not None and high <= gate.max_drop:
        rests = high_if_wrong is not None and high_if_wrong > gate.max_drop
        return replace(finding, outcome=Outcome.PASS, reason=_RESTS_ON_SCORED if rests else "")
    assert test.aligned is not None, "only aligned tasks are tested"
    why = remedy(test.aligned, gate.metric, test.tested, gate.max_drop, tests, test.generalise_to_personas)
    return replace(finding, outcome=Outcome.INCONCLUSIVE, reason=why)
