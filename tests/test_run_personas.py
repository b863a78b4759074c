"""Personas on their way through a real run: imports, samples, templates, wordings, and one that is too long."""

import json
from pathlib import Path

import pytest

from personaeval.config import make_config
from personaeval.errors import UsageError
from personaeval.models.checkpoints import parse_model
from personaeval.models.model import open_model
from personaeval.models.suitability import refuse_long_personas
from personaeval.pipeline.run import run
from personaeval.pipeline.score import rescore
from personaeval.progress import open_progress
from personaeval.report.leaderboard import leaderboard, persona_tables, render
from personaeval.results.files import read_json
from personaeval.results.listing import load_summaries
from personaeval.results.persona_table import read_personas

pytestmark = pytest.mark.model


@pytest.fixture
def evaluate(library: Path, tmp_path: Path, tiny_checkpoint: Path):
    """Run two items of the sums task; keyword arguments are the configuration's."""

    def evaluate_with(**more) -> Path:
        settings = {
            "model": (f"transformers:{tiny_checkpoint}",),
            "tasks": ("sums",),
            "include": (library,),
            "output": tmp_path / "results",
            "limit": 2,
            "max_tokens": 4,
        }
        [result] = run(make_config(None, settings | more), open_progress(quiet=True))
        assert result.folder is not None
        assert result.failed == 0
        return result.folder

    return evaluate_with


def test_imported_personas_are_sampled_and_recorded(evaluate, tmp_path):
    people = tmp_path / "people.jsonl"
    people.write_text("\n".join(json.dumps({"persona": f"A keeper of lighthouse number {n}."}) for n in range(30)))
    folder = evaluate(personas=("few", str(people)), limit_personas=3, seed=1)
    record = read_json(folder / "run.json")
    assert record["personas"]["count"] == 4
    assert next(row.persona for row in read_personas(folder)) == "none"
    assert record["config"]["limit_personas"] == 3
    few, imported = record["persona_origins"]
    assert few == {"selector": "few", "kind": "set", "personas": 2}
    # One of six words differs: 5 of 7 are common, which is less than 80 %.
    assert (imported["rows"], imported["personas"], imported["near_duplicates"]) == (30, 30, 0)
    assert imported["sha256"]


def test_a_template_is_recorded_by_its_text_and_a_name_is_the_same_as_its_text(evaluate):
    first = evaluate(personas=("few/pirate",))
    assert evaluate(personas=("few/pirate",), template="You are {{ persona }}.") == first
    other = evaluate(personas=("few/pirate",), template="described")
    assert other != first
    record = read_json(other / "run.json")
    assert record["config"]["template"] == "described"
    assert record["tasks"]["sums"]["template"].startswith("Answer as the person described below")
    tables = leaderboard(load_summaries([first, other]))
    assert len(tables) == 2, "runs with different templates share no table"


def test_wordings_are_told_from_personas(evaluate, library):
    (library / "personas" / "worded.yaml").write_text(
        "name: worded\ndescription: For tests.\ninclude: [few]\n"
        "paraphrases: {pirate: [the swaggering captain of pirates], professor: [a mathematics professor of great patience]}"
    )
    folder = evaluate(personas=("worded",), samples=2)
    summary = read_json(folder / "summary.json")["tasks"]["sums"]
    assert (summary["personas"], summary["wording"]["personas"], summary["wording"]["wordings"]) == (4, 2, 4)
    assert summary["wording"]["noise_separated"] is True
    assert read_json(evaluate(personas=("few",)) / "summary.json")["tasks"]["sums"]["wording"] is None


def test_the_share_of_wording_stands_under_the_table(evaluate):
    folder = evaluate(personas=("few",))
    [summary] = load_summaries([folder])
    share = {"value": 0.25, "low": 0.1, "high": 0.4}
    summary["tasks"]["sums"]["wording"] = {
        "persona_share": share,
        "noise_separated": True,
        "personas": 20,
        "wordings": 120,
    }
    shown = render(leaderboard([summary]), "markdown")
    assert "25% of the variance of correctness within an item is between personas, 75% is wording" in shown


def test_a_persona_longer_than_the_context_is_refused_before_anything_is_asked(evaluate, library, tmp_path):
    path = library / "personas" / "few.yaml"
    path.write_text(
        path.read_text() + f"  - {{id: bard, text: a bard {'of the long long song ' * 2000}, category: style}}\n"
    )
    with pytest.raises(UsageError, match=r"persona 'bard': .* tokens, but the context of .* only 2048"):
        evaluate(personas=("few",))
    assert not list((tmp_path / "results").glob("*/*/responses.parquet"))


def test_an_endpoint_whose_context_is_known_refuses_it_too(server, tiny_checkpoint):
    """The scripted server lists a context of 4096 tokens; without a tokenizer nobody can count."""
    sentences = {"none": None, "pirate": "You are a pirate.", "bard": f"You are a bard {'of the long song ' * 1500}."}
    settings = {"model": (f"openai:scripted@{server.url}",), "tasks": ("sums",)}
    [spec] = [parse_model(text) for text in settings["model"]]
    counting = open_model(spec, make_config(None, settings | {"tokenizer": str(tiny_checkpoint)}))
    with pytest.raises(UsageError, match=r"persona 'bard': .* the context of scripted.* only 4096"):
        refuse_long_personas(counting, "system", sentences)
    refuse_long_personas(counting, "system", {"pirate": sentences["pirate"]})
    refuse_long_personas(open_model(spec, make_config(None, settings)), "system", sentences)


def test_names_stand_beside_ids_and_whole_prompts_are_kept_with_the_run(evaluate, tmp_path):
    people = tmp_path / "people.jsonl"
    told = [{"act": "Ada, Engineer", "prompt": "You are Ada.\nYou never guess."}, {"act": "甲", "prompt": "你是甲。"}]
    people.write_text("\n".join(json.dumps(row) for row in told))
    folder = evaluate(personas=(str(people),))
    summary = read_json(folder / "summary.json")["tasks"]["sums"]
    assert sorted(summary["persona_names"].values()) == ["Ada, Engineer", "甲"]
    [table] = persona_tables(load_summaries([folder]))
    assert table.columns[:2] == ("persona", "name")
    assert {row[:2] for row in table.rows} >= {("none", ""), ("ada-engineer", "Ada, Engineer")}
    rows = {row.persona: row for row in read_personas(folder)}
    assert rows["ada-engineer"].sentence == "You are Ada.\nYou never guess."
    persona = rows["ada-engineer"].to_persona()
    assert (persona.prompt, persona.name) == ("You are Ada.\nYou never guess.", "Ada, Engineer")
    assert rescore(folder, {}, ()).changed == 0
    assert {row.persona: row for row in read_personas(folder)} == rows


def test_look_alikes_are_cautioned_under_the_table(evaluate, tmp_path):
    people = tmp_path / "people.csv"
    rest = "who was born in the south of the country, went to school there and votes for the same party as ever"
    people.write_text("text\n" + "\n".join(f'"a {age} person {rest}"' for age in ("young", "old", "tall")))
    folder = evaluate(personas=(str(people),))
    warnings = read_json(folder / "summary.json")["tasks"]["sums"]["warnings"]
    assert any("100% of the pairs of personas that PSS compares look alike, which raises PSS" in w for w in warnings)


def test_no_persona_at_all_is_an_error(evaluate, tmp_path):
    people = tmp_path / "people.jsonl"
    people.write_text('{"persona": ""}')
    with pytest.raises(UsageError, match="people.jsonl: the column 'persona' is empty in every row"):
        evaluate(personas=(str(people),))
    with pytest.raises(UsageError, match="--personas : no persona at all"):
        evaluate(personas=())


def test_personas_with_judged_tasks_alone_are_refused_with_the_way_to_own_questions(evaluate):
    with pytest.raises(UsageError, match=r"--personas core/pirate: a judged task has questions.*personaeval questions"):
        evaluate(tasks=("personagym",), personas=("core/pirate",))
    with pytest.raises(UsageError, match=r"--personas core: a judged task has questions"):
        evaluate(tasks=("personagym",), personas=("core",))
