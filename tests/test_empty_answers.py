"""Answers that are empty, cut off or broken off: what counts, what is asked again, what every table says."""

import json
import re
from pathlib import Path

import pytest

from personaeval.metrics.coverage_warnings import empty_warnings
from personaeval.models.engines.event_stream import join_events
from personaeval.models.engines.finish_reasons import end_of
from personaeval.results.files import read_json
from personaeval.results.ledger import LEDGER, Ledger
from personaeval.results.responses import read_responses
from personaeval.types import Completion
from tests.asking import ask, expected, message, requests
from tests.scripted_server import Rule, ScriptedServer


@pytest.mark.parametrize(
    ("end", "reasons"),
    [
        ("stop", ["stop", "STOP", "eos", "eos_token", "stop_sequence", "end_turn", "COMPLETE", "FINISH_REASON_STOP"]),
        ("stop", [{"type": "stop", "matched": 2}]),
        ("length", ["length", "max_tokens", "MAX_TOKENS", "model_length", "maxTokens", "FINISH_REASON_MAX_TOKENS"]),
        (
            "withheld",
            ["content_filter", "SAFETY", "RECITATION", "PROHIBITED_CONTENT", "refusal", "guardrail_intervened"],
        ),
        ("withheld", ["content-filter", "content_filter: SAFETY", "content_filtered", "sensitive"]),
        ("called", ["tool_calls", "function_call", "tool_use", "TOOL_CALL"]),
        ("unnamed", [None, "", {}]),
        (
            "broken",
            ["abort", "error", "insufficient_system_resource", "load", "OTHER", "cancelled", "unknown", 7, ["x"]],
        ),
    ],
)
def test_what_servers_call_the_end_of_an_answer(end, reasons):
    assert {json.dumps(reason): end_of(reason) for reason in reasons} == {json.dumps(reason): end for reason in reasons}


def reply(finish_reason="stop", tokens: int | None = 5, **content) -> str:
    usage = {} if tokens is None else {"usage": {"completion_tokens": tokens}}
    return json.dumps({"choices": [message(**content) | {"finish_reason": finish_reason}], **usage})


@pytest.mark.parametrize("reason", ["insufficient_system_resource", "OTHER", "load"])
def test_an_answer_broken_off_by_any_name_is_asked_for_again(server, reason):
    wanted = requests(3)
    server.change(rules=[Rule("reply", first=2, text=reply(reason, content="First we add the"))])
    assert [c.text for c in ask(server, wanted)] == [expected(request) for request in wanted]
    server.change(rules=[Rule("reply", text=reply(reason, content="First we add the"))])
    (failed,) = ask(server, requests(1))
    assert failed.text == ""
    assert f"broke off the answer ({reason}), after 3 tries" in failed.error


def test_a_broken_off_answer_may_say_so_in_the_choice(server):
    choice = message(content="First we add") | {"finish_reason": "stop", "error": {"code": 502, "message": "upstream"}}
    server.change(rules=[Rule("reply", text=json.dumps({"choices": [choice]}))])
    assert "upstream" in ask(server, requests(1))[0].error


@pytest.mark.parametrize("reason", ["SAFETY", "refusal", "content_filter: PROHIBITED_CONTENT"])
def test_what_a_filter_withheld_is_unscored_and_not_asked_for_again(server, reason):
    server.change(rules=[Rule("reply", text=reply(reason, content=None))])
    (failed,) = ask(server, requests(1))
    assert f"content filter withheld the answer ({reason})" in failed.error
    assert len(server.sent) == 1


@pytest.mark.parametrize(
    ("reason", "end"), [("MAX_TOKENS", "length"), ("model_length", "length"), ("end_turn", "stop")]
)
def test_other_names_of_a_sound_end(server, reason, end):
    server.change(rules=[Rule("reply", text=reply(reason, content="It is 4"))])
    (completion,) = ask(server, requests(1))
    assert (completion.text, completion.finish_reason, len(server.sent)) == ("It is 4", end, 1)


def test_a_server_that_never_says_why_an_answer_ended_is_believed(server):
    server.change(choice={"finish_reason": None})
    wanted = requests(20)
    got = ask(server, wanted, concurrency=1)
    assert [c.text for c in got] == [expected(request) for request in wanted]
    # The first is asked for twice more; from then on it is known.
    assert len(server.sent) == 22


def test_an_answer_without_a_reason_from_a_server_that_gives_them_is_broken_off(server):
    server.change(rules=[Rule("reply", contains="What is 2 +", text=reply(None, content="First we"))])
    got = ask(server, requests(4), concurrency=1)
    assert [c.error is None for c in got] == [True, True, False, True]
    assert "no finish_reason" in got[2].error


@pytest.mark.parametrize("content", ["", None, " \n"])
@pytest.mark.parametrize("tokens", [0, None])
def test_an_empty_answer_without_tokens_is_asked_for_again(server, content, tokens):
    wanted = requests(2)
    server.change(rules=[Rule("reply", first=2, text=reply("stop", tokens, content=content))])
    got = ask(server, wanted)
    assert [(c.text, c.finish_reason) for c in got] == [(expected(request), "stop") for request in wanted]
    server.change(rules=[Rule("reply", text=reply("stop", tokens, content=content))])
    before = len(server.sent)
    (completion,) = ask(server, requests(1), retries=5)
    assert (completion.text.strip(), completion.finish_reason, completion.error) == ("", "empty", None)
    assert len(server.sent) - before == 3


@pytest.mark.parametrize(
    "text", [reply(tokens=1, content=""), reply(tokens=0, content=None, reasoning="Hm"), reply("length", 0, content="")]
)
def test_an_empty_answer_that_is_explained_is_not_asked_for_again(server, text):
    server.change(rules=[Rule("reply", text=text)])
    (completion,) = ask(server, requests(1))
    assert (completion.text, completion.error, len(server.sent)) == ("", None, 1)


# The ledger.


def test_a_stored_reply_without_text_and_tokens_counts_as_absent_until_it_is_asked_for_again(tmp_path):
    def stored(number: int, text: str, finish_reason: str = "stop", **more) -> Completion:
        return Completion(number, bytes([number]) * 16, text, finish_reason, **more)

    blank, short, known, cut, thought = (bytes([number]) * 16 for number in range(5))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        for one in (stored(0, ""), stored(1, "7"), stored(2, "", "empty"), stored(3, "", "length")):
            ledger.add(one)
        ledger.add(stored(4, "", reasoning="Hm"))
        ledger.flush()
        keys = [blank, short, known, cut, thought]
        assert ledger.blank(keys) == {blank}
        assert ledger.present(keys) == set(ledger.completions(keys)) == set(keys) - {blank}
        for number in range(5):
            ledger.add(stored(number, "late", completion_tokens=1))
        ledger.flush()
        assert ledger.completions(keys)[blank].text == "late"
        assert [ledger.completions(keys)[key].text for key in keys[1:]] == ["7", "", "", ""]


# A run.


@pytest.fixture
def endpoint(server: ScriptedServer, library: Path, tmp_path: Path, personaeval):
    """Run the sums task against the server; the pirate's prompts can be told by their text."""

    def run(*more: str):
        arguments = ["run", "-m", f"openai:scripted@{server.url}", "-t", "sums", "-p", "few", "--include", library]
        done = personaeval(*arguments, "-o", tmp_path / "results", *more)
        assert done.returncode == 0, done.stderr
        return done

    return run


def folder_in(results: Path) -> Path:
    [found] = [path.parent for path in results.glob("*/*/run.json")]
    return found


def test_answers_that_stay_empty_are_no_answers_under_a_caution(endpoint, server, tmp_path, personaeval):
    server.change(rules=[Rule("reply", contains="pirate", text=reply(tokens=0, content=""))])
    assert "33.3% of the answers are empty." in endpoint("--limit", "3").stdout
    folder = folder_in(tmp_path / "results")
    rows = [row for row in read_responses(folder) if row.persona == "pirate"]
    assert {(row.text, row.status, row.score) for row in rows} == {("", "no_answer", 0.0)}
    asked = len(server.sent)
    assert "33.3% of the answers are empty." in endpoint("--limit", "3").stdout
    assert len(server.sent) == asked, "what stayed empty is an answer"
    assert "33.3% of the answers are empty." in personaeval("leaderboard", tmp_path / "results").stdout
    assert personaeval("score", folder).returncode == 0
    assert "33.3% of the answers are empty" in read_json(folder / "summary.json")["tasks"]["sums"]["warnings"]
    compared = personaeval("compare", folder, folder).stdout
    assert re.search(r"33\.3% of .*'s answers are empty\.", compared)


def test_answers_left_in_the_reasoning_are_told(endpoint, server):
    server.change(rules=[Rule("reply", contains="pirate", text=reply(content=None, reasoning_content="It is 4"))])
    shown = endpoint("--limit", "3").stdout
    assert "the server's reasoning parser may be swallowing answers: 3 of the 9 answers" in shown
    assert "are empty." not in shown


def test_reasoning_that_was_cut_off_is_no_fault_of_the_parser(endpoint, server):
    text = reply("length", content=None, reasoning_content="Perhaps 4, but")
    server.change(rules=[Rule("reply", contains="pirate", text=text)])
    shown = endpoint("--limit", "3").stdout
    assert "cut off at" in shown and "raise --max-tokens" in shown
    assert "swallowing" not in shown
    assert "are empty" not in shown


def test_a_run_asks_anew_what_an_earlier_version_stored_empty_and_says_why(endpoint, server, tmp_path):
    endpoint("--limit", "3")
    keys = [row.key for row in read_responses(folder_in(tmp_path / "results"))][:2]
    with Ledger(tmp_path / "results" / LEDGER) as ledger:
        for key in keys:
            ledger._reader.execute("DELETE FROM completions WHERE key = ?", [key])
            ledger.add(Completion(0, key, "", "stop", prompt_tokens=5))
    again = endpoint("--limit", "3")
    assert "2 stored answers have neither text nor tokens" in again.stdout + again.stderr
    assert "To generate: 2 " in again.stdout + again.stderr
    assert all(row.text for row in read_responses(folder_in(tmp_path / "results")))
    assert "neither text nor tokens" not in endpoint("--limit", "3").stderr


def test_what_is_said_of_empty_answers():
    assert empty_warnings(2, 0, 100, is_endpoint=True) == []
    assert empty_warnings(3, 0, 100, is_endpoint=True) == ["3.0% of the answers are empty"]
    [swallowed] = empty_warnings(1, 1, 100, is_endpoint=True)
    assert swallowed.startswith("the server's reasoning parser may be swallowing answers: 1 of the 100 answers")
    # A local model that thinks and then says nothing has no server.
    assert empty_warnings(3, 3, 100, is_endpoint=False) == ["3.0% of the answers are empty"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_stream_is_cut_at_its_own_line_ends_alone(end):
    """JSON allows the other line ends of Unicode in a text as they are."""
    parts = ["a\u2028b\u2029c\x85", "d"]
    data = [json.dumps({"choices": [{"delta": {"content": part}}]}, ensure_ascii=False) for part in parts]
    content = "".join(f"data: {one}{end}{end}" for one in [*data, "[DONE]"]).encode()
    assert join_events(content)["choices"][0]["message"]["content"] == "".join(parts)
