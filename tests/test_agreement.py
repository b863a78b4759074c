"""Agreement between raters: published examples, hand values, properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personaeval.metrics.agreement import krippendorff_alpha, rank_correlation, weighted_kappa

X = np.nan
# The reliability data of Krippendorff (2011): four observers, twelve units, values 1 to 5.
OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, X, X, X],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, X, 3],
        [X, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, X],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, X],
    ]
).T


@pytest.mark.parametrize(("level", "expected"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_published_example(level, expected):
    assert krippendorff_alpha(OBSERVERS, level) == pytest.approx(expected, abs=5e-4)


def test_alpha_by_hand():
    # Two raters, units (1, 1) and (1, 2): coincidences 1-1: 2, 1-2: 1, 2-1: 1; α = 1 − 3 · 2 / (2 · 3 · 1) = 0.
    assert krippendorff_alpha(np.array([[1.0, 1.0], [1.0, 2.0]]), "nominal") == pytest.approx(0.0)


def test_alpha_where_there_is_nothing_to_agree_on():
    assert krippendorff_alpha(np.array([[3.0, 3.0], [3.0, 3.0]])) is None
    assert krippendorff_alpha(np.array([[3.0, X], [X, 2.0]])) is None


def test_kappa_by_hand():
    one, other = np.array([1.0, 2.0, 3.0, 5.0]), np.array([1.0, 3.0, 3.0, 4.0])
    weights = (np.subtract.outer(np.arange(1, 6), np.arange(1, 6)) / 4.0) ** 2
    observed, expected = np.zeros((5, 5)), np.zeros((5, 5))
    for a, b in zip(one.astype(int), other.astype(int), strict=True):
        observed[a - 1, b - 1] += 1 / 4
        for c in other.astype(int):
            expected[a - 1, c - 1] += 1 / 16
    assert weighted_kappa(one, other, 1, 5) == pytest.approx(
        1 - (weights * observed).sum() / (weights * expected).sum()
    )


def test_kappa_where_it_is_not_defined_or_off_the_scale():
    fives = np.full(4, 5.0)
    assert weighted_kappa(fives, fives, 1, 5) is None
    assert weighted_kappa(fives[:0], fives[:0], 1, 5) is None
    with pytest.raises(ValueError, match="ratings from 5 to 10 on a scale from 1 to 5"):
        weighted_kappa(fives, fives * 2, 1, 5)


def test_rank_correlation():
    one = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(one, one**3) == pytest.approx(1)
    assert rank_correlation(one, np.ones(4)) is None


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=2, max_size=30), st.randoms())
def test_order_of_units_and_raters_does_not_matter(pairs, random):
    ratings = np.array(pairs, dtype=float)
    shuffled = list(pairs)
    random.shuffle(shuffled)
    first, second = krippendorff_alpha(ratings), krippendorff_alpha(np.array(shuffled, dtype=float)[:, ::-1])
    assert first == second or first == pytest.approx(second)
    kappa = weighted_kappa(ratings[:, 0], ratings[:, 1], 1, 5)
    assert kappa is None or -1 - 1e-9 <= kappa <= 1 + 1e-9
