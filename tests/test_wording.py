"""Persona against wording: simulated worlds whose variances are known."""

import numpy as np
import pytest

from personaeval.metrics.variance_components import decompose

pytestmark = pytest.mark.slow

PERSONAS, WORDINGS = 20, 6


def simulate(persona: float, wording: float, samples: int, items: int = 200, missing: float = 0.0, seed: int = 0):
    """Answers with true rates base + P + W, where P and W are ± their standard deviation: variances are exact."""
    generator = np.random.default_rng(seed)
    base = 0.3 + 0.4 * generator.random((items, 1, 1))
    own = np.sqrt(persona) * generator.choice([-1, 1], (items, PERSONAS, 1))
    words = np.sqrt(wording) * generator.choice([-1, 1], (items, PERSONAS, WORDINGS))
    correct = generator.binomial(samples, (base + own + words).reshape(items, -1)).astype(np.int32)
    scored = np.full(correct.shape, samples, dtype=np.int32)
    gone = generator.random(correct.shape) < missing
    correct[gone] = scored[gone] = 0
    return correct, scored, [f"p{a}" for a in range(PERSONAS) for _ in range(WORDINGS)]


def estimates(runs: int = 12, **world) -> dict[str, float]:
    found = [decompose(*simulate(**world, seed=seed), replicates=4) for seed in range(runs)]
    return {name: float(np.mean([one[name]["value"] for one in found])) for name in ("persona", "wording")}


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize(("persona", "wording"), [(0.04, 0.01), (0.01, 0.04), (0.0, 0.04), (0.04, 0.0)])
def test_known_variances_are_found(persona, wording, missing):
    found = estimates(persona=persona, wording=wording, samples=4, missing=missing)
    assert found["persona"] == pytest.approx(persona, abs=0.0008)
    assert found["wording"] == pytest.approx(wording, abs=0.0008)


def test_with_one_sample_the_personas_variance_is_the_same_and_wording_holds_the_noise():
    found = estimates(persona=0.04, wording=0.01, samples=1)
    assert found["persona"] == pytest.approx(0.04, abs=0.0015)
    one = decompose(*simulate(0.04, 0.01, samples=1), replicates=4)
    assert one["noise"] is None
    assert one["noise_separated"] is False
    # θ (1 − θ) is 0.2 − 0.05 + … on average: much more than the wording's own 0.01.
    assert found["wording"] > 0.15


def test_noise_is_what_resampling_alone_gives():
    """The same answers drawn again and again: no persona, no wording, only θ (1 − θ) / S."""
    correct, scored, groups = simulate(0.0, 0.0, samples=4, items=400)
    found = decompose(correct, scored, groups, replicates=4)
    expected = np.mean([(0.3 + 0.4 * u) * (0.7 - 0.4 * u) for u in np.linspace(0, 1, 1001)]) / 4
    assert found["noise"]["value"] == pytest.approx(expected, rel=0.05)


def test_the_interval_holds_the_truth_and_the_share():
    found = decompose(*simulate(0.04, 0.01, samples=4), replicates=500)
    for name, truth in (("persona", 0.04), ("wording", 0.01), ("persona_share", 0.8)):
        assert found[name]["low"] < truth < found[name]["high"]
        assert found[name]["high"] - found[name]["low"] < 0.1


def test_balanced_data_give_the_textbook_estimator():
    correct, scored, groups = simulate(0.04, 0.01, samples=1, items=30)
    q = correct.reshape(30, PERSONAS, WORDINGS).astype(float)
    of_persona = q.mean(axis=2)
    ms_between = WORDINGS * of_persona.var(axis=1, ddof=1)
    ms_within = ((q - of_persona[:, :, None]) ** 2).sum(axis=(1, 2)) / (PERSONAS * (WORDINGS - 1))
    found = decompose(correct, scored, groups, replicates=4)
    assert found["persona"]["value"] == pytest.approx(np.mean(ms_between - ms_within) / WORDINGS)
    assert found["wording"]["value"] == pytest.approx(np.mean(ms_within))


def test_what_is_no_part_of_it_changes_nothing():
    correct, scored, groups = simulate(0.04, 0.01, samples=4, items=40)
    alone = decompose(correct, scored, groups, replicates=4)
    lone = np.zeros((40, 1), dtype=np.int32)
    wider = decompose(
        np.hstack([lone, correct, lone]),
        np.hstack([lone + 4, scored, lone + 4]),
        [None, *groups, "single"],
        replicates=4,
    )
    assert wider == alone
    assert (alone["personas"], alone["wordings"]) == (20, 120)


def test_without_two_personas_in_two_wordings_there_is_nothing_to_say():
    ones = np.ones((5, 4), dtype=np.int32)
    assert decompose(ones, ones, [None, "a", "a", "b"]) is None
    assert decompose(ones, ones, [None, "a", "b", "c"]) is None


def test_answers_that_are_always_right_have_no_variance_and_no_share():
    ones = np.ones((5, 4), dtype=np.int32)
    found = decompose(ones, ones, ["a", "a", "b", "b"], replicates=4)
    assert found["persona"]["value"] == found["wording"]["value"] == 0
    assert found["persona_share"]["value"] is None
