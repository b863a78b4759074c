"""Whether an endpoint is still the model whose answers are stored, and by what its answers are found again."""

import dataclasses
import re
import sqlite3

import pytest

from personaeval.generation import sameness
from personaeval.generation.sameness import PROMPTS, compare
from personaeval.models.endpoint_origin import EndpointOrigin
from personaeval.results.files import read_json
from personaeval.results.ledger import LEDGER, Ledger
from tests.judging import reply
from tests.scripted_server import Rule, Script, ScriptedServer

ROWS = 12 * 3


@pytest.fixture
def run(server, library, tmp_path, personaeval):
    """Run the sums task against the server."""

    def call(*more: object, command: str = "run"):
        where = ["-t", "sums", "-p", "few", "--include", library, "-o", tmp_path / "results"]
        return personaeval(command, "-m", f"openai:scripted@{server.url}", *where, *more)

    return call


def stored_rounds(results) -> int:
    with Ledger(results / LEDGER) as ledger:
        return ledger._reader.execute("SELECT count(*) FROM probes").fetchone()[0]


def stored_answers(results) -> int:
    with Ledger(results / LEDGER) as ledger:
        return ledger._reader.execute("SELECT count(*) FROM completions").fetchone()[0]


def forget_a_round(results, number: int) -> None:
    with Ledger(results / LEDGER) as ledger:
        ledger._reader.execute("DELETE FROM probes WHERE round = ?", [number])


# The rule.


def test_three_other_beginnings_are_another_model():
    before = [f"{number}: {'x' * 40} then" for number in range(8)]
    later = [f"{number}: {'x' * 40} later" for number in range(8)]
    assert compare(before, later, later).changed == ()
    two = ["y", "y", *later[2:]]
    three = ["y", "y", "y", *later[3:]]
    assert not compare(before, later, two).is_other
    assert compare(before, later, three).is_other
    assert compare(before, later, three).changed == (0, 1, 2)


def test_prompts_that_differ_by_themselves_or_went_unanswered_tell_nothing():
    before = [f"{number}: {'x' * 40}" for number in range(8)]
    noisy = ["z", "z", "z", "z", *before[4:]]
    changed = ["y"] * 8
    assert compare(before, noisy, changed).usable == 4
    assert compare(before, noisy, changed).is_other
    noisier = ["z", *noisy[:4], *before[5:]]
    assert not compare(before, noisier, changed).is_telling
    assert not compare(before, noisier, changed).is_other
    assert compare(before, before, [None, None, None, None, None, *changed[5:]]).usable == 3
    assert compare([""] * 8, [""] * 8, changed).usable == 0


# A run.


def test_the_first_run_asks_twice_and_counts_nothing_of_it(run, server, tmp_path):
    shown = run()
    assert shown.returncode == 0, shown.stderr
    assert len(server.sent) == ROWS
    assert [sum(sent.body["messages"][0]["content"] == text for sent in server.probes) for text in PROMPTS] == [2] * 8
    assert {(sent.body["temperature"], sent.body["max_tokens"]) for sent in server.probes} == {(0.0, 48)}
    [record] = (tmp_path / "results").glob("*/*/run.json")
    assert read_json(record)["counts"] == {"requests": ROWS, "failed": 0}
    assert read_json(record)["sessions"][-1]["generated"] == ROWS
    assert stored_answers(tmp_path / "results") == ROWS


def test_stored_answers_are_used_if_it_answers_as_before(run, server):
    run("--limit", "4")
    del server.probes[:]
    for limit in ("4", "6"):
        shown = run("--limit", limit)
        assert shown.returncode == 0, shown.stderr
        assert "sameness" not in shown.stderr
    assert len(server.probes) == 2 * 8
    assert len(server.sent) == 6 * 3


@pytest.mark.slow
def test_another_model_behind_the_url_is_refused_and_gets_results_of_its_own(run, server, tmp_path):
    run("--limit", "4")
    server.change(character="wild")
    asked, held = len(server.sent), stored_answers(tmp_path / "results")
    for limit in ("4", "6"):
        refused = run("--limit", limit)
        assert refused.returncode == 2
        assert "8 of 8 fixed prompts begin otherwise" in refused.stderr
        assert "--model-version NAME" in refused.stderr
        assert "--trust-endpoint" in refused.stderr
    assert (len(server.sent), stored_answers(tmp_path / "results")) == (asked, held)
    versioned = run("--limit", "4", "--model-version", "step 2")
    assert versioned.returncode == 0, versioned.stderr
    assert len(server.sent) == asked + 4 * 3
    records = [read_json(path)["model"] for path in (tmp_path / "results").glob("*/*/run.json")]
    assert {record.get("version") for record in records} == {None, "step 2"}
    assert len({record["fingerprint"] for record in records}) == 2
    assert run("--limit", "4", "--model-version", "step 2").returncode == 0
    assert len(server.sent) == asked + 4 * 3


def test_a_trusted_endpoint_is_not_asked(run, server):
    run("--limit", "4")
    server.change(character="wild")
    del server.probes[:]
    assert run("--limit", "4", "--trust-endpoint").returncode == 0
    assert server.probes == []
    assert run("--limit", "4").returncode == 2


def test_a_plan_asks_nothing(run, server):
    run("--limit", "4")
    del server.probes[:]
    server.change(character="wild")
    shown = run("--limit", "6", command="plan")
    assert "18 requests, 12 in the ledger already" in shown.stdout
    assert server.probes == []


@pytest.mark.parametrize(("fickle", "code"), [(4, 2), (5, 0)])
def test_a_server_that_differs_from_itself_is_not_refused_for_it(run, server, fickle, code):
    server.change(fickle=fickle)
    run("--limit", "4")
    assert run("--limit", "4").returncode == 0
    server.change(character="wild")
    shown = run("--limit", "4")
    assert shown.returncode == code
    assert ("sameness not checked: only 3 of 8 fixed prompts can tell" in shown.stderr) == (code == 0)


def test_a_server_that_refuses_temperature_0_is_not_checked(run, server):
    server.change(probe_rules=[Rule("status", has="temperature", status=400, error={"message": "temperature is 1"})])
    assert run("--limit", "4", "--temperature", "0.7").returncode == 0
    shown = run("--limit", "4", "--temperature", "0.7")
    assert shown.returncode == 0
    assert "sameness not checked: it answered only 0 of 8 fixed prompts" in shown.stderr


def test_a_server_that_leaves_the_prompts_unanswered_does_not_hold_up_the_run(run, server, monkeypatch):
    monkeypatch.setattr(sameness, "PATIENCE_SECONDS", 0.2)
    server.change(probe_rules=[Rule("hang", seconds=30)])
    shown = run("--limit", "4")
    assert shown.returncode == 0, shown.stderr
    assert len(server.sent) == 4 * 3
    # Such a round is not kept: once the server is well, it can be known.
    server.change(probe_rules=())
    monkeypatch.undo()
    assert "no answers to the fixed prompts were stored" in run("--limit", "4").stderr
    assert "sameness" not in run("--limit", "4").stderr
    server.change(character="wild")
    assert run("--limit", "4").returncode == 2


@pytest.mark.slow
def test_a_run_that_ended_before_its_middle_is_checked_by_its_first_round(run, server, tmp_path):
    run("--limit", "4")
    forget_a_round(tmp_path / "results", 2)
    server.change(character="wild")
    # With requests of its own as well: what it says now must not become the measure of its noise.
    shown = run("--limit", "6")
    assert shown.returncode == 0
    assert stored_rounds(tmp_path / "results") == 1
    assert "how far it differs from itself is not known" in shown.stderr
    server.change(character="calm")
    assert "sameness" not in run("--limit", "4").stderr
    assert stored_rounds(tmp_path / "results") == 2
    server.change(character="wild")
    assert run("--limit", "4").returncode == 2


def test_thinking_tells_as_well(run, server):
    server.change(choice={"message": {"role": "assistant", "content": "", "reasoning": "The same words every time."}})
    run("--limit", "4")
    server.change(choice={"message": {"role": "assistant", "content": "", "reasoning": "Words that are others now."}})
    assert "8 of 8 fixed prompts begin otherwise" in run("--limit", "4").stderr


# What identifies an endpoint.


def test_what_the_server_says_of_itself_is_recorded_and_not_hashed(run, server, tmp_path, monkeypatch):
    run("--limit", "4")
    entry = ScriptedServer._entry
    monkeypatch.setattr(ScriptedServer, "_entry", lambda self, name: entry(self, name) | {"max_model_len": 8192})
    run("--limit", "4")
    assert len(server.sent) == 4 * 3
    [path] = (tmp_path / "results").glob("*/*/run.json")
    assert read_json(path)["model"]["listed"]["max_model_len"] == 8192


def as_an_earlier_version(monkeypatch, run, server, results) -> None:
    """Leave a results folder as versions did that hashed what /models says and asked no fixed prompts."""
    listed = {"id": "scripted", "root": "/models/scripted", "owned_by": "tests", "max_model_len": 4096}
    with monkeypatch.context() as patch:
        patch.setattr(EndpointOrigin, "fingerprint", lambda self: self.former_fingerprint(listed))
        assert run("--limit", "4").returncode == 0
    connection = sqlite3.connect(results / LEDGER)
    connection.executescript("DROP TABLE probes; DROP TABLE endpoints;")
    connection.close()
    del server.sent[:], server.probes[:]


def test_answers_of_an_earlier_version_are_found_and_said_to_be_unchecked(run, server, tmp_path, monkeypatch):
    as_an_earlier_version(monkeypatch, run, server, tmp_path / "results")
    shown = run("--limit", "4")
    assert shown.returncode == 0, shown.stderr
    assert "Nothing to generate" in shown.stderr
    assert "sameness not checked: no answers to the fixed prompts were stored" in shown.stderr
    assert len(list((tmp_path / "results").glob("*/*/run.json"))) == 1
    # From now on it is known.
    assert "sameness" not in run("--limit", "4").stderr
    server.change(character="wild")
    assert run("--limit", "4").returncode == 2
    assert server.sent == []


@pytest.mark.parametrize("has_run", [True, False])
def test_they_are_found_after_the_server_says_something_else_of_itself(
    run, server, tmp_path, monkeypatch, personaeval, has_run
):
    results = tmp_path / "results"
    as_an_earlier_version(monkeypatch, run, server, results)
    if has_run:
        entry = ScriptedServer._entry
        monkeypatch.setattr(ScriptedServer, "_entry", lambda self, name: entry(self, name) | {"max_model_len": 8192})
    else:
        # Killed before it was done: the ledger is all there is.
        [record] = results.glob("*/*/run.json")
        record.unlink()
    assert "Nothing to generate" in run("--limit", "4").stderr
    assert "Nothing to generate" in run("--limit", "4").stderr
    assert server.sent == []


@pytest.mark.slow
def test_a_version_takes_nothing_over_from_an_earlier_versions_ledger(run, server, tmp_path, monkeypatch):
    as_an_earlier_version(monkeypatch, run, server, tmp_path / "results")
    run("--limit", "4", "--model-version", "2")
    assert len(server.sent) == 4 * 3


def test_origins_differ_by_place_name_and_version():
    origin = EndpointOrigin("http://a/v1", "m")
    others = [dataclasses.replace(origin, **{field: "b"}) for field in ("place", "name", "version")]
    assert len({one.fingerprint() for one in (origin, *others)}) == 4


# Judges.


@pytest.mark.slow
def test_a_judge_that_changed_is_refused_before_anything_is_asked(personaeval, library, tmp_path):
    def answer(messages, seed):
        return reply(4)

    with ScriptedServer(Script(model="judge"), answer=answer) as judge, ScriptedServer() as model:

        def run(*more, limit="1"):
            models = ["-m", f"openai:scripted@{model.url}", "-j", f"openai:judge@{judge.url}"]
            where = ["-t", "personagym", "--limit", limit, "-o", tmp_path / "results"]
            return personaeval("run", *models, *where, *more)

        assert run().returncode == 0
        assert len(judge.probes) == 2 * 8
        asked = len(judge.sent)
        assert run().returncode == 0
        assert len(judge.sent) == asked
        judge.change(character="wild")
        before = len(model.sent)
        refused = run(limit="2")
        assert refused.returncode == 2
        assert re.search(r"judge: .* fixed prompts begin otherwise.* --judge-model-version NAME", refused.stderr, re.S)
        assert len(model.sent) == before
        [folder] = {path.parent for path in (tmp_path / "results").glob("*/*/run.json")}
        again = ["score", folder, "-j", f"openai:judge@{judge.url}"]
        assert personaeval(*again).returncode == 2
        assert personaeval(*again, "--trust-endpoint").returncode == 0
        assert len(judge.sent) == asked
        assert run("--judge-model-version", "new").returncode == 0
        assert len(judge.sent) == 2 * asked
