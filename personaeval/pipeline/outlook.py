"""The smallest change that a task of a planned run can detect.

It depends on what two checkpoints share. Two past runs of the task show it; otherwise a range is given, from
neighbouring checkpoints to unrelated ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from personaeval.generation.plan import TaskPlan
from personaeval.pipeline.past_runs import PastRuns, past_runs

if TYPE_CHECKING:
    from personaeval.metrics.population import Declining, Population

SAMPLES = (1, 2, 4, 8)

NEIGHBOURS, UNRELATED = "neighbouring checkpoints", "unrelated checkpoints"

_ASSUMED = 0.6

_ASSUMED_SD = 0.5
"""Standard deviation of a persona's mean score, assumed without a run."""

_FEW = "fewer than two personas: no forecast"

_TITLES = {"accuracy": "accuracy", "pss": "PSS", "persona_score": "PersonaScore"}


@dataclass(frozen=True)
class Scenario:
    """What a task can detect between two checkpoints that share as much as ``name`` says.

    Attributes:
        name: the two past runs, or one end of the range from neighbouring to unrelated checkpoints.
        minimum_detectable_effect: metric -> smallest decline detected with a power of 80 %; None if the metric cannot
            fall that far.
        required_sample_size: metric -> samples -> items (of a judged task, personas) that detect the given decline;
            empty without one.
    """

    name: str
    minimum_detectable_effect: dict[str, float | None]
    required_sample_size: dict[str, dict[int, int | None]]


@dataclass(frozen=True)
class Outlook:
    """Changes that a task with n items, m personas and S samples can detect.

    Attributes:
        task: its name.
        items: n.
        personas: m.
        samples: S.
        basis: where the assumed population comes from, in words.
        scenarios: one if two past runs show what two checkpoints share; else neighbouring and unrelated checkpoints;
            none if m < 2.
        is_judged: whether the clusters are personas, not items.
    """

    task: str
    items: int
    personas: int
    samples: int
    basis: str
    scenarios: tuple[Scenario, ...]
    is_judged: bool = False

    @property
    def minimum_detectable_effect(self) -> dict[str, float | None]:
        """That of the last scenario, the least favourable one; empty without any."""
        return self.scenarios[-1].minimum_detectable_effect if self.scenarios else {}

    @property
    def required_sample_size(self) -> dict[str, dict[int, int | None]]:
        """That of the last scenario, the least favourable one; empty without any."""
        return self.scenarios[-1].required_sample_size if self.scenarios else {}


def make_outlook(task: TaskPlan, output: Path, detect: float | None) -> Outlook:
    """What a task of a planned run can detect.

    Args:
        task: its part of the plan.
        output: the results folder, whose past runs of the task are used.
        detect: a change; adds the sample sizes that detect it.
    """
    name, n, m = task.items.task.name, len(task.items.items), len(task.personas) - 1
    is_judged = task.items.task.is_judged
    clusters = len(task.personas) if is_judged else m
    if clusters < 2:
        return Outlook(name, n, clusters, task.samples, _FEW, (), is_judged)
    past = past_runs(output, name)
    basis, scenarios = (_judged if is_judged else _counted)(task, past, detect)
    where = f"{basis} in {output}" if past else f"{basis}: no run of it in {output}"
    return Outlook(name, n, clusters, task.samples, where, scenarios, is_judged)


def _counted(task: TaskPlan, past: PastRuns | None, detect: float | None) -> tuple[str, tuple[Scenario, ...]]:
    from personaeval.metrics import power
    from personaeval.metrics.population import Population, like

    if past is None:
        population, basis = Population(_ASSUMED), f"an assumed accuracy of {_ASSUMED}"
    else:
        accuracy, pss = past.values["accuracy"] or 0.0, past.values["pss"] or 0.0
        population = like(accuracy, pss, past.values["repeatability"])
        basis = f"accuracy {accuracy:.3f} and PSS {pss:.3f} of {past.names[0]}"
    if past and past.errors:
        errors = {metric: past.errors[metric] for metric in power.PLANNED}
        near, factors = power.calibrated(population, errors, past.personas, past.samples)
        basis += f", and what it shares with {past.names[1]}"
        return basis, (_scenario(_pair(past), task, near, factors, detect),)
    ends = {NEIGHBOURS: power.NEIGHBOUR, UNRELATED: power.UNRELATED}
    return basis, tuple(
        _scenario(name, task, replace(population, **shares), {}, detect) for name, shares in ends.items()
    )


def _pair(past: PastRuns) -> str:
    return f"checkpoints as different as {' and '.join(past.names)}"


def _scenario(
    name: str,
    task: TaskPlan,
    population: Population,
    factors: Mapping[Declining, float],
    detect: float | None,
) -> Scenario:
    from personaeval.metrics.power import PLANNED, minimum_detectable_effect, required_sample_size

    n, m = len(task.items.items), len(task.personas) - 1
    shown: dict[str, float | None] = {}
    sizes: dict[str, dict[int, int | None]] = {}
    for metric in PLANNED:
        factor = factors.get(metric, 1.0)
        shown[metric] = minimum_detectable_effect(population, metric, n, m, task.samples, factor)
        if detect is not None:
            sizes[metric] = {
                samples: required_sample_size(population, metric, detect, m, samples, factor)
                for samples in sorted({*SAMPLES, task.samples})
            }
    return Scenario(name, shown, sizes)


def _judged(task: TaskPlan, past: PastRuns | None, detect: float | None) -> tuple[str, tuple[Scenario, ...]]:
    from personaeval.metrics.power import NEIGHBOUR, detectable_score_decline, required_personas

    metric, personas = "persona_score", len(task.personas)
    freedom = 1.0 if past is None else past.freedom

    def scenario(name: str, error: float) -> Scenario:
        sizes: dict[str, dict[int, int | None]] = {}
        if detect is not None:
            sizes[metric] = {task.samples: required_personas(error, freedom, detect)}
        return Scenario(name, {metric: detectable_score_decline(error, freedom, personas)}, sizes)

    if past is None:
        error, basis = _ASSUMED_SD, f"an assumed standard deviation of {_ASSUMED_SD} between personas"
    else:
        error, basis = past.errors[metric], f"PersonaScore {past.values[metric]:.2f} of {past.names[0]}"
    if past and len(past.names) > 1:
        return f"{basis}, and what it shares with {past.names[1]}", (scenario(_pair(past), error),)
    # Var(a - b) = 2 (1 - correlation) Var(a)
    near = (2 * (1 - NEIGHBOUR["kept"])) ** 0.5
    return basis, (scenario(NEIGHBOURS, near * error), scenario(UNRELATED, 2**0.5 * error))


def describe_outlook(outlook: Outlook, detect: float | None) -> list[str]:
    """An outlook in lines for people."""
    clusters = "personas" if outlook.is_judged else "items"
    items = "questions" if outlook.is_judged else "items"
    size = f"n = {outlook.items:,} {items}, m = {outlook.personas}, S = {outlook.samples}"
    if not outlook.scenarios:
        return [f"{outlook.task} ({size}): {outlook.basis}."]
    between = " to ".join(scenario.name for scenario in outlook.scenarios)
    if len(outlook.scenarios) > 1:
        between = f"two checkpoints, from {between}"
    declines = ", ".join(
        f"{_TITLES[name]} {_range([_decimal(one.minimum_detectable_effect[name]) for one in outlook.scenarios])}"
        for name in outlook.minimum_detectable_effect
    )
    lines = [f"{outlook.task} ({size}): minimum detectable decline between {between}: {declines}."]
    for name, sizes in outlook.required_sample_size.items():
        wanted = ", ".join(
            f"{_range([_count(one.required_sample_size[name][samples]) for one in outlook.scenarios])} at S = {samples}"
            for samples in sizes
        )
        lines.append(f"  For a decline of {detect:g} in {_TITLES[name]}, {clusters}: {wanted}.")
    unreached = " –: it cannot fall that far." if any("–" in line for line in lines) else ""
    lines.append(f"  (Power 80 %, one-sided 2.5 %; from {outlook.basis}.{unreached})")
    return lines


def _range(ends: list[str]) -> str:
    return " to ".join(dict.fromkeys(ends))


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
