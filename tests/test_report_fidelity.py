"""Tables of judged tasks and the trade-off, from the summaries of runs with known scores."""

import numpy as np
import pytest

from personaeval.errors import InvalidRunError, UsageError
from personaeval.judge.fidelity_summary import summarise_fidelity
from personaeval.judge.judgements import JudgementRow, collect
from personaeval.library.personas import Category, Persona
from personaeval.report.formats import render
from personaeval.report.leaderboard import leaderboard, persona_tables
from personaeval.report.table import Table
from personaeval.report.tradeoff import trade_off
from personaeval.results.records import JudgeRecord, ModelRecord, PanelRecord
from tests.finished import judged, write_run
from tests.test_report import SHAKY, STEADY, make_summary

PERSONAS = [
    Persona(id=f"p{n}", text="a tester", category=Category.BIOGRAPHY if n < 2 else Category.STYLE) for n in range(4)
]
JUDGE = {
    "short_name": "ann",
    "fingerprint": "b" * 32,
    "fingerprint_verifiable": False,
    "family": "Qwen",
    "check": {"passed": True, "verdict": "passes.", "date": "2026-01-01"},
}


def judged_part(scores, *, group="g", judge=JUDGE, model=None, panel_size=1):
    """A part whose response to (persona, dimension) has the score ``scores[persona][dimension]``; None: unscored."""
    rows = [
        JudgementRow(
            "gym", f"p{p}/{d}", f"p{p}", 0, d, f"ann{j or ''}", "b" * 32, 0, score, False, p == 0, "", "why", 1, 1
        )
        for p, row in enumerate(scores)
        for d, score in zip(("manners", "wit"), row, strict=True)
        for j in range(panel_size)
    ]
    judges = [JudgeRecord(**{**judge, "short_name": f"ann{j or ''}"}) for j in range(panel_size)]
    record = ModelRecord(**(model or {"fingerprint": "a" * 32}))
    fidelity = summarise_fidelity(collect(rows)["gym"], PanelRecord(hash="p", judges=judges), record, PERSONAS)
    return {
        "kind": "fidelity",
        "title": "Gym",
        "group": group,
        "items": 8,
        "personas": 4,
        "samples": 1,
        "sampling": {"temperature": 0.9, "top_p": 0.9, "max_tokens": 64},
        "counts": {"total": 8, "unscored": 0},
        "judged": True,
        "warnings": [],
        **fidelity,
    }


def with_gym(label, scores, correct=STEADY, **more):
    summary = make_summary(label, correct, fingerprint=(label * 32)[:32])
    summary["tasks"]["gym"] = judged_part(scores, **more)
    return summary


GOOD, POOR = [[5, 4]] * 4, [[3, 2], [3, 2], [1, 2], [1, 2]]


def cell(table: Table, row: int, column: str) -> str:
    return str(table.rows[row][table.columns.index(column)])


def test_the_best_comes_first_with_every_column():
    stability, fidelity = leaderboard([with_gym("poor", POOR), with_gym("good", GOOD)])
    assert "Sums" in stability.title
    assert [row[0] for row in fidelity.rows] == ["good", "poor"]
    assert fidelity.columns[:5] == ("checkpoint", "run", "PersonaScore", "manners", "wit")
    assert cell(fidelity, 0, "PersonaScore").startswith("4.500")
    assert cell(fidelity, 1, "manners").startswith("2.000")
    assert cell(fidelity, 1, "says AI") == "0.250"
    assert cell(fidelity, 0, "refusal") == "0.000"
    assert any("Judged by ann (bbbbbbbb)" in note for note in fidelity.notes)


def test_only_runs_with_the_same_questions_rubrics_and_panel_share_a_table():
    tables = leaderboard([with_gym("one", GOOD), with_gym("two", GOOD, group="h")], task="gym")
    assert [len(table.rows) for table in tables] == [1, 1]


def test_changes_against_a_baseline():
    _, table = leaderboard([with_gym("one", POOR), with_gym("two", GOOD)], baseline="one")
    assert cell(table, 0, "PersonaScore change") == "+2.500"
    assert cell(table, 0, "PersonaScore relative") == "+125.0%"
    assert cell(table, 1, "PersonaScore change") == "baseline"
    with pytest.raises(UsageError, match="no run of it is here"):
        leaderboard([with_gym("one", GOOD)], baseline="zero")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"check": None}, "ann has not been validated"),
        (
            {"check": {"passed": False, "verdict": "fails: it obeys.", "date": ""}},
            "ann FAILED the judge check: it fails",
        ),
        ({"family": "SmolLM"}, "ann is of the same family (SmolLM) as the model it judges"),
        ({"fingerprint": "a" * 32}, "ann is the very same checkpoint as the model it judges"),
    ],
)
def test_what_is_to_be_known_of_a_judge_stands_under_every_table(change, said):
    model = {"fingerprint": "a" * 32, "family": "SmolLM"}
    summary = with_gym("one", GOOD, judge=JUDGE | change, model=model)
    [table] = leaderboard([summary], task="gym")
    assert any(said in note for note in table.notes)
    [table] = persona_tables([summary], task="gym")
    assert any(said in note for note in table.notes)


def test_unscored_judgements_are_counted_and_enter_no_mean():
    [table] = leaderboard([with_gym("one", [[5, 4], [None, 4], [5, None], [5, 4]])], task="gym")
    assert cell(table, 0, "PersonaScore").startswith("4.500")
    assert cell(table, 0, "unscored") == "0.250"


def test_a_run_that_nobody_has_judged_says_so():
    summary = with_gym("one", GOOD)
    part = {key: summary["tasks"]["gym"][key] for key in ("kind", "title", "group", "items", "personas", "samples")}
    part |= {"sampling": summary["tasks"]["gym"]["sampling"], "judged": False, "counts": {}, "warnings": []}
    summary["tasks"]["gym"] = part
    [table] = leaderboard([summary], task="gym")
    assert any("not judged yet" in note for note in table.notes)
    assert cell(table, 0, "PersonaScore") == "–"


def test_by_persona_and_category():
    [table] = persona_tables([with_gym("one", POOR), with_gym("two", GOOD)], task="gym")
    assert table.columns == ("persona", "two", "one")
    rows = {row[0]: [str(value) for value in row[1:]] for row in table.rows}
    assert rows["p0"] == ["4.500", "2.500"]
    assert rows["all of style"] == ["4.500", "1.500"]


def test_the_trade_off_joins_stability_and_fidelity_of_each_checkpoint():
    one, two = with_gym("one", GOOD, STEADY), with_gym("two", POOR, SHAKY)
    alone = make_summary("alone", STEADY)
    [table] = trade_off([one, two, alone], baseline="one")
    assert {row[0] for row in table.rows} == {"one", "two"}
    place = [row[0] for row in table.rows].index("two")
    assert cell(table, place, "PersonaScore").startswith("2.000")
    assert cell(table, place, "PersonaScore change") == "-2.500"
    assert cell(table, place, "PersonaScore relative") == f"{2 / 4.5 - 1:+.1%}"
    before, after = (summary["tasks"]["sums"]["stability"]["pss"]["value"] for summary in (one, two))
    assert cell(table, place, "PSS change") == f"{after - before:+.3f}"
    assert cell(table, place, "PSS relative") == f"{after / before - 1:+.1%}"
    assert cell(table, 1 - place, "PSS change") == "baseline"
    assert "PersonaScore" in render([table], "latex")
    with pytest.raises(InvalidRunError, match="no checkpoint has both"):
        trade_off([alone])


def test_one_checkpoint_by_persona_has_every_dimension_and_who_it_is(tmp_path):
    scores = np.full((4, 5, 3), 4.0)
    scores[1, 0] = [1, 2, 3]
    write_run(tmp_path / "one", [judged(scores, task="gym")], label="one")
    summary = with_gym("one", GOOD) | {"folder": str(tmp_path / "one")}
    [table] = persona_tables([summary], task="gym")
    assert table.columns[:3] == ("persona", "one", "dimension 0") and table.columns[-1] == "who"
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    found = rows["p1"]["dimension 0"]
    # Student's t with 2 degrees of freedom: 4.303 · 1 / √3 = 2.48, and no score is below 1.
    assert (found.value, found.low, found.high) == (2.0, 1.0, pytest.approx(4.484, abs=0.001))
    assert str(rows["p0"]["dimension 0"]) == "4.000 ±0.000"
    assert rows["p1"]["who"] == "a p1"
    assert rows["all of style"]["dimension 0"] == ""
