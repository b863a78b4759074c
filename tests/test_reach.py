"""How far one item can move corrected PSS and the persona effect: over all shares of personas it is right under."""

from types import SimpleNamespace

import numpy as np
import pytest

from personaeval.metrics.catalogue import STABILITY

SHARES = np.linspace(0, 1, 2001)


def reach(name: str, repeatability: float, pss: float) -> float:
    [metric] = [metric for metric in STABILITY if metric.name == name]
    # The mean that the estimates divide by is 1, so that what an item adds is on the metric's own scale.
    sums = SimpleNamespace(common_repeatability=repeatability, common_pss=pss, common_pss_denominator=50.0)
    return float(metric.reach(sums, 50.0))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0, 1.2, 1.999, 2.0, 2.5])
def test_corrected_pss_moves_by_the_range_of_what_an_item_adds(ratio):
    repeatability = 0.4
    added = (SHARES**2 - ratio * SHARES) / repeatability
    assert reach("corrected_pss", repeatability, ratio * repeatability) == pytest.approx(np.ptp(added), abs=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("effect", [-1.0, -0.2, 0.0, 0.3, 1.0])
def test_the_persona_effect_moves_by_the_range_of_what_an_item_adds(effect):
    added = SHARES - SHARES**2 - effect * SHARES
    assert reach("persona_effect", max(effect, 0), max(-effect, 0)) == pytest.approx(np.ptp(added), abs=1e-5)
