"""What a run would ask, told before anything is spent."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from personaeval.checkpoints import parse_model
from personaeval.config import RunConfig
from personaeval.fidelity import blank_exhibits, describe_bench
from personaeval.judge.exemplars import worst_case
from personaeval.judge.panel import Bench, Exhibit, Panel, open_panel
from personaeval.judge.prompts import LONGEST
from personaeval.ledger import LEDGER, Ledger
from personaeval.plan import Plan
from personaeval.prices import read_prices
from personaeval.progress import Display
from personaeval.prompts import opening, place
from personaeval.run import Benchmark, announce, build_plan, load_benchmark
from personaeval.subject import open_subject
from personaeval.work import Work


def preview(config: RunConfig, display: Display) -> None:
    """Say what a run would ask, of the checkpoints and of the judges, and ask nothing.

    Raises:
        PersonaevalError: as :func:`run`.
    """
    benchmark = load_benchmark(config)
    panel, prices = open_panel(config), read_prices(config.prices)
    for text in config.model:
        subject = open_subject(parse_model(text), config)
        sentences = benchmark.sentences(config.template)
        placement = place(subject.probe, sentences, config.persona_role, opening(config.reasoning_end))
        plan, _ = build_plan(config, subject, placement, benchmark)
        plan.compute_keys()
        kept = config.output / LEDGER
        with TemporaryDirectory() as empty, Ledger(kept if kept.exists() else Path(empty) / LEDGER) as ledger:
            display.say(announce(subject.spec, config.output, plan, Work(plan, ledger), config))
        for bench in _worst_case(panel, benchmark, plan):
            display.say(f"At most, and less what the ledger holds: {describe_bench(bench, prices)}")


def _worst_case(panel: Panel | None, benchmark: Benchmark, plan: Plan) -> list[Bench]:
    if panel is None:
        return []
    exhibits: list[Exhibit] = []
    longest = 0
    for task in plan.tasks:
        if task.items.task.is_judged:
            exhibits += blank_exhibits(task.items, benchmark.rubrics[task.items.task.name], task.samples)
            longest = max(longest, min(task.sampling.max_tokens, LONGEST // 4))
    return [*([worst_case(panel, exhibits)] if panel.exemplars else []), *panel.worst_case(exhibits, longest)]
