"""The functions behind ``import personaeval``: what each command does, from Python.

Nothing is printed unless ``progress=True``. A problem that a command would end with is raised as an exception of
:mod:`personaeval.errors`, with the same text; its ``exit_code`` is the command's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personaeval.errors import UsageError

if TYPE_CHECKING:
    from personaeval.report.tables import CheckResult, Tables
    from personaeval.results.frames import Results

__all__ = ["check", "compare", "leaderboard", "load", "write_baseline"]

Place = str | Path


def load(results: Place | Iterable[Place] = "results") -> Results:
    """The finished runs of a results folder, of one run's folder, or of a list of either, as pandas DataFrames.

    Raises:
        UsageError: a folder is missing, or holds no finished run.
    """
    from personaeval.results.frames import open_results

    return open_results(results)


def leaderboard(
    results: Place = "results",
    *,
    personas: bool = False,
    baseline: str | None = None,
    task: str | None = None,
    generalise_to_personas: bool = False,
    trade_off: bool = False,
) -> Tables:
    """The finished runs of a results folder, a table per comparable group.

    Args:
        results: the results folder.
        personas: a row per persona in place of a row per checkpoint.
        baseline: name of the checkpoint against which changes are shown.
        task: only this task.
        generalise_to_personas: intervals hold for personas that were not tried, too.
        trade_off: stability and fidelity of each checkpoint side by side.

    Raises:
        UsageError: no finished run, no such task or baseline, or options that exclude each other.
        InvalidRunError: ``trade_off`` without a checkpoint that has both.
    """
    from personaeval.judge.validation import refresh_checks
    from personaeval.report import leaderboard as tables_of
    from personaeval.report import tradeoff
    from personaeval.report.tables import Tables
    from personaeval.results.runs import find_summaries

    if generalise_to_personas and (personas or trade_off):
        raise UsageError("--generalise-to-personas is for the plain table; leave --personas and --trade-off out.")
    summaries = find_summaries(Path(results))
    refresh_checks(summaries, Path(results))
    if trade_off and (personas or task is not None):
        raise UsageError("--trade-off shows every task of both kinds; leave --personas and --task out.")
    if trade_off:
        found = tradeoff.trade_off(summaries, baseline=baseline)
    elif personas:
        found = tables_of.persona_tables(summaries, task=task)
    else:
        found = tables_of.leaderboard(summaries, baseline=baseline, task=task, generalise=generalise_to_personas)
    return Tables(tuple(found))


def compare(
    base: Place,
    *candidates: Place,
    task: str | None = None,
    generalise_to_personas: bool = False,
    allow_different_settings: bool = False,
) -> Tables:
    """What changed from one checkpoint to others, paired on the same items, personas and samples.

    Args:
        base: a run's or a baseline's folder, or RESULTS/NAME.
        candidates: one or more to compare with it, named alike.
        task: only this task.
        generalise_to_personas: claims about personas that were not tried, too.
        allow_different_settings: compare what was asked or scored differently; a note says so.

    Raises:
        UsageError: no such run.
        InvalidRunError: the runs are not comparable.
    """
    from personaeval.analysis.compare import align, common_tasks
    from personaeval.report.comparison import compare_tables, trend_tables
    from personaeval.report.tables import Tables
    from personaeval.results.runs import open_sides

    if not candidates:
        raise UsageError("a candidate is missing: compare(BASE, CANDIDATE, …).")
    first, *others = open_sides([str(base), *map(str, candidates)])
    pairs = [
        [align(first, side, name, allow_different_settings) for name in common_tasks([first, side], task)]
        for side in others
    ]
    found = trend_tables([first, *others], pairs)
    for side, own in zip(others, pairs, strict=True):
        found += compare_tables(first, side, own, generalise_to_personas, details=len(others) == 1)
    return Tables(tuple(found))


def check(
    base: Place,
    candidate: Place,
    policy: Place | Mapping[str, Any] = "gate.yaml",
    *,
    allow_different_settings: bool = False,
) -> CheckResult:
    """Whether a candidate is worse than its base by more than a policy allows.

    A regression is a result, not an error: look at ``outcome`` or ``passed``.

    Args:
        base: a run's or a baseline's folder, or RESULTS/NAME.
        candidate: what is checked, named alike.
        policy: a YAML file, or its content.
        allow_different_settings: check what was asked or scored differently; a note says so.

    Raises:
        UsageError: no such run, or a policy that cannot be read.
    """
    from personaeval.analysis.check import check as check_sides
    from personaeval.analysis.policy import Policy, read_policy
    from personaeval.documents import validate
    from personaeval.report.tables import CheckResult
    from personaeval.results.runs import open_sides

    if isinstance(policy, Mapping):
        rules = validate(policy, Policy)
    elif Path(policy).is_file():
        rules = read_policy(Path(policy))
    else:
        raise UsageError(
            f"{policy}: no such file; personaeval check --init --policy {policy} writes one to start from."
        )
    first, second = open_sides([str(base), str(candidate)])
    return CheckResult(check_sides(first, second, rules, allow_different_settings))


def write_baseline(run: Place, output: Place) -> list[Path]:
    """Copy what :func:`compare` and :func:`check` need of a run, small enough to commit; the folders written.

    Raises:
        UsageError: no such run, or something else is in the folder.
        StorageError: the folder cannot be written.
    """
    from personaeval.results import baseline

    return baseline.write_baseline(str(run), Path(output))
