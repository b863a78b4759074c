"""Replies that are one JSON object: the schema a model is asked to fit and the strict reader, from one definition.

    class Mood(StructuredReply):
        reason: Annotated[str, AskedLength(200)]
        mood: Literal[1, 2, 3]

    sampling = Sampling(schema=Mood.schema_text())
    mood = Mood.read('{"reason": "It rained.", "mood": 1}').mood

The schema's text enters the keys of stored replies. So it is built here, in a fixed order of keys, rather than by
pydantic, whose wording may change between versions.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from personaeval.types import repair_surrogates

_FENCED = re.compile(r"```(?:json)?\s*\n(.*)\n\s*```", re.DOTALL)

_SHOWN = 60


class UnreadableError(ValueError):
    """A reply that does not hold what was asked for; the message says why."""


@dataclass(frozen=True, slots=True)
class AskedLength:
    """Annotation of a text: the most characters the schema asks for. The reader accepts longer ones."""

    characters: int


class StructuredReply(BaseModel):
    """A reply of one JSON object, whose keys are the fields in their order.

    The schema requires every field; the reader requires those without a default and ignores unknown keys. Fields with
    ``exclude=True`` are not part of the reply. A validator refuses a value by raising :class:`UnreadableError`.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")

    @field_validator("*", mode="before")
    @classmethod
    def _exact_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse 1.0 and true for ``Literal[1]``, which pydantic accepts."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        if get_origin(annotation) is Literal and (type(value) is not int or value not in get_args(annotation)):
            known = ", ".join(map(str, get_args(annotation)))
            raise UnreadableError(f"the {info.field_name} is {shown(json.dumps(value))[1:-1]}, not one of {known}")
        return value

    @classmethod
    def schema_text(cls, lengths: Mapping[str, int] | None = None) -> str:
        """The JSON schema as text.

        Args:
            lengths: field -> most characters, instead of its :class:`AskedLength`.
        """
        properties = {key: _field_schema(field, (lengths or {}).get(name)) for name, key, field in cls._asked()}
        return json.dumps(
            {
                "type": "object",
                "properties": properties,
                "required": list(properties),
                "additionalProperties": False,
            }
        )

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a reply, bare or in one code fence.

        Raises:
            UnreadableError: it is not one JSON object, lacks a field, or a field holds something else than asked for.
        """
        content = read_object(text)
        for _, key, field in cls._asked():
            if field.is_required() and key not in content:
                raise UnreadableError(f"the reply has no {field.title or key}: {shown(text)}")
        try:
            return cls.model_validate({key: content[key] for _, key, _ in cls._asked() if key in content})
        except ValidationError as error:
            problem = error.errors()[0]
            reason = problem.get("ctx", {}).get("error")
            if isinstance(reason, UnreadableError):
                raise reason from None
            raise UnreadableError(f"{problem['loc'][0]}: {problem['msg']}") from None

    @classmethod
    def _asked(cls) -> Iterator[tuple[str, str, FieldInfo]]:
        """Name, JSON key and definition of each field that is part of the reply."""
        for name, field in cls.model_fields.items():
            if not field.exclude:
                yield name, field.alias or name, field


def _field_schema(field: FieldInfo, length: int | None) -> dict[str, Any]:
    asked = next((mark for mark in field.metadata if isinstance(mark, AskedLength)), None)
    return _schema(field.annotation, length or (asked.characters if asked else None))


def _schema(annotation: Any, length: int | None) -> dict[str, Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is str:
        return {"type": "string"} | ({"maxLength": length} if length else {})
    if annotation is bool:
        return {"type": "boolean"}
    if origin is Literal and all(type(value) is int for value in arguments):
        return {"type": "integer", "enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": _schema(arguments[0], None)}
    if origin is Annotated:
        asked = next((mark for mark in annotation.__metadata__ if isinstance(mark, AskedLength)), None)
        return _schema(annotation.__origin__, asked.characters if asked else None)
    if origin in (Union, types.UnionType) and len(arguments) == 2 and type(None) in arguments:
        # None stands for a key that was not given, which no schema asks for.
        return _schema(next(one for one in arguments if one is not type(None)), length)
    raise TypeError(f"no schema for a field of type {annotation!r}")


def read_object(text: str) -> dict[str, Any]:
    """The one JSON object that a reply is, bare or in one code fence; nothing is extracted from prose.

    Half a surrogate pair, which JSON can escape but no file can hold, becomes U+FFFD.

    Raises:
        UnreadableError: it is anything else, or gives a key twice.
    """
    text = text.strip()
    if not text:
        raise UnreadableError("the reply is empty")
    fenced = _FENCED.fullmatch(text)
    try:
        content = json.loads(fenced[1] if fenced else text, object_pairs_hook=_distinct)
    except UnreadableError:
        raise
    except (ValueError, RecursionError):
        raise UnreadableError(f"the reply is not one JSON object: {shown(text)}") from None
    if not isinstance(content, dict):
        raise UnreadableError(f"the reply is not a JSON object: {shown(text)}")
    repaired: dict[str, Any] = _repaired(content)
    return repaired


def _repaired(value: Any) -> Any:
    """A JSON value without halves of surrogate pairs."""
    if isinstance(value, str):
        return repair_surrogates(value)
    if isinstance(value, list):
        return [_repaired(one) for one in value]
    if isinstance(value, dict):
        return {_repaired(key): _repaired(one) for key, one in value.items()}
    return value


def shown(text: str) -> str:
    """As much of a text as a message has room for, quoted."""
    line = " ".join(text.split())
    return repr(line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise UnreadableError("the reply gives a key twice")
    return content
