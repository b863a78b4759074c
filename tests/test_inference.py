"""Intervals and tests against scipy, by hand, and against slow loops."""

import numpy as np
import pytest
from scipy import stats

from personaeval.metrics import inference
from personaeval.metrics.inference import benjamini_hochberg, bootstrap, mcnemar, resampled_sums, sign_flip


def test_resampled_sums_are_sums_of_items_drawn_with_replacement():
    sums = np.arange(12.0).reshape(6, 2)
    drawn = resampled_sums(sums, seed=1, replicates=20_000)
    assert drawn.shape == (20_000, 2)
    # Every replicate is a sum of six rows: the columns differ by one in each row, so by six in each sum.
    assert np.all(drawn[:, 1] - drawn[:, 0] == 6)
    assert drawn.mean(axis=0) == pytest.approx(sums.sum(axis=0), rel=0.01)
    assert drawn.var(axis=0) == pytest.approx(6 * sums.var(axis=0), rel=0.05)


def test_replicates_are_those_of_a_loop_whatever_fits_into_memory(monkeypatch):
    sums = np.random.default_rng(0).random((40, 3))
    generator = np.random.default_rng(5)
    one_by_one = [sums[generator.integers(0, 40, size=40)].sum(axis=0) for _ in range(100)]
    assert resampled_sums(sums, 5, 100) == pytest.approx(np.array(one_by_one), rel=1e-12)
    monkeypatch.setattr(inference, "_CHUNK_CELLS", 40 * 7)
    assert resampled_sums(sums, 5, 100) == pytest.approx(np.array(one_by_one), rel=1e-12)
    assert not np.allclose(resampled_sums(sums, 6, 100), one_by_one)


@pytest.mark.parametrize("statistic", ["mean", "ratio"])
def test_bca_equals_scipys_to_monte_carlo_error(statistic):
    rng = np.random.default_rng(2)
    x, y = rng.exponential(1, 60), rng.exponential(2, 60) + 0.5
    if statistic == "mean":
        [found] = bootstrap(x[:, None], lambda sums: sums / 60, seed=1, replicates=20_000)
        peer = stats.bootstrap((x,), np.mean, n_resamples=20_000, method="BCa", rng=7)
    else:
        sums = np.column_stack([x, y])
        [found] = bootstrap(sums, lambda s: (s[..., 0] / s[..., 1])[..., None], seed=1, replicates=20_000)
        peer = stats.bootstrap(
            (x, y),
            lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
            paired=True,
            vectorized=True,
            n_resamples=20_000,
            method="BCa",
            rng=7,
        )
    interval = peer.confidence_interval
    width = interval.high - interval.low
    assert found.low == pytest.approx(interval.low, abs=0.03 * width)
    assert found.high == pytest.approx(interval.high, abs=0.03 * width)


def test_no_interval_from_a_single_item_and_none_where_undefined():
    [one] = bootstrap(np.array([[3.0]]), lambda sums: sums, seed=0)
    assert (one.value, one.low, one.high) == (3.0, None, None)
    [undefined] = bootstrap(np.zeros((5, 2)), lambda s: (s[..., 0] / s[..., 1])[..., None], seed=0)
    assert undefined.to_json() == {"value": None, "low": None, "high": None}


def test_a_constant_has_an_interval_of_no_width():
    [found] = bootstrap(np.ones((10, 1)), lambda sums: sums / 10, seed=0)
    assert (found.low, found.value, found.high) == (1, 1, 1)


@pytest.mark.parametrize(
    ("gained", "lost", "p"), [(0, 0, 1.0), (5, 5, 1.0), (0, 2, 0.5), (1, 9, 22 / 1024), (55, 45, None)]
)
def test_mcnemar(gained, lost, p):
    found = mcnemar(gained, lost)
    assert found == pytest.approx(stats.binomtest(gained, gained + lost).pvalue if p is None else p)


def test_sign_flip_equals_scipys_permutation_test():
    rng = np.random.default_rng(4)
    differences = rng.normal(0.25, 1, (40, 3))
    found = sign_flip(differences, seed=1)
    for column in range(3):
        peer = stats.permutation_test(
            (differences[:, column], np.zeros(40)),
            lambda a, b: np.mean(a - b),
            permutation_type="samples",
            n_resamples=9999,
            rng=2,
        )
        assert found[column] == pytest.approx(peer.pvalue, abs=0.015)


def test_sign_flip_counts_ties_and_is_never_zero():
    assert sign_flip(np.zeros((8, 1)), seed=0)[0] == 1
    assert sign_flip(np.ones((200, 1)), seed=0)[0] == pytest.approx(1 / 10_000)


def test_benjamini_hochberg_of_the_original_article():
    # Benjamini & Hochberg 1995, section 4.2: fifteen p-values, four rejected at 0.05.
    p = np.array(
        [
            0.0001,
            0.0004,
            0.0019,
            0.0095,
            0.0201,
            0.0278,
            0.0298,
            0.0344,
            0.0459,
            0.3240,
            0.4262,
            0.5719,
            0.6528,
            0.7590,
            1.0,
        ]
    )
    adjusted = benjamini_hochberg(p)
    assert np.sum(adjusted <= 0.05) == 4
    assert adjusted[0] == pytest.approx(0.0015)
    assert len(benjamini_hochberg(np.array([]))) == 0
