"""The shipped tasks on files with exactly the columns of their sources, groups, variants, and tasks of generators."""

import json
from pathlib import Path

import pytest

from personaeval.documents import read_document
from personaeval.errors import UsageError
from personaeval.library.overview import show_task
from personaeval.library.registry import Registry
from personaeval.library.sources import load_items
from personaeval.library.task_template import write_example
from personaeval.library.tasks import HarnessScorer, HubSource, PythonScorer, Task
from personaeval.pipeline.task_check import check_task
from personaeval.types import Sampling
from personaeval.verify import Verifier

SAMPLES = sorted((Path(__file__).parent / "data" / "tasks").glob("*.jsonl"))
SAMPLED = {path.stem: path for path in SAMPLES}


def items_of(name, data=None, seed=0):
    [(task, file)] = Registry().tasks(name)
    return load_items(task, file, data or SAMPLED.get(name), None, seed)


@pytest.mark.parametrize("name", sorted(SAMPLED))
def test_a_task_reads_its_source_and_every_gold_is_right_by_its_scorer(name):
    assert "every gold answer is right" in check_task(name, SAMPLED[name], ())


def test_every_hub_task_has_a_sample_a_size_and_a_reference():
    registry = Registry()
    for name in registry.task_files():
        task, _ = registry.task(name)
        if isinstance(task.source, HubSource):
            assert name in SAMPLED or any(sample.startswith(f"{name}-") for sample in SAMPLED), name
            assert task.size and task.reference, name


def test_every_column_that_a_task_needs_is_missed_by_name(tmp_path):
    for name, path in SAMPLED.items():
        row = json.loads(path.read_text().splitlines()[0])
        refused = 0
        for column in row:
            data = tmp_path / f"{name}.jsonl"
            data.write_text(json.dumps({key: value for key, value in row.items() if key != column}) + "\n")
            try:
                items_of(name, data)
            except UsageError as error:
                refused += 1
                assert "row 1" in str(error), (name, column, error)
        assert refused >= 2, f"{name}: no column was missed"


def test_options_are_shuffled_by_seed_and_the_gold_goes_with_them():
    first, again, other = (items_of("truthfulqa_mc1", seed=seed) for seed in (0, 0, 5))
    assert [item.choices for item in first.items] == [item.choices for item in again.items]
    for loaded in (first, other):
        assert loaded.origin["option_order_seed"] in (0, 5)
        for item in loaded.items:
            chosen = item.choices["ABC".index(item.gold)]
            assert chosen in ("It passes through the body", "Yes, it can")
            assert f"{item.gold}. {chosen}" in item.prompt
    orders = {items_of("gpqa_diamond", seed=seed).items[0].choices for seed in range(12)}
    assert len(orders) > 4


def test_chance_level_comes_from_the_options():
    assert items_of("arc_challenge").chance == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert items_of("mmlu").chance == 0.25
    assert items_of("aime24").chance is None


def test_a_task_whose_text_is_to_be_shown_nowhere_is_shown_by_ids():
    shown = show_task("gpqa_diamond", SAMPLED["gpqa_diamond"], 2, ())
    assert "items (their authors ask that the texts be shown nowhere): 1, 2" in shown
    assert "spectra" not in shown
    assert "right one" not in shown


def test_a_group_is_its_tasks_and_a_task_with_variants_all_of_them():
    registry = Registry()
    assert [task.name for task, _ in registry.tasks("math")] == ["math500", "gsm8k", "aime24", "aime25"]
    variants = registry.tasks("bbh")
    assert len(variants) == 27
    task = next(task for task, _ in variants if task.name == "bbh-word_sorting")
    assert task.source.config == "word_sorting"
    assert task.title == "BIG-Bench Hard: word sorting"
    assert registry.tasks("bbh-word_sorting")[0][0] == task
    for group in registry.groups().values():
        assert all(registry.tasks(name) for name in group.tasks)
    with pytest.raises(UsageError, match="unknown variant 'word_sortin'.*word_sorting"):
        registry.tasks("bbh-word_sortin")
    with pytest.raises(UsageError, match="unknown task 'maths'.*math"):
        registry.tasks("maths")


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("So it is the third.\nAnswer: (A)", True),
        ("The answer is A.", True),
        ("\\boxed{(A)}", True),
        ("Answer: (B)", False),
        ("**Answer:** (A) 03/03/2021", True),
    ],
)
def test_an_option_named_in_words_of_its_own(answer, right):
    task = Registry().tasks("bbh-date_understanding")[0][0]
    with Verifier() as verifier:
        assert verifier.submit(task.scorer, "(A)", answer).result().score == float(right)


def test_a_reasoning_gym_dataset_is_a_task_scored_by_its_own_scorer():
    [(task, file)] = Registry().tasks("reasoning_gym:countdown?size=4&seed=3&min_numbers=3&max_numbers=4")
    assert task.name.startswith("gym-countdown-")
    loaded = load_items(task, file, None, None, 0)
    assert len(loaded.items) == 4
    own = json.loads(loaded.items[0].gold)["answer"]
    with Verifier() as verifier:
        verdicts = [
            verifier.submit(task.scorer, loaded.items[0].gold, text).result()
            for text in (
                f"<answer>{own}</answer>",
                "<answer>1 +</answer>",
                "no idea",
                f"Hm.\n\n<answer>({own})</answer>",
            )
        ]
    assert verdicts[0].score == 1
    assert verdicts[1].score < 1
    assert verdicts[2].score < 1
    assert verdicts[3].score == 1, "another expression of the same value is right too"


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("reasoning_gym:chain_sums", "no dataset 'chain_sums'.*chain_sum"),
        ("reasoning_gym:chain_sum?min_terms", "is not PARAMETER=VALUE"),
        ("reasoning_gym:chain_sum?size=none", "whole numbers"),
        ("reasoning_gym:chain_sum?min_termz=2", "no parameter 'min_termz'. Did you mean 'min_terms'"),
        ("reasoning_gym:countdown?max_number=4", "Did you mean 'max_numbers'.* Its parameters: .*min_numbers"),
    ],
)
def test_a_wrong_reasoning_gym_selector_is_named(selector, message):
    with pytest.raises(UsageError, match=message):
        [(task, file)] = Registry().tasks(selector)
        load_items(task, file, None, None, 0)


def test_the_example_is_a_task_that_works(tmp_path):
    task, _ = write_example("roman", tmp_path)
    checked = check_task(str(task), None, ())
    assert checked.count("--- item") == 3
    assert "3 items, every gold answer is right" in checked
    with pytest.raises(UsageError, match="exists already"):
        write_example("roman", tmp_path)
    with pytest.raises(UsageError, match="not a valid task name"):
        write_example("My task", tmp_path)


def test_a_wrong_gold_is_named(tmp_path):
    task, data = write_example("roman", tmp_path)
    data.write_text(data.read_text().replace('"190"', '"a hundred and ninety"'))
    with pytest.raises(
        UsageError, match=r"1 gold answers are not right by its own scorer:\n  item roman-2.*Correct the"
    ):
        check_task(str(task), None, ())


OWN_SCORER = """
def score(gold, text):
    if "raise" in text:
        raise RuntimeError("cannot read this")
    if "two" in text:
        return 2
    return text.lower().count(gold) / 4
"""


def test_a_scorer_of_ones_own_behind_an_entry_point(tmp_path, monkeypatch):
    (tmp_path / "own_scoring.py").write_text(OWN_SCORER)
    info = tmp_path / "own_scoring-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-scoring\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[personaeval.scorers]\nechoes = own_scoring:score\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    scorer = PythonScorer(kind="python", name="echoes")
    with Verifier() as verifier:
        found = [verifier.submit(scorer, "oh", text).result() for text in ("oh oh", "oh oh oh oh", "raise", "two")]
    assert [verdict.score for verdict in found] == [0.5, 1.0, None, None]
    assert "cannot read this" in found[2].reason
    assert "not a number from 0 to 1" in found[3].reason


def test_a_scorer_that_nobody_has_is_refused(tmp_path):
    task, _ = write_example("roman", tmp_path)
    task.write_text(task.read_text().replace("  kind: numeric", "  kind: python\n  name: nobodys"))
    with pytest.raises(UsageError, match="no installed package has the scorer 'nobodys'"):
        check_task(str(task), None, ())


def test_old_keys_of_a_task_are_read_and_what_is_stored_keeps_its_names(tmp_path):
    new = write_example("roman", tmp_path)[0].read_text() + "pass_threshold: 0.5\n"
    old = new.replace("pass_threshold", "correct_at")
    named, renamed = tmp_path / "new.yaml", tmp_path / "old.yaml"
    named.write_text(new)
    renamed.write_text(old)
    assert read_document(named, Task) == read_document(renamed, Task)
    assert read_document(renamed, Task).pass_threshold == 0.5

    both = tmp_path / "both.yaml"
    both.write_text(old + "pass_threshold: 0.5\n")
    with pytest.raises(UsageError, match="`correct_at` is the old name of `pass_threshold`"):
        read_document(both, Task)

    # As written when the field was called labels: verdict keys and group hashes hold these bytes.
    stored = '{"kind":"lm_eval","task":"x","metric":null,"filter":null,"labels":["A","B"],"targets":0,"revision":""}'
    scorer = HarnessScorer(kind="lm_eval", task="x", answer_tokens=("A", "B"))
    assert scorer.model_dump_json() == stored
    assert HarnessScorer.model_validate_json(stored) == scorer
    sampling = Sampling(schema="{}", score_tokens=("1",), answer_tokens=("A",))
    assert list(sampling.record()) == ["temperature", "top_p", "max_tokens", "stop", "schema", "options", "labels"]
    assert list(Sampling().record()) == ["temperature", "top_p", "max_tokens", "stop"]


def example_row(file):
    """The example row that stands as a comment above a task's ``source``."""
    comment, found = file.read_text().split("\nsource:")[0], "# An example row"
    assert found in comment, f"{file.name} shows no example row"
    lines = comment[comment.index(found) :].splitlines()[1:]
    return json.loads(" ".join(line.removeprefix("# ") for line in lines))


@pytest.mark.parametrize("name", sorted(Registry().task_files()))
def test_the_example_row_in_a_tasks_file_makes_an_item_of_it(name, tmp_path):
    file = Registry().task_files()[name]
    row = example_row(file)
    task = Registry().tasks(name)[0][0]
    if task.is_judged:
        assert row in [json.loads(line) for line in (file.parent / "personagym/questions.jsonl").open()]
        return
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps(row))
    assert "every gold answer is right" in check_task(task.name, data, ())
