"""Commands that compare finished runs: compare, check, baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personaeval.cli.app import app
from personaeval.cli.options import as_list, complain
from personaeval.errors import UsageError

Base = Annotated[str, typer.Argument(help="A run's or a baseline's folder, or RESULTS/NAME.")]
Different = Annotated[
    bool,
    typer.Option("--allow-different-settings", help="Compare what was asked or scored differently; it is said."),
]


@app.command()
def compare(
    base: Base,
    candidates: Annotated[list[str], typer.Argument(help="One or more to compare with it, named alike.")],
    format: Annotated[str, typer.Option("--format", "-f", help="markdown, csv, json, html or latex.")] = "markdown",
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    generalise: Annotated[
        str, typer.Option(help="items, or items,personas: claims about personas not tried, too.")
    ] = "items",
    allow_different_settings: Different = False,
) -> None:
    """Show what changed from one checkpoint to others, paired on the same items, personas and samples."""
    from personaeval.compare import align, common_tasks
    from personaeval.report.comparison import compare_tables, trend_tables
    from personaeval.report.formats import render
    from personaeval.sides import open_sides

    resampled = as_list(generalise)
    if resampled not in (("items",), ("items", "personas")):
        raise UsageError(f"--generalise {generalise}: items or items,personas is expected.")
    first, *others = open_sides([base, *candidates])
    pairs = [
        [align(first, side, name, allow_different_settings) for name in common_tasks([first, *others], task)]
        for side in others
    ]
    found = trend_tables([first, *others], pairs)
    for side, own in zip(others, pairs, strict=True):
        found += compare_tables(first, side, own, len(resampled) == 2, details=len(others) == 1)
    print(render(found, format))
    if format == "csv":
        for note in dict.fromkeys(note for table in found for note in table.notes):
            complain(note)


@app.command()
def baseline(
    run: Annotated[str, typer.Argument(help="A run's folder, or RESULTS/NAME.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the baseline.")],
) -> None:
    """Write what compare and check need of a run, small enough to commit."""
    from personaeval.baseline import write_baseline

    for folder in write_baseline(run, output):
        print(f"{folder} written.")
    print(f"Next: personaeval check {output} CANDIDATE --policy gate.yaml")
