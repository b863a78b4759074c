"""Exemplars and expected scores: two ways to have judges score more finely, against scripted judges."""

import json
import math

import pytest

from personaeval.config import JudgeOptions
from personaeval.errors import UsageError
from personaeval.pipeline.score import rescore
from personaeval.results.files import read_json
from personaeval.results.responses import read_responses
from tests.judging import (
    RESPONSES,
    judge_named,
    judgements,
    known_score,
    perform_play,
    reply,
    scene,
    speak,
    write_play,
)
from tests.scripted_server import Rule, Script, ScriptedServer, share_of

WRITES = "Write five short answers"


@pytest.fixture
def play(library):
    write_play(library)
    return library


@pytest.fixture
def model():
    with ScriptedServer(answer=speak) as server:
        yield server


def exemplars_of(messages) -> str:
    """Five answers that are a function of the question; one in five questions gets only prose."""
    prompt = messages[-1]["content"]
    place = share_of(prompt.partition("# Question\n")[2].partition("\n\n")[0])
    if place < 0.2:
        return "I had rather not."
    return json.dumps({str(score): f"Answer {score} of {int(place * 1000)}." for score in range(1, 6)})


def judge(name):
    scores = judge_named(name)

    def answer(messages, seed):
        return exemplars_of(messages) if WRITES in messages[-1]["content"] else scores(messages, seed)

    return ScriptedServer(Script(model=name), answer=answer)


def prompts(server):
    return [sent.body["messages"][-1]["content"] for sent in server.sent]


@pytest.mark.slow
def test_exemplars_are_written_once_by_the_first_judge_and_shown_to_all(play, tmp_path, model):
    with judge("ann") as ann, judge("bob") as bob:
        result = perform_play(play, tmp_path / "out", model, [bob, ann], exemplars=True, samples=2)
        asked = [text for text in prompts(ann) if WRITES in text]
        unread = {text for text in asked if "could not be read" in text}
        assert len(asked) == RESPONSES + len(unread)
        assert 0 < len(unread) < RESPONSES
        assert not any(WRITES in text for text in prompts(bob))
        for server in (ann, bob):
            shown = [text for text in prompts(server) if WRITES not in text]
            assert len(shown) == 2 * RESPONSES
            with_examples = [text for text in shown if "# Example answers" in text]
            assert len(with_examples) == 2 * (RESPONSES - len(unread))
            for text in with_examples:
                # After the static part, before the fence.
                assert text.index("# Question") < text.index("Worth 1: Answer 1 of") < text.index(" begins]\nWell met!")
                assert scene(text).startswith("Well met!")
        sent = len(ann.sent), len(bob.sent)
        perform_play(play, tmp_path / "out", model, [ann, bob], exemplars=True, samples=2)
        assert (len(ann.sent), len(bob.sent)) == sent
        plain = perform_play(play, tmp_path / "out", model, [ann, bob], samples=2)
        assert plain.folder != result.folder
        assert len(ann.sent) == sent[0] + 2 * RESPONSES - 2 * len(unread), "a prompt without exemplars was asked anew"
    texts = {(row.item, row.sample): row.text for row in read_responses(result.folder)}
    assert all(row.score == known_score(texts[row.item, row.sample], row.judge) for row in judgements(result))
    parts = [read_json(one.folder / "summary.json")["tasks"]["play"] for one in (result, plain)]
    assert [part["exemplars_by"] for part in parts] == ["ann", None]
    assert parts[0]["group"] != parts[1]["group"]
    sessions = read_json(result.folder / "run.json")["sessions"]
    assert next(one for one in sessions if "judges" in one)["judges"][0]["judge"] == "ann (exemplars)"


def test_exemplars_that_cannot_be_had_stop_the_judging_and_are_asked_for_again(play, tmp_path, model, monkeypatch):
    monkeypatch.setattr("personaeval.models.engines.openai.OpenAIEngine.__init__.__defaults__", (0, 0.001))
    result = perform_play(play, tmp_path / "out", model, [])
    with judge("ann") as ann:
        ann.change(rules=(Rule("status", status=500, contains=WRITES, share=0.4),))
        name = JudgeOptions(judge=(f"openai:ann@{ann.url}",), exemplars=True)
        with pytest.raises(Exception, match="of the exemplars failed"):
            rescore(result.folder, {}, (), name)
        assert not any(WRITES not in text for text in prompts(ann))
        ann.change(rules=())
        rescore(result.folder, {}, (), name)
    assert read_json(result.folder / "summary.json")["tasks"]["play"]["judgements"]["unscored"] == 0


def test_plan_counts_the_exemplars(play, tmp_path, model, personaeval):
    with judge("ann") as ann:
        shown = personaeval(
            *("plan", "-m", f"openai:scripted@{model.url}", "-t", "play", "--include", play, "-o", tmp_path / "out"),
            *("-j", f"openai:ann@{ann.url}", "--samples", 2, "--exemplars"),
        )
        assert not ann.sent
    assert f"judge ann (exemplars): {RESPONSES} calls" in shown.stdout
    assert f"judge ann: {2 * RESPONSES} calls" in shown.stdout


def tokens(score: int, others: dict[str, float]) -> dict[str, object]:
    """The log-probabilities of a reply that ends in a score."""
    top = [{"token": text, "logprob": math.log(share)} for text, share in others.items()]
    texts = ['{"reasoning": "of ', "3", ' and so", "score":', f" {score}", "}"]
    return {
        "content": [
            {"token": text, "logprob": -0.1, "top_logprobs": top if number == 3 else [{"token": text, "logprob": 0.0}]}
            for number, text in enumerate(texts)
        ]
    }


def weighing(score: int, others: dict[str, float]) -> ScriptedServer:
    script = Script(model="ann", choice={"logprobs": tokens(score, others)})
    return ScriptedServer(script, answer=lambda messages, seed: reply(score))


@pytest.mark.slow
def test_the_expected_score_is_the_mean_over_the_scores_that_might_have_been(play, tmp_path, model, personaeval):
    with weighing(4, {" 4": 0.5, "4": 0.1, " 5": 0.2, " many": 0.15, " 1": 0.05}) as ann:
        result = perform_play(play, tmp_path / "out", model, [ann], expected_score=True)
        body = ann.sent[0].body
        assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
        sent = len(ann.sent)
        again = perform_play(play, tmp_path / "out", model, [ann], expected_score=True)
        assert len(ann.sent) == sent
        assert judgements(again) == judgements(result)
        whole = perform_play(play, tmp_path / "out", model, [ann])
        assert whole.folder != result.folder
        assert "logprobs" not in ann.sent[-1].body
    expected = (4 * 0.6 + 5 * 0.2 + 1 * 0.05) / 0.85
    for row in judgements(result):
        assert (row.score, row.expected) == (4, pytest.approx(expected))
    part = read_json(result.folder / "summary.json")["tasks"]["play"]
    assert part["fidelity"]["persona_score"]["value"] == pytest.approx(expected)
    assert {row.expected for row in judgements(whole)} == {None}
    assert "by their log-probabilities" in personaeval("leaderboard", tmp_path / "out").stdout


def test_probabilities_of_another_digit_than_the_score_are_not_taken_for_its(play, tmp_path, model):
    with weighing(4, {" 5": 0.9, " 3": 0.1}) as ann:
        result = perform_play(play, tmp_path / "out", model, [ann], expected_score=True)
    for row in judgements(result):
        assert (row.score, row.expected) == (None, None)
        assert "probabilities of the score are not known" in row.reason


def test_an_endpoint_without_log_probabilities_is_named_before_much_is_spent(play, tmp_path, model):
    with ScriptedServer(Script(model="ann"), answer=judge_named("ann")) as ann:
        result = perform_play(play, tmp_path / "out", model, [ann], expected_score=True, concurrency=2)
        assert len(ann.sent) <= 4
    assert result.unjudged == RESPONSES
    assert "do without --expected-score" in result.engine_error


def test_a_local_judge_has_no_expected_score(play, tmp_path, model, tiny_checkpoint):
    with pytest.raises(UsageError, match="only endpoints give"):
        perform_play(play, tmp_path / "out", model, [], judge=(f"transformers:{tiny_checkpoint}",), expected_score=True)
