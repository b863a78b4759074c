"""The simulations of benchmarks/ ask what the program asks: the same sums, bounds and verdicts."""

import sys
from pathlib import Path

import numpy as np
import pytest

from personaeval.metrics.catalogue import HEADLINE
from personaeval.metrics.noninferiority import ALPHA
from personaeval.metrics.paired import changes
from personaeval.metrics.power import drawn_cells
from personaeval.metrics.sums import item_sums

NAMES = ("accuracy", "pss", "kappa", "corrected_pss")


@pytest.fixture(scope="module")
def experiments():
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
    try:
        import experiments

        yield experiments
    finally:
        sys.path.pop(0)


def drawn(experiments, name: str, count: int, samples: int):
    [population] = [one for one in experiments.POPULATIONS if one.name == name]
    return population.draw(np.random.default_rng(0), count, 60, 5, samples).correct


def test_experiments_side_by_side_are_those_one_by_one(experiments):
    base, candidate = drawn(experiments, "5 % of the items lost whole", 3, 2)
    together = experiments.paired_changes(experiments.batch(base, 2, NAMES), experiments.batch(candidate, 2, NAMES))
    for place, found in enumerate(together):
        sums = (item_sums(drawn_cells(correct[place], 2), "", ()) for correct in (base, candidate))
        alone = dict(zip(HEADLINE, changes(*sums), strict=False))
        for name in NAMES:
            assert found[name].absolute == alone[name].absolute
            assert found[name].p == alone[name].p


@pytest.mark.parametrize("name", ["beta(.1, .1)", "one topic lost", "2 % of the items gained whole"])
def test_the_bounds_of_a_change_decide_as_the_check_does(experiments, name):
    import simulated

    base, candidate = drawn(experiments, name, 8, 1)
    sums = [experiments.batch(correct, 1, NAMES[:3]) for correct in (base, candidate)]
    for found in experiments.paired_changes(*sums):
        for metric, change in found.items():
            low, high = experiments.decline_bounds(change)
            test = simulated.decline_test(change, metric)
            for max_drop in (0.0, 0.02, low - 1e-6, low + 1e-6):
                assert (low >= max_drop) == (test.p_value(max_drop) <= ALPHA)
            assert test.bounds[1] == high


@pytest.mark.slow
@pytest.mark.parametrize("name", ["beta(.1, .1)", "10 % of the items live", "2 % of the items gained whole"])
def test_known_values_are_those_of_many_drawn_items(experiments, name):
    [population] = [one for one in experiments.POPULATIONS if one.name == name]
    truth = population.truth(5)
    pair = population.draw(np.random.default_rng(1), 1, 20_000, 5, 2).correct
    for correct, expected in zip(pair, truth, strict=True):
        found = item_sums(drawn_cells(correct[0], 2), "", ())
        values = dict(zip(HEADLINE, found.estimate(found.matrix.sum(axis=0)), strict=False))
        for metric in ("accuracy", "pss", "corrected_pss"):
            assert values[metric] == pytest.approx(expected[metric], abs=0.012)
