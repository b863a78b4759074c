"""The commands tasks list, show, check and new."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from personaeval.cli.app import app
from personaeval.cli.help import HELP
from personaeval.cli.options import command

if TYPE_CHECKING:
    from personaeval.config import LibraryOptions, TaskOptions, TasksNewOptions, TasksShowOptions


tasks_app = typer.Typer(no_args_is_help=True, context_settings=HELP, help="List, show, check and create tasks.")

app.add_typer(tasks_app, name="tasks")


@command(tasks_app, "list")
def tasks_list(options: LibraryOptions) -> None:
    """List the tasks."""
    from personaeval.library.overview import list_tasks

    print(list_tasks(options.include))


@command(tasks_app, "show")
def tasks_show(options: TasksShowOptions) -> None:
    """Show a task and its first items."""
    from personaeval.library.overview import show_task, task_yaml

    if options.yaml:
        print(task_yaml(options.name, options.include), end="")
        return
    print(show_task(options.name, options.data, options.items, options.include))


@command(tasks_app, "check")
def tasks_check(options: TaskOptions) -> None:
    """Load a task or a group, show three items, and verify every gold answer against itself."""
    from personaeval.pipeline.task_check import check_task

    print(check_task(options.name, options.data, options.include))


@command(tasks_app, "new")
def tasks_new(options: TasksNewOptions) -> None:
    """Write a working, commented task of three items to start from."""
    from personaeval.library.task_template import write_example

    task, data = write_example(options.name, options.output)
    print(f"{task} and {data} written.\nNext: personaeval tasks check {task}")
