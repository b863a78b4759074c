"""Flags made from the fields of an options class, and how their values are read."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from personaeval import config
from personaeval.cli.help import HELP, completer
from personaeval.config import Options, RunConfig, flag_name, flag_of, group_of, make_config, make_options
from personaeval.errors import UsageError

_CONFIG_FILE = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="YAML file with any of these options; flags take precedence. `personaeval init` writes one.",
    ),
]

_EXAMPLES = {
    "What to evaluate": "-m ./checkpoint-500 -t math500 --limit 100",
    "Sampling": "--samples 4 --temperature 0.7",
    "Prompts": "--template adopt --persona-role user_prefix",
    "Model": "--dtype float32 --chat-template-kwarg enable_thinking=false",
    "Endpoint": "--concurrency 16 --requests-per-minute 500",
    "Judges": "-j openai:JUDGE@http://HOST:PORT/v1 --judge-repeats 2",
}
"""Heading of a group of options -> an example of their use."""

_MANY = 14
"""A command with more options than this shows them in groups."""

_WORDS = {int: "NUMBER", float: "NUMBER", Path: "PATH", str: "TEXT"}
"""What stands for a value in the help, by its type."""

_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def make_command(function: Any, name: str) -> Any:
    """The command of a function whose first parameter is an options class of :mod:`personaeval.config`."""
    first, *rest = inspect.signature(function).parameters.values()
    kind: type[Options] = getattr(config, str(first.annotation))
    known = inspect.signature(function, eval_str=True, locals=vars(config)).parameters
    own = [known[parameter.name].replace(kind=_KEYWORD) for parameter in rest]
    fields = [_parameter(kind, field_name) for field_name in kind.model_fields]
    if issubclass(kind, RunConfig):
        fields.append(inspect.Parameter("config", _KEYWORD, default=None, annotation=_CONFIG_FILE))

    def call(**given: Any) -> None:
        others = {parameter.name: given.pop(parameter.name) for parameter in own}
        function(_options(kind, given), **others)

    call.__doc__ = function.__doc__
    call.__signature__ = inspect.Signature([*fields, *own])  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in (*fields, *own)}
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    alone.command(name, cls=_grouped(kind), context_settings=HELP, epilog=_epilog(kind))(call)
    return typer.main.get_command(alone)


def _epilog(kind: type[Options]) -> str | None:
    # The form feed keeps the command on one line.
    return f"\b\nExample:\n  {kind.example}" if kind.example else None


def _grouped(kind: type[Options]) -> type[TyperCommand]:
    """A command whose help shows many options in groups, each with an example."""

    class Grouped(TyperCommand):
        def format_options(self, ctx: Any, formatter: Any) -> None:
            groups: dict[str, list[Any]] = {}
            options = [param for param in self.get_params(ctx) if param.param_type_name == "option"]
            for param in self.get_params(ctx):
                name = param.name or ""
                heading = "Options"
                if is_argument := param.param_type_name == "argument":
                    heading = "Arguments"
                elif len(options) > _MANY and name in kind.model_fields:
                    heading = group_of(kind, name)
                if (record := param.get_help_record(ctx)) is not None:
                    shown, text = record
                    # Without its type, which is a class of Python: FOLDER <path>.
                    groups.setdefault(heading, []).append((shown.split(" <")[0] if is_argument else shown, text))
            # Last what every command has.
            for heading in sorted(groups, key="Options".__eq__):
                example = _EXAMPLES.get(heading)
                with formatter.section(f"{heading}, such as {example}" if example else heading):
                    formatter.write_dl(groups[heading])

    return Grouped


def _options(kind: type[Options], given: dict[str, Any]) -> Options:
    file = given.pop("config", None)
    values = {
        name: _read(kind, name, text)
        for name, text in given.items()
        if text is not None and text is not False and text != []
    }
    if issubclass(kind, RunConfig):
        return make_config(file, values, kind, flags=True)
    return make_options(kind, values, flags=True)


def _parameter(kind: type[Options], name: str) -> inspect.Parameter:
    """One field as a parameter for Typer. The default is None: the options class fills in what was not given."""
    field, flag = kind.model_fields[name], flag_of(kind.model_fields[name])
    typed = _typed(field)
    default: Any = None
    if flag.argument:
        info = typer.Argument(help=_help(field), show_default=False, metavar=flag_name(kind, name))
        default = inspect.Parameter.empty if field.is_required() else None
    else:
        names = [flag_name(kind, name), *([flag.short] if flag.short else [])]
        metavar = None if typed is bool else _value_word(field)
        complete = completer(metavar or "", _inner(field))
        info = typer.Option(*names, help=_help(field), show_default=False, metavar=metavar, autocompletion=complete)
        default = False if typed is bool else None
    annotation = typed | None if default is None else typed
    return inspect.Parameter(name, _KEYWORD, default=default, annotation=Annotated[annotation, info])


def _value_word(field: FieldInfo) -> str:
    """What stands for the value in the help: a word of the flag's own, or one for the type."""
    inner = _inner(field)
    if own := flag_of(field).value:
        return own
    if _origin(field) is dict:
        return "NAME=VALUE"
    return _WORDS.get(get_args(inner)[0] if _origin(field) is tuple else inner, "TEXT")


def _typed(field: FieldInfo) -> Any:
    """The type with which Typer reads a field: one text for comma-separated values, a list for repeated flags."""
    inner, origin = _inner(field), _origin(field)
    if origin is Literal or flag_of(field).commas:
        return str
    if origin is tuple:
        return list[get_args(inner)[0]]  # type: ignore[misc]
    return list[str] if origin is dict else inner


def _inner(field: FieldInfo) -> Any:
    """The type of a field without ``| None``."""
    annotation = field.annotation
    if get_origin(annotation) in (Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        # A number or a word is read as text, and checked by the options class.
        annotation = parts[0] if len(parts) == 1 and get_origin(parts[0]) is not Annotated else str
    return annotation


def _origin(field: FieldInfo) -> Any:
    return get_origin(_inner(field))


def _help(field: FieldInfo) -> str:
    flag, text = flag_of(field), field.description or ""
    if flag.commas:
        text = f"{text.removesuffix('.')}; comma-separated."
    elif not flag.argument and _origin(field) in (tuple, dict):
        text = f"{text.removesuffix('.')}; repeat for several."
    default = field.default
    shown = flag.default
    if not (field.is_required() or default in (None, (), {}, Path()) or isinstance(default, bool)):
        shown = ", ".join(default) if isinstance(default, tuple) else str(default).removesuffix(".0")
    return f"{text} [default: {shown}]" if shown else text


def _read(kind: type[Options], name: str, given: Any) -> Any:
    """The value of a field, converted from what Typer read."""
    field, flag = kind.model_fields[name], flag_of(kind.model_fields[name])
    if flag.off:
        return False
    if flag.commas:
        return tuple(part.strip() for part in given.split(",") if part.strip())
    if _origin(field) is dict:
        shown = flag_name(kind, name)
        return files(given, shown) if get_args(_inner(field))[1] is Path else values(given, shown)
    return tuple(given) if isinstance(given, list) else given


def files(texts: list[str], flag: str) -> dict[str, str]:
    """Read TASK=FILE."""
    for text in texts:
        # A file alone may be followed by ?COLUMN=NAME.
        if "=" not in text.partition("?")[0]:
            raise UsageError(f"{flag} {text}: expected TASK=FILE, such as {flag} math500={text}.")
    return pairs(texts, flag)


def pairs(texts: list[str], flag: str) -> dict[str, str]:
    """Read NAME=VALUE; the same name twice is refused."""
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{flag} {text}: expected NAME=VALUE.")
        if name.strip() in pairs:
            raise UsageError(f"{flag}: {name.strip()} is given twice.")
        pairs[name.strip()] = value
    return pairs


def values(texts: list[str], flag: str) -> dict[str, Any]:
    """Read NAME=VALUE with the value as YAML reads it: true, 8, 0.9, [a, b], text."""
    import yaml

    values = {}
    for name, text in pairs(texts, flag).items():
        try:
            values[name.replace("-", "_")] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UsageError(f"{flag} {name}={text}: the value cannot be read.") from error
    return values
