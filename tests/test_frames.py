"""Finished runs as DataFrames: what the columns hold, and what becomes of folders that lack something."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

import personaeval
from personaeval.config import make_config
from personaeval.errors import UsageError
from personaeval.judge.judgements import read_judgements
from personaeval.pipeline.run import run
from personaeval.progress import open_progress
from personaeval.results.files import read_json, write_json
from personaeval.results.frames import open_results
from personaeval.results.listing import find_summaries
from personaeval.results.responses import read_responses
from tests.conftest import write_library
from tests.judging import judge_named, perform_play, speak, write_play
from tests.scripted_server import Script, ScriptedServer
from tests.test_run_files import as_format_1

IDENTITY = ["checkpoint", "fingerprint", "run", "step"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two checkpoints with stability runs, one of them in two settings, and a judged run of a third."""
    top = tmp_path_factory.mktemp("frames")
    library = write_library(top / "library")
    write_play(library)
    settings = {"tasks": ("sums",), "personas": ("few",), "include": (library,), "output": top / "results"}
    with ScriptedServer(Script(model=None)) as server:
        for name, more in (("step-100", {}), ("step-200", {}), ("step-200", {"samples": 2, "temperature": 0.5})):
            config = make_config(None, settings | {"model": (f"openai:{name}@{server.url}",)} | more)
            run(config, open_progress(quiet=True))
    with (
        ScriptedServer(answer=speak) as actor,
        ScriptedServer(Script(model="ann"), answer=judge_named("ann")) as ann,
    ):
        perform_play(library, top / "results", actor, [ann])
    return top / "results"


@pytest.fixture(scope="module")
def results(folder):
    return open_results(folder)


@pytest.mark.slow
def test_metrics_hold_every_estimate_of_the_summaries(results, folder):
    frame = results.metrics()
    assert list(frame.columns[:4]) == IDENTITY
    compared = 0
    for summary in find_summaries(folder):
        mine = frame[(frame.fingerprint == summary["fingerprint"]) & (frame.run == summary["plan"][:8])]
        for task, part in summary["tasks"].items():
            whole = mine[(mine.task == task) & (mine.level == "task")].set_index("metric")
            assert whole.index.is_unique
            estimates = part.get("stability") or part["fidelity"]
            for metric in {"pss", "accuracy", "kappa", "corrected_pss", "persona_score"} & set(estimates):
                found = [None if pd.isna(x) else x for x in whole.loc[metric, ["value", "low", "high"]]]
                assert found == [estimates[metric][key] for key in ("value", "low", "high")]
                compared += 1
    assert compared == 3 * 4 + 1


def test_metrics_by_persona_and_category(results):
    frame = results.metrics("sums")
    personas = frame[(frame.level == "persona") & (frame.metric == "accuracy")]
    assert set(zip(personas.persona, personas.category, strict=True)) == {
        ("none", "baseline"),
        ("pirate", "style"),
        ("professor", "expert"),
    }
    assert personas.low.notna().any()
    categories = frame[frame.level == "category"]
    assert set(categories.category) == {"style", "expert"}
    assert categories.persona.isna().all()
    judged = results.metrics("play")
    assert set(judged[judged.level == "persona"].category) == {"biography"}
    assert {"manners", "wit", "judge.ann.persona_score", "refusal"} <= set(judged.metric)


def test_cells_and_responses_are_the_files_with_who_and_where(results):
    cells, responses = results.cells("sums"), results.responses("sums")
    assert len(cells) == 3 * 12 * 3
    assert len(responses) == (1 + 1 + 2) * 12 * 3
    assert set(zip(cells.checkpoint, cells.step, strict=True)) == {("step-100", 100), ("step-200", 200)}
    by_cell = responses[responses.status == "correct"].groupby([*IDENTITY, "item", "persona"]).size()
    counted = cells[cells.correct > 0].set_index([*IDENTITY, "item", "persona"]).correct
    assert by_cell.sort_index().to_dict() == counted.sort_index().to_dict()
    assert set(responses[responses.persona == "pirate"].category) == {"style"}


def test_answers_stand_in_plan_order_and_texts_can_be_left_out(results, folder):
    one = next(iter(sorted(folder.glob("step-100-*/*"))))
    shown = open_results(one).responses()
    assert [tuple(row) for row in shown[["persona", "item", "text"]].to_numpy()] == [
        (row.persona, row.item, row.text) for row in read_responses(one)
    ]
    assert not {"text", "thinking", "question"} & set(results.responses(texts=False).columns)


def test_judgements(results, folder):
    frame = results.judgements()
    [judged] = [path.parent for path in folder.glob("*/*/judgements.parquet")]
    rows = list(read_judgements(judged))
    assert frame.score.tolist() == [row.score for row in rows]
    assert set(frame.judge_fingerprint) == {rows[0].fingerprint} != set(frame.fingerprint)
    assert results.judgements("sums").dtypes.to_dict() == frame.dtypes.to_dict()


def test_runs_have_a_column_for_each_setting_that_differs(results):
    frame = results.runs()
    assert len(frame) == len(results) == 4
    assert set(frame["samples"].dropna()) == {1, 2}
    assert {"temperature", "judge", "include"} & set(frame.columns) == {"temperature", "judge"}
    assert frame.requests.sum() == frame.generated.sum() == 4 * 36 + 24
    assert all(Path(path).is_dir() for path in frame.folder)


@pytest.mark.parametrize("frame", ["metrics", "cells", "responses", "judgements", "runs", "items", "personas"])
def test_every_column_is_typed(results, frame):
    kinds = {str(kind) for kind in getattr(results, frame)().dtypes}
    assert "object" not in kinds
    assert str(getattr(results, frame)().checkpoint.dtype) == "string"


def test_a_list_of_folders_and_runs_counts_each_run_once(folder):
    runs = sorted(path.parent for path in folder.glob("step-*/*/run.json"))
    assert len(open_results([str(run) for run in runs])) == 3
    assert len(open_results([folder, *runs])) == 4


def test_a_copy_of_a_run_and_a_name_shared_by_two_checkpoints_are_told_apart(folder, tmp_path):
    [run] = folder.glob("step-100-*/*")
    shutil.copytree(run, tmp_path / "copy")
    frame = open_results([run, tmp_path / "copy"]).metrics()
    assert frame.run.nunique() == 2
    record = read_json(tmp_path / "copy" / "run.json")
    record["model"]["fingerprint"] = "f" * 32
    write_json(tmp_path / "copy" / "run.json", record)
    names = open_results([run, tmp_path / "copy"]).runs().checkpoint
    assert set(names) == {f"step-100-{run.parent.name[-8:]}", "step-100-ffffffff"}


def test_wrong_folders_are_refused_in_the_words_of_the_command_line(tmp_path, personaeval):
    import personaeval as package

    empty = tmp_path / "empty"
    empty.mkdir()
    for wrong in (empty, tmp_path / "absent"):
        with pytest.raises(UsageError) as refused:
            package.load(wrong)
        shown = personaeval("leaderboard", wrong)
        assert shown.returncode == refused.value.exit_code == 2
        assert shown.stderr.strip() == f"personaeval: {refused.value}"
    with pytest.raises(UsageError, match="no folder was given"):
        package.load([])


def test_a_run_without_its_answers_is_named(folder, tmp_path):
    [run] = folder.glob("step-100-*/*")
    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "copy" / "responses.parquet").unlink()
    found = personaeval.load(tmp_path / "copy")
    assert len(found.cells()) == 36
    with pytest.raises(personaeval.UsageError, match=r"copy/responses\.parquet: cannot be read"):
        found.responses()


def test_a_leaderboard_of_the_same_runs(folder, personaeval):
    import personaeval as package

    found = package.leaderboard(folder)
    assert f"{found}\n" == personaeval("leaderboard", folder).stdout
    frames = found.frames()
    assert [frame.attrs["title"] for frame in frames] == [table.title for table in found]
    assert len(frames) == len(found) == 3
    both = next(frame for frame in frames if len(frame) == 2)
    assert set(both.checkpoint) == {"step-100", "step-200"}
    assert both["PSS low"].notna().all()
    personas = package.leaderboard(folder, personas=True, task="sums").frames()
    assert all({"none", "pirate", "professor"} <= set(frame.persona) for frame in personas)
    assert all(
        name.startswith("all of ")
        for frame in personas
        for name in set(frame.persona) - {"none", "pirate", "professor"}
    )


def test_items_and_personas_tell_what_was_asked_of_whom(results):
    items = results.items("sums").drop_duplicates("item").set_index("item")
    assert items.loc["s3", ["prompt", "gold"]].tolist() == ["What is 3 + 4?", "7"]
    responses = results.responses()
    assert responses.question.notna().all()
    assert set(responses[responses.item == "s3"].question) == {"What is 3 + 4?"}
    personas = results.personas()
    shared = personas[personas.task.isna()].drop_duplicates("persona").set_index("persona")
    assert shared.loc["pirate", "sentence"] == "You are a swaggering pirate captain."
    assert "swaggering pirate captain" in shared.loc["pirate", "example"]
    assert set(personas[personas.task == "play"].category) == {"biography"}


def test_a_folder_without_items_has_answers_without_questions(folder, tmp_path):
    [run] = folder.glob("step-100-*/*")
    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "copy" / "items.parquet").unlink()
    found = open_results(tmp_path / "copy")
    assert found.items().empty
    assert found.responses().question.isna().all()
    assert len(found.responses()) == 36


def test_folders_of_format_1_give_the_same_frames_but_for_what_they_lack(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "old")
    before = open_results(tmp_path / "old")
    frames = {name: getattr(before, name)() for name in ("metrics", "cells", "judgements")}
    responses = before.responses().drop(columns="question")
    for path in list((tmp_path / "old").glob("*/*/run.json")):
        as_format_1(path.parent)
    old = open_results(tmp_path / "old")
    assert all(getattr(old, name)().equals(frame) for name, frame in frames.items())
    assert old.responses().drop(columns="question").equals(responses)
    assert old.responses().question.isna().all()
    assert set(old.personas().persona) >= {"none", "pirate", "actor-0"}
