"""A small version of benchmarks/starting_policy.py: what the starting policy says of candidates of known decline."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from personaeval.analysis.check import Outcome

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def simulation():
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
    try:
        import starting_policy

        yield starting_policy
    finally:
        sys.path.pop(0)


def test_a_point_of_accuracy_on_a_saturated_task_is_no_regression(simulation):
    drawn = simulation.pairs(simulation.scattered(1319, 0.95, 0.01), 40, 1319, 16, 1, 0)
    gates = simulation.starting_gates(1)
    pairs = list(drawn)
    assert Counter(simulation.verdict(pair, gates)[0] for pair in pairs) == {Outcome.PASS: 40}
    older = Counter(simulation.verdict(pair, simulation.older_gates(gates))[0] for pair in pairs)
    assert older[Outcome.REGRESSION] > 10  # κ as a gate


def test_a_loss_under_a_quarter_of_the_personas_is_a_regression(simulation):
    before = np.full(17, 0.8)
    after = before - np.where(np.arange(17) % 4 == 1, 0.2, 0)
    drawn = simulation.pairs(simulation.shifted(500, before, after, 1), 4, 500, 16, 1, 0)
    found = [simulation.verdict(pair, simulation.starting_gates(1)) for pair in drawn]
    assert [outcome for outcome, _ in found] == [Outcome.REGRESSION] * 4
    assert all(by_metric["worst_persona"] is Outcome.REGRESSION for _, by_metric in found)
