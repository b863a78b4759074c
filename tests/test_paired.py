"""Paired changes and two-way resampling: against differences by hand, slow loops and populations of known truth."""

import numpy as np
import pytest

from personaeval.metrics import two_way_bootstrap
from personaeval.metrics.catalogue import HEADLINE
from personaeval.metrics.coverage_warnings import coverage_warnings, unscored_warning
from personaeval.metrics.inference import Estimate
from personaeval.metrics.noninferiority import NonInferiorityTest
from personaeval.metrics.paired import changes, shared
from personaeval.metrics.population import Population, like
from personaeval.metrics.power import drawn_cells
from personaeval.metrics.split_half import worst_persona_change
from personaeval.metrics.sums import item_sums, pss


def change(before, after, metric="accuracy", samples=1):
    sums = (item_sums(drawn_cells(np.asarray(one, dtype=np.int32), samples), "", ()) for one in (before, after))
    return changes(*sums)[HEADLINE.index(metric)]


def pair(n=300, m=6, samples=1, **more):
    base = Population(0.7, **more)
    return base.draw_pair(base.worse("accuracy", 0.1), np.random.default_rng(0), n, m, samples)


def test_a_change_of_accuracy_is_the_paired_mean_with_its_error():
    before, after = pair()
    apart = after[:, 1:].mean(axis=1) - before[:, 1:].mean(axis=1)
    found = change(before, after)
    assert found.absolute.value == pytest.approx(apart.mean())
    assert found.tested.errors[0] == pytest.approx(apart.std(ddof=1) / 300**0.5)
    assert found.relative.value == pytest.approx(after[:, 1:].mean() / before[:, 1:].mean() - 1)
    assert found.relative.low < found.relative.value < found.relative.high < 0


def test_a_decline_is_above_zero_where_the_candidate_is_worse():
    found = change(*pair())
    assert found.decline(1).values[0] == -found.absolute.value
    assert found.decline(-1).values[0] == found.absolute.value
    assert NonInferiorityTest(found.decline(1), 400).p_value(0.0) < 0.001
    assert NonInferiorityTest(found.decline(1), 400).p_value(0.2) > 0.9


def test_only_cells_that_both_scored_are_compared():
    before, after = (drawn_cells(one, 1) for one in pair(n=20))
    before.scored[3, 2], before.correct[3, 2] = 0, 0
    one, other = shared([before, after])
    assert one.scored[3, 2] == other.scored[3, 2] == other.correct[3, 2] == 0
    assert one.scored.sum() == other.scored.sum() == 20 * 7 - 1


def test_two_way_weights_never_pair_a_persona_with_itself():
    # Independent personas: PSS is the accuracy. A persona paired with its own copy would raise it by (1 − μ) / m.
    rng = np.random.default_rng(0)
    correct = rng.binomial(1, 0.5, (400, 9)).astype(np.int32)
    part = two_way_bootstrap._Part(drawn_cells(correct, 1))
    assert part._complete
    items, personas = np.ones((1, 400)), np.array([[3.0, 0, 2, 0, 1, 1, 1, 0]])
    found = part.replicate(items, personas)[0, two_way_bootstrap.RESAMPLED.index("pss")]
    q, w = correct[:, 1:].astype(float), personas[0]
    pairs = [(a, b) for a in range(8) for b in range(8) if a != b]
    above = sum(w[a] * w[b] * (q[:, a] * q[:, b]).mean() for a, b in pairs) / sum(w[a] * w[b] for a, b in pairs)
    assert found == pytest.approx(above / ((q @ w).mean() / w.sum()))


@pytest.mark.parametrize("samples", [1, 3])
def test_the_short_way_without_missing_cells_gives_what_the_long_one_gives(samples):
    correct = Population(0.6).draw(np.random.default_rng(1), 40, 6, samples)
    part, rng = two_way_bootstrap._Part(drawn_cells(correct, samples)), np.random.default_rng(2)
    weights = [rng.multinomial(size, np.full(size, 1 / size), size=50).astype(float) for size in (40, 6)]
    assert part._complete
    short = part.replicate(*weights)
    part._complete = False
    np.testing.assert_allclose(short, part.replicate(*weights), rtol=1e-9)
    missing = drawn_cells(correct, samples)
    missing.scored[0, 3] = missing.correct[0, 3] = 0
    assert not two_way_bootstrap._Part(missing)._complete


def test_two_way_estimates_are_those_of_the_rest_of_the_program():
    correct = Population(0.6).draw(np.random.default_rng(1), 100, 6, 3)
    found = two_way_bootstrap.estimates(drawn_cells(correct, 3), replicates=50)
    assert found.values[two_way_bootstrap.RESAMPLED.index("pss")] == pytest.approx(pss(correct[:, 1:] / 3))
    assert np.all(found.errors > 0)
    differences, ratios, before, after, items = two_way_bootstrap.changes(
        drawn_cells(correct, 3), drawn_cells(correct, 3), replicates=50
    )
    assert np.all(differences.values == 0) and np.all(differences.errors == 0)
    assert ratios.values == pytest.approx(np.ones(7)) and before == pytest.approx(after)
    assert items[0] == 100


def test_a_populations_truth_is_what_a_large_draw_shows():
    population = Population(0.7, item=0.5, cell=0.3)
    correct = population.draw(np.random.default_rng(2), 60_000, 6, 2)
    sums = item_sums(drawn_cells(correct, 2), "", ())
    found = dict(zip(HEADLINE, sums.estimate(sums.matrix.sum(axis=0)), strict=False))
    for name, value in population.truth().items():
        assert found[name] == pytest.approx(value, abs=0.006), name


@pytest.mark.parametrize("metric", ["accuracy", "pss", "corrected_pss"])
def test_a_worse_population_is_worse_by_just_that(metric):
    base = Population(0.6)
    worse = base.worse(metric, 0.04)
    assert base.truth()[metric] - worse.truth()[metric] == pytest.approx(0.04)
    if metric != "accuracy":
        assert worse.truth()["accuracy"] == base.truth()["accuracy"]


def test_a_population_like_a_run_has_its_figures():
    truth = Population(0.55, item=0.4, cell=0.3).truth()
    found = like(truth["accuracy"], truth["pss"], truth["repeatability"]).truth()
    for name in ("accuracy", "pss", "repeatability"):
        assert found[name] == pytest.approx(truth[name], abs=1e-6)


@pytest.mark.slow
def test_the_worst_persona_is_free_of_the_selections_bias():
    # Equal personas: the worst of the same items is below the truth, that of other items is not.
    rng = np.random.default_rng(5)
    values = []
    for trial in range(30):
        before = Population(0.7).draw(rng, 200, 12, 1)
        values.append(worst_persona_change(drawn_cells(before, 1), drawn_cells(before, 1), seed=trial).base)
    assert np.mean(values) == pytest.approx(0.7, abs=0.015)


@pytest.mark.parametrize(
    ("items", "accuracy", "bias", "said"),
    [
        (99, 0.5, 0.0, "99 items"),
        (500, 0.97, 0.0, "κ"),
        (100, 0.5, 0.0, None),
        (500, None, None, None),
        (100, 0.3, -0.0033, "-0.003"),
    ],
)
def test_what_the_simulation_shows_not_to_hold_is_said(items, accuracy, bias, said):
    found = coverage_warnings(items, accuracy, bias)
    assert [said in text for text in found] == ([True] if said else [])


@pytest.mark.parametrize(
    ("solved", "said"),
    [
        (0, ["no item has a right answer: PSS and κ are undefined"]),
        (1, ["only 1 item with a right answer: PSS and κ rest on these alone"]),
        (2, ["only 2 items with a right answer: PSS and κ rest on these alone"]),
        (20, []),
    ],
)
def test_few_items_with_a_right_answer_are_warned_of(solved, said):
    assert coverage_warnings(500, None, solved=solved) == said


@pytest.mark.parametrize(
    ("share", "interval", "said"),
    [
        # 500 items: in the simulation the interval then covers 92.8 %.
        (
            0.008,
            (0.8, 0.77, 0.827),
            "0.8% of the completions are unscored: if all of them are wrong, accuracy is 0.794",
        ),
        (
            0.008,
            (0.2, 0.173, 0.23),
            "0.8% of the completions are unscored: if all of them are right, accuracy is 0.206",
        ),
        (0.008, (0.8, 0.7, 0.87), None),
        (0.001, (0.8, 0.77, 0.827), None),
        (0.0, (1.0, 1.0, 1.0), None),
        (0.04, (0.8, 0.77, 0.827), None),  # warned of by its size alone
        (0.008, (None, None, None), None),
    ],
)
def test_few_unscored_answers_are_warned_of_if_the_interval_is_narrow(share, interval, said):
    found = unscored_warning(share, Estimate(*interval))
    assert found is None if said is None else found.startswith(said)
