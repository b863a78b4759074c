"""One uncertainty for one number: tables show a change with the bounds by which check decides."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.rare_losses import KINDS, changes_of, coverage, growth
from personaeval.analysis.check import check
from personaeval.analysis.compare import align
from personaeval.metrics.catalogue import METRICS
from personaeval.metrics.change_bounds import change_intervals, mirrored, p_above, p_no_change
from personaeval.metrics.jackknife import JackknifeResult, intervals
from personaeval.metrics.noninferiority import NonInferiorityTest
from personaeval.report.comparison import compare_tables
from personaeval.report.leaderboard import leaderboard
from personaeval.results.runs import open_checkpoints
from tests.finished import counted, judged, write_run
from tests.test_check import gate, policy
from tests.test_report_against import figures, finished

GATED = ("accuracy", "baseline_accuracy", "pss", "kappa", "repeatability", "persona_effect", "corrected_pss")


def lost(n: int = 100, share: float = 0.03, samples: int = 4):
    """Two checkpoints, the second without a few items."""
    rng = np.random.default_rng(5)
    rate = rng.beta(0.1, 0.1, (n, 1))
    before = rng.binomial(samples, rate, (n, 9))
    after = rng.binomial(samples, rate, (n, 9))
    after[rng.random(n) < share] = 0
    return before, after


def pair(tmp_path, before, after):
    folders = [
        write_run(tmp_path / name, [table], label=name, fingerprint=name[0] * 32)
        for name, table in (("base", before), ("candidate", after))
    ]
    return open_checkpoints([str(folder) for folder in folders])


def made(value: float, error: float, skewness: float, freedom: float = 30, clusters: float = 100) -> JackknifeResult:
    numbers = (value, value, error, freedom, skewness, clusters, 1)
    return JackknifeResult(*(np.array([float(number)]) for number in numbers))


@pytest.mark.parametrize("claim", [False, True])
def test_compare_shows_the_bounds_that_check_decides_by(tmp_path, claim):
    before, after = (counted(one, samples=4) for one in lost())
    base, candidate = pair(tmp_path, before, after)
    report = check(base, candidate, policy(*map(gate, GATED), generalise_to_personas=claim))
    [table] = compare_tables(base, candidate, [align(base, candidate, "sums")], claim, details=False)
    shown = {row[1]: row[table.columns.index("change")] for row in table.rows}
    assert len(report.findings) == len(GATED)
    for finding in report.findings:
        metric, own = METRICS[finding.metric], shown[METRICS[finding.metric].title]
        bounds = (-own.high, -own.low) if metric.better > 0 else (own.low, own.high)
        assert (finding.low, finding.high) == pytest.approx(bounds), finding.metric


def test_the_same_holds_for_a_judged_task(tmp_path):
    scores = np.random.default_rng(0).integers(1, 6, (12, 5, 2))
    base, candidate = pair(tmp_path, judged(scores), judged(np.maximum(scores - (scores == 5), 1)))
    [finding] = check(base, candidate, policy(gate("persona_score", 0.2))).findings
    [table] = compare_tables(base, candidate, [align(base, candidate, "acting")], details=False)
    own = table.rows[0][table.columns.index("change")]
    assert (finding.low, finding.high) == pytest.approx((-own.high, -own.low))


def test_the_leaderboard_shows_them_too(tmp_path):
    before, after = lost()
    summaries = [finished(tmp_path, label, array // 4, label[0] * 32) for label, array in (("b", before), ("c", after))]
    [table] = leaderboard(summaries, baseline="b")
    own = figures(table, "accuracy change")["c"]
    base, candidate = open_checkpoints([summary["folder"] for summary in summaries])
    change = align(base, candidate, "sums").changes()["accuracy"]
    assert (own.value, own.low, own.high) == pytest.approx(
        (change.absolute.value, change.absolute.low, change.absolute.high)
    )


def test_equal_counts_leave_the_same_room_in_every_unit():
    correct = np.zeros((40, 5), dtype=np.int32)
    correct[:8] = 1
    found = changes_of(correct, correct, 1)["accuracy"]
    assert found.absolute.high == pytest.approx(1 - 0.025 ** (1 / 40))
    assert found.relative.high == pytest.approx(found.absolute.high / 0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_cover_where_a_few_items_are_lost_or_gained(kind):
    # The plain interval of accuracy covers 75 %, of corrected PSS 83 % where personas are split.
    found = coverage(100, 0.02, kind, 100, seed=1)
    for name, (shown, relative, _) in found.items():
        assert min(shown, relative) >= 0.93, name
    assert min(plain for _, _, plain in found.values()) < 0.89


def test_intervals_are_hardly_wider_where_nothing_is_rare():
    for name, more in growth(500, 8, 4, 0.8, 10, seed=1).items():
        assert 0 <= more < 0.1, name


@pytest.mark.parametrize("skewness", [-0.8, 0.0, 0.8])
@pytest.mark.parametrize("items", [60.0, 1000.0, np.inf])
def test_p_values_agree_with_the_bounds(skewness, items):
    found = made(0.1, 0.05, skewness)
    [interval] = change_intervals(found, np.array([items]), ["raw"])
    assert p_above(found, interval.low, items)[0] == pytest.approx(0.025)
    assert p_above(mirrored(found), -interval.high, items)[0] == pytest.approx(0.025)
    for threshold in (interval.low - 0.01, interval.low + 0.01):
        assert (p_above(found, threshold, items)[0] < 0.025) == (threshold < interval.low)
    at_bound = replace(found, values=found.values - interval.low, corrected=found.corrected - interval.low)
    assert p_no_change(at_bound, items)[0] == pytest.approx(0.05)
    p_values = [p_above(found, threshold, items)[0] for threshold in np.linspace(-0.3, 0.3, 50)]
    assert np.all(np.diff(p_values) >= 0)


def test_the_bound_towards_the_longer_tail_moves_out_on_either_side():
    [plain] = intervals(made(0.1, 0.05, 0), ["raw"])
    right, left = (change_intervals(made(0.1, 0.05, skewness), np.array([np.inf]), ["raw"])[0] for skewness in (1, -1))
    assert (right.low, left.high) == (plain.low, plain.high)
    assert right.high - plain.high == pytest.approx(plain.low - left.low)
    assert right.high > plain.high + 0.01


def test_check_and_its_mirror_give_mirrored_bounds():
    found = made(0.03, 0.02, 0.7)
    low, high = NonInferiorityTest(found, 80).bounds
    assert NonInferiorityTest(mirrored(found), 80).bounds == (-high, -low)
