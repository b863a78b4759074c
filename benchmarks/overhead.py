"""What personaeval costs over the bare engine::

    python benchmarks/overhead.py [--data ../shared/data/math500.jsonl] [--requests 512] [--pairs 5] [--dtype bfloat16]

The same MATH-500 requests, 64 new tokens each, on real vLLM with SmolLM2, in one process with one engine: once as a
bare loop over vLLM (token ids in, texts out), once through the run (plan, engine, ledger on disk, verification), from
the first request submitted to the last verdict. The two alternate, the prefix cache emptied before each; prints every
pair's ratio and the median. The same with an eighth of the requests tells what a run costs once (processes that start,
imports) from what every request costs.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

from checkpoints import base_checkpoint

from personaeval.config import RunConfig
from personaeval.generation.pending import PendingRequests, run_requests_async
from personaeval.generation.plan import Plan
from personaeval.models.checkpoints import parse_model
from personaeval.models.engines import Engine
from personaeval.models.model import LocalModel
from personaeval.models.suitability import place_personas
from personaeval.models.thinking import Thinking
from personaeval.pipeline.prepare import build_plan, load_eval_set
from personaeval.pipeline.scoring import Scoring
from personaeval.progress import open_progress
from personaeval.results.ledger import Ledger
from personaeval.types import Completion, Request

ROOT = Path(__file__).resolve().parent.parent
NEW_TOKENS = 64


class Kept:
    """A subject whose engine stays open from one round to the next, and that notes when work begins."""

    def __init__(self, model: LocalModel, engine: Engine) -> None:
        self._model, self._engine = model, engine
        self.began = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    async def open_engine(self) -> Engine:
        """Hand out the engine that is open already."""
        return self

    def generate(self, requests: Iterator[Request]) -> AsyncIterator[Completion]:
        """Pass on, noting the time."""
        self.began = time.perf_counter()
        return self._engine.generate(requests)

    async def close(self) -> None:
        """Leave the engine open."""


async def through_run(model: Kept, plan: Plan) -> float:
    """The seconds from the first submit to the last verdict, everything on disk."""
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.sqlite") as ledger:
        pending = PendingRequests(plan, ledger)
        with Scoring(plan, ledger, Thinking(), False, pending.counts) as scoring:
            await run_requests_async(model, [pending], open_progress(quiet=True), "overhead", scoring.submit)
            await asyncio.to_thread(scoring.flush)
            ledger.flush()
        seconds = time.perf_counter() - model.began
        assert pending.counts.completed == plan.size, "some requests failed"
        assert pending.counts.scored == plan.size, "some verdicts are missing"
    return seconds


async def bare(engine: Any, requests: list[tuple[list[int], Request]]) -> float:
    """The seconds in which vLLM alone answers the requests."""
    from vllm import SamplingParams, TokensPrompt
    from vllm.sampling_params import RequestOutputKind

    async def one(number: int, ids: list[int], request: Request) -> int:
        parameters = SamplingParams(
            temperature=0,
            max_tokens=request.sampling.max_tokens,
            seed=request.seed,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        async for output in engine.generate(TokensPrompt(prompt_token_ids=ids), parameters, f"bare-{number}"):
            tokens = len(output.outputs[0].token_ids)
        return tokens

    began = time.perf_counter()
    await asyncio.gather(*(one(number, ids, request) for number, (ids, request) in enumerate(requests)))
    return time.perf_counter() - began


Pair = tuple[float, float]
"""Seconds of the run and of the bare engine."""


async def measure(model: LocalModel, plans: Sequence[Plan], pairs: int) -> list[list[Pair]]:
    """Pairs of each plan, the order within a pair alternating."""
    engine = await model.open_engine()
    raw: Any = engine._engine  # type: ignore[attr-defined]  # the benchmark is about what stands around it
    tokenizer: Any = engine._tokenizer  # type: ignore[attr-defined]
    kept = Kept(model, engine)
    measured: list[list[Pair]] = []
    try:
        for plan in plans:
            requests = list(plan.requests(lambda row: True))
            tokenised = [(tokenizer(str(r.prompt), add_special_tokens=False)["input_ids"], r) for r in requests]
            await bare(raw, tokenised[:64])
            measured.append([await pair(kept, plan, raw, tokenised, number) for number in range(pairs)])
    finally:
        await engine.close()
    return measured


async def pair(kept: Kept, plan: Plan, raw: Any, tokenised: list[tuple[list[int], Request]], number: int) -> Pair:
    """Measure one pair and print it."""
    seconds = {}
    for what in ("run", "bare") if number % 2 else ("bare", "run"):
        await raw.reset_prefix_cache()
        seconds[what] = await (through_run(kept, plan) if what == "run" else bare(raw, tokenised))
    ratio = seconds["run"] / seconds["bare"]
    print(
        f"{plan.size} requests, pair {number + 1}: run {seconds['run']:.1f} s, bare {seconds['bare']:.1f} s, "
        f"ratio {ratio:.3f}",
        flush=True,
    )
    return seconds["run"], seconds["bare"]


def parts(sizes: Sequence[int], measured: Sequence[Sequence[Pair]]) -> tuple[float, float]:
    """Seconds that a run costs once, and seconds that a request costs, from the median costs of two sizes."""
    few, many = (statistics.median(run - raw for run, raw in own) for own in measured)
    each = (many - few) / (sizes[1] - sizes[0])
    return few - each * sizes[0], each


def main() -> int:
    """Prepare the plan, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "math500.jsonl")
    parser.add_argument("--requests", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--dtype", default="auto", help="float32 where the processor has no bfloat16 instructions")
    arguments = parser.parse_args()
    if not arguments.data.is_file():
        print(f"skipped: {arguments.data} is not there; pass a MATH-500 file with --data")
        return 0
    checkpoint = base_checkpoint(ROOT / "build" / "checkpoints")
    plans = [planned(checkpoint, arguments, n) for n in (arguments.requests // 8, arguments.requests)]
    model, sizes = plans[-1][0], [plan.size for _, plan in plans]
    print(f"{NEW_TOKENS} new tokens a request at most")
    measured = asyncio.run(measure(model, [plan for _, plan in plans], arguments.pairs))
    ratios = [run / raw for run, raw in measured[-1]]
    print(f"run over bare engine: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")
    once, each = parts(sizes, measured)
    print(f"of a run's cost, {once:.2f} s come once and {1000 * each:.2f} ms with every request")
    return 0


def planned(checkpoint: Path, arguments: argparse.Namespace, requests: int) -> tuple[LocalModel, Plan]:
    """The model and a plan of so many requests."""
    config = RunConfig(
        model=(f"vllm:{checkpoint}",),
        tasks=("math500",),
        personas=("core/pirate", "core/five-year-old", "core/mathematics-professor"),
        data={"math500": arguments.data},
        limit=requests // 4,
        max_tokens=NEW_TOKENS,
        dtype=arguments.dtype,
        engine_args={"max_model_len": 4096},
    )
    eval_set = load_eval_set(config)
    model = LocalModel(parse_model(config.model[0]), config)
    placement = place_personas(model, eval_set.sentences(config.template), "auto")
    plan, _ = build_plan(config, model, placement, eval_set)
    plan.compute_keys()
    return model, plan


if __name__ == "__main__":
    raise SystemExit(main())
