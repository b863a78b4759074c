"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from personaeval.errors import UsageError

if TYPE_CHECKING:
    from personaeval.report.tables import Tables

Judges = Annotated[
    list[str] | None,
    typer.Option("--judge", "-j", help="Judge of judged tasks, named as a model is; repeat for a panel."),
]

JudgeRepeats = Annotated[int | None, typer.Option(help="How often each judge scores each response. [default: 1]")]

Exemplars = Annotated[
    bool,
    typer.Option(
        "--exemplars", help="Show judges an answer for each score, written once for each question by the first of them."
    ),
]

ExpectedScore = Annotated[
    bool,
    typer.Option(
        "--expected-score", help="Take the mean over the scores a judge might have given, by its log-probabilities."
    ),
]

JudgeMaxTokens = Annotated[int | None, typer.Option(help="New tokens of a judge, thinking included. [default: 1024]")]

JudgeEngineArg = Annotated[list[str] | None, typer.Option(help="NAME=VALUE passed through to the judges' engines.")]

JudgeTemplateKwarg = Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the judges' chat templates.")]

Include = Annotated[list[Path] | None, typer.Option("--include", help="Folder with more tasks/ and personas/.")]


def judging_fields(
    judge: list[str] | None,
    repeats: int | None,
    max_tokens: int | None,
    engine_arg: list[str] | None,
    template_kwarg: list[str] | None,
    exemplars: bool = False,
    expected_score: bool = False,
) -> dict[str, Any]:
    """Return the fields of the configuration that the judges' flags give."""
    given = {
        "judge": tuple(judge or ()),
        "judge_repeats": repeats,
        "judge_max_tokens": max_tokens,
        "judge_engine_args": values(engine_arg, "--judge-engine-arg"),
        "judge_chat_template_kwargs": values(template_kwarg, "--judge-chat-template-kwarg"),
        "exemplars": exemplars or None,
        "expected_score": expected_score or None,
    }
    return {key: value for key, value in given.items() if value not in (None, (), {})}


def as_list(text: str | None) -> tuple[str, ...] | None:
    """Return what stands between commas; None for nothing."""
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else None


def pairs(texts: list[str] | None, flag: str) -> dict[str, str]:
    """Read NAME=VALUE; the same name twice is refused."""
    pairs = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{flag} {text}: expected NAME=VALUE.")
        if name.strip() in pairs:
            raise UsageError(f"{flag}: {name.strip()} is given twice.")
        pairs[name.strip()] = value
    return pairs


def values(texts: list[str] | None, flag: str) -> dict[str, Any]:
    """Read NAME=VALUE with the value as YAML reads it: true, 8, 0.9, [a, b], text."""
    import yaml

    values = {}
    for name, text in pairs(texts, flag).items():
        try:
            values[name.replace("-", "_")] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"{flag} {name}={text}: the value cannot be read.") from error
    return values


def print_tables(tables: Tables, format: str, intervals: bool) -> None:
    """Print tables; their notes, for which CSV has no place, go to stderr."""
    print(tables.render(format, intervals))
    if format == "csv":
        for note in tables.notes:
            print_error(note)


def print_error(message: str) -> None:
    """Tell the user on stderr."""
    print(f"personaeval: {message}", file=sys.stderr)
