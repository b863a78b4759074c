"""Tables: what stands in them, what is ranked with what, and the formats they are written in."""

import io
import json

import numpy as np
import pandas as pd
import pytest

from personaeval.errors import UsageError
from personaeval.metrics.stability import Cells, summarise
from personaeval.report.estimates import FormattedEstimate
from personaeval.report.formats import render
from personaeval.report.leaderboard import leaderboard, persona_tables
from personaeval.report.table import Key, Table, grouped
from personaeval.results.listing import find_summaries


def make_summary(label: str, correct, *, group: str = "g", fingerprint: str = "a" * 32, warnings=(), samples=1) -> dict:
    correct = np.asarray(correct, dtype=np.int32)
    zero = np.zeros_like(correct)
    others = ["pirate", "poet", *(f"p{number}" for number in range(3, correct.shape[1]))]
    cells = Cells(
        persona_ids=("none", *others),
        categories=("baseline", *["style"] * len(others)),
        domains=(None,) * correct.shape[1],
        correct=correct,
        scored=zero + samples,
        score_sum=correct.astype(float),
        no_answer=zero,
        truncated=zero,
        wrong_truncated=zero,
        unscored=zero,
        other_script=zero,
    )
    part = {
        "title": "Sums",
        "group": group,
        "items": len(correct),
        "personas": 2,
        "samples": samples,
        "template": "You are {{ persona }}.",
        "sampling": {"temperature": 0.0, "top_p": 1.0, "max_tokens": 32},
        "counts": {"total": correct.size, "unscored": 0},
        "warnings": list(warnings),
        "stability": summarise(cells, "mathematics").to_json(),
    }
    return {
        "short_name": label,
        "fingerprint": fingerprint,
        "engine": "vllm",
        "dtype": "bfloat16",
        "plan": "p" * 16,
        "persona_role": "system",
        "tasks": {"sums": part},
    }


STEADY = [[1, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0]]
SHAKY = [[1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 0, 0]]


def column(table: Table, name: str) -> list:
    return [row[table.columns.index(name)] for row in table.rows]


def test_the_most_stable_comes_first_and_the_worst_persona_is_named():
    [table] = leaderboard([make_summary("shaky", SHAKY), make_summary("steady", STEADY)])
    assert column(table, "checkpoint") == ["steady", "shaky"]
    assert column(table, "PSS")[0].value == 1
    assert str(column(table, "worst persona")[1]) == "pirate 0.250"
    assert column(table, "unscored")[0].value == 0
    assert any("not separated" in note for note in table.legend)


def test_only_like_is_ranked_with_like():
    tables = leaderboard([make_summary("a", STEADY), make_summary("b", STEADY, group="other sampling")])
    assert [len(table.rows) for table in tables] == [1, 1]


def test_names_that_are_equal_are_told_apart():
    [table] = leaderboard([make_summary("ckpt", STEADY), make_summary("ckpt", SHAKY, fingerprint="b" * 32)])
    assert column(table, "checkpoint") == ["ckpt-aaaaaaaa", "ckpt-bbbbbbbb"]


def test_changes_against_a_baseline_without_cells_are_not_tested():
    summaries = [make_summary("before", SHAKY), make_summary("after", STEADY)]
    [table] = leaderboard(summaries, baseline="before")
    places = column(table, "checkpoint")
    readings = dict(zip(places, column(table, "interpretation"), strict=True))
    assert readings == {"before": "", "after": "not tested"}
    change = dict(zip(places, column(table, "accuracy change"), strict=True))
    assert change["after"].value == pytest.approx(0.5 - 0.375)
    relative = dict(zip(places, column(table, "accuracy relative"), strict=True))
    assert relative["after"].value == pytest.approx(0.5 / 0.375 - 1)
    with pytest.raises(UsageError, match="Did you mean 'before'"):
        leaderboard(summaries, baseline="befor")


def test_a_group_without_the_baseline_is_shown_and_says_so():
    summaries = [make_summary("before", SHAKY), make_summary("after", STEADY), make_summary("other", STEADY, group="h")]
    with_base, without = leaderboard(summaries, baseline="before")
    assert "interpretation" in with_base.columns
    assert column(without, "checkpoint") == ["other"]
    assert "No run of before is comparable with these." in without.notes


def test_one_checkpoint_on_two_engines_is_named_as_the_table_names_it():
    here = make_summary("a", SHAKY)
    there = make_summary("a", STEADY) | {"engine": "transformers"}
    with pytest.raises(UsageError, match=r"choose one of .*a-aaaaaaaa \(vllm, bfloat16\)"):
        leaderboard([here, there], baseline="a")
    [table] = leaderboard([here, there], baseline="a-aaaaaaaa (vllm, bfloat16)")
    changes = dict(zip(column(table, "checkpoint"), column(table, "accuracy change"), strict=True))
    assert str(changes["a-aaaaaaaa (vllm, bfloat16)"]) == "baseline"
    assert changes["a-aaaaaaaa (transformers, bfloat16)"].value == pytest.approx(0.5 - 0.375)


def test_a_row_per_persona():
    [alone] = persona_tables([make_summary("a", SHAKY)])
    assert column(alone, "persona") == ["none", "pirate", "poet", "all of style"]
    assert [str(cell) for cell in column(alone, "against none")] == ["", "-0.250", "+0.000", "-0.125"]
    assert column(alone, "lost")[1].value == 1
    [both] = persona_tables([make_summary("a", SHAKY), make_summary("b", STEADY)])
    assert both.columns == ("persona", "category", "b", "a")


def test_personas_in_another_order_keep_their_numbers():
    one, other = make_summary("a", SHAKY), make_summary("b", SHAKY)
    other["tasks"]["sums"]["stability"]["by_persona"].reverse()
    [table] = persona_tables([one, other])
    assert column(table, "a") == column(table, "b")


def test_warnings_stand_under_every_table():
    summary = make_summary("a", STEADY, warnings=["9.0% of the completions were cut off at max_tokens"])
    for table in (*leaderboard([summary]), *persona_tables([summary])):
        assert "a: 9.0% of the completions were cut off at max_tokens." in table.notes


HOSTILE = Table(
    "a <b>title</b>",
    ("name", "score"),
    (("=cmd|' /C calc'!A0", FormattedEstimate(0.5, 0.4, 0.6)), ("<script>alert(1)</script>", FormattedEstimate(None))),
    ("a & b",),
    key=Key(view="leaderboard", task="sums"),
    row_keys=(Key(checkpoint="=cmd|' /C calc'!A0"), Key(checkpoint="<script>alert(1)</script>")),
    column_keys=(None, Key(metric="score", n=12)),
)


def test_markdown():
    text = render([HOSTILE], "markdown")
    assert "=cmd\\|' /C" in text
    assert "0.500 ±0.100" in text
    assert "–" in text


def test_an_interval_that_is_not_symmetric_is_written_with_both_ends():
    assert str(FormattedEstimate(0.5, 0.4, 0.6)) == "0.500 ±0.100"
    assert str(FormattedEstimate(0.95, 0.80, 0.98)) == "0.950 [0.800, 0.980]"
    assert str(FormattedEstimate(1.889, -0.9, 31.17, percent=True)) == "+188.9% [-90.0%, >1000%]"
    # The interval stands around the corrected estimate, and need not hold the one that is shown.
    assert str(FormattedEstimate(0.5, 0.51, 0.6)) == "0.500 [0.510, 0.600]"
    assert str(FormattedEstimate(0.5, 0.5, 0.5)) == "0.500 ±0.000"
    # No reader should take 0.98 ±0.03 for a claim about 1.01.
    assert str(FormattedEstimate(0.98, 0.95, 1.0, scale=(0, 1))) == "0.980 [0.950, 1.000]"
    assert str(FormattedEstimate(0.97, 0.94, 1.0, scale=(0, 1))) == "0.970 ±0.030"


def test_a_p_value_is_never_shown_as_zero():
    assert [str(FormattedEstimate(p, is_p=True)) for p in (0.0, 0.00099, 0.001, 0.25)] == [
        "<0.001",
        "<0.001",
        "0.001",
        "0.250",
    ]


def test_names_make_no_elements_and_obey_no_terminal():
    table = Table("a <b>bold</b> one", ("x",), (("\x1b[31mred",),), ("[click](javascript:1), p < 0.05",))
    text = render([table], "markdown")
    assert "\\<b>" in text and "\x1b" not in text and "](" not in text and "p < 0.05" in text


def test_csv_is_neutralised_and_one_table():
    found = pd.read_csv(io.StringIO(render([HOSTILE, HOSTILE], "csv")))
    assert len(found) == 4
    assert found.loc[0, ["task", "checkpoint", "metric"]].tolist() == ["sums", "'=cmd|' /C calc'!A0", "score"]
    assert found.loc[0, ["value", "low", "high", "n"]].tolist() == [0.5, 0.4, 0.6, 12]
    assert found.loc[1, ["value", "low", "p"]].isna().all()


def test_html_is_escaped():
    text = render([HOSTILE], "html")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "a &lt;b&gt;title" in text
    assert "a &amp; b" in text


def test_json_is_the_same_table():
    first, second = json.loads(render([HOSTILE], "json"))
    assert (first["checkpoint"], first["value"], first["low"], first["high"]) == ("=cmd|' /C calc'!A0", 0.5, 0.4, 0.6)
    assert second["value"] is None


def test_a_column_without_a_figure_is_left_out_and_a_gap_has_its_reason():
    rows = (("a", FormattedEstimate(None), FormattedEstimate(0.5)), ("b", "–", FormattedEstimate(None, why="no run")))
    text = render([Table("t", ("name", "empty", "score"), rows)], "markdown")
    assert "empty" not in text
    assert "score –: no run." in text


def test_a_note_on_all_rows_stands_once():
    assert grouped(["a", "b"], [("a", "few."), ("b", "few."), ("b", "cut.")]) == ["both: few.", "b: cut."]
    assert grouped(["a", "b", "c"], [("a", "few."), ("b", "few."), ("c", "few.")]) == ["all: few."]
    assert grouped(["a", "b", "c"], [("a", "few."), ("b", "few.")]) == ["a, b: few."]
    assert grouped(["a"], [("a", "few.")]) == ["a: few."]


def test_the_legend_stands_once_for_all_tables():
    tables = leaderboard([make_summary("a", STEADY), make_summary("b", STEADY, group="other sampling")])
    assert render(tables, "markdown").count("One sample") == 1


def test_no_persona_is_the_worst_where_all_fail():
    [table] = leaderboard([make_summary("a", np.zeros((4, 3)))])
    assert str(column(table, "worst persona")[0]) == "–"


def test_latex():
    text = render([Table("t", ("a_b", "κ"), (("x & y", FormattedEstimate(0.5, 0.4, 0.6)),))], "latex")
    assert "x \\& y" in text
    assert "$\\pm$" in text
    assert "$\\kappa$" in text


def test_summaries_of_other_tools_are_passed_over(tmp_path):
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "summary.json").write_text('{"loss": 1}')
    with pytest.raises(UsageError, match="holds no finished run"):
        find_summaries(tmp_path)
    (tmp_path / "trainer" / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="not the summary of a personaeval run"):
        find_summaries(tmp_path)
    (tmp_path / "trainer" / "summary.json").write_text("[1]")
    with pytest.raises(UsageError, match="no JSON object"):
        find_summaries(tmp_path)


def test_an_unknown_format_or_task():
    with pytest.raises(UsageError, match="Did you mean 'markdown'"):
        render([], "markdwn")
    with pytest.raises(UsageError, match="Did you mean 'sums'"):
        leaderboard([make_summary("a", STEADY)], task="sum")
