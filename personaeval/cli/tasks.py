"""Commands about what there is: doctor, tasks, personas."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from personaeval.cli.app import app
from personaeval.cli.options import Include

tasks_app = typer.Typer(
    no_args_is_help=True, help="The tasks: what there is, what an item looks like, is a file right."
)

personas_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The personas: what there is, how a checkpoint sees them."
)

app.add_typer(tasks_app, name="tasks")

app.add_typer(personas_app, name="personas")


@app.command()
def doctor() -> None:
    """Say what is installed, what would run and what is missing."""
    from personaeval.cli.doctor import examine

    report, sound = examine()
    print(report)
    raise typer.Exit(0 if sound else 5)


@tasks_app.command("list")
def tasks_list(include: Include = None) -> None:
    """List the tasks."""
    from personaeval.cli.listing import list_tasks

    print(list_tasks(tuple(include or ())))


@tasks_app.command("show")
def tasks_show(
    name: Annotated[str, typer.Argument(help="Task name or YAML file.")],
    data: Annotated[Path | None, typer.Option("--data", help="Local file in the place of the source.")] = None,
    items: Annotated[int, typer.Option(help="How many items.")] = 3,
    include: Include = None,
) -> None:
    """Show a task and its first items."""
    from personaeval.cli.listing import show_task

    print(show_task(name, data, items, tuple(include or ())))


@tasks_app.command("check")
def tasks_check(
    name: Annotated[str, typer.Argument(help="Task name or YAML file.")],
    data: Annotated[Path | None, typer.Option("--data", help="Local file in the place of the source.")] = None,
    include: Include = None,
) -> None:
    """Load a task or a group, show three items, and verify every gold answer against itself."""
    from personaeval.cli.listing import check_task

    print(check_task(name, data, tuple(include or ())))


@tasks_app.command("new")
def tasks_new(
    name: Annotated[str, typer.Argument(help="Name of the task.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the two files.")] = Path(),
) -> None:
    """Write a working, commented task of three items to start from."""
    from personaeval.library.task_template import write_example

    task, data = write_example(name, output)
    print(f"{task} and {data} written.\nNext: personaeval tasks check {task}")


@personas_app.command("list")
def personas_list(include: Include = None) -> None:
    """List the persona sets with their sizes and categories; `personas show SET` has the texts."""
    from personaeval.cli.listing import list_personas

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
    from personaeval.cli.listing import show_personas
    from personaeval.config import PromptOptions, make_options

    prompting = make_options(PromptOptions, {"template": template, "persona_role": persona_role})
    print(show_personas(selector, model, prompting, trust_remote_code, tuple(include or ())))


@personas_app.command("check")
def personas_check(
    file: Annotated[str, typer.Argument(help="Persona set, file or hf:DATASET[:COLUMN].")], include: Include = None
) -> None:
    """Check a persona set: keys, ids, texts, tags, lengths, and what is said twice."""
    from personaeval.cli.listing import check_personas

    print(check_personas(file, tuple(include or ())))
