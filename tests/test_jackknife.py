"""Jackknife errors and intervals: against sums by hand, scipy, and closed forms."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from personaeval.metrics.change_bounds import lean, p_above, p_no_change
from personaeval.metrics.inference import holm
from personaeval.metrics.jackknife import JackknifeResult, intervals, jackknife, zero_event_bound


def mean_of(values):
    return jackknife(np.column_stack([values, np.ones(len(values))]), lambda s: (s[..., 0] / s[..., 1])[..., None])


def made(value: float, error: float, freedom: float = 1e9, clusters: int = 100) -> JackknifeResult:
    return JackknifeResult(*(np.array([float(number)]) for number in (value, value, error, freedom, 0, clusters, 1)))


def test_a_means_error_interval_and_p_are_those_of_students_test():
    values = np.random.default_rng(0).normal(0.3, 1, 50)
    found = mean_of(values)
    assert found.errors[0] == pytest.approx(stats.sem(values))
    assert found.corrected[0] == pytest.approx(values.mean())
    normal = replace(found, freedom=np.array([49.0]), skewness=np.zeros(1))
    [interval] = intervals(normal, ["raw"])
    peer = stats.ttest_1samp(values, 0)
    assert (interval.low, interval.high) == pytest.approx(tuple(peer.confidence_interval(0.95)))
    assert p_no_change(normal, np.inf)[0] == pytest.approx(peer.pvalue)
    assert p_above(normal, 0.1, np.inf)[0] == pytest.approx(
        stats.ttest_1samp(values, 0.1, alternative="greater").pvalue
    )


def test_a_clustered_standard_error_is_the_direct_sum_over_clusters():
    # Items with several answers each: the linearised variance of a ratio, n / (n − 1) Σ (Σ_j (y − μ))² / N².
    rng = np.random.default_rng(1)
    sizes = rng.integers(3, 9, 4000)
    right = rng.binomial(sizes, rng.beta(2, 2, 4000))
    found = jackknife(np.column_stack([right, sizes]).astype(float), lambda s: (s[..., 0] / s[..., 1])[..., None])
    mu = right.sum() / sizes.sum()
    direct = 4000 / 3999 * np.sum((right - mu * sizes) ** 2) / sizes.sum() ** 2
    assert found.errors[0] ** 2 == pytest.approx(direct, rel=2e-3)


def test_the_bias_of_order_one_over_n_is_taken_out():
    # The plug-in variance is biased by (n − 1) / n, exactly.
    values = np.random.default_rng(2).normal(size=30)
    sums = np.column_stack([values, values**2, np.ones(30)])
    found = jackknife(sums, lambda s: (s[..., 1] / s[..., 2] - (s[..., 0] / s[..., 2]) ** 2)[..., None])
    assert found.values[0] == pytest.approx(np.var(values))
    assert found.corrected[0] == pytest.approx(np.var(values, ddof=1))


def test_few_clusters_that_carry_all_the_variance_have_few_degrees_of_freedom():
    even = mean_of(np.random.default_rng(3).normal(size=400))
    lonely = np.zeros(400)
    lonely[0] = 1
    assert even.freedom[0] > 250
    assert mean_of(lonely).freedom[0] < 3


@pytest.mark.parametrize(("value", "scale"), [(0.97, "logit"), (-0.98, "fisher"), (0.001, "log"), (0.5, "logit")])
def test_an_interval_stays_within_its_scale(value, scale):
    low, high = {"logit": (0, 1), "fisher": (-1, 1), "log": (0, np.inf)}[scale]
    [interval] = intervals(made(value, 0.1), [scale])
    assert low <= interval.low < value < interval.high <= high
    assert np.isfinite(interval.high)


def test_a_logit_interval_is_the_delta_methods():
    [interval] = intervals(made(0.9, 0.02), ["logit"])
    step = stats.norm.ppf(0.975) * 0.02 / (0.9 * 0.1)
    expected = [1 / (1 + np.exp(-(np.log(9) + sign * step))) for sign in (-1, 1)]
    assert [interval.low, interval.high] == pytest.approx(expected)


def test_where_nothing_varies_the_interval_is_that_of_a_proportion_of_which_none_was_seen():
    found = mean_of(np.ones(40))
    [interval] = intervals(found, ["logit"])
    exact = stats.binomtest(40, 40).proportion_ci(0.95, method="exact")
    assert (interval.low, interval.high) == pytest.approx((exact.low, 1))
    assert zero_event_bound(40) == pytest.approx(1 - exact.low)


def test_no_number_where_there_is_none():
    [single] = intervals(mean_of(np.array([0.4])), ["raw"])
    assert (single.value, single.low) == (0.4, None)
    nothing = jackknife(np.zeros((5, 2)), lambda s: (s[..., 0] / s[..., 1])[..., None])
    assert intervals(nothing, ["raw"])[0].value is None
    assert np.isnan(p_above(nothing, 0.0, 5)[0]) and np.isnan(p_no_change(nothing, 5)[0])


def test_holm_of_a_textbook():
    # Four tests, by hand: 4 × 0.005, 3 × 0.01, then 2 × 0.03, and the largest at least as large as the one before.
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    # A test that could not be made still counts.
    assert holm(np.array([0.01, np.nan]))[0] == pytest.approx(0.02)


def test_holm_of_the_article_on_false_discoveries():
    # Benjamini & Hochberg 1995, section 4.2: controlling any false rejection at 0.05 rejects the three smallest.
    small = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    found = holm(np.array([*small, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]))
    assert np.sum(found <= 0.05) == 3
    assert found[3] == pytest.approx(12 * 0.0095)


def test_the_skewness_is_that_of_the_mean_and_moves_the_bound_of_the_longer_tail():
    values = np.random.default_rng(0).exponential(1, 400)
    found = mean_of(values)
    assert found.skewness[0] == pytest.approx(stats.skew(values) / 20, rel=1e-3)
    # Johnson 1978: μ3 (1 + 2 z²) / (6 s² n), for the mean.
    third = np.mean((values - values.mean()) ** 3)
    assert lean(found, 1)[0] == pytest.approx(third * (1 + 2 * 1.959964**2) / (6 * values.var() * 400), rel=5e-3)
    assert lean(mean_of(-values), 1)[0] == 0


@pytest.mark.parametrize("scale", ["fisher", "logit"])
@pytest.mark.parametrize("apart", [1.2e-16, 5e-17])
def test_an_estimate_next_to_the_scales_end_has_bounds(scale, apart):
    for sign in (1, -1) if scale == "fisher" else (1,):
        [interval] = intervals(made(sign * (1 - apart), 0.1), [scale])
        assert -1 <= interval.low <= interval.value <= interval.high <= 1
        assert interval.high - interval.low > 0.1
