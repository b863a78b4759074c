"""Human labels: read from a file, joined to a run's responses, compared with the judges, and the corrected score."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from personaeval.errors import UsageError
from personaeval.judge.labels import COLUMNS, Label, kept_labels, read_labels
from personaeval.pipeline.score import rescore
from personaeval.results.files import read_json
from personaeval.results.responses import read_responses
from tests.conftest import ROOT
from tests.judging import DIMENSIONS, RESPONSES, judge_named, judgements, known_score, perform_play, speak, write_play
from tests.scripted_server import Script, ScriptedServer, share_of


@pytest.fixture
def result(library, tmp_path):
    """A run of the task ``play``, scored by ann."""
    write_play(library)
    with (
        ScriptedServer(answer=speak) as model,
        ScriptedServer(Script(model="ann"), answer=judge_named("ann")) as ann,
    ):
        return perform_play(library, tmp_path / "out", model, [ann], samples=2)


def truth(text: str) -> int:
    """What a person gives: what ann gives, or a step beside it for a third of the responses."""
    step = int(share_of("person", text) * 6)
    return int(np.clip(known_score(text, "ann") + {0: 1, 1: -1}.get(step, 0), 1, 5))


def rows_of(result, **more) -> list[dict[str, object]]:
    """Every response labelled by one person."""
    dimensions = {(row.item, row.sample): row.dimension for row in judgements(result)}
    return [
        {
            "persona": row.persona,
            "task": dimensions[row.item, row.sample],
            "question": row.item,
            "response": row.text,
            "score": truth(row.text),
            "annotator": "eve",
            **more,
        }
        for row in read_responses(result.folder)
    ]


def write_csv(path: Path, rows) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def hear(result, path: Path) -> dict:
    rescore(result.folder, {}, (), human=path)
    return read_json(result.folder / "summary.json")["tasks"]["play"]["people"]


def test_every_response_labelled_gives_the_peoples_own_mean(result, tmp_path):
    rows = rows_of(result)
    people = hear(result, write_csv(tmp_path / "labels.csv", rows))
    assert (people["labels"], people["responses"], people["annotators"]) == (RESPONSES * 2, RESPONSES * 2, 1)
    assert (people["unmatched_labels"], people["alpha"], people["reason"]) == (0, None, None)
    by_dimension = [np.mean([row["score"] for row in rows if row["task"] == name]) for name in DIMENSIONS]
    assert people["corrected"]["persona_score"]["value"] == pytest.approx(np.mean(by_dimension))
    judged = np.array([known_score(row["response"], "ann") for row in rows], dtype=float)
    human = np.array([row["score"] for row in rows], dtype=float)
    found = people["judges"]["ann"]
    assert found["rank_correlation"] == pytest.approx(spearmanr(judged, human).statistic)
    expected = np.mean((judged[:, None] - human[None, :]) ** 2)
    assert found["kappa"] == pytest.approx(1 - np.mean((judged - human) ** 2) / expected)
    assert people["panel"] == found


@pytest.mark.slow
def test_some_labels_correct_the_score(result, tmp_path):
    rows = [row for row in rows_of(result) if share_of("chosen", row["response"]) < 0.6]
    people = hear(result, write_csv(tmp_path / "labels.csv", rows))
    corrected = people["corrected"]
    assert 0 < corrected["weight"] <= 1
    assert corrected["labels"] == {name: sum(row["task"] == name for row in rows) for name in DIMENSIONS}
    # So few personas tell little of the weight; tests/test_fidelity_metrics.py shows the judge narrowing the interval.
    for name in ("persona_score", "labels_alone"):
        assert 1 <= corrected[name]["low"] < corrected[name]["value"] < corrected[name]["high"] <= 5
    assert corrected["few_labels"] == sorted(DIMENSIONS)


@pytest.mark.slow
def test_texts_and_titles_name_persona_question_and_dimension_as_well_as_ids(result, tmp_path, library):
    questions = [json.loads(line) for line in (library / "tasks/play/questions.jsonl").read_text().splitlines()]
    texts = {question["id"]: question["question"] for question in questions}
    rows = rows_of(result)
    for row in rows:
        row["persona"] = f"An actor of {20 + int(row['persona'][-1])} winters"
        row["question"] = texts[row["question"]]
        row["task"] = f"The {row['task']}"
        row["response"] = row["response"] + "\r\n"
    pd.DataFrame(rows).to_parquet(tmp_path / "labels.parquet")
    people = hear(result, tmp_path / "labels.parquet")
    assert (people["responses"], people["unmatched_labels"]) == (RESPONSES * 2, 0)


@pytest.mark.slow
def test_labels_of_other_responses_are_refused_for_correction_and_still_tell_agreement(result, tmp_path, personaeval):
    rows = rows_of(result)
    rows[3]["response"] += " And so on."
    path = write_csv(tmp_path / "labels.csv", rows)
    people = hear(result, path)
    assert people["corrected"] is None
    assert people["unmatched_labels"] == 1
    assert "1 labels match no response of this run" in people["reason"]
    assert people["judges"]["ann"]["responses"] == RESPONSES * 2 - 1
    shown = personaeval("leaderboard", result.folder.parent.parent)
    assert "not corrected by human labels: 1 labels match no response" in shown.stdout, shown.stderr
    assert "ann and people: weighted κ" in shown.stdout
    assert "human-corrected" not in shown.stdout


@pytest.mark.slow
def test_labels_that_name_another_checkpoint_are_set_aside(result, tmp_path):
    own, other = rows_of(result, checkpoint="scripted"), rows_of(result, checkpoint="another")
    for row in other:
        row["response"] = "Something else."
        row["annotator"] = row["question"] + row["response"] + str(len(row))
    for number, row in enumerate(other):
        row["annotator"] += str(number)
    people = hear(result, write_csv(tmp_path / "labels.csv", own + other))
    assert people["other_checkpoints"] == RESPONSES * 2
    assert people["unmatched_labels"] == 0
    assert people["corrected"] is not None


@pytest.mark.slow
def test_several_annotators_are_averaged_and_their_agreement_told(result, tmp_path):
    eve = rows_of(result)
    zoe = [{**row, "annotator": 7, "score": min(5, row["score"] + 1)} for row in eve]
    people = hear(result, write_csv(tmp_path / "labels.csv", eve + zoe))
    assert (people["labels"], people["annotators"]) == (RESPONSES * 4, 2)
    assert 0 < people["alpha"] < 1
    one = [
        np.mean([(a["score"] + b["score"]) / 2 for a, b in zip(eve, zoe, strict=True) if a["task"] == name])
        for name in DIMENSIONS
    ]
    assert people["corrected"]["persona_score"]["value"] == pytest.approx(np.mean(one))


@pytest.mark.slow
def test_labels_stay_with_the_run_and_the_table_shows_the_corrected_score(result, tmp_path, personaeval):
    path = write_csv(tmp_path / "labels.csv", rows_of(result))
    shown = personaeval("score", result.folder, "--human", path, "-q", "--include", tmp_path / "library")
    assert shown.returncode == 0, shown.stderr
    assert "human-corrected" in shown.stdout
    assert "drawn at random" in shown.stdout
    path.unlink()
    before = read_json(result.folder / "summary.json")
    assert rescore(result.folder, {}, ()).changed == 0
    assert read_json(result.folder / "summary.json") == before
    assert len(kept_labels(result.folder)) == RESPONSES * 2


def test_a_run_that_nobody_judged_takes_no_labels(library, tmp_path):
    write_play(library)
    with ScriptedServer(answer=speak) as model:
        bare = perform_play(library, tmp_path / "out", model, [])
    label = dict(zip(COLUMNS, ("p", "t", "q", "r", 3, "eve"), strict=True))
    with pytest.raises(UsageError, match="no judge has scored this run"):
        rescore(bare.folder, {}, (), human=write_csv(tmp_path / "labels.csv", [label]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"score": 6}, "row 2: the score is '6', not a number from 1 to 5"),
        ({"score": ""}, "row 2: the score is ''"),
        ({"score": "good"}, "row 2: the score is 'good'"),
        ({"persona": " "}, "row 2: 'persona' must be a text"),
        ({}, "row 2: eve labelled this response in row 1 too"),
    ],
)
def test_a_broken_label_is_named(tmp_path, change, said):
    good = dict(zip(COLUMNS, ("p", "t", "q", "r", 3, "eve"), strict=True))
    path = write_csv(tmp_path / "labels.csv", [good, {**good, **change}])
    with pytest.raises(UsageError) as caught:
        read_labels(path)
    assert said in str(caught.value)


def test_a_missing_column_and_an_empty_file_are_named(tmp_path):
    path = write_csv(tmp_path / "labels.csv", [{"persona": "p", "score": 3}])
    with pytest.raises(UsageError, match="no column task, question, response, annotator"):
        read_labels(path)
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(UsageError, match="no labels"):
        read_labels(tmp_path / "empty.jsonl")


def test_a_label_is_read_as_it_was_written(tmp_path):
    rows = [dict(zip(COLUMNS, ("p", "t", "q", "=a\n“b”", 2.5, 4), strict=True))]
    pd.DataFrame(rows).to_parquet(tmp_path / "labels.parquet")
    assert read_labels(tmp_path / "labels.parquet") == (Label("p", "t", "q", "=a\n“b”", 2.5, "4", None),)


def test_the_sheet_that_the_docs_draw_can_be_labelled_and_read(result, tmp_path, monkeypatch):
    text = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    code = re.sub(r'run = ".*"', f"run = {str(result.folder)!r}", code).replace("personagym", "play")
    monkeypatch.chdir(tmp_path)
    exec(code.replace("sample(40", "sample(9"), {})
    source = pd.read_csv(tmp_path / "labels.csv")
    assert len(source) == 9 * len(DIMENSIONS)
    source = source.assign(score=source.response.map(truth), annotator="eve")
    source.to_csv(tmp_path / "labels.csv", index=False)
    people = hear(result, tmp_path / "labels.csv")
    assert (people["responses"], people["unmatched_labels"]) == (len(source), 0)
    assert people["corrected"] is not None
