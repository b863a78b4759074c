"""How commands are helped with: the flags of the help, and what the shell offers for a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args, get_origin

HELP = {"help_option_names": ["-h", "--help"]}
"""Settings of every command: a short flag for its help."""


def completer(word: str, annotation: Any) -> Callable[[str], list[str]] | None:
    """The function that completes a flag's value.

    Args:
        word: what stands for the value in the help.
        annotation: the field's type.
    """
    if get_origin(annotation) is Literal:
        return lambda incomplete: _beginning(incomplete, get_args(annotation))
    return {"TASKS": _tasks, "PERSONAS": _personas, "FORMAT": _formats}.get(word)


def _tasks(incomplete: str) -> list[str]:
    from personaeval.library.registry import Registry

    registry = Registry()
    return _beginning(incomplete, [*registry.task_files(), *registry.groups()])


def _personas(incomplete: str) -> list[str]:
    from personaeval.library.registry import Registry

    return _beginning(incomplete, Registry().persona_files())


def _formats(incomplete: str) -> list[str]:
    return _beginning(incomplete, ("markdown", "csv", "json", "html", "latex"))


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    """The names that begin with what follows the last comma, each with what precedes it."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in names if name.startswith(last)]
