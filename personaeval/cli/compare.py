"""Commands that compare finished runs: compare, check, baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personaeval.cli.app import app
from personaeval.cli.options import print_error, print_tables
from personaeval.errors import StorageError, UsageError

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
    generalise_to_personas: Annotated[
        bool, typer.Option("--generalise-to-personas", help="Claims about personas that were not tried, too.")
    ] = False,
    no_interval: Annotated[bool, typer.Option("--no-interval", help="Figures alone.")] = False,
    allow_different_settings: Different = False,
) -> None:
    """Show what changed from one checkpoint to others, paired on the same items, personas and samples."""
    from personaeval import api

    found = api.compare(
        base,
        *candidates,
        task=task,
        generalise_to_personas=generalise_to_personas,
        allow_different_settings=allow_different_settings,
    )
    print_tables(found, format, not no_interval)


@app.command()
def baseline(
    run: Annotated[str, typer.Argument(help="A run's folder, or RESULTS/NAME.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the baseline.")],
) -> None:
    """Write what compare and check need of a run, small enough to commit."""
    from personaeval import api

    for folder in api.write_baseline(run, output):
        print(f"{folder} written.")
    print(f"Next: personaeval check {output} CANDIDATE --policy gate.yaml")


@app.command()
def check(
    base: Annotated[str | None, typer.Argument(help="A run's or a baseline's folder, or RESULTS/NAME.")] = None,
    candidate: Annotated[str | None, typer.Argument(help="What is checked, named alike.")] = None,
    policy: Annotated[Path, typer.Option(help="YAML file: which metrics, and how much each may fall.")] = Path(
        "gate.yaml"
    ),
    init: Annotated[
        bool, typer.Option("--init", help="Write a commented policy to start from, fit for BASE if that is given.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit file, a test case per gating metric.")] = None,
    allow_different_settings: Different = False,
) -> None:
    """Say whether a candidate is worse than its base by more than a policy allows.

    Exits with 0 PASS, 1 REGRESSION, 3 INCONCLUSIVE, 4 where the runs are not valid for the question.
    """
    import os

    from personaeval import api
    from personaeval.analysis.policy import write_starting_policy
    from personaeval.results.files import append_text, write_text
    from personaeval.results.runs import open_sides

    if init:
        write_starting_policy(policy, None if base is None else open_sides([base])[0])
        print(f"{policy} written.\nNext: personaeval check {base or 'BASE'} CANDIDATE --policy {policy}")
        return
    if base is None or candidate is None:
        raise UsageError("BASE and CANDIDATE are missing. Example: personaeval check baseline results/checkpoint-500")
    if junit is not None and not junit.resolve().parent.is_dir():
        raise UsageError(f"--junit {junit}: there is no folder {junit.resolve().parent}.")
    found = api.check(base, candidate, policy, allow_different_settings=allow_different_settings)
    print(found.to_json() if json else found)
    if junit is not None:
        write_text(junit, found.to_junit())
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            append_text(Path(summary), f"{found}\n")
        except StorageError as error:
            print_error(str(error))  # the verdict stands without it
    raise typer.Exit(found.exit_code)
