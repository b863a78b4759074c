"""Judging stored responses again: what another panel, a changed task or a cut-off command must not mix up."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from personaeval.config import JudgeOptions
from personaeval.errors import InvalidRunError, UsageError
from personaeval.generation.structured_reply import read_object
from personaeval.judge.judge_prompt import judge_prompt
from personaeval.judge.judgements import judgement_writer
from personaeval.metrics.ppi import correct
from personaeval.pipeline.score import rescore
from personaeval.results.files import read_json
from tests.judging import RESPONSES, judge_named, judgements, perform_play, reply, speak, write_play
from tests.scripted_server import Rule, Script, ScriptedServer

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def play(library: Path) -> Path:
    write_play(library)
    return library


@pytest.fixture
def model():
    with ScriptedServer(answer=speak) as server:
        yield server


@pytest.fixture
def ann():
    with ScriptedServer(Script(model="ann"), answer=judge_named("ann")) as server:
        yield server


@pytest.fixture
def bob():
    with ScriptedServer(Script(model="bob"), answer=judge_named("bob")) as server:
        yield server


def named(server: ScriptedServer) -> str:
    return f"openai:{server.script.model}@{server.url}"


def part_of(result):
    return read_json(result.folder / "summary.json")["tasks"]["play"]


def test_half_a_surrogate_pair_in_a_reply_is_no_end_of_the_run(play, tmp_path, model):
    half = reply(3, reasoning="half \ud83d of it")
    assert "\\ud83d" in half
    with ScriptedServer(Script(model="ann"), answer=lambda messages, seed: half) as ann:
        result = perform_play(play, tmp_path / "out", model, [ann])
    assert {row.explanation for row in judgements(result)} == {"half \ufffd of it"}
    found = read_object('{"a": ["\\ud83d\\ude00", "\\ude00"]}', {"a": "list"}, ["a"])
    assert found.content == {"a": ["😀", "\ufffd"]}


def test_judgements_of_a_judging_that_was_cut_off_are_not_believed(play, tmp_path, model, ann):
    result = perform_play(play, tmp_path / "out", model, [ann])
    rows = judgements(result)
    with judgement_writer(result.folder) as writer:
        for row in rows:
            writer.add(replace(row, judge="five", fingerprint="f" * 32, score=5))
    with pytest.raises(InvalidRunError, match=r"of other judges than run\.json names \(ann\)"):
        rescore(result.folder, {}, ())
    sent = len(ann.sent)
    rescore(result.folder, {}, (), JudgeOptions(judge=(named(ann),)))
    assert len(ann.sent) == sent, "what was judged before is not asked again"
    assert judgements(result) == rows


def test_responses_are_not_judged_as_those_of_another_persona(play, tmp_path, model, ann):
    result = perform_play(play, tmp_path / "out", model, [ann])
    file = play / "tasks" / "play" / "personas.yaml"
    file.write_text(file.read_text().replace("an actor of 20 winters", "a dentist from Oslo"))
    with pytest.raises(InvalidRunError, match="the texts of its personas have changed"):
        rescore(result.folder, {}, (), JudgeOptions(judge=(named(ann),)))


@pytest.mark.slow
def test_another_judge_is_not_asked_in_the_manner_of_the_last(play, tmp_path, model, ann, bob):
    result = perform_play(
        play, tmp_path / "out", model, [ann], judge_repeats=2, judge_engine_args={"top_k": 7}, judge_max_tokens=50
    )
    rescore(result.folder, {}, (), JudgeOptions(judge=(named(bob),)))
    assert len(bob.sent) == RESPONSES
    assert all("top_k" not in sent.body for sent in bob.sent)
    assert {sent.body["max_tokens"] for sent in bob.sent} == {1024}
    assert read_json(result.folder / "run.json")["config"]["judge_repeats"] == 1


def test_from_within_its_folder_a_run_has_the_ledger_it_always_had(play, tmp_path, model, ann, monkeypatch):
    result = perform_play(play, tmp_path / "out", model, [ann])
    monkeypatch.chdir(result.folder)
    sent = len(ann.sent)
    rescore(Path(), {}, (), JudgeOptions(judge=(named(ann),)))
    assert len(ann.sent) == sent
    assert not (result.folder / "ledger.sqlite").exists()


@pytest.mark.slow
def test_a_judge_that_fails_in_score_is_said_and_ends_it_with_5(play, tmp_path, model, ann):
    result = perform_play(play, tmp_path / "out", model, [])
    refusing = Script(model="bob", rules=(Rule(fault="status", status=400),))
    with ScriptedServer(refusing, answer=judge_named("bob")) as bob:
        done = subprocess.run(
            [sys.executable, "-m", "personaeval", "score", str(result.folder), "--judge", named(bob), "-q"],
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
    assert done.returncode == 5
    assert f"{RESPONSES} judgements failed and are unscored" in done.stderr


@pytest.mark.slow
def test_a_judge_of_a_panel_who_says_nothing_is_named_and_not_ranked_with_the_whole_panel(play, tmp_path, model, ann):
    refusing = Script(model="bob", rules=(Rule(fault="status", status=400),))
    with ScriptedServer(refusing, answer=judge_named("bob")) as bob:
        alone = perform_play(play, tmp_path / "one", model, [ann, bob])
    with ScriptedServer(Script(model="bob"), answer=judge_named("bob")) as bob:
        both = perform_play(play, tmp_path / "two", model, [ann, bob])
    assert any(f"bob scored 0 of {RESPONSES} times" in warning for warning in part_of(alone)["warnings"])
    assert part_of(alone)["group"] != part_of(both)["group"]
    kappas = part_of(both)["kappas"]
    assert [pair["judges"] for pair in kappas] == [["ann", "bob"]]
    scores = {judge: [row.score for row in judgements(both) if row.judge == judge] for judge in ("ann", "bob")}
    one, other = (np.array(scores[judge], dtype=float) for judge in ("ann", "bob"))
    expected = 1 - np.mean((one - other) ** 2) / (one.var() + other.var() + (one.mean() - other.mean()) ** 2)
    assert kappas[0]["kappa"] == pytest.approx(expected)


def test_one_judge_under_two_spellings_is_refused(play, tmp_path, model, ann):
    with pytest.raises(UsageError, match="are the same judge"):
        perform_play(play, tmp_path / "out", model, [], judge=(named(ann), f"{named(ann)}/"))


def test_options_for_judges_need_a_judge(play, tmp_path, model):
    with pytest.raises(UsageError, match="no judge is named"):
        perform_play(play, tmp_path / "out", model, [], judge_repeats=3)


@pytest.mark.parametrize(
    "token", ["[|endofturn|]", "[|assistant|]", "<seed:eos>", "]~b]", "[e~[", "[gMASK]", "[control_8]"]
)
def test_tokens_of_chat_templates_do_not_pass_the_fence(token):
    prompt = judge_prompt("Lead.", "a baker", "What?", f"Bread. {token} More.")
    assert token not in prompt
    assert prompt.count("More.") == 1


def test_a_correction_with_labels_of_few_personas_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(5)
    persona = np.repeat(np.arange(40), 10)
    dimension = np.zeros(400, dtype=int)
    covered = 0
    for _ in range(400):
        human = 3 + generator.normal(0, 0.5, 40)[persona] + generator.normal(0, 0.5, 400)
        judged = human + 0.4 + generator.normal(0, 0.5, 40)[persona] + generator.normal(0, 0.5, 400)
        found = correct(judged, np.where(persona < 4, human, np.nan), persona, dimension, ("wit",))
        covered += found.corrected.low <= 3 <= found.corrected.high
    # Counted as forty clusters, the four gave 75 %.
    assert covered >= 0.87 * 400


def test_no_rate_is_given_of_what_nobody_spoke_of(play, tmp_path, model):
    with ScriptedServer(Script(model="ann"), answer=lambda messages, seed: "prose, no object") as ann:
        result = perform_play(play, tmp_path / "out", model, [ann])
    part = part_of(result)
    assert (part["refusal"], part["ai_admission"]) == (None, None)
    assert any("judgements are unscored most often because: ann" in warning for warning in part["warnings"])
    assert json.dumps(part)
