"""PersonaScore and its correction by people: hand values, invariance, a population of known truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from benchmarks.human_labels import coverage
from personaeval.metrics.fidelity import Scores, summarise
from personaeval.metrics.ppi import correct

DIMENSIONS = ("action", "voice")


def scores(rows, personas=("a", "b", "c")) -> Scores:
    score, persona, dimension = zip(*rows, strict=True)
    return Scores(np.array(score, float), np.array(persona), np.array(dimension), personas, DIMENSIONS)


ROWS = [(5, 0, 0), (3, 1, 0), (4, 2, 0), (1, 0, 1), (2, 1, 1), (np.nan, 2, 1)]


def test_persona_score_is_the_unweighted_mean_of_the_dimensions_means():
    found = summarise(scores(ROWS))
    assert found.dimensions["action"].value == pytest.approx(4)
    assert found.dimensions["voice"].value == pytest.approx(1.5)
    assert found.persona_score.value == pytest.approx(2.75)
    assert found.by_persona == {"a": 3.0, "b": 2.5, "c": 4.0}


def test_its_interval_by_hand():
    found = summarise(scores(ROWS)).persona_score
    # What each persona adds: its deviations over the dimension's count, halved for two dimensions.
    added = [(1 / 3 - 0.5 / 2) / 2, (-1 / 3 + 0.5 / 2) / 2, 0.0]
    half = t.ppf(0.975, 2) * np.sqrt(3 / 2 * np.dot(added, added))
    assert (found.low, found.high) == (pytest.approx(2.75 - half), pytest.approx(2.75 + half))


def test_of_one_dimension_it_is_the_interval_of_the_persona_means_where_counts_are_equal():
    rng = np.random.default_rng(0)
    values = rng.integers(1, 6, (6, 4)).astype(float)
    rows = [(values[p, k], p, 0) for p in range(6) for k in range(4)]
    rows += [(3.0, p, 1) for p in range(6)]
    found = summarise(scores(rows, tuple("abcdef"))).dimensions["action"]
    means = values.mean(axis=1)
    half = t.ppf(0.975, 5) * means.std(ddof=1) / np.sqrt(6)
    assert (found.low, found.high) == (pytest.approx(means.mean() - half), pytest.approx(means.mean() + half))


def test_what_was_not_scored_is_not_a_number():
    found = summarise(scores([(np.nan, 0, 0), (4, 1, 1)]))
    assert found.persona_score.value is None
    assert found.dimensions["action"].value is None
    assert found.by_persona == {"a": None, "b": 4.0, "c": None}
    assert found.to_json()["few_personas"] is True


@given(st.permutations(range(len(ROWS))))
def test_order_does_not_matter(order):
    shuffled, plain = (summarise(scores(rows)) for rows in ([ROWS[place] for place in order], ROWS))
    assert shuffled.by_persona == pytest.approx(plain.by_persona)
    for one, other in zip(shuffled.dimensions.values(), plain.dimensions.values(), strict=True):
        assert one.to_json() == pytest.approx(other.to_json())
    assert shuffled.persona_score.to_json() == pytest.approx(plain.persona_score.to_json())


def population(rng, judge_noise: float, personas: int = 40, questions: int = 4):
    """Responses of all personas in five dimensions; the judge is off by a half, and spreads twice as far as people."""
    persona, dimension = (
        part.ravel() for part in np.meshgrid(np.arange(personas), np.repeat(np.arange(5), questions), indexing="ij")
    )
    truth = np.array([3.2, 3.4, 2.8, 3.0, 4.0])
    people = truth[dimension] + rng.normal(0, 0.3, personas)[persona] + rng.normal(0, 0.6, len(persona))
    judged = 3.5 + 2 * (people - 3) + rng.normal(0, judge_noise, len(persona))
    labelled = np.full(len(persona), np.nan)
    chosen = rng.permutation(len(persona))[:200]
    labelled[chosen] = people[chosen]
    return judged, labelled, persona, dimension, float(truth.mean())


@pytest.mark.slow
def test_the_corrected_interval_covers_and_is_narrower_than_the_labels_alone():
    rng = np.random.default_rng(20260105)
    covered, narrower = [], []
    for _ in range(1500):
        judged, labelled, persona, dimension, truth = population(rng, judge_noise=1.0)
        found = correct(judged, labelled, persona, dimension, tuple("abcde"))
        covered.append(found.corrected.low <= truth <= found.corrected.high)
        widths = (one.high - one.low for one in (found.corrected, found.labels_alone))
        narrower.append(next(widths) / next(widths))
        has = ~np.isnan(labelled)
    assert np.corrcoef(judged[has], labelled[has])[0, 1] > 0.7
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.mean(narrower) < 0.9


def test_a_judge_that_knows_nothing_is_left_out():
    rng = np.random.default_rng(1)
    judged, labelled, persona, dimension, _ = population(rng, judge_noise=1.0)
    found = correct(rng.permutation(judged), labelled, persona, dimension, tuple("abcde"))
    assert found.weight < 0.2


def test_without_labels_in_a_dimension_there_is_no_correction():
    rng = np.random.default_rng(1)
    judged, labelled, persona, dimension, _ = population(rng, judge_noise=1.0)
    labelled[dimension == 2] = np.nan
    assert correct(judged, labelled, persona, dimension, tuple("abcde")) is None


def test_the_corrected_interval_covers_with_thirty_labels_a_dimension():
    corrected, alone, _ = coverage(40, 30, "low", "close", 400, seed=3)
    assert min(corrected, alone) >= 0.94


def test_equal_labels_are_no_certainty_and_the_score_stays_on_its_scale():
    rng = np.random.default_rng(1)
    judged, labelled, persona, dimension, _ = population(rng, judge_noise=1.0)
    labelled[~np.isnan(labelled)] = 5.0
    found = correct(judged, labelled, persona, dimension, tuple("abcde"))
    personas = len(set(persona[~np.isnan(labelled)].tolist()))
    assert (found.labels_alone.low, found.labels_alone.high) == pytest.approx(
        (5 - 4 * (1 - 0.025 ** (1 / personas)), 5)
    )
    assert found.corrected.low <= found.corrected.value <= found.corrected.high <= 5
