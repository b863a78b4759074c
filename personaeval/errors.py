"""Errors a user can meet; each carries the exit code of the command that ends with it.

Every message names the thing, the place and the remedy: the command line prints it without a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PersonaevalError(Exception):
    """Base of all errors with a message meant for a user."""

    exit_code = 70


class UsageError(PersonaevalError):
    """Bad input: a flag, a YAML file, a data file, an unknown name (exit code 2)."""

    exit_code = 2


class InvalidRunError(PersonaevalError):
    """A run that cannot answer the question asked of it (exit code 4)."""

    exit_code = 4


class EngineError(PersonaevalError):
    """An engine or an endpoint that failed as a whole (exit code 5)."""

    exit_code = 5


def suggest(name: str, known: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` with the closest known names, or all known names if none is close."""
    known = sorted(set(known))
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f" Did you mean {' or '.join(repr(c) for c in close)}?"
    return f" Known: {', '.join(known)}." if known else ""


class StorageError(PersonaevalError):
    """The results folder cannot be written: disk full, read-only, no permission (exit code 2)."""

    exit_code = 2


def first_line(error: BaseException) -> str:
    """First line of an error's message, or its type if it has none: libraries append pages of advice."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def printable(text: str, substitute: str = " ") -> str:
    """The text with control and other unprintable characters replaced: a terminal would obey some of them."""
    return text if text.isprintable() else "".join(char if char.isprintable() else substitute for char in text)


def printable_lines(text: str) -> str:
    """The same of a message of several lines, whose line breaks stay."""
    return "\n".join(map(printable, text.split("\n")))
