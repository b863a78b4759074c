"""YAML files read into pydantic models, with errors that name file, line, key and remedy; hashes of JSON values."""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from personaeval.errors import UsageError, suggest

M = TypeVar("M", bound=BaseModel)

_SHOWN = 5

_NULL = "tag:yaml.org,2002:null"

_TAGS = {"hub", "file", "reasoning_gym", "questions", "math", "numeric", "choice", "exact", "judged"}


def read_document(path: Path, model: type[M]) -> M:
    """Read one YAML file as ``model``.

    Raises:
        UsageError: the file is missing, is not YAML, or does not fit the model (unknown key, missing field, wrong
            type, a key given twice); the message holds the file, line and key of up to five problems.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such file (looked for {path.absolute()}).") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); it must be a readable text file in UTF-8.") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{mark.line + 1}" if mark else "?"
        problem = getattr(error, "problem", None) or str(error)
        raise UsageError(f"{path}:{line}: not valid YAML: {problem}.") from error
    if not isinstance(data, dict) or root is None:
        raise UsageError(f"{path}: expected a mapping of keys to values, as in the files shipped with the package.")
    _refuse_repeated_keys(path, root)
    try:
        return model.model_validate(data | _texts_as_written(root, model))
    except ValidationError as error:
        problems = error.errors()
        lines = [f"{path}:{_line(root, p['loc'])}: {_explain(p, model)}" for p in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            lines.append(f"… and {len(problems) - _SHOWN} more.")
        raise UsageError("\n".join(lines)) from error


def validate(values: Mapping[str, Any], model: type[M]) -> M:
    """Values that came from no file as ``model``.

    Raises:
        UsageError: they do not fit it; names the key.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(explain_validation(error, model)) from error


def explain_validation(error: ValidationError, model: type[BaseModel], names: Mapping[str, str] | None = None) -> str:
    """A validation error of values that came from no file, as lines for a user.

    Args:
        error: the error.
        model: what was validated.
        names: field -> what the user knows it as, such as a flag; without it, the field's name.
    """
    return "\n".join(_explain(problem, model, names) for problem in error.errors()[:_SHOWN])


def _texts_as_written(root: yaml.Node, model: type[BaseModel]) -> dict[str, Any]:
    """The values of keys that hold texts, where YAML would read a date, a number or a truth value.

    ``date: 2026-01-01`` and ``model_version: 1.10`` mean what they say.
    """
    found: dict[str, Any] = {}
    for key, value in root.value if isinstance(root, yaml.MappingNode) else ():
        field = model.model_fields.get(str(key.value))
        kinds = _texts_of(field.annotation) if field else set()
        if str in kinds and isinstance(value, yaml.ScalarNode) and value.tag != _NULL:
            found[key.value] = value.value
        elif tuple in kinds and isinstance(value, yaml.SequenceNode):
            scalars = [one.value for one in value.value if isinstance(one, yaml.ScalarNode) and one.tag != _NULL]
            if len(scalars) == len(value.value):
                found[key.value] = scalars
    return found


def _texts_of(annotation: Any) -> set[type]:
    """``str`` if a field may hold a text and no other scalar, ``tuple`` if several texts."""
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    members = tuple(member for member in members if member is not type(None))
    return {str for one in members if members == (str,)} | {tuple for one in members if get_args(one) == (str, ...)}


def _explain(problem: Any, model: type[BaseModel], names: Mapping[str, str] | None = None) -> str:
    location = [part for part in problem["loc"] if not _is_tag(part, problem)]
    location[:1] = [(names or {}).get(str(part), part) for part in location[:1]]
    where = ".".join(str(part) for part in location) or "the document"
    if problem["type"] == "extra_forbidden":
        known = _fields_at(model, problem["loc"][:-1])
        return f"unknown key {where!r}.{suggest(str(location[-1]), known)}"
    if problem["type"] == "missing":
        return f"the key {where!r} is missing."
    return f"{where}: {problem['msg'][0].lower()}{problem['msg'][1:]} (got {_short(problem['input'])})."


def _is_tag(part: object, problem: Any) -> bool:
    """Whether a part of a location is the tag of a union member, which occurs in no file."""
    return part in _TAGS and part != problem["loc"][-1]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _line(node: yaml.Node, location: Sequence[int | str]) -> int:
    """The 1-based line of the deepest node of ``location`` that is in the file."""
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    line, node = key.start_mark.line + 1, value
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def _refuse_repeated_keys(path: Path, node: yaml.Node) -> None:
    """Refuse duplicate keys: YAML silently keeps the last one, and a persona or a field would vanish."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise UsageError(
                    f"{path}:{line}: the key {key.value!r} is given twice (first in line {seen[key.value]})."
                )
            seen[str(key.value)] = line
            _refuse_repeated_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_repeated_keys(path, value)


def _fields_at(annotation: Any, location: Sequence[int | str]) -> list[str]:
    """The field names known at ``location`` below a pydantic model."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not location:
            return list(annotation.model_fields)
        field = annotation.model_fields.get(str(location[0]))
        return _fields_at(field.annotation, location[1:]) if field else []
    if get_origin(annotation) in (Union, types.UnionType):
        members = get_args(annotation)
        tagged = [m for m in members if location and _tag(m) == location[0]]
        found = [_fields_at(m, location[1:]) for m in tagged] or [_fields_at(m, location) for m in members]
        return [name for names in found for name in names]
    arguments = get_args(annotation)
    if arguments and location and isinstance(location[0], int):
        return _fields_at(arguments[0], location[1:])
    return _fields_at(arguments[0], location) if arguments else []


def _tag(member: Any) -> str | None:
    if isinstance(member, type) and issubclass(member, BaseModel) and "kind" in member.model_fields:
        return str(get_args(member.model_fields["kind"].annotation)[0])
    return None


def canonical_json(content: Any, ascii_only: bool = False) -> bytes:
    """The JSON text that hashes are made of: keys sorted, other objects as their ``str``.

    These bytes are part of what identifies results on disk, and never change. ``ascii_only`` escapes other characters.
    """
    return json.dumps(content, sort_keys=True, ensure_ascii=ascii_only, default=str).encode()


def hash_json(content: Any) -> str:
    """16 hexadecimal digits that identify a JSON value."""
    return hashlib.blake2b(canonical_json(content), digest_size=8).hexdigest()
