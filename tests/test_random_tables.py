"""Any table of answers gives numbers that can be written, read and shown; and numbers say what they rest on."""

import numpy as np
import pytest

from benchmarks.random_tables import check_table
from personaeval.metrics.inference import Estimate, bootstrap
from personaeval.metrics.jackknife import JackknifeResult, intervals
from personaeval.metrics.paired import changes
from personaeval.metrics.stability import summarise
from personaeval.metrics.sums import item_sums
from personaeval.metrics.suspect import overall_excess
from tests.test_stability import make_cells, numbers


@pytest.mark.slow
def test_the_summary_of_any_table_is_written_and_read(tmp_path):
    rng = np.random.default_rng(7)
    for _ in range(40):
        assert check_table(rng, tmp_path) == []


@pytest.mark.parametrize(
    ("value", "scale"), [(0.999, "fisher"), (-0.999, "fisher"), (1 - 1e-12, "logit"), (1e-9, "log")]
)
def test_a_bound_beyond_what_can_be_computed_is_at_the_end_of_its_scale(value, scale):
    one = np.ones(1)
    found = JackknifeResult(value * one, value * one, 2 * one, 5 * one, 0 * one, 9 * one, 2 * one)
    [interval] = intervals(found, [scale])
    floor, ceiling = {"logit": (0, 1), "fisher": (-1, 1), "log": (0, np.inf)}[scale]
    assert floor <= interval.low <= value <= interval.high <= ceiling
    assert np.isfinite([interval.low, interval.high]).all()


def test_an_estimate_never_holds_what_json_cannot():
    assert Estimate(float("nan"), float("-inf"), 1.0).to_json() == {"value": None, "low": None, "high": 1.0}


def test_an_interval_holds_its_estimate():
    one = np.ones(1)
    [interval] = intervals(JackknifeResult(0.5 * one, 0.9 * one, 0.01 * one, 9 * one, 0 * one, 4 * one, one), ["logit"])
    assert interval.low <= 0.5 and interval.high > 0.9


def test_accuracy_of_all_and_any_personas_says_on_how_many_items_it_rests():
    scored = np.ones((10, 5), dtype=int)
    scored[0, 1] = scored[3, 4] = 0
    found = numbers(make_cells(np.ones((10, 5)) * scored, scored))
    assert found["complete_items"] == 8
    assert numbers(make_cells(np.ones((10, 5))))["complete_items"] == 10
    # The baseline is not one of the personas.
    scored[5, 0] = 0
    assert numbers(make_cells(np.ones((10, 5)) * scored, scored))["complete_items"] == 8


def test_an_expert_without_a_scored_cell_leaves_the_others_their_advantage():
    scored = np.ones((6, 4), dtype=int)
    scored[:, 2] = 0
    correct = np.array([[1, 1, 0, 1]] * 3 + [[0, 1, 0, 0]] * 3)
    categories, domains = ("baseline", "expert", "expert", "expert"), (None, *["mathematics"] * 3)
    found = summarise(make_cells(correct, scored, categories, domains), "mathematics").to_json()
    assert found["expertise_advantage"]["value"] == pytest.approx((1 + 0.5) / 2 - 0.5)
    sums = [item_sums(make_cells(own, scored, categories, domains), "mathematics", ()) for own in (correct, correct)]
    assert changes(*sums)[8].absolute.value == 0
    none = np.where(np.arange(4) > 0, 0, scored)
    assert summarise(make_cells(correct * none, none, categories, domains), "mathematics").to_json()[
        "expertise_advantage"
    ] == {"value": None, "low": None, "high": None}


def test_no_suspect_answer_among_few_does_not_rule_them_out():
    zero = np.zeros((20, 3), dtype=np.int32)
    found = overall_excess(zero, zero.astype(float), zero + 1)
    assert found.share.high == pytest.approx(1 - 0.025 ** (1 / 20))
    assert not found.is_high
    # If every answer is suspect, two items suffice: the exact lower bound, 0.16, is above the limit.
    two, twenty = (overall_excess(zero[:n] + 1, zero[:n].astype(float), zero[:n] + 1) for n in (2, 20))
    assert two.is_high is twenty.is_high is True


def test_a_bootstrap_with_a_single_outlier_has_bounds_in_order():
    values = np.zeros((30, 1))
    values[0] = 1
    [found] = bootstrap(np.hstack([values, np.ones((30, 1))]), lambda sums: sums[..., :1] / sums[..., 1:], 0, 500)
    assert found.low <= found.value <= found.high
