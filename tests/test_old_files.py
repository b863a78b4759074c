"""Files of format 1 are read as they were meant: the same work is done, and every number is what it was.

The expected numbers were printed by the code that wrote the files.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import personaeval as package
from personaeval import verify
from personaeval.analysis.policy import Severity, read_policy
from personaeval.judge.labels import kept_labels, read_labels
from personaeval.judge.usage import read_prices
from personaeval.library.registry import Registry
from personaeval.library.sources import load_items
from personaeval.library.tasks import GeneratedSource, HubSource
from tests.format1 import ACTOR, DATA, PORTS, RUNS, TINY, TINY_JUDGED, UNDERSTUDY, UNJUDGED, copy_data, serving
from tests.format1 import ledger_keys as keys

ASKED = ("completions", "weights")
"""Tables of the ledger that only a model's or a judge's answer fills."""


@pytest.fixture
def old(tmp_path, monkeypatch) -> Path:
    """The files, in the working folder."""
    folder = copy_data(tmp_path)
    # A better reader of answers raises this number, in order to score again and to rank apart: that is no accident.
    monkeypatch.setattr(verify, "VERSION", 2)
    monkeypatch.chdir(folder)
    return folder


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{path}/{name}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from leaves(inner, f"{path}/{place}")
    else:
        yield path, value


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def counted_by_name(values: dict) -> dict:
    """The values, with the counts of reasons without their words, which a later version may put better."""
    counted: dict = {}
    for path, value in values.items():
        name, found, reason = path.partition("/judgements/reasons/")
        if not found:
            counted[path] = value
        else:
            persona = reason.partition(":")[0]
            counted[f"{name}{found}{persona}"] = counted.get(f"{name}{found}{persona}", 0) + value
    return counted


def assert_same_numbers(folder: Path, run: str) -> None:
    """Compare a run's summary and tables with what they were; what is there besides is no matter."""
    now = dict(leaves(read(folder / run / "summary.json")))
    before = dict(leaves(read(DATA / run / "summary.json")))
    before = {path.replace("/people/strangers", "/people/unmatched_labels"): value for path, value in before.items()}
    numbers = {path: value for path, value in before.items() if isinstance(value, int | float) and path != "/format"}
    numbers, now = counted_by_name(numbers), counted_by_name(now)
    assert len(numbers) > 10
    assert {path: now.get(path) for path in numbers} == pytest.approx(numbers, rel=1e-9, abs=1e-12)
    groups = {path: value for path, value in before.items() if path.endswith("/group")}
    assert {path: now.get(path) for path in groups} == groups
    for file in ("cells", "responses", "judgements"):
        if (DATA / run / f"{file}.parquet").exists():
            table = pq.read_table(DATA / run / f"{file}.parquet")
            assert len(table) > 1
            again = pq.read_table(folder / run / f"{file}.parquet", columns=table.column_names)
            assert [column for column in table.column_names if not again[column].equals(table[column])] in (
                [],
                ["reason"],
            )
            if "reason" in table.column_names:
                assert again["reason"].is_null().equals(table["reason"].is_null())


def run_again(old: Path, personaeval, *arguments: str) -> str:
    """Repeat a command; return what it says, having asked nothing."""
    before = {table: keys(old / "results", table) for table in ASKED}
    assert all(before.values())
    done = personaeval("run", *arguments, cwd=old)
    assert done.returncode == 0, done.stderr
    assert {table: keys(old / "results", table) for table in ASKED} == before
    assert {path.parent for path in old.glob("results/*/*/run.json")} == {old / run for run in RUNS}
    assert "Nothing to generate" in done.stderr
    assert " calls, " not in done.stderr
    return done.stderr


@pytest.mark.parametrize(("config", "run"), [("run.yaml", TINY), ("judged-local.yaml", TINY_JUDGED)])
def test_the_same_command_has_nothing_to_ask(old, personaeval, config, run):
    run_again(old, personaeval, "--config", config)
    assert_same_numbers(old, run)
    assert read(old / run / "run.json")["plan"] == read(DATA / run / "run.json")["plan"]


@pytest.mark.slow
def test_the_same_command_has_nothing_to_ask_of_endpoints(old, personaeval):
    understudy = f"openai:understudy@http://127.0.0.1:{PORTS['understudy']}/v1"
    with serving(lambda messages, seed: "an answer that differs") as servers:
        run_again(old, personaeval, "--config", "judged.yaml")
        said = run_again(old, personaeval, "--config", "judged.yaml", "-m", understudy)
        assert not any(servers[judge].sent for judge in ("ann", "bob"))
    assert "26 of 50 attacks raise its score" in said, "a judge failed its check"
    for run in (ACTOR, UNDERSTUDY):
        assert_same_numbers(old, run)


@pytest.mark.parametrize("run", RUNS)
def test_an_old_run_is_scored_again(old, personaeval, run):
    before = {table: keys(old / "results", table) for table in ASKED}
    done = personaeval("score", run, "-q")
    assert done.returncode == 0, done.stderr
    assert "0 verdicts changed" in done.stdout
    assert_same_numbers(old, run)
    assert {table: keys(old / "results", table) for table in ASKED} == before
    assert personaeval("score", run, "-q").stdout == done.stdout


def test_the_labels_of_an_old_run_count_and_can_be_given_again(old, personaeval):
    kept = kept_labels(old / ACTOR)
    assert len(kept) == 16
    assert kept == read_labels(old / "labels.csv")
    assert personaeval("score", ACTOR, "-q", "--human", "labels.csv").returncode == 0
    people = read(old / ACTOR / "summary.json")["tasks"]["play"]["people"]
    assert (people["labels"], people["responses"], people["annotators"]) == (15, 9, 2)
    assert people["panel"]["kappa"] == pytest.approx(-0.15329158989285196)
    assert people["corrected"]["persona_score"]["value"] == pytest.approx(2.708333333333333)


def test_a_leaderboard_of_old_runs(old, personaeval):
    done = personaeval("leaderboard", "results", "--format", "csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    sums = {row["metric"]: row for row in rows if row["task"] == "sums" and row["checkpoint"] == "tiny"}
    assert float(sums["accuracy"]["value"]) == pytest.approx(0.72)
    assert float(sums["pss"]["high"]) == pytest.approx(0.8043841966825285)
    assert (sums["worst_persona"]["persona"], float(sums["worst_persona"]["value"])) == ("old-baker", 0.0)
    scores = [(row["checkpoint"], row["value"]) for row in rows if row["metric"] == "persona_score"]
    assert [name for name, score in scores if not score] == ["understudy"], "one run was never judged"
    found = {name: float(score) for name, score in scores if score}
    assert found == pytest.approx({"tiny": 1.0, "actor": 3.2680020281926128, "understudy": 3.2483100954479940})
    assert "26 of 50 attacks raise its score" in done.stderr, "a judge failed its check"


def test_an_old_baseline_is_compared(old, personaeval):
    done = personaeval("compare", "baseline", TINY, "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = {
        (row["task"], row["metric"], row["checkpoint"]): row
        for row in json.loads(done.stdout)
        if row["view"] == "metrics"
    }
    values = [rows["sums", "accuracy", name]["value"] for name in ("tiny-later", "tiny")]
    assert values == pytest.approx([0.48, 0.72])
    change = rows["sums", "accuracy_change", "tiny"]
    assert [change[name] for name in ("value", "low", "high")] == pytest.approx(
        [0.24, -0.2818237501049814, 0.7618237501049814], rel=1e-9
    )
    assert rows["sums", "kappa_change", "tiny"]["low"] == pytest.approx(-1.7533544599169217)


CHECKED = {
    # task, metric: outcome, base, candidate, low and high of the decline; the lean for whole items rarely lost, once on
    # the upper side alone, holds on both
    ("sums", "accuracy"): ("PASS", 0.48, 0.72, -0.7618237501049814, 0.2818237501049814),
    ("facts", "accuracy"): ("INCONCLUSIVE", 0.36, 0.32, -0.5776361712042087, 0.5618237501049814),
    ("words", "accuracy"): ("INCONCLUSIVE", 0.2, 0.5, -0.9023646356164745, 0.362617754591276),
    ("sums", "pss"): ("INCONCLUSIVE", 0.75, 2 / 3, -0.43849041677164835, 0.6051570834383144),
    ("sums", "repeatability"): ("INCONCLUSIVE", 1.0, 1.0, -0.5218237501049814, 0.5218237501049814),
    ("facts", "repeatability"): ("INCONCLUSIVE", 1.0, 1.0, -0.5218237501049814, 0.5218237501049814),
    ("words", "repeatability"): ("INCONCLUSIVE", 1.0, 1.0, None, None),
    ("words", "worst_persona"): ("PASS", 0.0, 0.25, -1.3339335682364997, 0.7552052048210527),
}


def test_an_old_baseline_is_checked_by_an_old_policy(old, personaeval):
    done = personaeval("check", "baseline", TINY, "--policy", "gate-items.yaml", "--json")
    assert done.returncode == 3, done.stderr
    findings = json.loads(done.stdout)["findings"]
    assert [(one["task"], one["metric"]) for one in findings] == list(CHECKED)
    for one in findings:
        outcome, *numbers = CHECKED[one["task"], one["metric"]]
        assert one["outcome"] == outcome
        for name, number in zip(("base", "candidate", "low", "high"), numbers, strict=True):
            assert one[name] == (number if number is None else pytest.approx(number, rel=1e-9))


def test_old_policies_of_every_kind_decide_as_they_did(old, personaeval):
    started = personaeval("check", "baseline", TINY)  # gate.yaml, as `check --init` wrote it
    assert started.returncode == 3, started.stderr
    assert started.stdout.count("INCONCLUSIVE") == 16
    every = personaeval("check", "baseline", TINY, "--policy", "gate-all.yaml", "--json")
    assert every.returncode == 4, every.stderr
    outcomes = Counter(one["outcome"] for one in json.loads(every.stdout)["findings"])
    assert outcomes == {"INCONCLUSIVE": 18, "INVALID": 6, "PASS": 1}
    judged = personaeval("check", ACTOR, UNDERSTUDY, "--policy", "gate-judged.yaml", "--json")
    assert judged.returncode == 3, judged.stderr
    [score] = json.loads(judged.stdout)["findings"]
    assert (score["decline"], score["high"]) == pytest.approx((0.01969193274461878, 0.27967437627546043))


def test_the_entries_of_an_old_policy(old):
    policy = read_policy(old / "gate-all.yaml")
    assert policy.max_unscored == 0.05
    assert len(policy.gates) == 12
    assert {gate.severity for gate in policy.gates} == set(Severity)
    assert (policy.gates[1].task, policy.gates[1].metric, policy.gates[1].max_drop) == ("sums", "accuracy", 0.9)
    assert policy.gates[1].severity is Severity.CRITICAL
    assert len({gate.metric for gate in policy.gates}) == 11
    assert len(read_policy(old / "gate.yaml").gates) == 5


def test_old_tasks_and_personas(old):
    registry = Registry((Path("library"),))
    [(sums, file)] = registry.tasks("sums")
    items = load_items(sums, file, None, 5, 3)
    assert [item.id for item in items.items] == ["s1", "s2", "s3", "s4", "s5"]
    assert items.prompts_hash == "32a10e9de1ad6702"
    assert (sums.revision, sums.size, sums.scorer.tolerance, sums.sampling.stop) == (2, 6, 0.001, ("\n\n",))
    assert sums.plain.examples[0].answer == "2"
    [(facts, file)] = registry.tasks("facts")
    assert facts.withhold_text
    shuffled = {item.id: item.gold for item in load_items(facts, file, None, None, 3).items}
    answered = pq.read_table(TINY + "/responses.parquet", filters=[("task", "=", "facts")]).to_pylist()
    assert shuffled == {row["item"]: row["gold"] for row in answered}
    assert shuffled == {"f0": "C", "f1": "B", "f2": "B", "f3": "B", "f4": "B"}
    assert [task.name for task, _ in registry.tasks("small")] == ["sums", "facts", "words"]
    quiz = [task for task, _ in registry.tasks("quiz")]
    assert [task.name for task in quiz] == ["quiz-easy", "quiz-hard"]
    assert isinstance(quiz[0].source, HubSource)
    assert (quiz[0].source.config, quiz[0].source.revision, quiz[0].chance) == ("easy", "main", 0.25)
    [(made, file)] = registry.tasks("made")
    assert isinstance(made.source, GeneratedSource)
    assert [part.share for part in made.source.parts] == [2, 1]
    assert len(load_items(made, file, None, None, 0).items) == 12

    cast = {persona.id: persona for persona in registry.personas(("cast",))}
    assert len(cast) == 8
    assert cast["old-baker"].text == "a very old baker from Lyon"
    assert cast["old-baker"].tags == ("age-old", "trade-baker")
    assert (cast["bookkeeper-p1"].paraphrase_of, cast["pirate"].category) == ("bookkeeper", "style")
    assert (cast["professor"].domain, cast["professor"].expect) == ("mathematics", "helps")


def test_old_prices(old):
    prices = read_prices(old / "prices.yaml")
    assert prices.currency == "EUR"
    assert prices.cost("ann", 1_000_000, 500_000, 1_000_000) == pytest.approx(1.0 + 0.25 + 8.0)


def test_frames_of_old_runs(old):
    results = package.load("results")
    assert len(results) == len(RUNS)
    metrics = results.metrics(task="sums")
    [accuracy] = metrics[(metrics["metric"] == "accuracy") & (metrics["level"] == "task")]["value"]
    assert accuracy == pytest.approx(0.72)
    assert len(results.judgements()) == 48 + 48 + 4
    responses = results.responses()
    assert Counter(responses["checkpoint"]) == {"tiny": 168 + 2, "actor": 12, "understudy": 12 + 4}
    settings = results.runs().set_index("run")
    assert settings.loc[Path(TINY).name, "samples"] == 2
    assert settings.loc[Path(UNJUDGED).name, "questions_per_dimension"] == 1
