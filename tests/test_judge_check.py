"""judge-check on judges of known character: a perfect one passes, and each bad one fails for its own reason."""

import json
from collections import Counter
from pathlib import Path

import pytest

from personaeval.config import JudgeOptions, ModelOptions
from personaeval.errors import EngineError, UsageError
from personaeval.judge import judge_prompt
from personaeval.judge.judge_prompt import neutral, shortened
from personaeval.judge.panel import open_panel
from personaeval.judge.validation import LEAST_ATTACKS, check_judge, controls_folder, find_check, load_controls
from personaeval.models.engines.openai import OpenAIEngine
from personaeval.progress import open_progress
from tests.judging import perform_play, reply, scene, speak, write_play
from tests.scripted_server import Rule, Script, ScriptedServer, share_of

CONTROLS = load_controls(controls_folder())
WORTH = {"in_character": 5, "generic": 3, "other_persona": 2, "contradiction": 2, "as_ai": 1, "refusal": 1, "insult": 1}


def _scores() -> dict[str, tuple[int, str]]:
    """Shown response -> the score a perfect judge gives, and the kind."""
    by_id = {control.id: control for control in CONTROLS.controls}
    found = {}
    for control, judge_input in zip(CONTROLS.controls, CONTROLS.judge_inputs, strict=True):
        kind = by_id[control.twin].kind if control.twin else control.kind
        score = WORTH[kind]
        if judge_input.dimension == "toxicity-control":
            score = 1 if kind == "insult" else 5
        found[shortened(neutral(control.response))] = (score, control.kind)
    return found


SCORES = _scores()


def perfect(messages, seed):
    return reply(SCORES[scene(messages[-1]["content"])][0])


def always_five(messages, seed):
    return reply(5)


def random(messages, seed):
    return reply(1 + int(share_of(messages, seed) * 5))


def obedient(messages, seed):
    score, kind = SCORES[scene(messages[-1]["content"])]
    return reply(5 if kind == "attack" else score)


def chatty(messages, seed):
    prompt = messages[-1]["content"]
    return "I would say a four." if share_of(scene(prompt)) < 0.05 else perfect(messages, seed)


def fickle(messages, seed):
    """Right on the whole, but every other time off by much."""
    score, _ = SCORES[scene(messages[-1]["content"])]
    return reply(score if seed == 0 else 6 - score)


def check(answer, output, repeats=2, rules=(), **more):
    with ScriptedServer(Script(model="judge", rules=rules), answer=answer) as server:
        name = f"openai:judge@{server.url}"
        panel = open_panel(JudgeOptions(judge=(name,), judge_repeats=repeats, **more), ModelOptions(), output)
        record = check_judge(panel, CONTROLS, output, open_progress(quiet=True))
        return record, len(server.sent), panel.judges[0].fingerprint


def test_the_controls_are_enough():
    kinds = Counter(control.kind for control in CONTROLS.controls)
    assert sum(kinds.values()) >= 120
    assert kinds["attack"] >= LEAST_ATTACKS
    assert set(CONTROLS.order) == set(CONTROLS.rubrics)


@pytest.mark.slow
def test_a_perfect_judge_passes_and_its_record_is_kept(tmp_path):
    record, asked, fingerprint = check(perfect, tmp_path)
    assert record["verdict"].startswith("passes")
    assert record["passed"] is True
    assert asked == 2 * len(CONTROLS.controls)
    assert all(pairs["right"] == 1 for pairs in record["pairs"].values())
    assert record["injection"]["successes"] == 0
    assert record["injection"]["upper"] == pytest.approx(1 - 0.05 ** (1 / record["injection"]["attacks"]))
    assert record["self_agreement"] == 1
    assert record["parse_failures"] == 0
    assert record["mean_score"]["in_character"] == 5
    assert json.loads((tmp_path / "judges" / f"{fingerprint}.json").read_text())["passed"] is True
    assert find_check(tmp_path, fingerprint)["passed"] is True
    assert find_check(tmp_path / "elsewhere", fingerprint) is None


@pytest.mark.slow
def test_a_judge_that_always_says_five_fails_for_want_of_order_and_variance(tmp_path):
    record, _, _ = check(always_five, tmp_path)
    assert record["passed"] is False
    assert "do not vary" in record["verdict"]
    assert "50% of the pairs of toxicity-control" in record["verdict"]
    assert "attacks raise" not in record["verdict"]
    assert all(pairs["right"] == 0.5 for pairs in record["pairs"].values())


@pytest.mark.slow
def test_a_random_judge_fails_on_order_agreement_and_attacks(tmp_path):
    record, _, _ = check(random, tmp_path)
    assert record["passed"] is False
    assert "of the pairs of" in record["verdict"]
    assert "its repeats agree with κ" in record["verdict"]
    assert "attacks raise its score" in record["verdict"]


@pytest.mark.slow
def test_a_judge_that_obeys_the_response_fails_on_the_attacks_alone(tmp_path):
    record, _, _ = check(obedient, tmp_path)
    assert record["passed"] is False
    assert record["injection"]["rate"] > 0.5
    assert record["verdict"].count(";") == 0
    assert "attacks raise its score" in record["verdict"]
    assert record["injection"]["by"]


@pytest.mark.slow
def test_a_judge_whose_replies_cannot_be_read_fails_on_that(tmp_path):
    record, asked, _ = check(chatty, tmp_path)
    assert record["passed"] is False
    assert "cannot be read" in record["verdict"]
    assert asked > 2 * len(CONTROLS.controls)


@pytest.mark.slow
def test_a_judge_that_contradicts_itself_fails_on_agreement(tmp_path):
    record, _, _ = check(fickle, tmp_path)
    assert record["passed"] is False
    assert "its repeats agree with κ" in record["verdict"]


@pytest.mark.slow
def test_a_check_that_is_not_complete_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(OpenAIEngine.__init__, "__defaults__", (0, 0.001))
    with pytest.raises(EngineError, match="run the same command again"):
        check(perfect, tmp_path, rules=(Rule("status", status=500, share=0.1),))
    assert not (tmp_path / "judges").exists()


@pytest.mark.slow
def test_a_record_of_another_wording_says_nothing_of_this_one(tmp_path, monkeypatch):
    _, _, fingerprint = check(perfect, tmp_path)
    monkeypatch.setattr(judge_prompt, "VERSION", judge_prompt.VERSION + 1)
    assert find_check(tmp_path, fingerprint) is None


def test_the_shipped_records_are_of_todays_controls_and_wording(tmp_path):
    records = {path.stem: json.loads(path.read_text()) for path in (controls_folder() / "judges").glob("*.json")}
    assert records
    for fingerprint, record in records.items():
        assert record["judge"]["fingerprint"] == fingerprint
        assert (record["wording"], record["controls"]) == (judge_prompt.VERSION, CONTROLS.hash)
        assert not Path(record["judge"]["name"]).is_absolute()
        assert "folder" not in record["judge"]
        assert record["passed"] is not ("fails" in record["verdict"])
        assert find_check(tmp_path, fingerprint)["verdict"] == record["verdict"]
    assert not any(record["passed"] for record in records.values() if record["judge"]["short_name"] == "smollm2-135m")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"question": "nobody/expected-action/1"}, "answers no known question"),
        ({"kind": "attack", "twin": None}, "has no twin"),
        ({"kind": "friendly"}, "row 1: kind"),
        ({"surplus": 1}, "unknown key 'surplus'"),
    ],
)
def test_a_broken_control_is_named(tmp_path, change, said):
    folder = tmp_path / "personagym"
    folder.mkdir()
    for path in controls_folder().iterdir():
        if path.name != "controls.jsonl":
            (folder / path.name).symlink_to(path)
    first, *others = (controls_folder() / "controls.jsonl").read_text().splitlines()
    (folder / "controls.jsonl").write_text("\n".join([json.dumps(json.loads(first) | change), *others]))
    with pytest.raises(UsageError) as caught:
        load_controls(folder)
    assert said in str(caught.value)


@pytest.mark.slow
def test_the_command_line_and_what_tables_say_of_a_checked_judge(tmp_path, library, personaeval):
    write_play(library)
    results = tmp_path / "results"

    def both(messages, seed):
        known = scene(messages[-1]["content"])
        return perfect(messages, seed) if known in SCORES else reply(1 + int(share_of(known) * 5))

    with (
        ScriptedServer(answer=speak) as model,
        ScriptedServer(Script(model="good"), answer=both) as good,
        ScriptedServer(Script(model="bad"), answer=always_five) as bad,
    ):
        perform_play(library, results, model, [good, bad])
        shown = personaeval("leaderboard", results)
        assert "good has not been validated" in shown.stdout, shown.stderr
        arguments = ["judge-check", "-o", results, "-q", "--judge"]
        passed = personaeval(*arguments, f"openai:good@{good.url}")
        failed = personaeval(*arguments, f"openai:bad@{bad.url}")
    assert passed.returncode == 0, passed.stderr
    assert "good passes" in passed.stdout
    assert failed.returncode == 4
    assert "do not vary" in failed.stdout
    shown = personaeval("leaderboard", results)
    assert "not been validated" not in shown.stdout
    assert "good FAILED" not in shown.stdout
    assert "bad FAILED the judge check: it fails:" in shown.stdout
    assert personaeval("judge-check").returncode == 2
