"""Commands that ask a checkpoint, or score again what it said: run, score."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personaeval.cli.app import app
from personaeval.cli.options import (
    Exemplars,
    ExpectedScore,
    Include,
    JudgeEngineArg,
    JudgeMaxTokens,
    JudgeRepeats,
    Judges,
    JudgeTemplateKwarg,
    as_list,
    judging_fields,
    pairs,
    print_error,
    values,
)
from personaeval.errors import UsageError

if TYPE_CHECKING:
    from personaeval.config import RunConfig


@app.command()
def run(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="engine:NAME[@URL], a checkpoint directory or a hub id; repeat for several."
        ),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option("--tasks", "-t", help="Task names or YAML files, comma-separated.")
    ] = None,
    personas: Annotated[
        str | None,
        typer.Option(
            "--personas",
            "-p",
            help="Persona sets, SET/ID, YAML, JSONL, CSV or Parquet files, hf:DATASET[:COLUMN]; comma-separated; a "
            "judged task has its own. [default: core]",
        ),
    ] = None,
    limit_personas: Annotated[
        int | None,
        typer.Option(
            help="A seeded random sample of this many of the personas, beside none; of a judged task, of its own."
        ),
    ] = None,
    judge: Judges = None,
    samples: Annotated[int | None, typer.Option(help="Completions of every (item, persona). [default: 1]")] = None,
    limit: Annotated[
        int | None,
        typer.Option(help="A seeded random subset of this many items a task, the same for every checkpoint."),
    ] = None,
    questions_per_dimension: Annotated[
        int | None,
        typer.Option(help="Of a judged task, this many questions of every persona for each dimension, seeded."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Results folder. [default: results]")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            help="TASK=FILE: a local JSONL, JSON, CSV or Parquet file in the place of the task's source; for a judged "
            "task a folder of questions, its own or PersonaGym's.",
        ),
    ] = None,
    include: Include = None,
    temperature: Annotated[float | None, typer.Option(help="[default: the task's]")] = None,
    top_p: Annotated[float | None, typer.Option(help="[default: the task's]")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="New tokens, thinking included. [default: the task's]")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Base of the random numbers; every row draws its own. [default: 0]")
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(
            help="How the persona is put to the model: you-are, adopt, described, third-person, imagine, or a text "
            "with {{ persona }}. [default: you-are]"
        ),
    ] = None,
    persona_role: Annotated[str | None, typer.Option(help="auto, system or user_prefix. [default: auto]")] = None,
    chat_template: Annotated[
        Path | None, typer.Option(help="Jinja file in the place of the checkpoint's own template.")
    ] = None,
    chat_template_kwarg: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE for the chat template, such as enable_thinking=false."),
    ] = None,
    date: Annotated[
        str | None, typer.Option(help="The date for templates that ask for today's. [default: 2026-01-01]")
    ] = None,
    reasoning_end: Annotated[str | None, typer.Option(help="What ends a model's thinking. [default: </think>]")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto, bfloat16, float16 or float32. [default: auto]")] = None,
    device: Annotated[str | None, typer.Option(help="Device of the transformers engine. [default: auto]")] = None,
    engine_arg: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE passed through to the engine, such as tensor_parallel_size=8."),
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the checkpoint.")
    ] = False,
    full_hash: Annotated[bool, typer.Option("--full-hash", help="Fingerprint every byte of the weights.")] = False,
    tokenizer: Annotated[
        str | None, typer.Option(help="Tokenizer with which an endpoint's prompts are checked.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests under way at an endpoint. [default: 64]")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Limit of an endpoint.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Limit of an endpoint.")] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds an endpoint may take for one request. [default: 600]")
    ] = None,
    judge_repeats: JudgeRepeats = None,
    exemplars: Exemplars = False,
    expected_score: ExpectedScore = False,
    judge_max_tokens: JudgeMaxTokens = None,
    judge_engine_arg: JudgeEngineArg = None,
    judge_chat_template_kwarg: JudgeTemplateKwarg = None,
    prices: Annotated[Path | None, typer.Option(help="YAML file with what a million tokens cost.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many requests and tokens it would take; ask nothing.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", help="YAML file with any of these; flags go before it.")
    ] = None,
    folders: Annotated[
        Path | None, typer.Option(help="Write the runs' folders to this file, one a line, for scripts.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the table.")] = False,
) -> None:
    """Evaluate checkpoints: tasks x personas -> completions -> verdicts -> a table.

    Stopped at any moment, the same command goes on where it was.
    """
    settings = configure(dict(locals()))
    if folders is not None and not folders.resolve().parent.is_dir():
        raise UsageError(f"--folders {folders}: there is no folder {folders.resolve().parent}.")
    from personaeval.pipeline.forecast import preview
    from personaeval.pipeline.run import run as run_checkpoints
    from personaeval.progress import open_progress
    from personaeval.results.files import write_text

    if dry_run:
        preview(settings, open_progress(quiet))
        return
    finished = run_checkpoints(settings, open_progress(quiet))
    if folders is not None:
        write_text(folders, "".join(f"{result.folder}\n" for result in finished if result.folder is not None))
    _finish_run(settings.output, finished)


_JUDGING = {
    "judge": "judge",
    "judge_repeats": "repeats",
    "judge_max_tokens": "max_tokens",
    "judge_engine_arg": "engine_arg",
    "judge_chat_template_kwarg": "template_kwarg",
    "exemplars": "exemplars",
    "expected_score": "expected_score",
}

_LISTS = ("tasks", "personas")

_NAMED = ("engine_arg", "chat_template_kwarg")

_OTHERWISE = ("config", "dry_run", "folders", "quiet", "data")


def configure(flags: dict[str, Any]) -> RunConfig:
    """Return the configuration from the flags of :func:`run`, by parameter name, over the file of ``--config``."""
    from personaeval.config import make_config

    given = {name: value for name, value in flags.items() if name not in _OTHERWISE and name not in _JUDGING}
    for name in _LISTS:
        given[name] = as_list(given[name])
    for name in _NAMED:
        given[f"{name}s"] = values(given.pop(name), f"--{name.replace('_', '-')}")
    given["data"] = {name: Path(file) for name, file in pairs(flags["data"], "--data").items()}
    given |= {name: tuple(given[name] or ()) for name in ("model", "include")}
    given |= {name: given[name] or None for name in ("trust_remote_code", "full_hash")}
    given |= judging_fields(**{own: flags[name] for name, own in _JUDGING.items()})
    return make_config(flags["config"], {key: value for key, value in given.items() if value not in (None, (), {})})


def _finish_run(output: Path, finished: Any) -> None:
    """Print the tables of the runs just made, and what to type next."""
    from personaeval.report.leaderboard import leaderboard, render
    from personaeval.results.runs import load_summaries

    folders = [result.folder for result in finished if result.folder is not None]
    print(render(leaderboard(load_summaries(folders)), "markdown"))
    print(f"\nNext: personaeval leaderboard {output} --personas")
    failed = sum(result.failed for result in finished)
    reason = next((result.engine_error for result in finished if result.engine_error), None)
    if failed:
        why = reason or "responses.parquet holds the reason of each"
        print_error(f"{failed} requests failed and are unscored ({why}). The same command tries only those again.")
    absent = len(finished) - len(folders)
    if absent:
        print_error(f"{absent} of {len(finished)} checkpoints could not be asked anything ({reason}).")
    _complain_of_judges(sum(result.unjudged for result in finished), reason)
    if failed or absent:
        raise typer.Exit(5)


def _complain_of_judges(failed: int, reason: str | None) -> None:
    """Say that judges' engines gave nothing for some judgements, and end with their exit code."""
    if failed:
        why = reason or "judgements.parquet holds the reason of each"
        print_error(f"{failed} judgements failed and are unscored ({why}). The same command tries only those again.")
        raise typer.Exit(5)


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    data: Annotated[
        list[str] | None, typer.Option("--data", help="TASK=FILE, where the run's own file has moved.")
    ] = None,
    include: Include = None,
    judge: Judges = None,
    judge_repeats: JudgeRepeats = None,
    exemplars: Exemplars = False,
    expected_score: ExpectedScore = False,
    judge_max_tokens: JudgeMaxTokens = None,
    judge_engine_arg: JudgeEngineArg = None,
    judge_chat_template_kwarg: JudgeTemplateKwarg = None,
    human: Annotated[
        Path | None,
        typer.Option(
            help="CSV or Parquet file with people's scores: persona, task, question, response, score, annotator. Tells "
            "how far judges agree with them and, where they are a sample of this run's responses, corrects its score."
        ),
    ] = None,
    prices: Annotated[Path | None, typer.Option(help="YAML file with what a million tokens cost.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the table.")] = False,
) -> None:
    """Verify or judge a run's stored responses again, with today's gold answers, scorers or judges.

    Generates nothing but what judges say; without --judge, judged tasks keep the judgements they have.
    """
    from personaeval.config import JudgeOptions, make_options
    from personaeval.judge.usage import read_prices, report_judging
    from personaeval.pipeline.score import rescore
    from personaeval.progress import open_progress
    from personaeval.report.leaderboard import leaderboard as make_leaderboard
    from personaeval.report.leaderboard import render
    from personaeval.results.runs import load_summaries

    judging = judging_fields(
        judge, judge_repeats, judge_max_tokens, judge_engine_arg, judge_chat_template_kwarg, exemplars, expected_score
    )
    if judging and not judge:
        raise UsageError("options for judges were given, but no --judge.")
    judges = make_options(JudgeOptions, judging) if judging else None
    moved = {name: Path(file) for name, file in pairs(data, "--data").items()}
    price_list, progress = read_prices(prices), open_progress(quiet)
    rescored = rescore(folder, moved, tuple(include or ()), judges, progress, human)
    usages = rescored.judging.usages
    report_judging(usages, price_list, progress)
    print(render(make_leaderboard(load_summaries([folder])), "markdown"))
    print(f"\n{rescored.changed} verdicts changed.")
    reason = next((usage.engine_error for usage in usages if usage.engine_error), None)
    _complain_of_judges(sum(usage.failed for usage in usages), reason)
