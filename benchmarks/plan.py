"""How fast a plan is rendered and keyed, and how much memory that takes::

    python benchmarks/plan.py [--requests 1000000]

A million requests: 1 250 items × 200 personas × 4 samples, through a real chat template (SmolLM2's), each prompt
rendered and each request keyed once, then each made as the engine would pull it. One process, one core. Prints
requests a second of the keyed pass and of both together, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

from checkpoints import base_checkpoint

from personaeval.generation.plan import Plan, choose_templates, lay_out
from personaeval.library.personas import BASELINE, Category, Persona
from personaeval.library.registry import Registry
from personaeval.library.sources import ItemSet
from personaeval.library.tasks import Item
from personaeval.models.prompts import ChatRenderer
from personaeval.models.sentences import persona_sentence
from personaeval.models.tokenizer import load_tokenizer
from personaeval.types import Sampling

ROOT = Path(__file__).resolve().parent.parent
PERSONAS, SAMPLES = 200, 4
TEXT = (
    "A train leaves a station at noon and travels at {} kilometres an hour; another follows {} minutes later. "
    + "It never rains on either of them. " * 4
)


def main() -> None:
    """Plan, time, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--requests", type=int, default=1_000_000)
    wanted = parser.parse_args().requests
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tokenizer = load_tokenizer(str(base_checkpoint(ROOT / "build" / "checkpoints")), trust_remote_code=False)
    renderer = ChatRenderer(tokenizer, None, {}, "2026-01-01")
    task, _ = Registry().task("math500")
    count = wanted // (PERSONAS * SAMPLES)
    items = ItemSet(task, tuple(Item(str(n), TEXT.format(n, n % 60).strip(), str(n)) for n in range(count)), {}, "", "")
    others = [
        Persona(id=f"p{n}", text=f"a person who owns {n} books and reads one every week", category=Category.IRRELEVANT)
        for n in range(PERSONAS - 1)
    ]
    personas = (BASELINE, *others)
    before = peak_memory()

    began = time.perf_counter()
    sentences = [persona_sentence("You are {{ persona }}.", persona) for persona in personas]
    prompt_templates, fast = choose_templates(renderer, items, sentences, "system")
    plan = Plan(lay_out([(items, prompt_templates, Sampling())], personas, SAMPLES, 0), {"fingerprint": "benchmark"})
    plan.compute_keys()
    keyed = time.perf_counter()
    made = sum(1 for _ in plan.requests(lambda row: True))
    ended = time.perf_counter()
    after = peak_memory()

    assert made == plan.size
    keys = {key for start in range(0, plan.size, 10_000) for key in plan.keys(start, min(start + 10_000, plan.size))}
    assert len(keys) == plan.size, "two requests share a key"
    print(f"{plan.size:,} requests, {count:,} items x {PERSONAS} personas x {SAMPLES} samples; fast rendering: {fast}")
    print(f"rendered and keyed        {plan.size / (keyed - began):>10,.0f} requests/s  ({keyed - began:.1f} s)")
    print(f"rendered, keyed and made  {plan.size / (ended - began):>10,.0f} requests/s  ({ended - began:.1f} s)")
    print(f"peak memory {before:,.0f} MB before the plan (transformers loaded), {after:,.0f} MB with it")


def peak_memory() -> float:
    """The process's peak resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
