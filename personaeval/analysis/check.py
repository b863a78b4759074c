"""Regression check: is a candidate worse than its base by more than a policy allows?

A non-inferiority test for every gated metric, one-sided at α = 0.025. d is the decline: above 0 is worse, whichever
direction of the metric is better. PASS: H0 "d ≥ max_drop" is rejected (all critical metrics must: an intersection–union
test, so no correction). REGRESSION: H0 "d ≤ max_drop" is rejected, adjusted by Holm over the gating metrics.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np

from personaeval.analysis.compare import AlignedTask, align
from personaeval.analysis.policy import EVERY_TASK, Gate, Policy, Severity
from personaeval.errors import InvalidRunError
from personaeval.metrics.catalogue import METRICS, WORST_PERSONA, StabilityMetric
from personaeval.metrics.inference import holm
from personaeval.metrics.noninferiority import ALPHA, NonInferiorityTest
from personaeval.metrics.paired import Change
from personaeval.metrics.split_half import worst_persona_change
from personaeval.results.runs import CheckpointRuns


class Outcome(StrEnum):
    """Verdict on one metric, or on all."""

    PASS = "PASS"  # noqa: S105 (no password)
    REGRESSION = "REGRESSION"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"


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
        sizes: sample sizes that determine the error, such as items: 500.
        items: number of items the change rests on; infinite for a judged task.
        same: whether base and candidate are one checkpoint with the same answers.
        defined: as in :class:`Finding`.
    """

    gate: Gate
    task: str
    change: Change | None
    problem: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)
    items: float = math.inf
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
        return NonInferiorityTest(self.change.decline(METRICS[self.gate.metric].better), self.items)


def check(
    base: CheckpointRuns, candidate: CheckpointRuns, policy: Policy, allow_different_settings: bool = False
) -> Report:
    """Verdict on a candidate.

    A metric that cannot be tested (one run lacks the task, too many unscored answers, undefined value) is a finding of
    its own, and never a pass.
    """
    aligned_tasks: dict[str, AlignedTask | str] = {}
    wanted = _wanted(policy, base)
    for task, _ in wanted:
        if task not in aligned_tasks and task != EVERY_TASK:
            aligned_tasks[task] = _align(base, candidate, task, allow_different_settings, policy)
    tests = [_prepare(gate, task, aligned_tasks.get(task, ""), policy, base, candidate) for task, gate in wanted]
    gating = [test for test in tests if test.gates]
    adjusted = iter(holm(np.array([_p_value(test) for test in gating])))
    family = max(len(gating), 1)
    findings = tuple(_judge(test, next(adjusted) if test.gates else _p_value(test), family) for test in tests)
    gated = {task for task, gate in wanted if gate.severity is not Severity.ADVISORY}
    notes = [f"{task}: not gated by this policy." for task in base.records if task not in gated]
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
    if gate.metric == WORST_PERSONA.name:
        change = None if generalise_to_personas or aligned.cells is None else worst_persona_change(*aligned.cells)
    else:
        change = aligned.changes(generalise_to_personas and aligned.judged is None).get(gate.metric)
    if change is None:
        return _Test(gate, task, None, f"{gate.metric} cannot be generalised to other personas")
    if change.absolute.value is None:
        more = ": it needs two samples" if _needs_repeats(gate.metric) and not _is_repeated(aligned) else ""
        return _Test(gate, task, change, f"{gate.metric} is undefined for these answers{more}", defined=False)
    by_item = change
    if generalise_to_personas and aligned.judged is None:
        by_item = aligned.changes()[gate.metric]
    items = math.inf if aligned.judged is not None else float(by_item.tested.clusters[0])
    same = aligned.identical and _is_known(base, candidate, task)
    return _Test(gate, task, change, sizes=_sizes(aligned, change, generalise_to_personas), items=items, same=same)


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


def _sizes(aligned: AlignedTask, change: Change, generalise_to_personas: bool) -> dict[str, int]:
    """Sample sizes that determine the error of a change."""
    if aligned.cells is None:
        return {"personas": int(change.tested.clusters[0])}
    personas = {"personas": len(aligned.cells[0].persona_ids) - 1} if generalise_to_personas else {}
    return {"items": len(aligned.items)} | personas


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
    finding = replace(
        finding,
        decline=test.tested.decline,
        low=low,
        high=high,
        p=float(p) if math.isfinite(p) else None,
    )
    if test.same:
        return replace(finding, outcome=Outcome.PASS, reason="same checkpoint, same answers", low=0.0, high=0.0)
    if math.isfinite(p) and p <= ALPHA:
        return replace(finding, outcome=Outcome.REGRESSION)
    if high is not None and high <= gate.max_drop:
        return replace(finding, outcome=Outcome.PASS)
    return replace(finding, outcome=Outcome.INCONCLUSIVE, reason=_remedy(test, tests))


def _remedy(test: _Test, tests: int) -> str:
    """In words: how much data would decide it with a power of 80 %, if the true decline is the observed one."""
    sizes = test.sizes
    if test.tested.bounds[1] is None:
        return f"{_list(sizes)} are too few for an interval"
    times = test.tested.required_multiple(test.gate.max_drop, tests)
    if times is None:
        what = " and ".join(sizes)
        if test.tested.is_undecidable(test.gate.max_drop):
            return f"not decidable with ten times the data: it rests on only {test.tested.items:,.0f} items"
        return f"not decidable with ten times the {what}: the decline is too close to max_drop"
    wanted = {kind: math.ceil(times * count) for kind, count in sizes.items()}
    return f"about {_list(wanted)} would decide it at this decline ({_list(sizes)} now)"


def _list(sizes: Mapping[str, int]) -> str:
    return " and ".join(f"{count:,} {kind}" for kind, count in sizes.items())
