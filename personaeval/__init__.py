"""Persona stability and fidelity of language-model checkpoints.

Evaluate two checkpoints, look at the numbers, decide::

    import personaeval

    personaeval.run(model=["./checkpoint-500", "./checkpoint-1000"], tasks="math500", personas="core")
    personaeval.load("results").metrics()  # a pandas DataFrame
    personaeval.check("results/checkpoint-500", "results/checkpoint-1000", "gate.yaml").passed

The main path, in the order the data flows::

    tasks, personas -> prompts -> plan -> engines -> ledger -> verify -> results -> metrics -> report

Start reading at :func:`personaeval.pipeline.run.run`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from personaeval.analysis.starting_files import write_starting_files
    from personaeval.api import (
        arun,
        check,
        compare,
        leaderboard,
        load,
        plan,
        run,
        runs,
        score,
        validate_judge,
        write_baseline,
    )
    from personaeval.errors import (
        EngineError,
        InvalidRunError,
        PersonaevalError,
        StorageError,
        UsageError,
    )
    from personaeval.report.outcomes import Evaluation, Forecasts, JudgeChecks, Rescoring
    from personaeval.report.tables import CheckResult, Tables
    from personaeval.report.transcript import Answers, show
    from personaeval.results.frames import Results

__version__ = "0.1.0"

__all__ = [
    "Answers",
    "CheckResult",
    "EngineError",
    "Evaluation",
    "Forecasts",
    "InvalidRunError",
    "JudgeChecks",
    "PersonaevalError",
    "Rescoring",
    "Results",
    "StorageError",
    "Tables",
    "UsageError",
    "arun",
    "check",
    "compare",
    "leaderboard",
    "load",
    "plan",
    "run",
    "runs",
    "score",
    "show",
    "validate_judge",
    "write_baseline",
    "write_starting_files",
]

_ELSEWHERE = {
    "Answers": "report.transcript",
    "CheckResult": "report.tables",
    "Results": "results.frames",
    "Tables": "report.tables",
    "show": "report.transcript",
    "write_starting_files": "analysis.starting_files",
}
_ELSEWHERE |= dict.fromkeys(("Evaluation", "Forecasts", "JudgeChecks", "Rescoring"), "report.outcomes")
_ELSEWHERE |= {name: "errors" for name in __all__ if name.endswith("Error")}
"""Public names that do not come from :mod:`personaeval.api`."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing the package costs milliseconds (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'api')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
