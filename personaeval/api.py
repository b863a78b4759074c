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

from personaeval.config import (
    JudgeCheckOptions,
    JudgeOptions,
    ModelOptions,
    PlanOptions,
    RunConfig,
    ScoreOptions,
    make_config,
    make_options,
    part,
)
from personaeval.config.keywords import given, takes_options
from personaeval.errors import UsageError
from personaeval.pipeline.first_rank import on_first_rank, on_this_device
from personaeval.progress import open_progress

if TYPE_CHECKING:
    from personaeval.models.model import Model
    from personaeval.report.outcomes import Evaluation, Forecasts, JudgeChecks, Rescoring
    from personaeval.report.tables import CheckResult, Tables
    from personaeval.results.frames import Results


Place = str | Path


@takes_options(RunConfig)
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
        config: YAML file with any of the settings; arguments take precedence.
        progress: show progress on standard error.
        settings: every other field of :class:`~personaeval.config.RunConfig`: ``limit=100, samples=4, output=…``.

    Returns:
        The runs; None on every rank but the first of a ``torch.distributed`` job.

    Raises:
        UsageError: an unknown setting, or a value, task, persona or model that does not fit.
        EngineError: no checkpoint could be evaluated. If only some requests failed, ``failed`` counts them.
    """
    from personaeval.pipeline.run import run as run_checkpoints
    from personaeval.report.outcomes import Evaluation

    asked = {"model": model, "tasks": tasks, "personas": personas, "tokenizer": tokenizer, **settings}

    def work() -> Evaluation:
        configured, models = _configured(RunConfig, asked, name, step, config)
        return Evaluation(run_checkpoints(configured, open_progress(quiet=not progress), models))

    return on_first_rank(work)


@takes_options(RunConfig)
async def arun(model: Any = None, tasks: Any = None, personas: Any = None, **settings: Any) -> Evaluation | None:
    """:func:`run` for code that is asynchronous: the event loop stays free while a thread does the work.

    A live model must not be trained on until it returns. Cancelling stops the waiting, not the work.
    """
    work = partial(run, model, tasks, personas, **settings)
    return await asyncio.to_thread(on_this_device(work))


@takes_options(RunConfig)
def plan(
    model: Any = None,
    tasks: str | Path | Sequence[str | Path] | None = None,
    personas: str | Path | Sequence[str | Path] | None = None,
    *,
    tokenizer: Any = None,
    name: str | None = None,
    step: int | None = None,
    config: Place | None = None,
    detect: float | None = None,
    **settings: Any,
) -> Forecasts:
    """Cost of :func:`run` with the same arguments, and the smallest change it could detect; generates nothing.

    Args:
        model: as for :func:`run`, like all arguments that are not listed here.
        tasks: task names or YAML files.
        personas: persona sets, ``SET/ID``, files.
        tokenizer: the tokenizer of a model in memory, or of an endpoint.
        name: of a model in memory.
        step: its training step.
        config: YAML file with any of the settings.
        detect: also report the sample sizes that detect a change of this size, such as 0.02.
        settings: other fields of :class:`~personaeval.config.RunConfig`.

    Raises:
        UsageError: as :func:`run`.
    """
    asked = {"model": model, "tasks": tasks, "personas": personas, "tokenizer": tokenizer, "detect": detect, **settings}
    configured, models = _configured(PlanOptions, asked, name, step, config)
    assert isinstance(configured, PlanOptions), "of that class"
    return plan_with(configured, models)


def plan_with(options: PlanOptions, models: Sequence[Model] = ()) -> Forecasts:
    """:func:`plan` with checked options; ``models`` replace those that the options name."""
    from personaeval.pipeline.forecast import forecast
    from personaeval.pipeline.forecast_text import describe_forecasts
    from personaeval.report.outcomes import Forecasts

    found = forecast(options, options.detect, models)
    return Forecasts(tuple(found), describe_forecasts(found, options.detect))


@takes_options(ScoreOptions)
def score(run: Place, *, progress: bool = False, **settings: Any) -> Rescoring | None:
    """Verify or judge a run's stored responses again, with today's gold answers, scorers or judges.

    Only judges' replies are generated; without ``judge``, judged tasks keep their judgements.

    Args:
        run: folder of a finished run, or RESULTS/NAME if the checkpoint has one run there.
        progress: show the judges' progress on standard error.
        settings: fields of :class:`~personaeval.config.ScoreOptions`: ``judge=…, human=…, data={"task": file}``.

    Returns:
        The run; None on every rank but the first of a ``torch.distributed`` job.

    Raises:
        UsageError: no finished run, an unknown setting, or a value that does not fit.
        InvalidRunError: a task's prompts or personas have changed since the run.
    """

    def work() -> Rescoring:
        values = {"folder": Path(run), **given(ScoreOptions, settings)}
        return score_with(make_options(ScoreOptions, values), progress)

    return on_first_rank(work)


def score_with(options: ScoreOptions, progress: bool) -> Rescoring:
    """:func:`score` with checked options, in this process."""
    from personaeval.judge.usage import read_prices, report_judging
    from personaeval.pipeline.score import rescore
    from personaeval.report.outcomes import Rescoring
    from personaeval.results.runs import find_run

    options.refuse_unused()
    judges = part(options, JudgeOptions) if options.judge else None
    prices, shown = read_prices(options.prices), open_progress(quiet=not progress)
    folder = find_run(options.folder).folder
    found = rescore(folder, options.data, options.include, judges, shown, options.human, prices)
    report_judging(found.judging.usages, prices, shown)
    return Rescoring(folder, found.changed, found.judging.usages)


@takes_options(JudgeCheckOptions)
def validate_judge(
    judge: str | Sequence[str], output: Place = "results", *, progress: bool = False, **settings: Any
) -> JudgeChecks | None:
    """Validate judges: do they rank controls in the known order and resist prompt injection?

    Args:
        judge: one or more judges, named like models.
        output: results folder, where the record is kept.
        progress: show the judges' progress on standard error.
        settings: other fields of :class:`~personaeval.config.JudgeCheckOptions`.

    Returns:
        The records; None on every rank but the first of a ``torch.distributed`` job.

    Raises:
        UsageError: no such judge, or an unknown setting.
        EngineError: some judgements failed; the same call again asks only for those.
    """

    def work() -> JudgeChecks:
        values = given(JudgeCheckOptions, {"judge": judge, "output": Path(output), **settings})
        return validate_with(make_options(JudgeCheckOptions, values), progress)

    return on_first_rank(work)


def validate_with(options: JudgeCheckOptions, progress: bool) -> JudgeChecks:
    """:func:`validate_judge` with checked options, in this process."""
    from personaeval.judge.panel import Panel, open_panel
    from personaeval.judge.validation import check_judge, controls_folder, describe_check, load_controls
    from personaeval.report.outcomes import JudgeChecks

    controls, shown = load_controls(controls_folder()), open_progress(quiet=not progress)
    panel = open_panel(part(options, JudgeOptions), part(options, ModelOptions), options.output, shown.message)
    assert panel is not None, "there is a judge"
    alone = [Panel([one], options.judge_repeats) for one in panel.judges]
    records = [check_judge(one, controls, options.output, shown) for one in alone]
    return JudgeChecks(tuple(records), "\n\n".join(map(describe_check, records)))


def _configured(
    kind: type[RunConfig], asked: Mapping[str, Any], name: str | None, step: int | None, file: Place | None
) -> tuple[RunConfig, list[Model]]:
    """The configuration from the arguments, and the model if it is already in memory."""
    values = given(kind, asked)
    path = None if file is None else Path(file)
    if not _is_live(asked["model"]):
        if name is not None or step is not None:
            raise UsageError("name and step are for a model in memory; a checkpoint is named after its folder.")
        return make_config(path, values, kind), []
    from personaeval.models.live import LiveModel

    tokenizer = values.pop("tokenizer", None)
    config = make_config(path, values | {"model": ("live",)}, kind)
    return config, [LiveModel(asked["model"], tokenizer, config.model_options, name, step)]


def _is_live(model: Any) -> bool:
    return not (model is None or isinstance(model, str | Path | Sequence))


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
    by: str | None = None,
) -> Tables:
    """The finished runs of a results folder, a table per comparable group.

    Args:
        results: the results folder.
        personas: a row per persona instead of a row per checkpoint.
        baseline: name of the checkpoint against which changes are shown.
        task: only this task.
        generalise_to_personas: intervals also hold for personas that were not evaluated.
        trade_off: stability and fidelity of each checkpoint side by side.
        by: name of a setting: a row per value of it, of runs that differ in it alone.

    Raises:
        UsageError: no finished run, no such task or baseline, or options that exclude each other.
        InvalidRunError: ``trade_off`` without a checkpoint that has both.
    """
    from personaeval.judge.validation import refresh_checks
    from personaeval.report.choice import choose_tables
    from personaeval.report.table import with_remarks
    from personaeval.report.tables import Tables
    from personaeval.results.listing import left_out, list_runs, summaries_of

    listed = list_runs(Path(results))
    summaries = summaries_of(Path(results), listed)
    refresh_checks(summaries, Path(results))
    found = choose_tables(summaries, personas, baseline, task, generalise_to_personas, trade_off, by)
    return Tables(with_remarks(found, left_out(listed)))


def runs(results: Place = "results") -> Tables:
    """All runs of a results folder, a row each: settings, number of answers, finished or not.

    Raises:
        UsageError: the folder is missing or holds no run.
    """
    from personaeval.report.run_list import run_table
    from personaeval.report.tables import Tables
    from personaeval.results.listing import list_runs

    return Tables((run_table(Path(results), list_runs(Path(results))),))


def compare(
    base: Place,
    *candidates: Place,
    task: str | None = None,
    generalise_to_personas: bool = False,
    allow_different_settings: bool = False,
) -> Tables:
    """Paired changes from one checkpoint to others, on the same items, personas and samples.

    Args:
        base: a run's or a baseline's folder, or RESULTS/NAME.
        candidates: one or more checkpoints to compare with it, named the same way.
        task: only this task.
        generalise_to_personas: intervals and tests also hold for personas that were not evaluated.
        allow_different_settings: compare runs whose settings differ; a note says so.

    Raises:
        UsageError: no such run.
        InvalidRunError: the runs are not comparable.
    """
    from personaeval.analysis.compare import align, common_tasks
    from personaeval.report.comparison import compare_tables, trend_tables
    from personaeval.report.tables import Tables
    from personaeval.results.runs import open_checkpoints

    if not candidates:
        raise UsageError("a candidate is missing: compare(BASE, CANDIDATE, …).")
    first, *others = open_checkpoints([str(base), *map(str, candidates)])
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
        candidate: the checkpoint to check, named the same way.
        policy: a YAML file, or its content.
        allow_different_settings: check a run whose settings differ; a note says so.

    Raises:
        UsageError: no such run, or a policy that cannot be read.
    """
    from personaeval.analysis.check import check as check_sides
    from personaeval.analysis.policy import make_policy, read_policy
    from personaeval.report.tables import CheckResult
    from personaeval.results.runs import open_checkpoints

    if isinstance(policy, Mapping):
        rules = make_policy(policy)
    elif Path(policy).is_file():
        rules = read_policy(Path(policy))
    else:
        raise UsageError(
            f"{policy}: no such file; personaeval check --init --policy {policy} writes one to start from."
        )
    first, second = open_checkpoints([str(base), str(candidate)])
    return CheckResult(check_sides(first, second, rules, allow_different_settings))


def write_baseline(run: Place, output: Place) -> list[Path]:
    """Copy what :func:`compare` and :func:`check` need of a run, small enough to commit; the folders written.

    Raises:
        UsageError: no such run, or something else is in the folder.
        StorageError: the folder cannot be written.
    """
    from personaeval.results import baseline

    return baseline.write_baseline(str(run), Path(output))
