"""Replies that are one JSON object: the schema a model is asked to fit and the exact reader, from one definition.

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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from personaeval.generation.json_objects import BrokenError, FoundObject, find_objects
from personaeval.types import repair_surrogates

_SHOWN = 60

_MARK = r"(?:<[|｜][^<>\n]{1,40}[|｜]>|</?s>|<(?:bos|eos|pad|end_of_turn|start_of_turn)>|\[/?INST\]|\[e?EOS\])"
"""Tokens of chat templates, which some servers leave at the ends of a reply."""

_EDGES = re.compile(rf"\A(?:[\s\ufeff]|{_MARK})+|(?:[\s\ufeff]|{_MARK})+\Z")

_FENCE_BEFORE = re.compile(r"(?:```|~~~)[^\n`~]*\s*\Z")

_FENCE_AFTER = re.compile(r"\s*(?:```|~~~|\Z)")

_REST = re.compile(rf"(?:[\s\]]|{_MARK}|```|~~~)*")
"""What may follow the object at the end of a reply: the ends of a list, of a fence, and of the turn."""

_END = re.compile(r"; it ends “[^”]*”")


class UnreadableError(ValueError):
    """A reply that does not hold what was asked for; the message says why.

    ``fault`` is a word for the kind: replies with the same fault need the same remedy.
    """

    def __init__(self, message: str, fault: str = "form") -> None:
        super().__init__(message)
        self.fault = fault


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
        """Read the one JSON object of a reply; see :func:`read_object`.

        Raises:
            UnreadableError: it holds none or several that differ, the object lacks a field, or a field holds something
                else than asked for. Says what is wrong and where, with the reply's end.
        """
        content = cls.object_in(text).content
        try:
            return cls.model_validate({key: content[key] for _, key, _ in cls._asked() if key in content})
        except ValidationError as error:
            problem = error.errors()[0]
            reason = problem.get("ctx", {}).get("error")
            said = str(reason) if isinstance(reason, UnreadableError) else f"{problem['loc'][0]}: {problem['msg']}"
            raise UnreadableError(f"{said}{ending(text)}", "value") from None

    @classmethod
    def object_in(cls, text: str) -> FoundObject:
        """The object of a reply and its place; see :meth:`read`."""
        asked = {key: field.title or key for _, key, field in cls._asked()}
        required = [key for _, key, field in cls._asked() if field.is_required()]
        return read_object(text, asked, required)

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


def read_object(text: str, asked: Mapping[str, str], required: Sequence[str]) -> FoundObject:
    """The one JSON object with the asked keys, wherever it stands in a reply.

    Around it may stand a code fence, sentences, a byte-order mark and a chat template's tokens. An object in the middle
    of prose must have every asked key, since a reply may quote another. Several that are equal are one.

    Half a surrogate pair, which JSON can escape but no file can hold, becomes U+FFFD.

    Args:
        text: the reply.
        asked: key -> its name for messages.
        required: the keys without which nothing can be read.

    Raises:
        UnreadableError: it is anything else, or gives a key twice.
    """
    bare = bare_reply(text)
    if not bare:
        raise UnreadableError("the reply is empty", "empty")
    quoted = _unquoted(bare)
    if quoted is not None:
        return read_object(quoted, asked, required)
    try:
        objects = list(find_objects(bare))
    except BrokenError as error:
        where = f"character {error.place + 1}" if error.place < len(bare) else "its end"
        raise UnreadableError(f"the JSON object cannot be read: at {where} {error}{ending(bare)}", "broken") from None
    if not objects:
        raise UnreadableError(f"the reply holds no JSON object{ending(bare)}", "no object")
    _refuse_remains(bare, objects, required)
    found = [one for one in objects if all(key in one.content for key in required)]
    if not found:
        absent = next(key for key in required if all(key not in one.content for one in objects))
        keys = ", ".join(map(repr, list(objects[-1].content)[:8])) or "none"
        raise UnreadableError(
            f"the reply has no {asked[absent]}: the keys of its JSON object are {keys}{ending(bare)}", "key"
        )
    own = [one for one in found if _stands_alone(bare, one) or all(key in one.content for key in asked)]
    if not own:
        raise UnreadableError(
            f"a JSON object in the middle of prose lacks some of the keys {', '.join(asked)}, so it may be a "
            f"quotation{ending(bare)}",
            "key",
        )
    contents = [{key: one.content[key] for key in asked if key in one.content} for one in own]
    if any(content != contents[0] for content in contents):
        raise UnreadableError(f"the reply holds {len(own)} JSON objects that differ{ending(bare)}", "several")
    last = own[-1]
    return FoundObject(_repaired(last.content), last.start, last.end)


def bare_reply(text: str) -> str:
    """A reply without blanks, byte-order marks and a chat template's tokens at its ends."""
    return _EDGES.sub("", text)


def ends_with(text: str, found: FoundObject) -> bool:
    """Whether a reply ends with the object that :func:`read_object` found in it."""
    bare = bare_reply(text)
    while (quoted := _unquoted(bare)) is not None:
        bare = bare_reply(quoted)
    return _REST.fullmatch(bare, found.end) is not None


def _unquoted(text: str) -> str | None:
    """The content of a text that is one quoted JSON text with an object in it."""
    if not (text.startswith('"') and text.endswith('"')):
        return None
    try:
        content = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, str) and content.lstrip().startswith("{") else None


def _stands_alone(text: str, found: FoundObject) -> bool:
    """Whether an object is a whole reply, or the content of a fence."""
    before, after = text[: found.start], text[found.end :]
    if before.strip(" \n[") == "" and after.strip(" \n]") == "":
        return True
    return bool(_FENCE_BEFORE.search(before) and _FENCE_AFTER.match(after))


def _refuse_remains(text: str, objects: Sequence[FoundObject], required: Sequence[str]) -> None:
    """Refuse objects that are a part of something else: braces left open, or an asked key outside."""
    depth = place = 0
    for one in (*objects, None):
        between = text[place : one.start if one else None]
        for brace in re.findall(r"[{}]", between):
            depth += 1 if brace == "{" else -1
            if depth < 0:
                raise UnreadableError(f"a JSON object ends, and more of it follows{ending(text)}", "broken")
        if depth > 0:
            raise UnreadableError(f"a JSON object stands in another that cannot be read{ending(text)}", "broken")
        for key in required:
            if re.search(rf"[\"'“]{re.escape(key)}[\"'”]\s*[:：]", between):
                raise UnreadableError(f"{key!r} stands outside of the JSON object too{ending(text)}", "several")
        place = one.end if one else place


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


def ending(text: str) -> str:
    """How a reply ends, to append to a reason."""
    line = " ".join(text.split()).replace("”", '"')
    line = line if len(line) <= _SHOWN else f"…{line[-_SHOWN:]}"
    return f"; it ends “{line}”"


def kind_of(reason: str) -> str:
    """A reason without the ends of replies, so that equal faults are counted together."""
    return _END.sub("", reason)
