"""Differences of personas and categories from the baseline: known values, tests that find and do not invent."""

import numpy as np
import pytest

from personaeval.analysis.against_none import differences
from personaeval.analysis.compare import counts_of
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
