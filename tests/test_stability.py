"""Stability metrics: cases by hand, slow references, properties, and a population whose truth is known."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from personaeval.analysis.policy import Gate
from personaeval.metrics.catalogue import METRICS, STABILITY
from personaeval.metrics.population import Population
from personaeval.metrics.power import drawn_cells
from personaeval.metrics.stability import Cells, lottery, pair_sums, prompt_sensitivity, pss, sd_between, summarise
from personaeval.metrics.sums import item_sums
from personaeval.metrics.totals import Totals


def make_cells(correct, scored=None, categories=None, domains=None, **counts) -> Cells:
    """Cells of [n, 1 + m] counts, the baseline in column 0; one sample unless told."""
    correct = np.asarray(correct, dtype=np.int32)
    scored = (
        np.ones_like(correct) if scored is None else np.broadcast_to(np.asarray(scored, dtype=np.int32), correct.shape)
    )
    width = correct.shape[1]
    zero = np.zeros_like(correct)
    fields = dict.fromkeys(("no_answer", "truncated", "wrong_truncated", "unscored", "other_script"), zero)
    return Cells(
        persona_ids=("none", *(f"p{n}" for n in range(1, width))),
        categories=categories or ("baseline", *["style"] * (width - 1)),
        domains=domains or (None,) * width,
        correct=correct,
        scored=scored,
        score_sum=correct.astype(float),
        **(fields | {name: np.asarray(value, dtype=np.int32) for name, value in counts.items()}),
    )


def numbers(cells: Cells, **more) -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return summarise(cells, "mathematics", **more).to_json()


def no_nan(value) -> bool:
    if isinstance(value, dict):
        return all(map(no_nan, value.values()))
    if isinstance(value, list):
        return all(map(no_nan, value))
    return not isinstance(value, float) or math.isfinite(value)


# By hand.


def test_all_right():
    found = numbers(make_cells(np.ones((5, 4))))
    assert found["accuracy"]["value"] == found["pss"]["value"] == 1
    assert found["kappa"]["value"] is None
    assert found["spread"] == 0


def test_all_wrong():
    found = numbers(make_cells(np.zeros((5, 4))))
    assert found["accuracy"]["value"] == 0
    assert found["pss"]["value"] is found["kappa"]["value"] is None
    assert no_nan(found)


def test_one_persona_bad():
    # Three personas right on all items, one on none: of 3·4 ordered pairs from a right one, 3·2 end in a right one.
    found = numbers(make_cells([[1, 1, 1, 1, 0]] * 6))
    assert found["pss"]["value"] == pytest.approx((9 - 3) / 12 / (3 / 4))
    assert found["accuracy"]["value"] == 0.75
    assert found["kappa"]["value"] == pytest.approx((2 / 3 - 0.75) / 0.25)
    assert found["worst"] == {"persona": "p4", "accuracy": 0.0}
    assert found["worst_case_utility"] == -1


def test_two_clusters_of_items():
    # Half the items always right, half never: nothing depends on the persona.
    found = numbers(make_cells([[1] * 5] * 4 + [[0] * 5] * 4))
    assert found["accuracy"]["value"] == 0.5
    assert found["pss"]["value"] == found["kappa"]["value"] == 1


def test_samples_with_known_q():
    # One item, two personas, four samples: q = 1/2 and 1.
    found = numbers(make_cells([[4, 2, 4]], scored=4))
    assert found["accuracy"]["value"] == 0.75
    assert found["pss"]["value"] == pytest.approx(0.5 * 1 / 0.75)
    # Pairs of samples both right: 2·1/(4·3) and 1.
    assert found["repeatability"]["value"] == pytest.approx((1 / 6 + 1) / 1.5)
    assert found["persona_effect"]["value"] == pytest.approx((1 / 6 + 1) / 1.5 - 2 / 3)
    assert found["corrected_pss"]["value"] == pytest.approx((2 / 3) / ((1 / 6 + 1) / 1.5))


def test_repeatability_needs_no_second_persona():
    found = numbers(make_cells([[4, 2], [0, 4]], scored=4))
    assert found["repeatability"]["value"] == pytest.approx((1 / 6 + 1) / 1.5)
    assert found["persona_effect"]["value"] is None


def test_one_sample_separates_nothing():
    found = numbers(make_cells(np.eye(4)))
    assert (
        found["repeatability"]["value"] is found["persona_effect"]["value"] is found["corrected_pss"]["value"] is None
    )


def test_no_persona_or_one_persona():
    assert numbers(make_cells([[1], [0]]))["pss"]["value"] is None
    found = numbers(make_cells([[1, 1], [0, 1]]))
    assert found["pss"]["value"] is None
    assert found["accuracy"]["value"] == 1


def test_unscored_cells_enter_no_mean():
    scored = [[1, 1, 1, 1], [1, 1, 0, 1], [1, 0, 0, 0], [1, 1, 0, 0]]
    correct = [[1, 1, 1, 0], [1, 1, 0, 1], [1, 0, 0, 0], [1, 1, 0, 0]]
    found = numbers(make_cells(correct, scored, unscored=1 - np.array(scored)))
    # Items 1 and 2 have two personas or more: c = 2/6 and 1, means 2/3 and 1.
    assert found["pss"]["value"] == pytest.approx((1 / 3 + 1) / (2 / 3 + 1))
    assert found["accuracy"]["value"] == pytest.approx(5 / 6)
    assert no_nan(found)


def test_nothing_scored_at_all():
    cells = make_cells(np.zeros((3, 3)), scored=0)
    found = numbers(cells)
    assert found["accuracy"]["value"] is None
    assert no_nan(found)


def test_expertise_is_of_the_tasks_own_domain():
    categories, domains = ("baseline", "expert", "expert", "style"), (None, "mathematics", "wine", None)
    found = numbers(make_cells([[0, 1, 0, 1], [1, 1, 0, 0]], categories=categories, domains=domains))
    assert found["expertise_advantage"]["value"] == 0.5
    assert found["by_category"]["expert"]["value"] == 0.5
    without = numbers(make_cells([[0, 1, 0, 1]] * 2, categories=categories, domains=(None, "law", "wine", None)))
    assert without["expertise_advantage"]["value"] is None


def test_flips_against_none():
    correct = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]])
    first, second = numbers(make_cells(correct))["by_persona"][1:]
    assert (first["gained"], first["lost"], first["test"]) == (0, 2, "mcnemar")
    assert first["p"] == pytest.approx(0.5)
    assert (second["gained"], second["lost"]) == (1, 4)
    assert second["p"] == pytest.approx(2 * (1 + 5) / 2**5)
    assert second["p_adjusted"] == pytest.approx(0.5)


def test_flips_with_samples_are_expected_flips():
    entry = numbers(make_cells([[2, 1]], scored=4))["by_persona"][1]
    assert entry["lost"] == pytest.approx(0.5 * 0.75)
    assert entry["gained"] == pytest.approx(0.25 * 0.5)
    assert entry["test"] == "sign_flip"


def test_format_against_knowledge():
    zero = np.zeros((2, 2), dtype=int)
    found = numbers(
        make_cells([[1, 0], [0, 0]], no_answer=[[0, 1], [0, 0]], wrong_truncated=[[0, 0], [0, 1]], other_script=zero)
    )
    assert found["wrong"] == {"wrong": 2, "no_answer": 1, "truncated": 1, "other_script": 0}


# Slow references.


def reference_pss(q: np.ndarray, present: np.ndarray) -> float | None:
    top = bottom = 0.0
    for row, there in zip(q, present, strict=True):
        own = [value for value, is_there in zip(row, there, strict=True) if is_there]
        if len(own) < 2:
            continue
        pairs = list(itertools.permutations(own, 2))
        top += sum(a * b for a, b in pairs) / len(pairs)
        bottom += sum(own) / len(own)
    return top / bottom if bottom else None


shares = arrays(
    np.float64, st.tuples(st.integers(1, 8), st.integers(2, 6)), elements=st.sampled_from([0, 0.25, 0.5, 1])
)
rights = arrays(np.int32, st.tuples(st.integers(1, 10), st.integers(2, 6)), elements=st.integers(0, 1))


@given(shares, st.randoms(use_true_random=False))
def test_pss_equals_the_mean_over_pairs(q, random):
    present = np.array([[random.random() < 0.8 for _ in row] for row in q])
    expected = reference_pss(q, present)
    assert pss(q, present) == (pytest.approx(expected) if expected is not None else None)


@given(rights)
def test_pss_of_one_sample_is_one_minus_variance_over_mean(y):
    if y.sum():
        expected = 1 - np.mean(np.var(y, axis=1, ddof=1)) / np.mean(y)
        assert pss(y.astype(float)) == pytest.approx(expected)


@given(shares)
def test_prompt_sensitivity_is_the_mean_difference_of_pairs(q):
    expected = np.mean([np.mean([abs(a - b) for a, b in itertools.combinations(row, 2)]) for row in q])
    assert prompt_sensitivity(q, np.ones(q.shape, dtype=bool)) == pytest.approx(expected)


@given(rights)
def test_prompt_sensitivity_of_one_sample(y):
    q, m = y.astype(float), y.shape[1]
    found = prompt_sensitivity(q, np.ones(q.shape, dtype=bool))
    r = y.sum(axis=1)
    assert found == pytest.approx(np.mean(2 * r * (m - r) / (m * (m - 1))))
    if y.sum():
        assert found == pytest.approx(2 * y.mean() * (1 - pss(q)))


def test_prompt_sensitivity_with_missing_personas():
    present = np.array([[True, True, False], [True, False, False]])
    assert prompt_sensitivity(np.array([[1.0, 0.5, 0], [1, 0, 0]]), present) == pytest.approx(0.5)


@given(arrays(np.float64, st.integers(1, 7), elements=st.floats(0, 1)))
def test_lottery_equals_enumeration(accuracies):
    expected = [
        np.mean([max(hand) for hand in itertools.combinations(accuracies, k)]) for k in range(1, len(accuracies) + 1)
    ]
    assert lottery(accuracies) == pytest.approx(expected)


def test_lottery_with_many_personas_stays_finite():
    expected = lottery(np.linspace(0, 1, 500))
    assert np.all(np.isfinite(expected))
    assert np.all(np.diff(expected) >= -1e-12)
    assert expected[-1] == pytest.approx(1)


# Properties.


@given(rights)
@settings(deadline=None, max_examples=40)
def test_bounds_and_order(y):
    cells = make_cells(y)
    found = numbers(cells)
    assert no_nan(found)
    for name in ("accuracy", "pss"):
        value = found[name]["value"]
        assert value is None or -1e-12 <= value <= 1 + 1e-12
    assert found["kappa"]["value"] is None or found["kappa"]["value"] <= 1 + 1e-12
    items, personas = np.random.default_rng(0), np.random.default_rng(1)
    shuffled = y[items.permutation(len(y))]
    shuffled = shuffled[:, [0, *(1 + personas.permutation(y.shape[1] - 1))]]
    again = numbers(make_cells(shuffled))
    for name in ("accuracy", "pss", "kappa"):
        assert again[name]["value"] == pytest.approx(found[name]["value"])
    for name in ("sd", "prompt_sensitivity", "all_personas_accuracy", "any_persona_accuracy", "spread"):
        # A square root of rounding error is larger than the error.
        assert again[name] == pytest.approx(found[name], abs=1e-6)


@given(rights)
def test_an_item_nobody_solves_leaves_pss_alone(y):
    q = y.astype(float)
    assert pss(np.vstack([q, np.zeros((1, q.shape[1]))])) == (pytest.approx(pss(q)) if y.sum() else None)


def test_pair_sums_need_two_personas():
    numerator, denominator = pair_sums(np.array([[1.0, 1.0]]), np.array([[True, False]]))
    assert (numerator[0], denominator[0]) == (0, 0)


# A population whose truth is known.


def draw(rng: np.random.Generator, rates: np.ndarray, samples: int) -> np.ndarray:
    return rng.binomial(samples, rates).astype(np.int32)


@pytest.fixture(scope="module")
def rates() -> np.ndarray:
    """True rates of 4 000 items under a baseline and 12 personas: items differ, personas differ, and both together."""
    rng = np.random.default_rng(7)
    logits = rng.normal(0.4, 1.2, (4000, 1)) + rng.normal(0, 0.5, (1, 13)) + rng.normal(0, 0.6, (4000, 13))
    return 1 / (1 + np.exp(-logits))


def test_estimates_meet_the_truth(rates):
    cells = make_cells(draw(np.random.default_rng(1), rates, 4), scored=4)
    found = numbers(cells)
    own = rates[:, 1:]
    mu, true_pss = own.mean(), pss(own)
    true_effect = np.mean(np.var(own, axis=1, ddof=1)) / mu
    assert found["accuracy"]["value"] == pytest.approx(mu, abs=0.01)
    assert found["pss"]["value"] == pytest.approx(true_pss, abs=0.01)
    # In expectation (R - PSS) μ is the mean variance of the true rates over personas.
    assert found["persona_effect"]["value"] == pytest.approx(true_effect, abs=0.004)
    assert found["sd"] == pytest.approx(np.std(own.mean(axis=0), ddof=1), abs=0.006)


@pytest.mark.slow
def test_intervals_cover_the_truth(rates):
    """150 items drawn from the population, 300 times: a 95 % interval covers within what 300 draws can tell."""
    truth = {"accuracy": rates[:, 1:].mean(), "pss": pss(rates[:, 1:])}
    truth["kappa"] = (truth["pss"] - truth["accuracy"]) / (1 - truth["accuracy"])
    covered = dict.fromkeys(truth, 0)
    rng = np.random.default_rng(3)
    for trial in range(300):
        sample = rates[rng.integers(0, len(rates), 150)]
        found = numbers(make_cells(draw(rng, sample, 1)), seed=trial)
        for name, value in truth.items():
            covered[name] += found[name]["low"] <= value <= found[name]["high"]
    for name, count in covered.items():
        # 95 % ± 4 standard errors of a share of 300.
        assert 0.90 <= count / 300 <= 1.0, (name, count / 300)


def test_personas_that_change_nothing_leave_only_noise():
    rng = np.random.default_rng(5)
    same = np.repeat(rng.random((3000, 1)), 9, axis=1)
    found = numbers(make_cells(draw(rng, same, 4), scored=4))
    assert found["corrected_pss"]["value"] == pytest.approx(1, abs=0.01)
    assert found["persona_effect"]["low"] <= 0 <= found["persona_effect"]["high"]


def test_the_worst_persona_is_chosen_on_other_items_than_it_is_measured_on():
    """All personas alike: the plain spread is all selection, the split-half form has none."""
    rng = np.random.default_rng(11)
    found = numbers(make_cells(draw(rng, np.full((400, 31), 0.5), 1)))
    assert found["spread"] > 0.05
    assert abs(found["split_half"]["spread"]) < 0.03
    raw, corrected = sd_between(rng.binomial(1, 0.5, (400, 30)).astype(float), np.ones((400, 30), dtype=bool))
    assert corrected < raw


@pytest.mark.slow
def test_the_bias_that_is_told_is_the_one_there_is():
    # 100 items with 30 right ones: PSS as defined is low by 0.0033 (docs/validity.md).
    rng = np.random.default_rng(0)
    told = []
    for _ in range(200):
        correct = Population(0.3).draw(rng, 100, 8, 1)
        told.append(summarise(drawn_cells(correct, 1), "").to_json()["pss_bias"])
    assert np.mean(told) == pytest.approx(-0.0033, abs=0.001)


def test_what_uses_metrics_follows_the_catalogue():
    found = numbers(make_cells(np.ones((5, 4))))
    own = [name for name in found if name in METRICS]
    assert own == [metric.name for metric in STABILITY]
    schema = Gate.model_json_schema()["properties"]["metric"]
    assert schema["enum"] == list(METRICS)


def test_sums_come_back_by_name():
    sums = item_sums(make_cells(np.eye(5), categories=("baseline", "a", "a", "b", "b")), "", ("a", "b"))
    totals = Totals.unpack(sums.matrix, sums.experts)
    assert np.array_equal(totals.pack(), sums.matrix)
    assert totals.persona_cells.shape == (5, 5) and np.array_equal(totals.cells, np.full(5, 4))
    assert np.array_equal(totals.persona_right, np.eye(5))
