"""What a server takes, found before a run is planned: servers that refuse parameters, each in words of its own."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from personaeval.errors import EngineError, UsageError
from personaeval.models.engines import probe
from personaeval.models.engines.dialect import Dialect
from personaeval.models.engines.endpoint import Endpoint
from personaeval.models.engines.probe import find_dialect
from personaeval.results.files import read_json
from personaeval.results.responses import read_responses
from personaeval.types import Sampling
from tests.asking import settings
from tests.judging import judge_named, perform_play, speak, write_play
from tests.scripted_server import Rule, Script, ScriptedServer

GREEDY = Sampling(0.0, 1.0, 512)


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def refuse(message: str, status: int = 400, **when) -> Rule:
    """Refuse requests, all or with one field or text, in a server's own words."""
    return Rule("status", status=status, error={"message": message}, **when)


def find(server: ScriptedServer, sampling: Sampling = GREEDY, model: str = "scripted", **more) -> Dialect:
    asked = {"is_chat": True, "has_system": True} | more
    return asyncio.run(find_dialect(Endpoint(server.url, model), settings(patience=1), [sampling], **asked))


def test_a_server_that_takes_everything_is_asked_once(server):
    assert find(server) == Dialect()
    assert Dialect().record() == {}
    assert len(server.openings) == 1
    body = server.openings[0].body
    assert {"temperature": 0.0, "top_p": 1.0, "max_tokens": 512, "seed": 0}.items() <= body.items()


@pytest.mark.parametrize("reason", ["insufficient_system_resource", "error", "abort"])
def test_an_answer_broken_off_was_a_request_accepted(server, reason):
    message = {"role": "assistant", "content": "First we"}
    server.change(choice={"message": message, "finish_reason": reason})
    assert find(server) == Dialect()
    assert len(server.openings) == 1


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        ([refuse("`top_p`: out of range", 422, contains='"top_p": 1.0')], {"left_out": ("top_p",)}),
        ([refuse("not a field here", 422, has="seed")], {"left_out": ("seed",)}),
        ([refuse("what is this?", has="seed"), refuse("and this?", has="top_p")], {"left_out": ("seed", "top_p")}),
        ([refuse("I know no 'max_tokens'", has="max_tokens")], {"limit_name": "max_completion_tokens"}),
        ([refuse("no instructions for me", contains='"system"')], {"takes_system": False}),
        ([refuse("Nope.", contains='"temperature": 0.0')], {"refused_temperature": 0.0}),
        (
            [
                refuse("no max_tokens", has="max_tokens"),
                refuse("temperature is 1", contains='"temperature": 0.0'),
                refuse("no top_p", has="top_p"),
            ],
            {"left_out": ("top_p",), "limit_name": "max_completion_tokens", "refused_temperature": 0.0},
        ),
        ([refuse("maximum context length is 500 tokens", contains='"max_tokens": 512')], {}),
    ],
    ids=lambda value: value[0].error["message"] if isinstance(value, list) else "",
)
def test_what_is_refused_is_found_whatever_the_words(server, rules, found):
    server.change(opening_rules=rules)
    dialect = find(server)
    expected = replace(Dialect(), **found)
    assert replace(dialect, left_out=()) == replace(expected, left_out=())
    assert set(dialect.left_out) == set(expected.left_out)


def test_a_refusal_that_echoes_the_request_leaves_out_only_what_is_at_fault():
    """Such a refusal reads differently after every change; what was not needed is put back."""

    class Echo(ScriptedServer):
        def _fail(self, request, rule, body):
            return super()._fail(request, replace(rule, error={"message": f"refused: {json.dumps(body)}"}), body)

    with Echo(Script(opening_rules=(Rule("status", status=422, contains='"temperature": 0.0'),))) as echo:
        assert find(echo) == Dialect(refused_temperature=0.0)


class StreamsOnly(ScriptedServer):
    """Refuses whatever is not to be streamed."""

    def _fail(self, request, rule, body):
        if not body.get("stream"):
            return super()._fail(request, rule, body)
        whole = self._reply(body)
        text = whole["choices"][0]["message"]["content"]
        pieces: list[dict] = [{"choices": [{"delta": {"content": character}}]} for character in text]
        pieces += [{"choices": [{"delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": whole["usage"]}]
        events = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces)
        return web.Response(text=f": hello\n\n{events}data: [DONE]\n\n", content_type="text/event-stream")


def test_a_server_that_streams_alone(ask, tmp_path):
    rules = (refuse("as a stream only"),)
    with StreamsOnly(Script(opening_rules=rules, rules=rules, tokenize=False)) as streams:
        assert find(streams) == Dialect(streams=True)
        done = ask(streams)
        assert done.returncode == 0, done.stderr
        assert "answers as a stream alone" in done.stderr
        assert all(row.completion_tokens for row in read_responses(only_run(tmp_path)))


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("max_tokens: at most 200 for this model, you gave 512", "at most 200 new tokens, but 512"),
        ("far too many", "at most 128 new tokens, but 512"),
    ],
)
def test_more_new_tokens_than_a_server_takes_are_refused_with_the_number(message, named):
    rules = tuple(refuse(message, contains=f'"max_tokens": {number}') for number in (512, 256))
    with ScriptedServer(Script(opening_rules=rules)) as server, pytest.raises(UsageError, match=named) as raised:
        find(server)
    assert "--max-tokens" in str(raised.value)


def test_a_base_model_is_told_to_be_asked_plainly(server):
    server.change(opening_rules=[refuse("the tokenizer has no chat template, so give one")])
    with pytest.raises(UsageError, match="takes no chats .*--plain asks it to complete plain text"):
        find(server)


def test_a_model_that_is_not_there_is_named_with_the_nearest(server):
    with pytest.raises(UsageError, match=r"has no model 'scriptd' .*Did you mean 'scripted'\?"):
        find(server, model="scriptd")
    server.change(aliases=("scripted:nitro",))
    assert find(server, model="scripted:nitro") == Dialect()


def test_faults_that_pass_are_waited_for(server):
    server.change(
        opening_rules=[
            Rule("status", first=1, status=429, headers={"x-ratelimit-reset-tokens": "20ms"}),
            Rule("reply", first=2, text='{"choices": null, "error": {"code": 429}}'),
        ]
    )
    assert find(server) == Dialect()
    assert len(server.openings) == 3


def test_faults_that_pass_are_no_refusals(server, monkeypatch):
    monkeypatch.setattr(probe, "_DELAY", 0.001)
    server.change(opening_rules=[Rule("status", first=2, status=500)])
    assert find(server) == Dialect()
    assert len(server.openings) == 3


def test_a_change_counts_only_if_the_unchanged_request_is_refused_again(server):
    """The first request alone is refused, whatever it holds."""
    server.change(opening_rules=[refuse("max_tokens is too large", first=1, contains='"max_tokens": 512')])
    assert find(server) == Dialect()
    assert [sent.body["max_tokens"] for sent in server.openings] == [512, 16, 512]


def test_a_refusal_with_the_number_of_the_request_is_the_same_refusal():
    class Numbered(ScriptedServer):
        def _fail(self, request, rule, body):
            words = {"message": f"temperature no good (request req_{'xyzuvw'[len(self.openings) % 6]}k)"}
            return super()._fail(request, replace(rule, error=words), body)

    with Numbered(Script(opening_rules=(Rule("status", status=400, has="seed"),))) as numbered:
        assert find(numbered) == Dialect(left_out=("seed",))
    rules = (Rule("status", status=400),)
    with Numbered(Script(opening_rules=rules)) as numbered, pytest.raises(EngineError, match="refuses the run's"):
        find(numbered)


@pytest.mark.parametrize(
    ("is_chat", "stop", "sent"), [(False, (), ["\n"]), (False, ("Q:",), ["Q:", "\n"]), (True, ("Q:",), ["Q:"])]
)
def test_the_question_ends_at_the_stop_sequences(server, is_chat, stop, sent):
    find(server, replace(GREEDY, stop=stop), is_chat=is_chat, has_system=False)
    assert [opening.body["stop"] for opening in server.openings] == [sent]


def test_a_server_that_writes_for_long_has_taken_the_request(server, monkeypatch):
    monkeypatch.setattr(probe, "_SECONDS", 0.2)
    server.change(opening_rules=[Rule("hang", seconds=0.8)])
    assert find(server) == Dialect()
    assert len(server.openings) <= 1


# Whole runs.


@pytest.fixture
def ask(library: Path, tmp_path: Path, personaeval):
    def command(server: ScriptedServer, *more: object):
        asked = ("-t", "sums", "-p", "few", "--include", library, "-o", tmp_path / "results")
        return personaeval("run", "-m", f"openai:scripted@{server.url}", *asked, "--patience", 5, *more)

    return command


def only_run(folder: Path) -> Path:
    [path] = (folder / "results").glob("*/*/run.json")
    return path.parent


@pytest.mark.slow
def test_neutral_parameters_are_left_out_said_and_recorded_and_change_no_key(ask, server, tmp_path, library):
    first = ask(server)
    assert first.returncode == 0, first.stderr
    asked = len(server.sent)
    rules = [refuse("no seed", has="seed"), refuse("no top_p", has="top_p"), refuse("no max_tokens", has="max_tokens")]
    server.change(opening_rules=rules, rules=rules)
    again = ask(server)
    assert again.returncode == 0
    assert len(server.sent) == asked, "a greedy answer was asked for again because of a parameter's name"
    assert "refuses seed and top_p" in again.stderr or "refuses top_p and seed" in again.stderr
    more = ask(server, "--samples", 2)
    assert more.returncode == 0, more.stderr
    new = server.sent[asked:]
    assert new
    assert all("max_completion_tokens" in sent.body and "seed" not in sent.body for sent in new)
    records = [read_json(path)["model"].get("dialect") for path in (tmp_path / "results").glob("*/*/run.json")]
    assert {"left_out": ["top_p", "seed"], "limit_name": "max_completion_tokens"} in [
        record and record | {"left_out": sorted(record["left_out"], reverse=True)} for record in records
    ]


@pytest.mark.slow
def test_temperature_0_that_is_refused_is_left_out_only_on_request(ask, server, tmp_path):
    rules = [refuse("only 1 is supported", has="temperature")]
    server.change(opening_rules=rules, rules=rules)
    refused = ask(server)
    assert refused.returncode == 2
    assert "refuses temperature 0. --temperature default" in refused.stderr
    assert not server.sent
    done = ask(server, "--temperature", "default")
    assert done.returncode == 0, done.stderr
    assert "sampled at the server's default" in done.stdout
    assert all("temperature" not in sent.body for sent in server.sent)
    server.change(opening_rules=[], rules=[])
    greedy = ask(server)
    assert greedy.returncode == 0
    parts = [read_json(path)["tasks"]["sums"] for path in (tmp_path / "results").glob("*/*/summary.json")]
    assert len({part["group"] for part in parts}) == 2
    assert sorted(str(part["sampling"]["temperature"]) for part in parts) == ["0.0", "None"]


def test_default_is_no_temperature_of_a_local_model(tiny_checkpoint, library, personaeval, tmp_path):
    asked = ("-t", "sums", "-p", "few", "--include", library, "-o", tmp_path, "--temperature", "default")
    done = personaeval("run", "-m", f"transformers:{tiny_checkpoint}", *asked)
    assert done.returncode == 2
    assert "only an endpoint has one of its own" in done.stderr


def test_a_system_turn_that_is_refused_moves_to_the_users_turn(ask, server, tmp_path):
    server.change(tokenize=False, opening_rules=[refuse("no developer instruction", contains='"system"')])
    done = ask(server)
    assert done.returncode == 0, done.stderr
    assert "refuses a system turn (personas stand in the user's turn)" in done.stderr
    assert all(sent.body["messages"][0]["role"] == "user" for sent in server.sent)
    assert read_json(only_run(tmp_path) / "run.json")["placement"]["role"] == "user_prefix"
    assert ask(server, "--persona-role", "system").returncode == 2


def test_plain_asks_for_completions(ask, server, tmp_path):
    server.change(opening_rules=[refuse("no chat template", has="messages")], rules=[refuse("no", has="messages")])
    done = ask(server, "--plain")
    assert done.returncode == 0, done.stderr
    assert {sent.path for sent in server.sent} == {"/v1/completions"}
    assert any("pirate" in sent.body["prompt"] for sent in server.sent)
    placement = read_json(only_run(tmp_path) / "run.json")["placement"]
    assert placement["verified"] is True


def test_a_judge_that_refuses_temperature_0_judges_at_its_default(library, tmp_path):
    write_play(library)
    rules = (refuse("only temperature 1", has="temperature"), refuse("no max_tokens", has="max_tokens"))
    script = Script(model="ann", opening_rules=rules, rules=rules)
    with ScriptedServer(answer=speak) as model, ScriptedServer(script, answer=judge_named("ann")) as judge:
        result = perform_play(library, tmp_path, model, [judge])
        assert all("temperature" not in sent.body for sent in judge.sent)
        part = read_json(result.folder / "summary.json")["tasks"]["play"]
        assert part["judgements"]["unscored"] == 0
        [recorded] = read_json(result.folder / "run.json")["panel"]["judges"]
        assert recorded["sampling"]["temperature"] is None
        with pytest.raises(UsageError, match="--judge-temperature 0.5: the endpoint of ann refuses it"):
            perform_play(library, tmp_path, model, [judge], judge_temperature=0.5)


def test_a_plan_asks_nothing(server, library, tmp_path, personaeval):
    asked = ("-t", "sums", "-p", "few", "--include", library, "-o", tmp_path)
    assert personaeval("plan", "-m", f"openai:scripted@{server.url}", *asked).returncode == 0
    assert not server.openings
