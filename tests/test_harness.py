"""Tasks of lm-evaluation-harness: its prompts to the token, its scores to the digit; what cannot be had is refused."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from personaeval.errors import UsageError
from personaeval.library.lm_eval import harness_tasks, load_harness
from personaeval.verify import Verifier

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: pip install 'personaeval[lm-eval]'")

SUMS = [{"question": f"{a} + {b}", "answer": str(a + b)} for a, b in ((2, 3), (4, 4), (9, 1), (7, 5))]
CHOICES = [
    {"question": "What is 2 + 3?", "options": ["4", "5", "6", "7"], "answer": 1},
    {"question": "Which is a fruit?", "options": ["stone", "table", "apple", "river"], "answer": 2},
    {"question": "Which is a colour?", "options": ["red", "seven", "dog", "to run"], "answer": 0},
    {"question": "Which is a number?", "options": ["blue", "cat", "rain", "nine"], "answer": 3},
]
GENERATE = {
    "output_type": "generate_until",
    "description": "Answer with a number.",
    "doc_to_text": "Question: {{question}}\nAnswer:",
    "doc_to_target": "{{answer}}",
    "num_fewshot": 2,
    "fewshot_config": {
        "sampler": "first_n",
        "samples": [{"question": "1 + 1", "answer": "2"}, {"question": "3 + 6", "answer": "9"}],
    },
    "generation_kwargs": {"until": ["\n"], "do_sample": False, "max_gen_toks": 12},
    "filter_list": [
        {
            "name": "number",
            "filter": [{"function": "regex", "regex_pattern": "(-?[0-9]+)"}, {"function": "take_first"}],
        },
        {"name": "whole", "filter": [{"function": "take_first"}]},
    ],
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}
CHOOSE = {
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}\n{% for o in options %}{{'ABCD'[loop.index0]}}. {{o}}\n{% endfor %}Answer:",
    "doc_to_choice": ["A", "B", "C", "D"],
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
PERSONA = "core/village-baker"


def write_task(folder: Path, name: str, rows: list[dict], content: dict) -> Path:
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}, "test_split": "test"}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"task": name, **source, **content, "metadata": {"version": 1.0}}))
    return path


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm_eval")
    return {
        "sums": write_task(folder, "tiny_sums", SUMS, GENERATE),
        "choice": write_task(folder, "tiny_choice", CHOICES, CHOOSE),
    }


def their_run(checkpoint: Path, folder: Path, system: str | None) -> dict[str, list[dict]]:
    """What the harness itself asks, gets and gives."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    found = simple_evaluate(
        model="hf",
        model_args={"pretrained": str(checkpoint), "dtype": "float32"},
        tasks=["tiny_sums", "tiny_choice"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        system_instruction=system,
        apply_chat_template=True,
        fewshot_as_multiturn=False,
        device="cpu",
        bootstrap_iters=0,
        log_samples=True,
    )
    return found["samples"]


@pytest.mark.model
def test_prompts_answers_and_scores_are_the_harnesss_own(tasks, smollm2, personaeval, tmp_path):
    from transformers import AutoTokenizer

    from personaeval.library.registry import Registry
    from personaeval.models.sentences import persona_sentence

    command = ["run", "--model", f"transformers:{smollm2}", "--dtype", "float32", "--date", "2026-01-01"]
    command += ["--tasks", ",".join(f"lm_eval:{path}" for path in tasks.values()), "--personas", PERSONA]
    done = personaeval(*command, "--output", tmp_path, "--quiet")
    assert done.returncode == 0, done.stderr
    [path] = tmp_path.glob("*/*/responses.parquet")
    rows = pq.read_table(path).to_pylist()
    assert len(rows) == 2 * (len(SUMS) + len(CHOICES))
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    personas = {persona.id: persona for persona in Registry().personas([PERSONA])}
    for persona in personas.values():
        theirs = their_run(smollm2, tasks["sums"].parent, persona_sentence("You are {{ persona }}.", persona))
        for row in (row for row in rows if row["persona"] == persona.id):
            name = row["task"].removeprefix("lm_eval-")
            shown = [s for s in theirs[name] if str(s["doc_id"]) == row["item"]]
            sample = next((s for s in shown if s.get("filter") in ("number", "none")), shown[0])
            context = sample["arguments"][0][0]
            assert row["prompt_tokens"] == len(tokenizer(context, add_special_tokens=False)["input_ids"])
            if name == "tiny_choice":
                likelihoods = [float(one[0][0]) for one in sample["resps"]]
                assert row["text"].strip() == "ABCD"[likelihoods.index(max(likelihoods))]
                assert row["score"] == sample["acc"]
            else:
                assert row["text"].strip() == sample["resps"][0][0].strip()
                assert row["score"] == sample["exact_match"]
    summary = json.loads(path.with_name("summary.json").read_text())
    assert set(summary["tasks"]) == {"lm_eval-tiny_sums", "lm_eval-tiny_choice"}


@pytest.mark.model
def test_token_ids_are_equal_persona_by_persona(tasks, smollm2):
    """The plan's prompts against the harness's own requests, few-shot examples and description included."""
    from transformers import AutoTokenizer

    from personaeval.config import RunConfig
    from personaeval.library.lm_eval import build, config_file
    from personaeval.models.checkpoints import parse_model
    from personaeval.models.model import open_model
    from personaeval.models.sentences import persona_sentence
    from personaeval.models.suitability import place_personas
    from personaeval.pipeline.prepare import build_plan, load_eval_set

    tokenizer = AutoTokenizer.from_pretrained(smollm2)

    def chat(messages, add_generation_prompt=True):
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)

    selectors = tuple(f"lm_eval:{path}" for path in tasks.values())
    model = f"transformers:{smollm2}"
    config = RunConfig(model=(model,), tasks=selectors, personas=("core",))
    eval_set = load_eval_set(config)
    model = open_model(parse_model(model), config)
    placement = place_personas(model, eval_set.sentences(config.template), "auto")
    plan, _ = build_plan(config, model, placement, eval_set)
    plan.compute_keys()
    ours = model.tokenise(list(plan.requests(lambda row: True)))
    theirs = []
    for part in plan.tasks:
        task = build(config_file(part.items.task.source.task), {})
        task.set_fewshot_seed(1234)
        for persona in part.personas:
            sentence = persona_sentence(config.template, persona)
            task.build_all_requests(system_instruction=sentence, apply_chat_template=True, chat_template=chat)
            seen = {instance.doc_id: instance.args[0] for instance in task.instances}
            theirs += [tokenizer(seen[number], add_special_tokens=False)["input_ids"] for number in sorted(seen)]
    assert len(ours) == 17 * (len(SUMS) + len(CHOICES))
    assert ours == theirs


FOLLOWED = [
    ("Describe a lamp without commas.", "punctuation:no_comma", "A lamp is bright", "A lamp, bright"),
    ("Write about rain in quotation marks.", "startend:quotation", '"Rain is wet"', "Rain is wet"),
    ("Answer in JSON.", "detectable_format:json_format", '{"rain": "wet"}', "Rain is wet"),
]


@pytest.mark.slow
def test_ifeval_is_scored_by_its_own_checkers(tmp_path):
    data = tmp_path / "ifeval.jsonl"
    rows = [
        {"key": n, "prompt": prompt, "instruction_id_list": [checker], "kwargs": [{}]}
        for n, (prompt, checker, _, _) in enumerate(FOLLOWED)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    [task] = harness_tasks("lm_eval:ifeval")
    task, items, origin = load_harness(task, data)
    assert [item.prompt for item in items] == [prompt for prompt, *_ in FOLLOWED]
    assert (task.sampling.max_tokens, task.sampling.temperature) == (1280, 0)
    assert origin["sha256"] and origin["version"] == "4.0"
    with Verifier(workers=1) as verifier:
        for item, (_, _, right, wrong) in zip(items, FOLLOWED, strict=True):
            scores = [verifier.submit(task.scorer, item.gold, text).result().score for text in (right, wrong)]
            assert scores == [1, 0]


def test_a_filter_and_shots_of_ones_choice(tasks):
    [task] = harness_tasks(f"lm_eval:{tasks['sums']}?filter=whole&num_fewshot=0")
    task, items, _ = load_harness(task, None)
    assert items[0].prompt == "Question: 2 + 3\nAnswer:"
    assert task.item.system == "Answer with a number."
    assert task.sampling.stop == ("\n",)
    [plain] = harness_tasks(f"lm_eval:{tasks['sums']}")
    assert plain.name != task.name
    plain, shot, _ = load_harness(plain, None)
    assert shot[0].prompt.startswith("Question: 1 + 1\nAnswer: 2\n\n")
    with Verifier(workers=1) as verifier:
        told = "5 it is"
        assert verifier.submit(plain.scorer, items[0].gold, told).result().score == 1
        assert verifier.submit(task.scorer, items[0].gold, told).result().score == 0


def test_another_filter_in_the_file_is_another_scorer(tmp_path):
    def scorer(content):
        [task] = harness_tasks(f"lm_eval:{write_task(tmp_path, 'own', SUMS, content)}")
        return load_harness(task, None)[0].scorer

    before = scorer(GENERATE)
    assert scorer(GENERATE) == before
    filters = [{"name": "number", "filter": [{"function": "regex", "regex_pattern": "([0-9])"}]}]
    assert scorer(GENERATE | {"filter_list": filters}) != before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"output_type": "loglikelihood", "doc_to_choice": None}, "of kind loglikelihood"),
        ({"doc_to_choice": "{{options}}"}, "differ from item to item"),
        ({"gen_prefix": "The answer is"}, "gen_prefix"),
        ({"description": "About {{question}}"}, "description differs"),
        ({"metric_list": [{"metric": "brier_score", "higher_is_better": False}]}, "brier_score needs the likelihoods"),
        ({"doc_to_text": "{{no_such_column}}"}, "cannot be loaded"),
    ],
)
def test_what_cannot_be_had_is_refused_with_the_reason(tmp_path, change, said):
    path = write_task(tmp_path, "odd", CHOICES, CHOOSE | change)
    [task] = harness_tasks(f"lm_eval:{path}")
    with pytest.raises(UsageError, match=said):
        load_harness(task, None)


def test_names_groups_and_options_that_are_none():
    assert {"lm_eval-leaderboard_ifeval"} == {task.name for task in harness_tasks("lm_eval:leaderboard_ifeval")}
    assert len(harness_tasks("lm_eval:mmlu")) == 57
    with pytest.raises(UsageError, match="Did you mean 'ifeval'"):
        harness_tasks("lm_eval:ifevall")
    with pytest.raises(UsageError, match="num_fewshot"):
        harness_tasks("lm_eval:ifeval?shots=3")


def test_an_endpoint_is_refused_where_logits_are_needed(tasks, personaeval, server, tmp_path):
    endpoint = f"openai:scripted@{server.url}"
    refused = personaeval("run", "--model", endpoint, "--tasks", f"lm_eval:{tasks['choice']}", cwd=tmp_path)
    assert refused.returncode == 2
    assert "an endpoint gives no logits" in refused.stderr
