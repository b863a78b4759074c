"""Options as keyword arguments of a Python function: read leniently, and shown by ``help``.

::

    @takes_options(RunConfig)
    def run(model=None, **settings): ...

    given(RunConfig, {"tasks": "math500,gsm8k", "limit": None})  # {"tasks": ("math500", "gsm8k")}
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_origin

from personaeval.config.flags import Options, flag_of

Function = TypeVar("Function", bound=Callable[..., Any])


def given(kind: type[Options], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those that are None; a single value becomes a tuple where several are allowed.

    A text is split at commas where the command line splits it. Names and types are not checked.
    """
    return {name: _value(kind, name, value) for name, value in settings.items() if value is not None}


def takes_options(kind: type[Options]) -> Callable[[Function], Function]:
    """Let a function's signature show an options class's fields, with their defaults, in place of ``**settings``."""

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        own = {
            name: parameter
            for name, parameter in signature.parameters.items()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        }
        fields = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.is_required() else field.default,
                annotation=field.annotation,
            )
            for name, field in kind.model_fields.items()
            if name not in own
        ]
        shown = signature.replace(parameters=[*own.values(), *fields])
        function.__signature__ = shown  # type: ignore[attr-defined]
        return function

    return decorate


def _value(kind: type[Options], name: str, value: Any) -> Any:
    field = kind.model_fields.get(name)
    if field is None or get_origin(field.annotation) is not tuple or not isinstance(value, str | Path | Sequence):
        return value
    if isinstance(value, str) and flag_of(field).commas:
        return tuple(part.strip() for part in value.split(",") if part.strip())
    several = (value,) if isinstance(value, str | Path) else tuple(value)
    wants_paths = Path in getattr(field.annotation, "__args__", ())
    return several if wants_paths else tuple(str(one) if isinstance(one, Path) else one for one in several)
