"""What goes wrong around a run: endpoints that fail, folders that cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from personaeval.config import make_config
from personaeval.errors import EngineError, UsageError
from personaeval.pipeline.run import run
from personaeval.progress import open_progress
from personaeval.results.files import read_json
from personaeval.results.responses import read_responses
from tests.scripted_server import Rule, Script, ScriptedServer

ROOT = Path(__file__).resolve().parent.parent
ROWS = 12 * 3


@pytest.fixture
def ask(library: Path, tmp_path: Path):
    def ask_endpoint(url: str, **more):
        settings = {
            "model": (f"openai:scripted@{url}",),
            "tasks": ("sums",),
            "personas": ("few",),
            "include": (library,),
            "output": tmp_path / "results",
            "concurrency": 4,
        }
        [result] = run(make_config(None, settings | more), open_progress(quiet=True))
        return result

    return ask_endpoint


def test_an_endpoint_that_works(ask, server):
    result = ask(server.url)
    record = read_json(result.folder / "run.json")
    assert (result.generated, result.failed) == (ROWS, 0)
    assert record["placement"] | {"no_persona_prompt": None} == {
        "role": "system",
        "verified": True,
        "no_persona_prompt": None,
        "opens_thinking": False,
    }
    assert record["model"]["fingerprint_verifiable"] is False
    assert ask(server.url).generated == 0


@pytest.mark.slow
def test_an_endpoint_that_drops_or_refuses_the_system_turn_gets_the_persona_elsewhere(ask, server):
    for system in ("drop", "refuse"):
        server.change(system=system)
        assert read_json(ask(server.url, seed=len(system)).folder / "run.json")["placement"]["role"] == "user_prefix"
        with pytest.raises(UsageError, match="do not reach the model's prompt"):
            ask(server.url, persona_role="system")


def test_an_endpoint_that_does_not_show_its_prompts_is_marked_in_every_table(ask, server):
    server.change(tokenize=False)
    result = ask(server.url)
    assert read_json(result.folder / "run.json")["placement"]["verified"] is False
    warnings = read_json(result.folder / "summary.json")["tasks"]["sums"]["warnings"]
    assert any("not verified" in warning for warning in warnings)


@pytest.mark.model
def test_a_tokenizer_shows_what_an_endpoint_does_not(ask, server, smollm2):
    server.change(tokenize=False)
    record = read_json(ask(server.url, tokenizer=str(smollm2)).folder / "run.json")
    assert record["placement"]["verified"] is True
    assert "SmolLM" in record["placement"]["no_persona_prompt"]


@pytest.mark.parametrize(
    "rule",
    [
        Rule("status", status=400, share=0.3),
        Rule("reply", text="<html>not json", share=0.3),
        Rule("cut", share=0.3),
    ],
    ids=lambda rule: f"{rule.fault} {rule.status}",
)
@pytest.mark.slow
def test_requests_that_fail_are_unscored_with_the_reason_and_tried_again(ask, server, rule, monkeypatch):
    monkeypatch.setattr("personaeval.models.engines.openai._RETRIES", 0)
    server.change(rules=(rule,))
    result = ask(server.url)
    rows = list(read_responses(result.folder))
    failed = [row for row in rows if row.status == "unscored"]
    assert 0 < len(failed) == result.failed < ROWS
    assert all(row.text is None and row.score is None and row.reason for row in failed)
    summary = read_json(result.folder / "summary.json")["tasks"]["sums"]
    assert summary["counts"]["unscored"] == len(failed)
    assert any("unscored" in warning for warning in summary["warnings"])
    server.change(rules=())
    again = ask(server.url)
    assert (again.folder, again.generated, again.failed) == (result.folder, len(failed), 0)
    kept = {(row.item, row.persona): row.text for row in rows if row.text is not None}
    after = {(row.item, row.persona): row.text for row in read_responses(again.folder)}
    assert kept.items() <= after.items()


@pytest.mark.slow
def test_a_large_run_goes_on_while_what_is_held_is_taken_up(ask, server, library):
    rows = (f'{{"id": "s{n}", "question": "What is {n} + 1?", "answer": "{n + 1}"}}\n' for n in range(800))
    (library / "tasks" / "sums.jsonl").write_text("".join(rows))
    server.change(rules=(Rule("status", status=400, share=0.1),))
    first = ask(server.url, concurrency=32)
    assert first.failed > 100
    server.change(rules=())
    second = ask(server.url, concurrency=32)
    assert (second.generated, second.failed) == (first.failed, 0)


def test_thinking_that_the_endpoint_takes_out_is_kept_apart(ask, server):
    server.change(reasoning="reasoning_content")
    row = next(iter(read_responses(ask(server.url).folder)))
    assert row.thinking.startswith("I was asked")
    assert "boxed" in row.text


def test_an_endpoint_that_is_down_from_the_start(ask, personaeval, library):
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:9"):
        ask("http://127.0.0.1:9/v1")
    shown = personaeval("run", "-m", "openai:x@http://127.0.0.1:9/v1", "-t", "sums", "-p", "few", "--include", library)
    assert shown.returncode == 5
    assert "Traceback" not in shown.stderr


def test_a_model_that_the_endpoint_does_not_have(ask, server):
    server.change(model="scripted-7b")
    with pytest.raises(UsageError, match="Did you mean 'scripted-7b'"):
        ask(server.url)


@pytest.mark.slow
def test_an_endpoint_that_dies_on_the_way_leaves_a_run_that_goes_on(ask, library, tmp_path, personaeval):
    rows = (f'{{"id": "s{n}", "question": "What is {n} + 1?", "answer": "{n + 1}"}}\n' for n in range(200))
    (library / "tasks" / "sums.jsonl").write_text("".join(rows))
    with ScriptedServer(Script(latency=0.01, rules=(Rule("status", status=400, after=100),))) as server:
        arguments = ["run", "-m", f"openai:scripted@{server.url}", "-t", "sums", "-p", "few", "--include", library]
        arguments += ["-o", tmp_path / "out", "--concurrency", 2]
        shown = personaeval(*arguments)
        assert shown.returncode == 5, shown.stderr
        answered = sum(request.outcome == "answer" for request in server.sent)
        assert f"{600 - answered} requests failed and are unscored" in shown.stderr
        assert "Traceback" not in shown.stderr
        server.change(rules=())
        again = personaeval(*arguments)
        assert again.returncode == 0, again.stderr
    [path] = (tmp_path / "out").glob("*/*/run.json")
    record = read_json(path)
    assert record["counts"]["failed"] == 0
    first, second = record["sessions"]
    assert first["generated"] + second["generated"] == 600
    assert first["failed"] == second["generated"]


def test_a_checkpoint_that_cannot_be_asked_does_not_keep_the_next_one_from_its_turn(library, tmp_path, personaeval):
    with ScriptedServer() as sound, ScriptedServer(Script(rules=(Rule("status", status=401),))) as broken:
        arguments = ["run", "-m", f"openai:scripted@{broken.url}", "-m", f"openai:scripted@{sound.url}"]
        arguments += ["-t", "sums", "-p", "few", "--include", library, "-o", tmp_path / "out"]
        shown = personaeval(*arguments)
    assert shown.returncode == 5
    assert "1 of 2 checkpoints could not be evaluated" in shown.stderr
    assert "401" in shown.stderr
    assert "Traceback" not in shown.stderr
    assert "scripted" in shown.stdout
    assert len(list((tmp_path / "out").glob("*/*/summary.json"))) == 1


def in_child(code: str, *arguments: object, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        **more,
    )


LIMITED = """
import resource, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.argv[0] = "personaeval"
from personaeval.cli import main
main()
"""


@pytest.mark.slow
def test_a_disk_that_fills_up_is_said_and_the_run_goes_on_later(server, library, tmp_path):
    arguments = ["run", "-m", f"openai:scripted@{server.url}", "-t", "sums", "-p", "few", "--include", library]
    arguments += ["-o", tmp_path / "out", "-q"]
    full = in_child(LIMITED, 6000, *arguments)
    assert full.returncode == 2, full.stderr
    assert "cannot be written" in full.stderr
    assert "Traceback" not in full.stderr
    again = in_child(LIMITED, -1, *arguments)
    assert again.returncode == 0, again.stderr
    assert not list((tmp_path / "out").glob("*/*/.*.parquet.*")), "a half-written table was left behind"


@pytest.mark.slow
def test_a_read_only_results_folder(server, library, tmp_path):
    """A read-only bind mount in a namespace of its own: permissions alone do not stop root."""
    out = tmp_path / "out"
    out.mkdir()
    mount = f"mount --bind {out} {out} && mount -o remount,ro,bind {out}"
    namespace = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c"]
    if subprocess.run([*namespace, mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine allows no mount namespaces")
    command = f"{sys.executable} -m personaeval run -m openai:scripted@{server.url} -t sums -p few"
    shown = subprocess.run(
        [*namespace, f"{mount} && exec {command} --include {library} -o {out}"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert shown.returncode == 2, shown.stderr
    assert str(out) in shown.stderr
    assert "cannot be written" in shown.stderr
    assert "Traceback" not in shown.stderr
