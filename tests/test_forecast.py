"""plan says beforehand what run then does, and what it could show."""

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from personaeval.library.overview import task_yaml
from personaeval.metrics.population import Population
from personaeval.metrics.power import minimum_detectable_effect, required_sample_size

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_plan_predicts_requests_and_prompt_tokens_exactly(tiny_checkpoint, personaeval, tmp_path):
    shared = ["--model", f"transformers:{tiny_checkpoint}", "--tasks", "mini-arith", "--limit", 2, "--personas", "core"]
    shared += ["--max-tokens", 3, "--output", tmp_path / "results"]
    before = personaeval("plan", *shared, "--detect", 0.02)
    assert before.returncode == 0, before.stderr
    assert not (tmp_path / "results").exists()
    assert "an assumed accuracy of 0.6" in before.stdout and "For a decline of 0.02 in PSS" in before.stdout

    assert personaeval("run", *shared, "--quiet").returncode == 0
    [file] = (tmp_path / "results").glob("*/*/responses.parquet")
    tokens = pq.read_table(file, columns=["prompt_tokens"])["prompt_tokens"].to_numpy()
    assert f": {len(tokens):,} requests, 0 in the ledger already." in before.stdout
    assert f"To generate: {len(tokens):,} requests, {tokens.sum():,} prompt tokens." in before.stdout

    after = personaeval("plan", *shared)
    assert f"{len(tokens):,} in the ledger already.\nNothing to generate." in after.stdout

    more = personaeval("plan", *shared, "--samples", 2)
    assert f"To generate: {len(tokens):,} requests, {tokens.sum():,} prompt tokens." in more.stdout
    assert "as in the last run of these tasks" in more.stdout


def test_two_tasks_that_ask_the_same_are_asked_once(tiny_checkpoint, personaeval, tmp_path):
    twin = tmp_path / "twin.yaml"
    twin.write_text(task_yaml("mini-arith", ()).replace("name: mini-arith", "name: twin"))
    shared = [
        "--model",
        f"transformers:{tiny_checkpoint}",
        "--tasks",
        f"mini-arith,{twin}",
        "--limit",
        2,
        "--max-tokens",
        3,
    ]
    shown = personaeval("plan", *shared, "--personas", "core/pirate", "--output", tmp_path / "results")
    assert shown.returncode == 0, shown.stderr
    assert ": 8 requests, 0 in the ledger already, 4 duplicates of others." in shown.stdout
    assert "To generate: 4 requests" in shown.stdout


def test_plan_takes_every_option_of_run_and_refuses_a_change_that_is_none(personaeval, tmp_path):
    shown = [personaeval(command, "--help").stdout for command in ("run", "plan")]
    flags = [{word for word in text.split() if word.startswith("--")} for text in shown]
    assert flags[0] - flags[1] == {"--folders", "--quiet"}
    assert flags[1] - flags[0] == {"--detect"}
    refused = personaeval("plan", "--model", f"transformers:{tmp_path}", "--tasks", "mini-arith", "--detect", 2)
    assert refused.returncode == 2 and "--detect: " in refused.stderr


@pytest.mark.parametrize("metric", ["accuracy", "pss"])
def test_the_number_of_items_is_the_inverse_of_the_detectable_decline(metric):
    population = Population(0.7)
    decline = minimum_detectable_effect(population, metric, 300, personas=8, samples=2)
    assert required_sample_size(population, metric, decline, personas=8, samples=2) == pytest.approx(300, abs=2)
    assert minimum_detectable_effect(population, metric, 1200, personas=8, samples=2) == pytest.approx(
        decline / 2, rel=0.05
    )
    with pytest.raises(ValueError, match="above 0"):
        required_sample_size(population, metric, 0.0, personas=8, samples=2)


def test_a_metric_cannot_fall_further_than_to_its_end():
    assert minimum_detectable_effect(Population(0.05), "accuracy", 12, personas=2, samples=1) is None
    assert required_sample_size(Population(0.05), "accuracy", 0.06, personas=2, samples=1) is None


def test_the_error_of_accuracy_is_that_of_many_repeated_experiments():
    population, rng = Population(0.6), np.random.default_rng(1)
    worse = population.worse("accuracy", 0.07)
    declines = []
    for _ in range(1000):
        base, candidate = population.draw_pair(worse, rng, 100, 8, 1)
        declines.append(base[:, 1:].mean() - candidate[:, 1:].mean())
    # At a power of 80 %, the decline is 0.84 errors above the threshold of 1.98.
    error = minimum_detectable_effect(population, "accuracy", 100, personas=8, samples=1) / (1.984 + 0.845)
    assert np.std(declines) == pytest.approx(error, rel=0.08)


def test_what_checkpoints_share_is_printed_once_with_a_total_and_a_time(personaeval, library, server, tmp_path):
    shared = ["-m", f"openai:scripted@{server.url}", "-t", "sums", "-p", "few", "--include", library]
    shared += ["-o", tmp_path / "results"]
    assert personaeval("run", "-q", *shared).returncode == 0
    server.change(aliases=("other",))
    shown = personaeval("plan", *shared, "-m", f"openai:other@{server.url}", "--seed", 1, "--max-tokens", 9).stdout
    assert shown.count("36 requests, 0 in the ledger already") == 2
    assert shown.count("n = 12 items") == 1
    assert shown.count("Power 80 %") <= 1
    assert re.search(
        r"In all, 2 checkpoints: 72 requests to generate, about [\d,]+ prompt tokens, at most 648 new tokens; about \d+ s\.",
        shown,
    ), shown
    assert re.search(r"Time: about \d+ s, at the [\d,]+ tokens/s of that engine's last run\.", shown)
