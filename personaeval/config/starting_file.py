"""A commented ``--config`` file to start from, made from the options: every key with its description and default."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from personaeval.config.flags import flag_of, group_of
from personaeval.config.run_config import RunConfig

_HEAD = """\
# Settings of a run:  personaeval run --config {file}
# A flag takes precedence over this file. A key behind "#" shows the default; remove the "#" to change it.
"""

_WIDTH = 110

_STARTING: dict[str, tuple[Any, str]] = {
    "personas": (("core",), ""),
    "limit": (40, "Remove this line to ask all items."),
}
"""Keys that are set in the file besides model and tasks: value and a remark."""


def starting_config(model: Sequence[str], tasks: Sequence[str], file: str = "run.yaml") -> str:
    """The text of a ``--config`` file for a first run.

    Args:
        model: checkpoints; without one, the key stays behind "#" and ``--model`` names them.
        tasks: task names.
        file: the file's name, for its first line.
    """
    given = {"tasks": (tuple(tasks), "")} | _STARTING | ({"model": (tuple(model), "")} if model else {})
    lines = [_HEAD.format(file=file).rstrip()]
    groups: dict[str, list[str]] = {}
    for name in RunConfig.model_fields:
        groups.setdefault(group_of(RunConfig, name), []).append(name)
    for heading, names in groups.items():
        lines += [f"\n# ---- {heading} ----\n"]
        for name in names:
            lines += _entry(name, RunConfig.model_fields[name], given)
    return "\n".join(lines) + "\n"


def _entry(name: str, field: FieldInfo, given: Mapping[str, tuple[Any, str]]) -> Iterator[str]:
    value, remark = given.get(name, (field.default, ""))
    text = f"{field.description} {remark}".strip()
    if note := flag_of(field).default:
        text += f" Without it: {note}."
    yield from (f"# {line}" for line in textwrap.wrap(text, _WIDTH))
    if field.is_required() and name not in given:
        value = ("./checkpoint-500",)
    # Without a space, so that no line of a description is taken for a key.
    yield f"{'' if name in given else '#'}{name}: {yaml_value(value)}"


def yaml_value(value: Any) -> str:
    """A value as YAML on one line; texts are always quoted, so that a date or a version stays a text."""
    if isinstance(value, tuple | list):
        return f"[{', '.join(yaml_value(one) for one in value)}]"
    if isinstance(value, Path):
        return json.dumps(str(value), ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)
