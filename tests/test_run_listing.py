"""Which run is which: titles, the run column, one table per setting, the list of runs, and what is left out."""

import io
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import personaeval as package
from personaeval.errors import UsageError
from personaeval.results.files import write_json
from tests.finished import counted, write_run
from tests.test_report import make_summary

RIGHT = np.tile([[1, 1, 1], [0, 1, 0], [1, 0, 1], [0, 0, 0]], (10, 1))

TEMPLATES = ("you-are", "adopt", "described", "third-person", "imagine")


def write_finished(folder, plan: str, *, label="model", fingerprint="a" * 32, seed=0, **settings):
    """A run's folder with a summary; ``settings`` change its task's entry in run.json, and ``template`` its config."""
    path = write_run(
        folder / f"{label}-{fingerprint[:8]}" / plan, [counted(RIGHT)], label=label, fingerprint=fingerprint
    )
    record = json.loads((path / "run.json").read_text())
    record["plan"] = plan * 2
    record["config"] |= {"seed": seed, "template": settings.get("template", "you-are")}
    record["tasks"]["sums"] |= settings
    write_json(path / "run.json", record)
    summary = make_summary(label, RIGHT, group=json.dumps(settings), fingerprint=fingerprint)
    write_json(path / "summary.json", summary | {"format": 1, "plan": plan * 2})
    return path


@pytest.fixture
def five(tmp_path):
    """Five runs of one checkpoint that differ in the template alone."""
    for number, template in enumerate(TEMPLATES):
        write_finished(tmp_path, f"{number}abcdef0", template=template)
    return tmp_path


@pytest.mark.parametrize("format", ["markdown", "html", "latex"])
def test_titles_name_the_setting_in_which_runs_differ(five, format):
    text = package.leaderboard(five).render(format)
    for template in TEMPLATES:
        assert text.count(f"; template {template}") == 1
        assert "seed" not in text


def test_machine_formats_name_it_in_every_row(five):
    for text, read in (("csv", pd.read_csv), ("json", pd.read_json)):
        found = read(io.StringIO(package.leaderboard(five).render(text)))
        assert set(found.settings) == {f"template {name}" for name in TEMPLATES}
        assert len(found.run.unique()) == 5


def test_one_table_has_a_row_per_value_of_a_setting(five):
    write_finished(five, "9abcdef0", template="adopt", label="other", fingerprint="b" * 32)
    [table] = package.leaderboard(five, by="template")
    assert table.columns[:3] == ("checkpoint", "run", "template")
    assert [row[::2][:2] for row in table.rows] == [
        *(("model", template) for template in sorted(TEMPLATES)),
        ("other", "adopt"),
    ]
    assert any("not ranked" in note for note in table.notes)
    assert "*" not in "".join(str(cell) for row in table.rows for cell in row)
    with pytest.raises(UsageError, match="Did you mean 'template'"):
        package.leaderboard(five, by="templat")
    with pytest.raises(UsageError, match="no two runs of a task differ in it alone"):
        package.leaderboard(five, by="--seed")
    with pytest.raises(UsageError, match="--by has no baseline"):
        package.leaderboard(five, by="template", baseline="model")


def test_runs_that_also_differ_otherwise_are_not_in_it(five):
    write_finished(five, "8abcdef0", template="adopt", seed=1)
    write_finished(five, "7abcdef0", template="imagine", seed=1)
    first, second = package.leaderboard(five, by="template")
    assert (len(first.rows), len(second.rows)) == (5, 2)
    assert [table.title.rpartition("; ")[2] for table in (first, second)] == ["seed 0", "seed 1"]


def test_numbers_are_sorted_as_numbers(tmp_path):
    for seed in (10, 9, 100):
        write_finished(tmp_path, f"{seed:08d}", seed=seed)
    [table] = package.leaderboard(tmp_path, by="seed")
    assert [row[2] for row in table.rows] == ["9", "10", "100"]


def test_every_run_is_listed_and_none_hides_the_others(five, personaeval):
    before = package.leaderboard(five).tables
    unread = write_finished(five, "6abcdef0", template="adopt")
    (unread / "summary.json").write_text("{")
    known, unknown = (five / "model-aaaaaaaa" / name for name in ("dddddddd", "eeeeeeee"))
    for folder in (known, unknown):
        folder.mkdir()
    record = json.loads((five / "model-aaaaaaaa" / "0abcdef0" / "run.json").read_text())
    write_json(unknown / "sessions.json", {"sessions": []})
    from personaeval.results.runs import open_run

    upgraded = open_run(five / "model-aaaaaaaa" / "0abcdef0").record.to_json()
    write_json(known / "sessions.json", {"sessions": [], "run": upgraded | {"plan": "d" * 16}})
    assert record["format"] == 1
    [table] = package.runs(five)
    assert table.columns == ("checkpoint", "run", "state", "tasks", "answers", "template")
    states = {row[1]: (row[2], str(row[4]), row[5]) for row in table.rows}
    assert states["1abcdef0"] == ("finished", "120", "adopt")
    assert states["dddddddd"] == ("unfinished", "120", "you-are")
    assert states["eeeeeeee"] == ("unfinished", "–", "–")
    assert states["6abcdef0"] == ("unreadable", "–", "–")
    assert "8 runs, 5 finished" in table.title
    shown = personaeval("leaderboard", five)
    assert shown.returncode == 0
    [line] = [line for line in shown.stdout.splitlines() if line.startswith("Left out")]
    assert line.count("unfinished") == 2 and "summary.json: cannot be read" in line
    assert [table.rows for table in package.leaderboard(five)] == [table.rows for table in before]
    with pytest.warns(UserWarning, match="Left out"):
        assert len(package.load(five)) == 5


def test_a_folder_with_an_unfinished_run_alone_says_how_to_finish_it(tmp_path):
    (tmp_path / "model-aaaaaaaa" / "dddddddd").mkdir(parents=True)
    write_json(tmp_path / "model-aaaaaaaa" / "dddddddd" / "sessions.json", {"sessions": []})
    with pytest.raises(UsageError, match="dddddddd is unfinished: the same"):
        package.leaderboard(tmp_path)
    assert len(package.runs(tmp_path).tables[0].rows) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="it holds no run"):
        package.runs(tmp_path / "empty")


@pytest.mark.slow
def test_parquet_is_the_same_table(five):

    shown = subprocess.run(
        [sys.executable, "-m", "personaeval", "leaderboard", str(five), "-f", "parquet"],
        capture_output=True,
        check=True,
    )
    frame = pd.read_parquet(io.BytesIO(shown.stdout))
    assert frame.equals(package.leaderboard(five).frame().astype(frame.dtypes))


def test_numbers_after_equal_names_have_a_legend(five):
    folders = [five / "model-aaaaaaaa" / name for name in ("0abcdef0", "1abcdef0")]
    with pytest.raises(package.InvalidRunError, match="template 'you-are' against 'adopt'"):
        package.compare(*folders)
    [table, *_] = package.compare(*folders, allow_different_settings=True)
    for number, folder in enumerate(folders, start=1):
        assert f"model-aaaaaaaa ({number}): {folder}." in table.notes
