"""Arguments that belong to a flag and were given without it, such as ``run ./checkpoint``."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

from personaeval import config
from personaeval.config import Options, flag_name, flag_of
from personaeval.errors import UsageError

_STRAY = re.compile(r"unexpected extra argument(?:s|\(s\))? \((.*)\)")


def explain_stray(function: Callable[..., Any], given: Sequence[str], message: str) -> None:
    """Raise a better error for an argument that the parser did not expect, if a flag for it is known.

    Args:
        function: the command's, whose first parameter is an options class.
        given: the arguments of the command.
        message: the parser's.

    Raises:
        UsageError: names the flag.
    """
    found = _STRAY.search(message)
    if found is None:
        return
    kind: type[Options] = getattr(config, str(next(iter(inspect.signature(function).parameters.values())).annotation))
    stray = next((text for text in given if text and found[1].startswith(text)), found[1])
    flag = _flag_before(kind, given, stray)
    fields = kind.model_fields
    named = [name for name in ("model", "judge") if name in fields and not flag_of(fields[name]).argument]
    if named and (flag is None or not _is_given(kind, named[0], given)):
        wanted = flag_name(kind, named[0])
        raise UsageError(f"unexpected argument {stray!r}: a {named[0]} goes with {wanted} {stray}")
    if flag is None:
        return
    wanted = flag_name(kind, flag)
    before = given[given.index(stray) - 1]
    if flag_of(fields[flag]).commas:
        raise UsageError(
            f"unexpected argument {stray!r}: {wanted} takes several with commas: {wanted} {before},{stray}"
        )
    pattern = (
        "; a pattern must be quoted, or the shell expands it: --model 'DIR/checkpoint-*'" if flag == "model" else ""
    )
    raise UsageError(
        f"unexpected argument {stray!r}: {wanted} is repeated for several: {wanted} {before} {wanted} {stray}{pattern}"
    )


def _spellings(kind: type[Options], name: str) -> set[str]:
    return {flag_name(kind, name), flag_of(kind.model_fields[name]).short} - {""}


def _is_given(kind: type[Options], name: str, given: Sequence[str]) -> bool:
    return any(text.partition("=")[0] in _spellings(kind, name) for text in given)


def _flag_before(kind: type[Options], given: Sequence[str], stray: str) -> str | None:
    """The field of the flag before a stray argument that takes several values; None if that is another one."""
    before = list(given[: given.index(stray)]) if stray in given else []
    while before and not before[-1].startswith("-"):
        before.pop()
    if not before or before[-1] == given[given.index(stray) - 1]:
        return None
    for name, field in kind.model_fields.items():
        several = flag_of(field).commas or getattr(field.annotation, "__origin__", None) is tuple
        if several and before[-1] in _spellings(kind, name):
            return name
    return None
