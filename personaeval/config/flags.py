"""Options declared once: a field of an options class makes the flag, its help, the ``--config`` key, schema and docs.

A field with nothing but a type, a default and a description is a flag of its name: ``limit_personas`` is
``--limit-personas``. :class:`Flag` holds everything else::

    class ShowOptions(Options):
        model: Annotated[tuple[str, ...], Flag("--model", "-m")] = Field(default=(), description="Checkpoints.")
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from personaeval.documents import explain_validation
from personaeval.errors import UsageError


@dataclass(frozen=True)
class Flag:
    """How a field is written on the command line.

    Attributes:
        name: the flag; empty: the field's name.
        short: one letter for it, ``-m``.
        argument: a positional argument, no flag.
        commas: several values in one text, comma-separated; else a tuple's flag is repeated.
        off: a flag that makes a field false whose default is true.
        default: the default in words, if the field's own means nothing to a user.
        value: what stands for the value in the help, such as FILE; by default a word for its type.
        group: heading in the help and the documentation, if it is not its class's.
    """

    name: str = ""
    short: str = ""
    argument: bool = False
    commas: bool = False
    off: bool = False
    default: str = ""
    value: str = ""
    group: str = ""


class Options(BaseModel):
    """Base of every options class: unknown keys are errors, values never change.

    ``example`` is a command, shown in the help and where a required option is missing. ``group`` is the heading of the
    class's own fields in the help.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    example: ClassVar[str] = ""

    group: ClassVar[str] = "Options"


AnyOptions = TypeVar("AnyOptions", bound=Options)


def flag_of(field: FieldInfo) -> Flag:
    """The flag that a field declares, or the plain one."""
    return next((entry for entry in field.metadata if isinstance(entry, Flag)), Flag())


def flag_name(kind: type[Options], name: str) -> str:
    """The spelling of a field on the command line: ``--limit-personas``, or ``FOLDER`` for an argument."""
    flag = flag_of(kind.model_fields[name])
    if flag.argument:
        return name.upper()
    return flag.name or f"--{name.replace('_', '-')}"


def group_of(kind: type[Options], name: str) -> str:
    """The heading of a field in the help: its flag's, else that of the class that declares it first."""
    own = flag_of(kind.model_fields[name]).group
    owners = [one for one in kind.__mro__ if name in inspect.get_annotations(one)]
    return own or str(owners[-1].__dict__.get("group", Options.group))


def part(options: Options, kind: type[AnyOptions]) -> AnyOptions:
    """A command's options for one purpose; fields that the command lacks keep their defaults."""
    given = {name: getattr(options, name) for name in kind.model_fields if name in type(options).model_fields}
    return kind.model_construct(**given)


def make_options(kind: type[AnyOptions], values: Mapping[str, Any], *, flags: bool = False) -> AnyOptions:
    """Options from values that came from no file.

    Args:
        kind: the options class.
        values: by field name.
        flags: errors name the flags of the command line; else the fields.

    Raises:
        UsageError: a value is missing or does not fit; names it.
    """
    for name, field in kind.model_fields.items():
        if field.is_required() and not values.get(name):
            example = f" Example: {kind.example}" if kind.example and flags else ""
            raise UsageError(f"{flag_name(kind, name) if flags else name} is missing.{example}")
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        names = {name: flag_name(kind, name) for name in kind.model_fields} if flags else {}
        raise UsageError(explain_validation(error, kind, names)) from error
