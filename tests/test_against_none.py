"""Differences of personas and categories from the baseline: known values, tests that find and do not invent."""

from dataclasses import replace

import numpy as np
import pytest

from personaeval.analysis.against_none import differences
from personaeval.analysis.compare import counts_of
from personaeval.metrics.catalogue import HEADLINE
from personaeval.metrics.paired import changes
from personaeval.metrics.sums import item_sums
from personaeval.report.leaderboard import persona_tables
from personaeval.results.runs import open_runs
from tests.finished import counted, write_run
from tests.test_report_against import finished


def cells_of(folder, correct, **more):
    write_run(folder, [counted(correct, **more)])
    return counts_of(open_runs(str(folder)), "sums")


def test_a_known_loss_is_found_and_none_invented(tmp_path):
    rng = np.random.default_rng(0)
    none = rng.random((400, 1)) < 0.7
    lost = none & (rng.random((400, 1)) < 0.8)
    cells = cells_of(tmp_path, np.hstack([none, lost, none]).astype(int))
    personas, categories = differences(cells)
    found = personas["p1"]
    assert found.estimate.value == pytest.approx(lost.mean() - none.mean())
    assert found.p < 0.001 and found.estimate.high < 0
    assert personas["p2"].estimate.value == 0 and personas["p2"].p == 1
    assert personas["p2"].estimate.low < 0 < personas["p2"].estimate.high, "400 equal items do not prove equality"
    assert categories["style"].estimate.value == pytest.approx(found.estimate.value / 2)


def test_unscored_cells_are_in_neither_side(tmp_path):
    correct = np.tile([1, 1, 0], (50, 1))
    unscored = np.zeros_like(correct)
    unscored[:10, 0] = 1
    personas, _ = differences(cells_of(tmp_path, correct * (1 - unscored), unscored=unscored))
    assert personas["p1"].estimate.value == 0
    assert personas["p2"].estimate.value == -1


def test_chance_alone_marks_few(tmp_path):
    rng = np.random.default_rng(1)
    marked = 0
    for number in range(40):
        personas, _ = differences(cells_of(tmp_path / str(number), (rng.random((150, 5)) < 0.6).astype(int)))
        marked += any(own.p is not None and own.p < 0.05 for own in personas.values())
    assert marked <= 6, "about 2 of 40 with one false discovery"


def test_the_table_of_one_checkpoint_has_them(tmp_path):
    right = np.tile([[1, 0, 1], [1, 0, 1], [1, 1, 1], [0, 0, 0]], (50, 1))
    [table] = persona_tables([finished(tmp_path, "a", right, "a" * 32)])
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    # The summary names its personas pirate and poet, the cells p1 and p2: those have no test.
    assert str(rows["pirate"]["against none"]) == "-0.500"
    assert (
        str(rows["all of style"]["against none"]).startswith("-0.250 ")
        and rows["all of style"]["against none"].p < 0.05
    )
    assert any("about these personas" in line for line in table.legend)


def test_the_bounds_are_those_of_a_change_between_two_checkpoints(tmp_path):
    rng = np.random.default_rng(3)
    # The two columns differ in one item of eighty, so that the exact bound decides.
    none = np.repeat(rng.random((80, 1)) < 0.5, 3, axis=1).astype(int)
    none[0] = [1, 0, 1]
    cells = cells_of(tmp_path, none)
    base = replace(cells, correct=np.repeat(cells.correct[:, :1], 3, axis=1), scored=cells.scored)
    found = changes(*(item_sums(own, "", cells.category_names) for own in (base, cells)))[len(HEADLINE) :]
    personas, categories = differences(cells)
    for own, change in zip((*personas.values(), *categories.values()), (*found[1:3], found[3]), strict=True):
        assert (own.estimate.low, own.estimate.high) == pytest.approx((change.absolute.low, change.absolute.high))
    assert personas["p1"].p == pytest.approx(min(1, 2 * found[1].p))


def test_interval_star_and_p_of_a_row_are_one_test(tmp_path):
    # Flips alone would be tested by McNemar, which says something else than the interval.
    right = np.ones((300, 4), dtype=int)
    right[:7, 3] = 0
    summary = finished(tmp_path, "a", right, "a" * 32)
    [table] = persona_tables([summary])
    row = next(dict(zip(table.columns, row, strict=True)) for row in table.rows if row[0] == "p3")
    assert row["p (BH)"].value == row["against none"].p
    [stored] = [own for own in summary["tasks"]["sums"]["stability"]["by_persona"] if own["persona"] == "p3"]
    assert row["p (BH)"].value != stored["p_adjusted"]


@pytest.mark.filterwarnings("error")
def test_a_persona_without_a_scored_answer_has_no_difference(tmp_path):
    right = np.random.default_rng(0).integers(0, 2, (50, 3))
    unscored = np.zeros_like(right)
    unscored[:, 1] = 1
    personas, categories = differences(cells_of(tmp_path, right * (1 - unscored), unscored=unscored))
    assert personas["p1"].estimate.value is None
    assert personas["p2"].estimate.low is not None
    assert categories["style"].estimate.low == pytest.approx(personas["p2"].estimate.low)
