"""Commands around fidelity: judge-check, questions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personaeval.cli.app import app
from personaeval.cli.options import (
    Include,
    JudgeEngineArg,
    JudgeMaxTokens,
    Judges,
    JudgeTemplateKwarg,
    as_list,
    judging_fields,
    values,
)
from personaeval.errors import UsageError


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
    from personaeval.config import JudgeOptions, ModelOptions, make_options
    from personaeval.judge.panel import Panel, open_panel
    from personaeval.judge.validation import check_judge, controls_folder, describe_check, load_controls
    from personaeval.progress import open_progress

    if not judge:
        raise UsageError("--judge is missing. Example: personaeval judge-check --judge openai:NAME@http://HOST:PORT/v1")
    judging = judging_fields(judge, judge_repeats, judge_max_tokens, judge_engine_arg, judge_chat_template_kwarg)
    connection = make_options(ModelOptions, {"concurrency": concurrency, "timeout": timeout})
    panel = open_panel(make_options(JudgeOptions, judging), connection)
    assert panel is not None, "there is a judge"
    controls, progress = load_controls(controls_folder()), open_progress(quiet)
    records = [check_judge(Panel([one], judge_repeats), controls, output, progress) for one in panel.judges]
    print("\n\n".join(describe_check(record) for record in records))
    if not all(record["passed"] for record in records):
        raise typer.Exit(4)


@app.command()
def questions(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the questions.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Who writes them: engine:NAME[@URL].")],
    personas: Annotated[str, typer.Option("--personas", "-p", help="Persona sets, YAML files or SET/ID.")],
    questions_per_dimension: Annotated[
        int, typer.Option(min=1, max=50, help="Questions of each persona for each dimension.")
    ] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other questions.")] = 0,
    engine_arg: Annotated[list[str] | None, typer.Option(help="NAME=VALUE passed through to the engine.")] = None,
    include: Include = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")] = False,
) -> None:
    """Have a model write new fidelity questions for any personas.

    Stopped at any moment, the same command goes on where it was.
    """
    from personaeval.config import ModelOptions
    from personaeval.judge.authoring import write_questions
    from personaeval.library.registry import Registry
    from personaeval.progress import open_progress

    options = ModelOptions(engine_args=values(engine_arg, "--engine-arg"))
    chosen = Registry(tuple(include or ())).personas(as_list(personas) or ())
    authored = write_questions(model, options, chosen, questions_per_dimension, output, open_progress(quiet), seed)
    print(
        f"{authored.questions} questions in {output}; {authored.duplicates} near-duplicates left out, "
        f"{authored.missing} could not be read.\nNext: personaeval run --tasks personagym --data personagym={output} …"
    )
