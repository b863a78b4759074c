"""The command line: parse, call, print. Exit codes are those of ``docs/usage.md``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from personaeval import __version__
from personaeval.errors import PersonaevalError, UsageError

app = typer.Typer(
    name="personaeval",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Markup would eat what stands in brackets, such as [@URL].
    rich_markup_mode=None,
    help="How much a model's correctness depends on who it is told to be.",
)
tasks_app = typer.Typer(
    no_args_is_help=True, help="The tasks: what there is, what an item looks like, is a file right."
)
personas_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The personas: what there is, how a checkpoint sees them."
)
app.add_typer(tasks_app, name="tasks")
app.add_typer(personas_app, name="personas")

INTERRUPTED = 130
Judges = Annotated[
    list[str] | None,
    typer.Option("--judge", "-j", help="Judge of judged tasks, named as a model is; repeat for a panel."),
]
JudgeRepeats = Annotated[int | None, typer.Option(help="How often each judge scores each response. [default: 1]")]
JudgeMaxTokens = Annotated[int | None, typer.Option(help="New tokens of a judge, thinking included. [default: 1024]")]
JudgeEngineArg = Annotated[list[str] | None, typer.Option(help="NAME=VALUE passed through to the judges' engines.")]
JudgeTemplateKwarg = Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the judges' chat templates.")]
Include = Annotated[list[Path] | None, typer.Option("--include", help="Folder with more tasks/ and personas/.")]


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
    n_personas: Annotated[
        int | None, typer.Option(help="A seeded random sample of this many of the personas; none is always there.")
    ] = None,
    judge: Judges = None,
    samples: Annotated[int | None, typer.Option(help="Completions of every (item, persona). [default: 1]")] = None,
    limit: Annotated[
        int | None,
        typer.Option(help="A seeded random subset of this many items a task, the same for every checkpoint."),
    ] = None,
    per_task: Annotated[
        int | None,
        typer.Option(help="Of a judged task, this many questions of every persona for each dimension, seeded."),
    ] = None,
    limit_personas: Annotated[
        int | None, typer.Option(help="Of a judged task, a seeded random subset of this many of its own personas.")
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
    seed: Annotated[int | None, typer.Option(help="Sample k draws with seed + k. [default: 0]")] = None,
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
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the table.")] = False,
) -> None:
    """Evaluate checkpoints: tasks x personas -> completions -> verdicts -> a table.

    Stopped at any moment, the same command goes on where it was.
    """
    from personaeval.config import make_config
    from personaeval.preview import preview
    from personaeval.progress import open_display
    from personaeval.run import run as run_checkpoints

    given = {
        "model": tuple(model or ()),
        "tasks": _list(tasks),
        "personas": _list(personas),
        "n_personas": n_personas,
        "samples": samples,
        "limit": limit,
        "per_task": per_task,
        "limit_personas": limit_personas,
        "output": output,
        "data": {name: Path(file) for name, file in _pairs(data, "--data").items()},
        "include": tuple(include or ()),
        "temperature": temperature,
        "top_p": top_p,
        "max_tokens": max_tokens,
        "seed": seed,
        "template": template,
        "persona_role": persona_role,
        "chat_template": chat_template,
        "chat_template_kwargs": _values(chat_template_kwarg, "--chat-template-kwarg"),
        "date": date,
        "reasoning_end": reasoning_end,
        "dtype": dtype,
        "device": device,
        "engine_args": _values(engine_arg, "--engine-arg"),
        "trust_remote_code": trust_remote_code or None,
        "full_hash": full_hash or None,
        "tokenizer": tokenizer,
        "concurrency": concurrency,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "timeout": timeout,
        "prices": prices,
        **_judging(judge, judge_repeats, judge_max_tokens, judge_engine_arg, judge_chat_template_kwarg),
    }
    settings = make_config(config, {key: value for key, value in given.items() if value not in (None, (), {})})
    if dry_run:
        preview(settings, open_display(quiet))
        return
    finished = run_checkpoints(settings, open_display(quiet))
    _finish_run(settings.output, finished)


def _judging(
    judge: list[str] | None,
    repeats: int | None,
    max_tokens: int | None,
    engine_arg: list[str] | None,
    template_kwarg: list[str] | None,
) -> dict[str, Any]:
    """Return the fields of the configuration that the judges' flags give."""
    given = {
        "judge": tuple(judge or ()),
        "judge_repeats": repeats,
        "judge_max_tokens": max_tokens,
        "judge_engine_args": _values(engine_arg, "--judge-engine-arg"),
        "judge_chat_template_kwargs": _values(template_kwarg, "--judge-chat-template-kwarg"),
    }
    return {key: value for key, value in given.items() if value not in (None, (), {})}


def _finish_run(output: Path, finished: Any) -> None:
    """Print the tables of the runs just made, and what to type next."""
    from personaeval.report.tables import leaderboard, render
    from personaeval.results import load_summaries

    folders = [result.folder for result in finished if result.folder is not None]
    print(render(leaderboard(load_summaries(folders)), "markdown"))
    print(f"\nNext: personaeval leaderboard {output} --personas")
    failed = sum(result.failed for result in finished)
    reason = next((result.engine_error for result in finished if result.engine_error), None)
    if failed:
        why = reason or "responses.parquet holds the reason of each"
        _complain(f"{failed} requests failed and are unscored ({why}). The same command tries only those again.")
    unjudged = sum(result.unjudged for result in finished)
    if unjudged:
        why = reason or "judgements.parquet holds the reason of each"
        _complain(f"{unjudged} judgements failed and are unscored ({why}). The same command tries only those again.")
    absent = len(finished) - len(folders)
    if absent:
        _complain(f"{absent} of {len(finished)} checkpoints could not be asked anything ({reason}).")
    if failed or unjudged or absent:
        raise typer.Exit(5)


@app.command()
def leaderboard(
    folder: Annotated[Path, typer.Argument(help="Results folder.")] = Path("results"),
    format: Annotated[str, typer.Option("--format", "-f", help="markdown, csv, json, html or latex.")] = "markdown",
    personas: Annotated[bool, typer.Option("--personas", help="A row per persona.")] = False,
    baseline: Annotated[str | None, typer.Option(help="Checkpoint against which changes are shown.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    trade_off: Annotated[
        bool, typer.Option("--trade-off", help="Stability and fidelity of each checkpoint side by side.")
    ] = False,
) -> None:
    """Compare the finished runs of a results folder; only like is ranked with like."""
    from personaeval.judge.check import refresh_checks
    from personaeval.report import tables, tradeoff
    from personaeval.results import find_summaries

    summaries = find_summaries(folder)
    refresh_checks(summaries, folder)
    if trade_off:
        found = tradeoff.trade_off(summaries, baseline=baseline)
    elif personas:
        found = tables.persona_tables(summaries, task=task)
    else:
        found = tables.leaderboard(summaries, baseline=baseline, task=task)
    print(tables.render(found, format))
    if format == "csv":
        for note in dict.fromkeys(note for table in found for note in table.notes):
            _complain(note)


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    data: Annotated[
        list[str] | None, typer.Option("--data", help="TASK=FILE, where the run's own file has moved.")
    ] = None,
    include: Include = None,
    judge: Judges = None,
    judge_repeats: JudgeRepeats = None,
    judge_max_tokens: JudgeMaxTokens = None,
    judge_engine_arg: JudgeEngineArg = None,
    judge_chat_template_kwarg: JudgeTemplateKwarg = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the table.")] = False,
) -> None:
    """Verify or judge a run's stored responses again, with today's gold answers, scorers or judges.

    Generates nothing but what judges say; without --judge, judged tasks keep the judgements they have.
    """
    from personaeval.progress import open_display
    from personaeval.report.tables import leaderboard as make_leaderboard
    from personaeval.report.tables import render
    from personaeval.rescore import rescore
    from personaeval.results import load_summaries

    judging = _judging(judge, judge_repeats, judge_max_tokens, judge_engine_arg, judge_chat_template_kwarg)
    if judging and not judge:
        raise UsageError("options for judges were given, but no --judge.")
    moved = {name: Path(file) for name, file in _pairs(data, "--data").items()}
    changed = rescore(folder, moved, tuple(include or ()), judging or None, open_display(quiet))
    print(render(make_leaderboard(load_summaries([folder])), "markdown"))
    print(f"\n{changed} verdicts changed.")


@app.command("judge-check")
def judge_check(
    judge: Judges = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Results folder, which keeps the record.")] = Path(
        "results"
    ),
    judge_repeats: Annotated[int, typer.Option(min=2, help="How often each control is judged.")] = 2,
    judge_max_tokens: JudgeMaxTokens = None,
    judge_engine_arg: JudgeEngineArg = None,
    judge_chat_template_kwarg: JudgeTemplateKwarg = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests under way at an endpoint. [default: 64]")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds an endpoint may take for one request.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Find out if a judge is to be believed: controls of known order, and texts that try to bribe it.

    Exits with 0 if every judge passes, with 4 if one fails.
    """
    from personaeval.config import make_config
    from personaeval.judge.check import check_judge, controls_folder, describe_check, load_controls
    from personaeval.judge.panel import Panel, open_panel
    from personaeval.progress import open_display

    if not judge:
        raise UsageError("--judge is missing. Example: personaeval judge-check --judge openai:NAME@http://HOST:PORT/v1")
    given = {"model": tuple(judge), "tasks": ("personagym",), "output": output}
    given |= {"concurrency": concurrency, "timeout": timeout}
    given |= _judging(judge, judge_repeats, judge_max_tokens, judge_engine_arg, judge_chat_template_kwarg)
    panel = open_panel(make_config(None, {key: value for key, value in given.items() if value is not None}))
    assert panel is not None, "there is a judge"
    controls, display = load_controls(controls_folder()), open_display(quiet)
    records = [check_judge(Panel([one], judge_repeats), controls, output, display) for one in panel.judges]
    print("\n\n".join(describe_check(record) for record in records))
    if not all(record["passed"] for record in records):
        raise typer.Exit(4)


@app.command()
def questions(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the questions.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Who writes them: engine:NAME[@URL].")],
    personas: Annotated[str, typer.Option("--personas", "-p", help="Persona sets, YAML files or SET/ID.")],
    per_task: Annotated[int, typer.Option(min=1, max=50, help="Questions of each persona for each dimension.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other questions.")] = 0,
    engine_arg: Annotated[list[str] | None, typer.Option(help="NAME=VALUE passed through to the engine.")] = None,
    include: Include = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Have a model write new fidelity questions for any personas.

    Stopped at any moment, the same command goes on where it was.
    """
    from personaeval.authoring import write_questions
    from personaeval.config import make_config
    from personaeval.progress import open_display
    from personaeval.registry import Registry

    given = {"model": (model,), "tasks": ("personagym",), "seed": seed}
    config = make_config(None, given | {"engine_args": _values(engine_arg, "--engine-arg")})
    chosen = Registry(tuple(include or ())).personas(_list(personas) or ())
    authored = write_questions(config, chosen, per_task, output, open_display(quiet))
    print(
        f"{authored.questions} questions in {output}; {authored.doubles} were too like another and left out, "
        f"{authored.missing} could not be read.\nNext: personaeval run --tasks personagym --data personagym={output} …"
    )


@app.command()
def doctor() -> None:
    """Say what is installed, what would run and what is missing."""
    from personaeval.doctor import examine

    report, sound = examine()
    print(report)
    raise typer.Exit(0 if sound else 5)


@tasks_app.command("list")
def tasks_list(include: Include = None) -> None:
    """List the tasks."""
    from personaeval.listing import list_tasks

    print(list_tasks(tuple(include or ())))


@tasks_app.command("show")
def tasks_show(
    name: Annotated[str, typer.Argument(help="Task name or YAML file.")],
    data: Annotated[Path | None, typer.Option("--data", help="Local file in the place of the source.")] = None,
    items: Annotated[int, typer.Option(help="How many items.")] = 3,
    include: Include = None,
) -> None:
    """Show a task and its first items."""
    from personaeval.listing import show_task

    print(show_task(name, data, items, tuple(include or ())))


@tasks_app.command("check")
def tasks_check(
    name: Annotated[str, typer.Argument(help="Task name or YAML file.")],
    data: Annotated[Path | None, typer.Option("--data", help="Local file in the place of the source.")] = None,
    include: Include = None,
) -> None:
    """Load a task, fill every item, and verify every gold answer against itself."""
    from personaeval.listing import check_task

    print(check_task(name, data, tuple(include or ())))


@personas_app.command("list")
def personas_list(include: Include = None) -> None:
    """List the persona sets with their sizes and categories; `personas show SET` has the texts."""
    from personaeval.listing import list_personas

    print(list_personas(tuple(include or ())))


@personas_app.command("show")
def personas_show(
    selector: Annotated[str, typer.Argument(help="Persona set, SET/ID, file or hf:DATASET[:COLUMN].")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Show the prompts as this checkpoint sees them.")
    ] = None,
    template: Annotated[str, typer.Option(help="Name or text, as in `run`.")] = "you-are",
    persona_role: Annotated[str, typer.Option(help="auto, system or user_prefix.")] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the checkpoint.")
    ] = False,
    include: Include = None,
) -> None:
    """Show personas, as rendered for a checkpoint where one is given."""
    from personaeval.listing import show_personas

    print(show_personas(selector, model, template, persona_role, trust_remote_code, tuple(include or ())))


@personas_app.command("check")
def personas_check(
    file: Annotated[str, typer.Argument(help="Persona set, file or hf:DATASET[:COLUMN].")], include: Include = None
) -> None:
    """Check a persona set: keys, ids, texts, tags, lengths, and what is said twice."""
    from personaeval.listing import check_personas

    print(check_personas(file, tuple(include or ())))


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def _list(text: str | None) -> tuple[str, ...] | None:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else None


def _pairs(texts: list[str] | None, flag: str) -> dict[str, str]:
    pairs = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{flag} {text}: expected NAME=VALUE.")
        if name.strip() in pairs:
            raise UsageError(f"{flag}: {name.strip()} is given twice.")
        pairs[name.strip()] = value
    return pairs


def _values(texts: list[str] | None, flag: str) -> dict[str, Any]:
    """Read NAME=VALUE with the value as YAML reads it: true, 8, 0.9, [a, b], text."""
    import yaml

    values = {}
    for name, text in _pairs(texts, flag).items():
        try:
            values[name.replace("-", "_")] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"{flag} {name}={text}: the value cannot be read.") from error
    return values


def _complain(message: str) -> None:
    print(f"personaeval: {message}", file=sys.stderr)


def main() -> None:
    """Entry point: run the command and turn errors into messages and exit codes."""
    try:
        code = app(standalone_mode=False)
    except PersonaevalError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        code = _report_unexpected(error)
    if code == INTERRUPTED:
        _complain("interrupted; what was completed is kept. The same command goes on from there.")
    sys.exit(code if isinstance(code, int) else 0)


def _report_unexpected(error: Exception) -> int:
    """Show the parser's complaints in its own way; anything else is our mistake, with a traceback to report."""
    if isinstance(error, typer.Abort):
        return INTERRUPTED
    # Typer brings a click of its own or uses the installed one; this is the base of its complaints in both.
    complaint = typer.BadParameter.__mro__[2]
    if isinstance(error, complaint):
        shown: Any = error
        shown.show()
        return int(shown.exit_code)
    import traceback

    traceback.print_exc()
    _complain("this is a mistake in personaeval, not yours; please report it with the lines above.")
    return 70
