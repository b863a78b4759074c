"""Agreement between raters: published examples, hand values, properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from benchmarks.agreement import coverage, draw
from personaeval.judge.agreement_summary import between_judges, with_people
from personaeval.judge.judgements import JudgementRow, Ratings
from personaeval.metrics.agreement import clustered, krippendorff_alpha, rank_correlation, weighted_kappa

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


def rated(seed: int = 0) -> Ratings:
    """Scores of three judges, of whom one is silent now and then: 12 personas, 2 dimensions, 3 questions each."""
    rng = np.random.default_rng(seed)
    ratings = Ratings()
    for persona in range(12):
        for dimension in ("manners", "wit"):
            for question in range(3):
                quality = 3 + rng.normal() + (rng.normal() if dimension == "wit" else 0)
                for judge in ("ann", "bob", "eve"):
                    score = int(np.clip(round(quality + 0.7 * rng.normal()), 1, 5))
                    silent = judge == "eve" and rng.random() < 0.2
                    ratings.add(
                        JudgementRow(
                            "play",
                            f"{persona}/{dimension}/{question}",
                            f"actor-{persona}",
                            0,
                            dimension,
                            judge,
                            "f",
                            0,
                            None if silent else score,
                            None,
                            None,
                            None,
                            "silent" if silent else None,
                            1,
                            1,
                        )
                    )
    return ratings


def direct_alpha(scores: np.ndarray) -> float:
    """Krippendorff's ordinal α from its definition, pair by pair."""
    units = [[value for value in row if not np.isnan(value)] for row in scores]
    units = [unit for unit in units if len(unit) > 1]
    values = [value for unit in units for value in unit]
    counts = {value: values.count(value) for value in range(1, 6)}

    def distance(a: float, b: float) -> float:
        low, high = sorted((int(a), int(b)))
        return (sum(counts[value] for value in range(low, high + 1)) - (counts[low] + counts[high]) / 2) ** 2

    observed = sum(
        distance(unit[i], unit[j]) / (len(unit) - 1)
        for unit in units
        for i in range(len(unit))
        for j in range(len(unit))
        if i != j
    )
    expected = sum(distance(a, b) for a in values for b in values)
    return 1 - (len(values) - 1) * observed / expected


def direct_kappa(one: np.ndarray, other: np.ndarray) -> float:
    """Quadratically weighted κ from the table of both raters' scores, as scikit-learn computes it."""
    table = np.zeros((5, 5))
    for a, b in zip(one.astype(int), other.astype(int), strict=True):
        table[a - 1, b - 1] += 1
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    weights = np.subtract.outer(np.arange(5), np.arange(5)) ** 2
    return float(1 - (weights * table).sum() / (weights * expected).sum())


def test_agreement_by_dimension_is_that_of_a_direct_computation():
    ratings = rated()
    scores, dimensions = ratings.scores[:, :, 0], np.array(ratings.dimensions)
    found = between_judges(ratings)
    assert found["alpha"] == pytest.approx(direct_alpha(scores))
    assert set(found["agreement"]["by_dimension"]) == {"manners", "wit"}
    everything = {"": found["agreement"], **found["agreement"]["by_dimension"]}
    for name, own in everything.items():
        rows = scores[dimensions == name] if name else scores
        assert own["alpha"]["value"] == pytest.approx(direct_alpha(rows))
        assert own["alpha"]["low"] < own["alpha"]["value"] < own["alpha"]["high"]
        assert [pair["judges"] for pair in own["pairs"]] == [["ann", "bob"], ["ann", "eve"], ["bob", "eve"]]
        for pair, (one, other) in zip(own["pairs"], ((0, 1), (0, 2), (1, 2)), strict=True):
            both = rows[~np.isnan(rows[:, [one, other]]).any(axis=1)]
            assert pair["responses"] == len(both)
            assert pair["kappa"]["value"] == pytest.approx(direct_kappa(both[:, one], both[:, other]))
            rho = spearmanr(both[:, one], both[:, other]).statistic
            assert pair["rank_correlation"]["value"] == pytest.approx(rho)


def test_agreement_with_people_by_dimension():
    ratings = rated(1)
    people = np.where(np.arange(len(ratings.personas)) % 3 == 0, ratings.scores[:, 0, 0], np.nan)
    labels = np.stack([people, people], axis=1)
    found = with_people(ratings, labels, people)
    known, wit = ~np.isnan(people), np.array(ratings.dimensions) == "wit"
    own = found["by_dimension"]["wit"]["judges"]["bob"]
    rows = known & wit
    assert own["responses"] == rows.sum()
    assert own["kappa"]["value"] == pytest.approx(direct_kappa(ratings.scores[rows, 1, 0], people[rows]))
    assert found["by_dimension"]["wit"]["judges"]["ann"]["kappa"]["value"] == pytest.approx(1)
    assert found["alpha"]["value"] == pytest.approx(1)
    assert set(found["judges"]) == {"ann", "bob", "eve", "the panel"}


def test_intervals_of_agreement_cover():
    """A small version of benchmarks/agreement.py: 20 personas with 4 responses each."""
    share, truth = coverage("κ", 20, 4, 0.9, 0.9, 200)
    assert 0.3 < truth < 0.7
    assert 0.915 <= share <= 0.985
    scores, persona = draw(np.random.default_rng(3), 20, 4, 0.9, 0.9)
    few = clustered(krippendorff_alpha, scores[persona < 2], persona[persona < 2])
    assert (few.low, few.high) == (None, None), "two personas say nothing of others"
    shuffled = np.random.default_rng(4).permutation(len(scores))
    assert clustered(krippendorff_alpha, scores[shuffled], persona[shuffled]) == clustered(
        krippendorff_alpha, scores, persona
    )
