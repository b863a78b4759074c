"""Changes against a baseline in tables: paired on the cells of finished runs, tested, marked; and wider claims."""

import json

import numpy as np
import pytest

from personaeval.metrics.population import Population
from personaeval.report.estimates import FormattedEstimate
from personaeval.report.formats import render
from personaeval.report.leaderboard import leaderboard
from personaeval.report.table import Key, Table, without_intervals
from personaeval.report.tradeoff import trade_off
from tests.finished import counted, judged, write_run
from tests.test_report import make_summary
from tests.test_report_fidelity import judged_part


def finished(folder, label, correct, fingerprint):
    """A summary whose run is on disk."""
    write_run(folder / label, [counted(correct)], label=label, fingerprint=fingerprint)
    return make_summary(label, correct, fingerprint=fingerprint) | {"folder": str(folder / label)}


@pytest.fixture
def runs(tmp_path):
    population = Population(0.7)
    rng = np.random.default_rng(0)
    base, worse = population.draw_pair(population.worse("accuracy", 0.15), rng, 400, 2, 1)
    same = base.copy()
    same[:2] = 1 - same[:2]
    arrays = {"base": base, "worse": worse, "same": same}
    return [finished(tmp_path, label, array, label[0] * 32) for label, array in arrays.items()]


def figures(table: Table, column: str) -> dict:
    return {row[0]: row[table.columns.index(column)] for row in table.rows}


def test_a_change_is_paired_tested_and_marked(runs):
    [table] = leaderboard(runs, baseline="base")
    found = figures(table, "accuracy change")
    assert str(found["base"]) == "baseline"
    assert found["worse"].high < 0 and found["worse"].p < 0.001
    assert str(found["worse"]).endswith("*")
    assert found["same"].p > 0.05 and not str(found["same"]).endswith("*")
    # Paired: much narrower than the figures' own intervals, by which nothing would differ from anything.
    own = figures(table, "accuracy")["worse"]
    assert found["same"].high - found["same"].low < (own.high - own.low) / 2
    assert figures(table, "interpretation")["same"] == "no change shown"
    [note] = [note for note in table.legend if "Holm" in note]
    assert "minus base" in note
    assert "4 tests of changes, adjusted together." in table.notes
    before = figures(table, "accuracy")["base"].value
    assert found["worse"].value == pytest.approx(own.value - before)
    assert figures(table, "accuracy relative")["worse"].value == pytest.approx(own.value / before - 1)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        # Independent answers: PSS is the accuracy, and κ is 0 in both.
        (Population(0.8, item=0, cell=0), Population(0.56, item=0, cell=0), "accuracy change only"),
        (Population(0.6), Population(0.6).worse("pss", 0.15), "stability has fallen"),
        (Population(0.6).worse("pss", 0.15), Population(0.6), "stability has risen"),
    ],
)
def test_a_change_of_pss_is_one_of_stability_where_kappa_is_shown_to_agree(tmp_path, before, after, said):
    drawn = before.draw_pair(after, np.random.default_rng(3), 800, 6, 1)
    summaries = [
        finished(tmp_path, label, array, label[0] * 32) for label, array in zip(("base", "new"), drawn, strict=True)
    ]
    [table] = leaderboard(summaries, baseline="base")
    assert figures(table, "PSS change")["new"].p < 0.05
    assert figures(table, "interpretation")["new"] == said


def test_p_values_are_adjusted_over_all_rows(runs):
    few, many = (leaderboard(own, baseline="base")[0] for own in (runs[:2], runs))
    single, among = (figures(table, "PSS change")["worse"].p for table in (few, many))
    assert single < among <= 4 * single


def test_a_run_without_its_cells_is_shown_without_a_test(runs, tmp_path):
    (tmp_path / "worse" / "cells.parquet").unlink()
    [table] = leaderboard(runs, baseline="base")
    assert figures(table, "accuracy change")["worse"].p is None
    assert figures(table, "accuracy change")["same"].p is not None
    assert any(note.startswith("worse: its changes are not tested") for note in table.notes)


def test_intervals_for_other_personas_are_wider(tmp_path):
    population = Population(0.6, cell=0.1, persona=0.1)
    correct = population.draw(np.random.default_rng(1), 300, 8, 1)
    summary = finished(tmp_path, "a", correct, "a" * 32)
    [plain], [wide] = leaderboard([summary]), leaderboard([summary], generalise_to_personas=True)
    for name in ("accuracy", "PSS"):
        before, after = figures(plain, name)["a"], figures(wide, name)["a"]
        assert after.value == before.value
        assert after.high - after.low > before.high - before.low
    assert any("other personas" in note for note in wide.legend)


def test_fidelity_changes_are_tested_too(tmp_path):
    rng = np.random.default_rng(0)
    before = rng.integers(3, 6, (50, 5, 1)).astype(float)
    summaries = []
    for label, scores in (("one", before), ("two", before - rng.integers(0, 2, before.shape))):
        correct = np.tile([1, 1, 0], (120, 1))
        fingerprint = label[0] * 32
        write_run(tmp_path / label, [counted(correct), judged(scores)], label=label, fingerprint=fingerprint)
        summary = make_summary(label, correct, fingerprint=fingerprint) | {"folder": str(tmp_path / label)}
        summary["tasks"]["acting"] = judged_part([[4, 4]] * 4)
        summaries.append(summary)
    _, table = leaderboard(summaries, baseline="one")
    found = figures(table, "PersonaScore change")["two"]
    assert found.high < 0 and str(found).endswith("*")
    [table] = trade_off(summaries, baseline="one")
    assert figures(table, "PersonaScore change")["two"].p == pytest.approx(found.p)
    assert figures(table, "PSS change")["two"].p == 1


TABLE = Table(
    "t",
    ("name", "change"),
    (
        ("a", FormattedEstimate(0.1, 0.05, 0.15, percent=True, p=0.01)),
        ("b", FormattedEstimate(None, word="baseline")),
    ),
    row_keys=(Key(checkpoint="a"), Key(checkpoint="b")),
    column_keys=(None, Key(metric="accuracy", form="_change", base="b")),
)


def test_every_format_has_interval_and_p():
    assert "+10.0% ±5.0% *" in render([TABLE], "markdown")
    [row] = json.loads(render([TABLE], "json"))
    assert (row["metric"], row["base"], row["checkpoint"]) == ("accuracy_change", "b", "a")
    assert [row[name] for name in ("value", "low", "high", "p")] == [0.1, 0.05, 0.15, 0.01]
    assert render([TABLE], "csv").splitlines()[1] == ",,,a,,,b,,,,accuracy_change,0.1,0.05,0.15,0.01,,"
    bare = without_intervals([TABLE])
    assert "+10.0% *" in render(bare, "markdown") and "±" not in render(bare, "markdown")
    assert json.loads(render(bare, "json"))[0]["low"] is None


def test_the_command_line(runs, tmp_path, personaeval):
    for summary in runs:
        (tmp_path / summary["short_name"] / "summary.json").write_text(json.dumps({"format": 1} | summary))
    shown = personaeval("leaderboard", tmp_path, "--baseline", "base", "--generalise-to-personas")
    assert shown.returncode == 0, shown.stderr
    assert "±" in shown.stdout and "other personas" in shown.stdout
    assert "±" not in personaeval("leaderboard", tmp_path, "--no-interval").stdout
    assert personaeval("leaderboard", tmp_path, "--personas", "--generalise-to-personas").returncode == 2
