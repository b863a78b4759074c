"""The functions behind ``import personaeval``: what each command does, from Python.

Nothing is printed unless ``progress=True``. A problem that a command would end with is raised as an exception of
:mod:`personaeval.errors`, with the same text; its ``exit_code`` is the command's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personaeval.errors import UsageError
from personaeval.pipeline.first_rank import on_first_rank, on_this_device
from personaeval.progress import Progress, open_progress
from personaeval.results.frames import Results, open_results

if TYPE_CHECKING:
    from personaeval.pipeline.run import RunResult
    from personaeval.report.tables import CheckResult, Tables

__all__ = ["Evaluation", "arun", "check", "compare", "leaderboard", "load", "run", "write_baseline"]

Place = str | Path


_COMMAS = ("tasks", "personas")
"""Settings of which a text may name several, comma-separated, as on the command line."""

_LISTS = (*_COMMAS, "model", "judge", "include")


class Evaluation(Results):
    """The runs that one call made, as DataFrames.

    Attributes:
        checkpoints: for each, its run's folder, what was generated, and what failed.
    """

    def __init__(self, checkpoints: Sequence[RunResult]) -> None:
        super().__init__([one.folder for one in checkpoints if one.folder is not None])
        self.checkpoints = tuple(checkpoints)

    @property
    def generated(self) -> int:
        """How many completions were generated; the others were in the ledger."""
        return sum(one.generated for one in self.checkpoints)

    @property
    def failed(self) -> int:
        """How many requests and judgements failed and are unscored; the same call again tries only those."""
        return sum(one.failed + one.unjudged for one in self.checkpoints)

    @property
    def errors(self) -> tuple[str, ...]:
        """Why engines failed as a whole, if any did."""
        return tuple(one.engine_error for one in self.checkpoints if one.engine_error)

    @property
    def table(self) -> Tables:
        """The leaderboard of these runs alone."""
        from personaeval.report.leaderboard import leaderboard as tables_of
        from personaeval.report.tables import Tables
        from personaeval.results.runs import load_summaries

        return Tables(tuple(tables_of(load_summaries([run.folder for run in self.files]))))

    def __str__(self) -> str:
        return str(self.table)

    def _repr_markdown_(self) -> str:
        return str(self.table)


def run(
    model: Any = None,
    tasks: str | Path | Sequence[str | Path] | None = None,
    personas: str | Path | Sequence[str | Path] | None = None,
    *,
    tokenizer: Any = None,
    name: str | None = None,
    step: int | None = None,
    config: Place | None = None,
    progress: bool = False,
    **settings: Any,
) -> Evaluation | None:
    """Evaluate checkpoints: tasks × personas → completions → verdicts → a results folder.

    The same call again resumes the run: nothing is generated twice. Works in a script, in a notebook and inside a
    running event loop, which it blocks; :func:`arun` does not.

    Args:
        model: a directory, a hub id, ``engine:NAME[@URL]``, several of these, or a causal language model of
            transformers in memory, which is left as it is (see docs/python.md).
        tasks: task names or YAML files.
        personas: persona sets, ``SET/ID``, files.
        tokenizer: of a model in memory; with an endpoint, the name of the tokenizer that its prompts are checked with.
        name: of a model in memory, as tables show it.
        step: its training step.
        config: YAML file with any of the settings; arguments go before it.
        progress: show progress on standard error.
        settings: every other field of :class:`~personaeval.config.RunConfig`: ``limit=100, samples=4, output=…``.

    Returns:
        The runs; None on every rank but the first of a ``torch.distributed`` job.

    Raises:
        UsageError: an unknown setting, or a value, task, persona or model that does not fit.
        EngineError: no checkpoint could be asked anything. Where some requests failed, ``failed`` says how many.
    """
    given = {"model": model, "tasks": tasks, "personas": personas, "tokenizer": tokenizer, **settings}
    shown = open_progress(quiet=not progress)
    return on_first_rank(lambda: Evaluation(_evaluate(given, name, step, config, shown)))


async def arun(model: Any = None, tasks: Any = None, personas: Any = None, **settings: Any) -> Evaluation | None:
    """:func:`run` for code that is asynchronous: the event loop stays free while a thread does the work.

    A live model must not be trained on until it returns. Cancelling stops the waiting, not the work.
    """
    work = partial(run, model, tasks, personas, **settings)
    return await asyncio.to_thread(on_this_device(work))


def _evaluate(
    given: Mapping[str, Any], name: str | None, step: int | None, file: Place | None, progress: Progress
) -> list[RunResult]:
    from personaeval.config import make_config
    from personaeval.pipeline.run import run as run_checkpoints

    values = {key: _as_tuple(key, value) for key, value in given.items() if value is not None}
    path = None if file is None else Path(file)
    if not _is_live(given["model"]):
        if name is not None or step is not None:
            raise UsageError("name and step: for a model in memory; a checkpoint's name is that of its folder.")
        return run_checkpoints(make_config(path, values), progress)
    from personaeval.models.live import LiveModel

    tokenizer = values.pop("tokenizer", None)
    config = make_config(path, values | {"model": ("live",)})
    live = LiveModel(given["model"], tokenizer, config.model_options, name, step)
    return run_checkpoints(config, progress, [live])


def _is_live(model: Any) -> bool:
    return not (model is None or isinstance(model, str | Path | Sequence))


def _as_tuple(name: str, value: Any) -> Any:
    """A setting that may hold several values, given as one."""
    if name not in _LISTS or not isinstance(value, str | Path | Sequence):
        return value
    if isinstance(value, str) and name in _COMMAS:
        return tuple(part.strip() for part in value.split(",") if part.strip())
    several = (value,) if isinstance(value, str | Path) else value
    return tuple(one if name == "include" else str(one) for one in several)


def load(results: Place | Iterable[Place] = "results") -> Results:
    """The finished runs of a results folder, of one run's folder, or of a list of either, as pandas DataFrames.

    Raises:
        UsageError: a folder is missing, or holds no finished run.
    """
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
