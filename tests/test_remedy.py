"""What an inconclusive check asks for: items, samples or personas, and never more than the task has."""

import re

import numpy as np
import pytest

from personaeval.analysis.check import Outcome, check
from personaeval.metrics.catalogue import HEADLINE, STABILITY
from personaeval.metrics.error_shares import error_shares
from personaeval.metrics.paired import changes
from personaeval.metrics.population import Population
from personaeval.metrics.power import drawn_cells
from personaeval.metrics.sums import item_sums
from personaeval.results.runs import open_checkpoints
from tests.finished import SAMPLING, counted, write_run
from tests.test_check import gate, policy

NOISY = Population(0.6, item=0.2, cell=0.1, kept=1.0)
"""Most of what differs is drawn anew for every sample."""


def reason(tmp_path, before, after, max_drop, metric="accuracy", samples=1, temperature=0.7, origin=None, **rules):
    settings = {"sampling": SAMPLING | {"temperature": temperature}, "samples": samples, "origin": origin or {}}
    folders = [
        write_run(tmp_path / name, [counted(one, samples=samples)], label=name, fingerprint=name[0] * 32, **settings)
        for name, one in (("base", before), ("candidate", after))
    ]
    base, candidate = open_checkpoints([str(folder) for folder in folders])
    [finding] = check(base, candidate, policy(gate(metric, max_drop), **rules)).findings
    assert finding.outcome is Outcome.INCONCLUSIVE
    return finding.reason


def pair(n=500, m=8, samples=1, seed=1):
    return NOISY.draw_pair(NOISY, np.random.default_rng(seed), n, m, samples)


def numbers(text: str) -> dict[str, int]:
    """Numbers that would decide, by kind."""
    words = text.split(" would decide", maxsplit=1)[0].replace(",", "").split()
    return {kind: int(words[place - 1]) for place, kind in enumerate(words) if kind in ("items", "samples", "personas")}


def test_items_samples_and_personas_are_named(tmp_path):
    found = reason(tmp_path, *pair(samples=2), 0.01, samples=2)
    assert "(500 items, 2 samples and 8 personas now)" in found
    wanted = numbers(found)
    assert wanted["items"] > 500 and wanted["samples"] > 2 and wanted["personas"] > 8


def test_a_task_without_more_items_says_what_else_would_decide(tmp_path):
    found = reason(tmp_path, *pair(samples=2), 0.01, samples=2, origin={"kind": "hub", "items": 500})
    assert found.startswith("sums has 500 items; about ")
    assert numbers(found.split("; ")[1]).keys() == {"samples", "personas"}
    # A generated task has as many as are asked for; of a larger one, a part was asked.
    generated, larger = (
        reason(tmp_path, *pair(samples=2), 0.01, samples=2, origin=origin)
        for origin in ({"kind": "reasoning_gym", "items": 500}, {"kind": "hub", "items": 50_000})
    )
    assert numbers(generated)["items"] == numbers(larger)["items"] > 500


def test_greedy_answers_are_not_worth_a_second_sample():
    cells = tuple(drawn_cells(one, 1) for one in pair())
    drawn, greedy = (error_shares(cells, STABILITY[0], "", greedy) for greedy in (False, True))
    assert drawn.samples == drawn.personas / 2 > 0
    assert greedy.samples == 0 and greedy.personas == drawn.personas


def test_claims_about_other_personas_name_personas_alone_as_well(tmp_path):
    found = reason(tmp_path, *pair(n=200, m=6), 0.04, generalise_to_personas=True)
    assert re.search(r"about \d+ items and \d+ personas or \d+ personas alone would decide it", found)


@pytest.mark.parametrize(("metric", "place"), [("accuracy", 0), ("pss", HEADLINE.index("pss"))])
@pytest.mark.slow
def test_the_error_falls_as_is_said(metric, place):
    def errors(m, samples):
        drawn = (NOISY.draw_pair(NOISY, np.random.default_rng(seed), 800, m, samples) for seed in range(6))
        cells = [tuple(drawn_cells(one, samples) for one in two) for two in drawn]
        found = [changes(*(item_sums(own, "", ()) for own in two))[place].tested.errors[0] ** 2 for two in cells]
        return np.mean(found), cells

    now, cells = errors(8, 4)
    shares = [error_shares(two, STABILITY[place], "", greedy=False) for two in cells]
    by_personas, by_samples = np.mean([(own.personas, own.samples) for own in shares], axis=0)
    assert errors(24, 4)[0] / now == pytest.approx(1 - by_personas * (1 - 8 / 24), abs=0.06)
    assert errors(8, 12)[0] / now == pytest.approx(1 - by_samples * (1 - 4 / 12), abs=0.06)
