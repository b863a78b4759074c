"""A run's summary with intervals for other personas as well, computed from its cells."""

from __future__ import annotations

from typing import Any

from personaeval.analysis.compare import counts_of
from personaeval.metrics import two_way_bootstrap
from personaeval.metrics.catalogue import GENERALISED
from personaeval.metrics.jackknife import intervals
from personaeval.report.entries import Summary
from personaeval.results.runs import open_runs


def generalised(summary: Summary) -> Summary:
    """The summary with two-way intervals for the metrics that generalise.

    Judged tasks stay as they are: their intervals already hold for other personas.

    Raises:
        UsageError: the run's cells cannot be read.
    """
    checkpoint = open_runs(summary["folder"])
    scales = [metric.scale for metric in GENERALISED]
    tasks: dict[str, Any] = {}
    for name, part in summary["tasks"].items():
        tasks[name] = part
        if part.get("kind", "stability") == "stability":
            found = intervals(two_way_bootstrap.estimates(counts_of(checkpoint, name)), scales)
            wide = {name: interval.to_json() for name, interval in zip(two_way_bootstrap.RESAMPLED, found, strict=True)}
            tasks[name] = part | {"stability": part["stability"] | wide}
    return summary | {"tasks": tasks}
