"""What a run's folder holds beside its responses: run.json as records, items and personas; and older folders."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from personaeval.config import RunConfig
from personaeval.errors import UsageError
from personaeval.pipeline.run import run
from personaeval.pipeline.score import rescore
from personaeval.progress import open_progress
from personaeval.results.baseline import write_baseline
from personaeval.results.files import read_json, write_json
from personaeval.results.persona_table import read_personas
from personaeval.results.records import read_record
from personaeval.results.runs import finished_runs, open_run
from tests.judging import perform_play, speak, write_play
from tests.scripted_server import Script, ScriptedServer


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A finished run of a counted and a judged task, the judged one waiting for judges."""
    from tests.conftest import write_library

    folder = tmp_path_factory.mktemp("both")
    library = write_library(folder / "library")
    write_play(library)
    with ScriptedServer(answer=speak) as model:
        config = RunConfig(
            model=(f"openai:scripted@{model.url}",),
            tasks=("sums", "play"),
            personas=("few",),
            include=(library,),
            output=folder / "results",
        )
        [result] = run(config, open_progress(quiet=True))
    return result.folder


def as_format_1(folder: Path) -> None:
    """Rewrite a folder as it was before format 2: personas in run.json, neither personas.parquet nor items.parquet."""
    record = read_json(folder / "run.json")
    rows = read_personas(folder)
    fields = ("text", "category", "tags", "domain", "expect", "paraphrase_of")
    listed = {
        owner: [
            {"id": row.persona, **{name: getattr(row, name) for name in fields}} for row in rows if row.task == owner
        ]
        for owner in dict.fromkeys(row.task for row in rows)
    }
    for name, task in record["tasks"].items():
        if task.pop("kind") == "fidelity":
            task["personas"] = listed[name]
        else:
            del task["personas"]
    write_json(folder / "run.json", record | {"format": 1, "personas": listed.get(None, [])})
    (folder / "personas.parquet").unlink()
    (folder / "items.parquet").unlink()


def test_items_and_personas_can_be_read_without_the_task(both):
    items = pq.read_table(both / "items.parquet").to_pylist()
    assert len(items) == 12 + 24
    assert items[0] == {
        "task": "sums", "item": "s0", "prompt": "What is 0 + 1?", "gold": "1", "choices": [], "persona": None,
        "dimension": None,
    }  # fmt: skip
    assert (items[-1]["persona"], items[-1]["dimension"]) == ("actor-3", "wit")

    personas = read_personas(both)
    assert [(row.task, row.persona) for row in personas[:4]] == [
        (None, "none"), (None, "pirate"), (None, "professor"), ("play", "actor-0"),
    ]  # fmt: skip
    none, pirate = personas[:2]
    assert (none.sentence, none.role) == (None, None)
    assert (pirate.sentence, pirate.role) == ("You are a swaggering pirate captain.", "system")
    assert json.loads(pirate.example)[0]["content"] == pirate.sentence
    assert "What is 0 + 1?" in pirate.example
    assert "swaggering" not in (both / "run.json").read_text()


def test_a_task_whose_text_is_withheld_shows_no_item(library, tmp_path, server):
    task = library / "tasks" / "sums.yaml"
    task.write_text(task.read_text() + "withhold_text: true\n")
    settings = {"model": (f"openai:scripted@{server.url}",), "tasks": ("sums",), "personas": ("few",)}
    [result] = run(RunConfig(**settings, include=(library,), output=tmp_path / "out"), open_progress(quiet=True))
    assert pq.read_table(result.folder / "items.parquet").num_rows == 0
    examples = [row.example for row in read_personas(result.folder)]
    assert len(examples) == 3
    assert all("{{ item }}" in example and "What is" not in example for example in examples)


def test_a_baseline_has_the_personas_and_no_text_of_an_item(both, tmp_path):
    [folder] = write_baseline(str(both), tmp_path / "baseline")
    assert {path.name for path in folder.iterdir()} == {
        "run.json", "summary.json", "cells.parquet", "personas.parquet",
    }  # fmt: skip
    assert open_run(folder).personas("play") == [
        type(row)(**{name: getattr(row, name) for name in row.__slots__} | {"example": None})
        for row in open_run(both).personas("play")
    ]
    assert open_run(folder).record == open_run(both).record


def test_a_folder_of_format_1_is_read_and_scored_and_its_numbers_stay(both, tmp_path):
    old = tmp_path / "results" / both.parent.name / both.name
    shutil.copytree(both, old)
    as_format_1(old)
    now, before = open_run(both), open_run(old)
    assert before.record == now.record
    for task in ("sums", "play"):
        described = [[(row.persona, row.text, row.category) for row in run.personas(task)] for run in (now, before)]
        assert described[0] == described[1] and len(described[0]) > 2
    kept = {name: (old / name).read_bytes() for name in ("responses.parquet", "cells.parquet", "summary.json")}
    assert rescore(old, {}, ()).changed == 0
    assert {name: (old / name).read_bytes() for name in kept} == kept
    assert (old / "items.parquet").read_bytes() == (both / "items.parquet").read_bytes()
    assert open_run(old).listed is None
    assert [row.sentence for row in read_personas(old)] == [row.sentence for row in read_personas(both)]
    # Scored again, in today's format.
    again = {path.name: path.read_bytes() for path in old.glob("*.parquet")}
    rescore(old, {}, ())
    assert {path.name: path.read_bytes() for path in old.glob("*.parquet")} == again


@pytest.mark.slow
def test_a_judged_run_of_format_1_is_judged_by_other_judges(tmp_path):
    library = tmp_path / "library"
    (library / "tasks").mkdir(parents=True)
    write_play(library)
    from tests.judging import judge_named

    with (
        ScriptedServer(answer=speak) as model,
        ScriptedServer(Script(model="ann"), answer=judge_named("ann")) as ann,
    ):
        result = perform_play(library, tmp_path / "results", model, [ann])
        as_format_1(result.folder)
        asked = len(model.sent), len(ann.sent)
        again = perform_play(library, tmp_path / "results", model, [ann])
        assert again.folder == result.folder
        assert (len(model.sent), len(ann.sent)) == asked
    assert open_run(result.folder).record.panel.judges[0].short_name == "ann"


def test_a_record_that_is_none_is_refused_by_file_and_key(both, tmp_path):
    content = read_json(both / "run.json")
    path = tmp_path / "run.json"
    write_json(path, content | {"model": {"engine": "vllm"}})
    with pytest.raises(UsageError, match=r"run\.json: not the record of a personaeval run \(model\.fingerprint"):
        read_record(path)
    write_json(path, {"format": 1, "label": "x"})
    with pytest.raises(UsageError, match=r"run\.json: not the record of a personaeval run"):
        read_record(path)
    write_json(path, content | {"format": 3})
    with pytest.raises(UsageError, match="newer personaeval"):
        read_record(path)


def test_finished_runs_skips_what_is_broken(both, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(both, results / "model" / "good")
    (results / "model" / "bad").mkdir()
    (results / "model" / "bad" / "run.json").write_text("{")
    assert [run.folder.name for run in finished_runs(results)] == ["good"]
