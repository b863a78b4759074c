"""What two checkpoints share is read from two past runs; without them plan prints a range and names its ends."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from personaeval.generation.plan import TaskPlan
from personaeval.library.personas import BASELINE, Category, Persona
from personaeval.library.registry import Registry
from personaeval.library.sources import ItemSet
from personaeval.library.tasks import Item
from personaeval.metrics.jackknife import zero_event_bound
from personaeval.metrics.population import Population
from personaeval.metrics.power import calibrated, detectable_score_decline, required_personas
from personaeval.pipeline.outlook import NEIGHBOURS, UNRELATED, describe_outlook, make_outlook
from personaeval.pipeline.past_runs import past_runs
from personaeval.types import Sampling
from tests.finished import counted, judged, write_run

TASK, N, M = "mini-arith", 120, 8
NEAR, FAR = Population(0.7, kept=0.98, kept_noise=0.98), Population(0.7, kept=0.0)


def planned(n: int = N, samples: int = 1, task: str = TASK) -> TaskPlan:
    """A task's part of a plan, with as much of it as an outlook reads."""
    items = ItemSet(Registry().task(task)[0], tuple(Item(f"i{k}", "?", "0") for k in range(n)), {}, "", "")
    others = [Persona(id=f"p{k}", text=f"a p{k}", category=Category.STYLE) for k in range(1, M + 1)]
    return TaskPlan(items, (BASELINE, *others), (), (), Sampling(), samples, 0, 0)


def write_pair(results: Path, population: Population, *names: str, seed: int = 0, task: str = TASK, **settings) -> None:
    """Runs of as many checkpoints as there are names, the last the newest."""
    drawn = population.draw_runs([population] * (len(names) - 1), np.random.default_rng(seed), N, M, 1)
    for place, (name, correct) in enumerate(zip(names, drawn, strict=True)):
        folder = results / name / "plan"
        write_run(folder, [counted(correct, task=task)], label=name, fingerprint=name[0] * 32, **settings)
        os.utime(folder / "run.json", (place, place))


def test_two_past_runs_tell_near_checkpoints_from_unrelated_ones(tmp_path):
    write_pair(tmp_path / "near", NEAR, "first", "second")
    write_pair(tmp_path / "far", FAR, "first", "second")
    found = {name: make_outlook(planned(), tmp_path / name, None) for name in ("near", "far", "none")}
    declines = {name: outlook.minimum_detectable_effect["accuracy"] for name, outlook in found.items()}
    assert declines["near"] < declines["far"] / 2
    [scenario] = found["near"].scenarios
    assert scenario.name == "checkpoints as different as second and first"
    assert "of second, and what it shares with first" in found["near"].basis
    assert [scenario.name for scenario in found["none"].scenarios] == [NEIGHBOURS, UNRELATED]


def test_one_run_gives_a_range_that_is_named(tmp_path):
    write_pair(tmp_path, NEAR, "only")
    outlook = make_outlook(planned(), tmp_path, 0.02)
    near, far = outlook.scenarios
    for metric in ("accuracy", "pss"):
        assert near.minimum_detectable_effect[metric] < far.minimum_detectable_effect[metric]
        assert near.required_sample_size[metric][4] < far.required_sample_size[metric][4]
    assert outlook.minimum_detectable_effect is far.minimum_detectable_effect
    told = "\n".join(describe_outlook(outlook, 0.02))
    low, high = (one.minimum_detectable_effect["accuracy"] for one in outlook.scenarios)
    assert f"from neighbouring checkpoints to unrelated checkpoints: accuracy {low:.3f} to {high:.3f}" in told
    assert "of only in" in told


@pytest.mark.parametrize(
    "different", [{"fingerprint": "f" * 32}, {"samples": 2}, {"template": "Act as {{ persona }}."}], ids=str
)
def test_runs_that_cannot_be_compared_are_no_pair(tmp_path, different):
    pair = NEAR.draw_pair(NEAR, np.random.default_rng(0), N, M, 1)
    write_run(tmp_path / "first" / "plan", [counted(pair[0], task=TASK)], label="first", fingerprint="f" * 32)
    second = counted(pair[1], task=TASK, samples=different.get("samples", 1))
    write_run(tmp_path / "second" / "plan", [second], label="second", **{"fingerprint": "s" * 32} | different)
    assert past_runs(tmp_path, TASK).errors == {}


def test_a_pair_rests_on_common_items_whatever_their_order(tmp_path):
    write_pair(tmp_path / "whole", NEAR, "first", "second")
    expected = past_runs(tmp_path / "whole", TASK)
    drawn = NEAR.draw_runs([NEAR], np.random.default_rng(0), N, M, 1)
    order = np.random.default_rng(1).permutation(N)
    extra = np.vstack([drawn[0][order], np.zeros((30, 1 + M), dtype=np.int32)])
    items = [*(f"i{k}" for k in order), *(f"more{k}" for k in range(30))]
    write_run(tmp_path / "mixed" / "f" / "plan", [counted(extra, task=TASK, items=items)], label="first")
    folder = write_run(
        tmp_path / "mixed" / "s" / "plan", [counted(drawn[1], task=TASK)], label="second", fingerprint="s" * 32
    )
    os.utime(folder / "run.json", (2**32, 2**32))
    found = past_runs(tmp_path / "mixed", TASK)
    assert found.names == ("second", "first")
    assert found.errors == pytest.approx(expected.errors)


def test_equal_answers_do_not_promise_a_certain_comparison(tmp_path):
    correct = NEAR.draw(np.random.default_rng(0), N, M, 1)
    for name in ("first", "second"):
        write_run(tmp_path / name / "plan", [counted(correct, task=TASK)], label=name, fingerprint=name[0] * 32)
    outlook = make_outlook(planned(), tmp_path, None)
    assert [scenario.name for scenario in outlook.scenarios] == [NEIGHBOURS, UNRELATED]


@pytest.mark.parametrize("population", [NEAR, FAR, Population(0.7)], ids=["near", "far", "default"])
def test_the_paired_deviation_is_that_of_drawn_runs_and_can_be_inverted(population):
    pair = population.draw_pair(population, np.random.default_rng(3), 20_000, M, 2)
    means = [correct[:, 1:].mean(axis=1) / 2 for correct in pair]
    sd = population.paired_sd(M, 2)
    assert np.std(means[0] - means[1]) == pytest.approx(sd, rel=0.03)
    again = replace(population, kept=0.5, kept_noise=0.0).with_paired_sd(sd, M, 2)
    assert again.paired_sd(M, 2) == pytest.approx(sd, rel=1e-4)


def test_errors_beyond_the_model_are_a_factor(tmp_path):
    wide = 2 * FAR.paired_sd(M, 1)
    population, factors = calibrated(FAR, {"accuracy": wide, "pss": 1.0}, M, 1)
    assert population.kept == 0
    assert factors["accuracy"] == pytest.approx(2, rel=0.05)


def test_no_forecast_is_below_the_floor_of_the_check(tmp_path):
    write_pair(tmp_path, Population(0.7, kept=0.999, kept_noise=0.999), "first", "second")
    outlook = make_outlook(planned(), tmp_path, None)
    assert outlook.minimum_detectable_effect["accuracy"] > zero_event_bound(N)


def test_persona_score_has_a_forecast(tmp_path):
    rng = np.random.default_rng(0)
    scores = np.clip(3 + rng.normal(size=(30, 1, 1)) + rng.normal(size=(30, 5, 4)), 1, 5)
    write_run(tmp_path / "first" / "plan", [judged(scores, task="personagym")], label="first")
    alone = make_outlook(planned(task="personagym"), tmp_path, 0.2)
    assert [scenario.name for scenario in alone.scenarios] == [NEIGHBOURS, UNRELATED]
    again = np.clip(scores + rng.normal(0, 0.3, size=scores.shape), 1, 5)
    write_run(tmp_path / "second" / "plan", [judged(again, task="personagym")], label="second", fingerprint="s" * 32)
    outlook = make_outlook(planned(task="personagym"), tmp_path, 0.2)
    [scenario] = outlook.scenarios
    low, high = (one.minimum_detectable_effect["persona_score"] for one in alone.scenarios)
    assert scenario.minimum_detectable_effect["persona_score"] < low < high
    told = "\n".join(describe_outlook(outlook, 0.2))
    assert f"PersonaScore {scenario.minimum_detectable_effect['persona_score']:.3f}" in told
    assert "For a decline of 0.2 in PersonaScore, personas: " in told


def test_the_number_of_personas_is_the_inverse_of_the_detectable_decline():
    decline = detectable_score_decline(0.4, 0.9, 60)
    assert required_personas(0.4, 0.9, decline) == pytest.approx(60, abs=1)
    # t quantiles of 53 degrees of freedom times the error
    assert decline == pytest.approx((2.006 + 0.848) * 0.4 / 60**0.5, rel=0.01)
