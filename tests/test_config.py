"""Options: the parts of a configuration, and what was written for earlier versions of it."""

import json
from pathlib import Path

import pytest

from personaeval import config
from personaeval.analysis.policy import Policy, read_policy
from personaeval.config import JudgeOptions, ModelOptions, RunConfig, make_config, upgrade_config
from personaeval.errors import UsageError
from personaeval.pipeline.score import rescore
from personaeval.results.files import read_json, write_json
from tests.judging import DIMENSIONS, PERSONAS, QUESTIONS, perform_play, speak, write_play
from tests.scripted_server import ScriptedServer
from tests.test_run_files import as_format_1

OLD = json.loads((Path(__file__).parent / "data" / "config-format-1.json").read_text())
GATE = "[{metric: pss, max_drop: 0.1}]"


def test_options_for_judges_without_a_judge_are_told_from_defaults():
    made = RunConfig(model=("m",), tasks=("t",), engine_args={"top_k": 5}, judge_repeats=2)
    assert made.judge_options == JudgeOptions(judge_repeats=2)
    assert made.model_options == ModelOptions(engine_args={"top_k": 5})
    with pytest.raises(UsageError, match=r"^--judge-repeats: only for judges, and no judge is named\. Add --judge"):
        made.refuse_unused()
    for used in ({"judge": ("j",), "judge_repeats": 2}, {"judge_repeats": 1}, {"engine_args": {"top_k": 5}}):
        RunConfig(model=("m",), tasks=("t",), **used).refuse_unused()


def test_judges_share_the_connection_but_not_the_engine_arguments():
    shared = ModelOptions(engine_args={"top_k": 5}, dtype="float16", tokenizer="t", timeout=7, date="2020-02-02")
    own = JudgeOptions(judge=("j",), judge_engine_args={"top_k": 1}).opening_options(shared)
    assert own == ModelOptions(engine_args={"top_k": 1}, timeout=7, date="2020-02-02")


@pytest.mark.parametrize(("judged", "personas"), [(True, None), (False, 1)])
def test_the_configuration_of_an_old_run_is_read(judged, personas):
    made = RunConfig.model_validate(upgrade_config(OLD, judged=judged))
    assert (made.limit_personas, made.questions_per_dimension, made.limit) == (personas, 1, 7)
    assert upgrade_config(made.model_dump(), judged=judged) == made.model_dump()


def test_a_run_with_the_keys_of_old_is_scored(library, tmp_path):
    write_play(library)
    more = {"tasks": ("sums", "play"), "personas": ("few",), "questions_per_dimension": 1}
    with ScriptedServer(answer=speak) as model:
        result = perform_play(library, tmp_path / "out", model, [], **more)
    as_format_1(result.folder)
    file = result.folder / "run.json"
    record = read_json(file)
    # Two personas of "few" beside none; the judged task's own were not limited.
    record["config"] = OLD | {key: record["config"][key] for key in ("include", "limit")} | {"n_personas": 2}
    write_json(file, record)
    assert rescore(result.folder, {}, ()).changed == 0
    assert record["tasks"]["play"]["items"] == PERSONAS * len(DIMENSIONS) < PERSONAS * QUESTIONS * len(DIMENSIONS)
    assert read_json(file)["config"]["questions_per_dimension"] == 1


def test_a_config_file_with_the_keys_of_old_is_read_where_they_are_clear(tmp_path):
    file = tmp_path / "run.yaml"
    given = {"model": ("m",), "tasks": ("t",)}
    file.write_text("n_personas: 3\nper_task: 2\n")
    made = make_config(file, given)
    assert (made.limit_personas, made.questions_per_dimension) == (3, 2)
    assert make_config(file, given | {"limit_personas": 5}).limit_personas == 5
    file.write_text("n_personas: 3\nlimit_personas: 2\n")
    with pytest.raises(UsageError, match=r"one key now, limit_personas"):
        make_config(file, given)


@pytest.mark.parametrize(
    ("line", "wide"), [("", False), ("generalise: items\n", False), ("generalise: items,personas\n", True)]
)
def test_a_policy_of_version_1_is_read(tmp_path, line, wide):
    file = tmp_path / "gate.yaml"
    file.write_text(f"version: 1\n{line}gates: {GATE}\n")
    assert read_policy(file) == Policy.model_validate(
        {"version": 2, "generalise_to_personas": wide, "gates": [{"metric": "pss", "max_drop": 0.1}]}
    )
    file.write_text(f"version: 2\ngeneralise: items\ngates: {GATE}\n")
    with pytest.raises(UsageError, match="Did you mean 'generalise_to_personas'"):
        read_policy(file)


KINDS = [kind for kind in vars(config).values() if isinstance(kind, type) and issubclass(kind, config.Options)]


def test_every_option_says_what_it_is():
    fields = [(kind, name, field) for kind in KINDS for name, field in kind.model_fields.items()]
    assert len(fields) > 100
    assert [(kind.__name__, name) for kind, name, field in fields if not field.description] == []


@pytest.fixture
def seen(monkeypatch):
    """What a command's function gets, by the command line's arguments."""
    from personaeval.cli import parameters

    def call(*arguments: object, kind: str = "RunConfig"):
        got = []

        def function(options, quiet: bool = False) -> None:
            """Keeps its options."""
            got.append(options)

        function.__annotations__["options"] = kind
        parameters.make_command(function, "try").main([str(one) for one in arguments], standalone_mode=False)
        return got[0]

    return call


def test_flags_become_fields_of_their_types(seen):
    made = seen(
        *("--model", "a", "-m", "b", "--tasks", "x, y", "--data", "x=x.csv", "--engine-arg", "top-k=5"),
        *("--limit", 3, "--timeout", 2, "--full-hash", "-j", "c", "--include", "more"),
    )
    assert made == RunConfig(
        model=("a", "b"),
        tasks=("x", "y"),
        data={"x": Path("x.csv")},
        engine_args={"top_k": 5},
        limit=3,
        timeout=2.0,
        full_hash=True,
        judge=("c",),
        include=(Path("more"),),
    )
    assert made.model_fields_set == {
        *("model", "tasks", "data", "engine_args", "limit", "timeout", "full_hash", "judge", "include")
    }
    shown = seen("a", "b", "--no-interval", kind="CompareOptions")
    assert (shown.base, shown.candidates, shown.intervals) == ("a", ("b",), False)


def test_a_flag_takes_precedence_over_the_file(seen, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("tasks: [x]\nlimit: 5\nsamples: 2\n")
    made = seen("--model", "a", "--config", file, "--limit", 6)
    assert (made.tasks, made.limit, made.samples) == (("x",), 6, 2)
    file.write_text("tasks: [x]\nlimit: 0\n")
    with pytest.raises(UsageError, match=r"run.yaml:2: limit: "):
        seen("--model", "a", "--config", file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--limit", 0), r"^--limit: .* \(got 0\)"),
        (("--persona-role", "robot"), r"^--persona-role: .*'robot'"),
        (("--engine-arg", "top_k"), r"^--engine-arg top_k: expected NAME=VALUE"),
        (("--engine-arg", "a=1", "--engine-arg", "a=2"), r"^--engine-arg: a is given twice"),
        (("--date", "today"), r"^--date: "),
    ],
)
def test_an_error_names_the_flag_that_was_typed(seen, arguments, message):
    with pytest.raises(UsageError, match=message):
        seen("--model", "a", "--tasks", "x", *arguments)
