"""The check: is a candidate no worse than its base by more than a policy allows?

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
    """What is found of one metric, or of all."""

    PASS = "PASS"  # noqa: S105 (no password)
    REGRESSION = "REGRESSION"
    INCONCLUSIVE = "INCONCLUSIVE"
    INVALID = "INVALID"


EXIT_CODES = {Outcome.PASS: 0, Outcome.REGRESSION: 1, Outcome.INCONCLUSIVE: 3, Outcome.INVALID: 4}


@dataclass(frozen=True)
class Finding:
    """What is found of one gated metric.

    Attributes:
        task: its name.
        metric: its name in the catalogue.
        severity: what it does to the whole.
        max_drop: what is allowed, in the metric's unit.
        outcome: the verdict.
        reason: in words: what would decide it, or why it is not valid.
        base: value there.
        candidate: value there.
        decline: by how much the candidate is worse.
        low: lower bound of the decline, 97.5 % one-sided.
        high: upper bound of it, which PASS compares with ``max_drop``.
        p: of "worse by no more than max_drop", adjusted for all gating metrics; REGRESSION needs at most 0.025.
        defined: whether its formula gives a number for these answers; PSS gives none where nothing is solved, corrected
            PSS none with one sample.
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
        """Whether it can change the verdict on the whole."""
        return self.severity is not Severity.ADVISORY

    @property
    def decides(self) -> bool:
        """Whether it did: a supporting metric without a value decides nothing."""
        return self.gates and (self.defined or self.severity is Severity.CRITICAL)


@dataclass(frozen=True)
class Report:
    """What a check found."""

    base: str
    candidate: str
    outcome: Outcome
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """0 PASS, 1 REGRESSION, 3 INCONCLUSIVE, 4 not valid for the question."""
        return EXIT_CODES[self.outcome]


@dataclass(frozen=True)
class _Test:
    """One metric of one task, about to be tested.

    Attributes:
        gate: what the policy says of it.
        task: its name.
        change: None where there is none.
        problem: why it cannot be tested; empty where it can.
        sizes: of what more would shrink the error, and how many there are.
        items: on how many items the change rests; infinite for a judged task.
        same: whether one checkpoint is checked against itself, and nothing differs.
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
    def tested(self) -> NonInferiorityTest:
        """By how much the candidate is worse."""
        assert self.change is not None, "only what could be estimated is tested"
        return NonInferiorityTest(self.change.decline(METRICS[self.gate.metric].better), self.items)


def check(
    base: CheckpointRuns, candidate: CheckpointRuns, policy: Policy, allow_different_settings: bool = False
) -> Report:
    """Return the verdict on a candidate.

    What cannot be tested (a task that one does not have, too much unscored, a metric that is not defined) is a finding
    of its own, and never a pass.
    """
    pairs: dict[str, AlignedTask | str] = {}
    wanted = _wanted(policy, base)
    for task, _ in wanted:
        if task not in pairs and task != EVERY_TASK:
            pairs[task] = _align(base, candidate, task, allow_different_settings, policy)
    tests = [_prepare(gate, task, pairs.get(task, ""), policy, base, candidate) for task, gate in wanted]
    gating = [test for test in tests if test.gate.severity is not Severity.ADVISORY]
    adjusted = holm(np.array([_p_worse(test) for test in gating]))
    p_values = dict(zip(map(id, gating), adjusted, strict=True))
    findings = tuple(_judge(test, p_values.get(id(test), _p_worse(test)), max(len(gating), 1)) for test in tests)
    gated = {task for task, gate in wanted if gate.severity is not Severity.ADVISORY}
    notes = [f"{task}: not gated by this policy." for task in base.records if task not in gated]
    if {path.resolve() for path in base.folders.values()} & {path.resolve() for path in candidate.folders.values()}:
        notes.append("Base and candidate are the same run.")
    aligned = [pair for pair in pairs.values() if isinstance(pair, AlignedTask)]
    notes += [f"{pair.task}: {note}" for pair in aligned for note in (*pair.notes, *pair.warnings)]
    return Report(base.name, candidate.name, overall(findings), findings, tuple(notes))


def overall(findings: Sequence[Finding]) -> Outcome:
    """Return the verdict on the whole: supporting metrics count only when they regressed, advisory ones never.

    A model that solves nothing any more has no PSS, and has regressed: a metric without a value hides no regression,
    and a supporting one without a value (κ of a perfect candidate) decides nothing. What could not be looked at does,
    and so does nothing to look at.
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
    """Return the tasks with their gates; what is said of a task by name stands in the place of what is said of all."""
    named = {(gate.task, gate.metric) for gate in policy.gates}
    return [
        (task, gate)
        for gate in policy.gates
        for task in _tasks_of(gate, base)
        if gate.task == task or (task, gate.metric) not in named
    ]


def _tasks_of(gate: Gate, base: CheckpointRuns) -> list[str]:
    """Return the tasks a gate is about; ``*`` itself where the base has none of the metric's kind."""
    if gate.task != EVERY_TASK:
        return [gate.task]
    judged = METRICS[gate.metric].judged
    return [name for name in base.records if _is_judged(base, name) == judged] or [EVERY_TASK]


def _is_judged(side: CheckpointRuns, task: str) -> bool:
    return side.task_record(task).is_judged


def _align(
    base: CheckpointRuns, candidate: CheckpointRuns, task: str, allow: bool, policy: Policy
) -> AlignedTask | str:
    """Return a task's pair, or why there is none that could be tested."""
    try:
        pair = align(base, candidate, task, allow)
    except InvalidRunError as error:
        return str(error)
    for side, share in zip((base, candidate), pair.unscored, strict=True):
        if share > policy.max_unscored:
            return (
                f"{share:.1%} of {side.name}'s answers to {task} are unscored, more than the {policy.max_unscored:.1%} "
                "allowed: run it again, which asks only for those"
            )
    return pair


def _prepare(
    gate: Gate, task: str, pair: AlignedTask | str, policy: Policy, base: CheckpointRuns, candidate: CheckpointRuns
) -> _Test:
    if task == EVERY_TASK:
        return _Test(gate, task, None, f"{base.name} has no task with {gate.metric}")
    if isinstance(pair, str):
        return _Test(gate, task, None, pair)
    if (pair.judged is not None) != METRICS[gate.metric].judged:
        return _Test(gate, task, None, f"{task} has no {gate.metric}")
    generalise = policy.generalise_to_personas
    if gate.metric == WORST_PERSONA.name:
        change = None if generalise or pair.cells is None else worst_persona_change(*pair.cells)
    else:
        change = pair.changes(generalise and pair.judged is None).get(gate.metric)
    if change is None:
        return _Test(gate, task, None, f"{gate.metric} cannot be claimed of personas that were not tried")
    if change.absolute.value is None:
        more = "; it needs two samples" if _needs_repeats(gate.metric) and not _is_repeated(pair) else ""
        return _Test(gate, task, change, f"{gate.metric} is not defined here{more}", defined=False)
    resting = change
    if generalise and pair.judged is None:
        resting = pair.changes()[gate.metric]
    items = math.inf if pair.judged is not None else float(resting.tested.clusters[0])
    same = pair.identical and _is_known(base, candidate, task)
    return _Test(gate, task, change, sizes=_sizes(pair, change, generalise), items=items, same=same)


def _is_known(base: CheckpointRuns, candidate: CheckpointRuns, task: str) -> bool:
    """Return whether both are one checkpoint for sure; of an endpoint, whether both are one run (or its baseline)."""
    if base.verifiable and candidate.verifiable:
        return base.fingerprint == candidate.fingerprint
    return base.records[task] == candidate.records[task]


def _needs_repeats(name: str) -> bool:
    metric = METRICS[name]
    return isinstance(metric, StabilityMetric) and metric.needs_repeats


def _is_repeated(pair: AlignedTask) -> bool:
    return pair.cells is not None and all((cells.scored[:, 1:] > 1).any() for cells in pair.cells)


def _sizes(pair: AlignedTask, change: Change, generalise: bool) -> dict[str, int]:
    """Return of what more would shrink the error of a change, and how many there are."""
    if pair.cells is None:
        return {"personas": int(change.tested.clusters[0])}
    personas = {"personas": len(pair.cells[0].persona_ids) - 1} if generalise else {}
    return {"items": len(pair.items)} | personas


def _p_worse(test: _Test) -> float:
    return math.nan if test.problem else test.tested.p_value(test.gate.max_drop)


def _judge(test: _Test, p: float, tests: int) -> Finding:
    """Return the finding; ``p`` is adjusted already, for so many tests."""
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
        return replace(finding, outcome=Outcome.PASS, reason="the same checkpoint, the same answers", low=0.0, high=0.0)
    if math.isfinite(p) and p <= ALPHA:
        return replace(finding, outcome=Outcome.REGRESSION)
    if high is not None and high <= gate.max_drop:
        return replace(finding, outcome=Outcome.PASS)
    return replace(finding, outcome=Outcome.INCONCLUSIVE, reason=_remedy(test, tests))


def _remedy(test: _Test, tests: int) -> str:
    """Say how much data would decide it at the observed decline, with a power of 80 %."""
    sizes = test.sizes
    if test.tested.bounds[1] is None:
        return f"{_list(sizes)} are too few for an interval"
    times = test.tested.required_multiple(test.gate.max_drop, tests)
    if times is None:
        what = " and ".join(sizes)
        if test.tested.is_undecidable(test.gate.max_drop):
            return (
                f"not decidable at a reasonable size: it rests on {test.tested.items:,.0f} items, too few even tenfold"
            )
        return f"not decidable at a reasonable size: the decline is too near to max_drop for ten times the {what}"
    wanted = {kind: math.ceil(times * count) for kind, count in sizes.items()}
    return f"about {_list(wanted)} would decide it at this decline ({_list(sizes)} now)"


def _list(sizes: Mapping[str, int]) -> str:
    return " and ".join(f"{count:,} {kind}" for kind, count in sizes.items())
