"""The settings of a run's task as short texts, and those in which several runs differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from personaeval.documents import hash_json
from personaeval.results.records import RunRecord, TaskRecord

Settings = Mapping[str, str]
"""Name of a setting -> its value as text."""

OF_THE_CHECKPOINT = ("engine", "dtype", "role")
"""Settings that belong to how one checkpoint was served: runs that differ in them alone are ranked together."""

_LONGEST = 40

_FOLLOWING = {
    "items": ("prompts", "gold answers"),
    "task revision": ("prompts", "gold answers"),
    "personas": ("persona texts",),
    "judges": ("panel",),
}
"""Settings that differ wherever another one does, and say no more."""


def settings_of(record: RunRecord, task: str) -> dict[str, str]:
    """What was asked of the model, how, and how the answers are scored; one text per setting."""
    own = record.tasks[task]
    personas = own.personas or record.personas
    found: dict[str, Any] = {
        "items": own.items,
        "personas": personas.count if own.is_judged else personas.count - 1,
        "samples": own.samples,
        "template": _template(record, own),
        **{name.replace("_", " "): value for name, value in own.sampling.items()},
        **{name.replace("_", " "): value for name, value in _flat(own.asked)},
        "seed": record.config.get("seed"),
        "date": record.config.get("date"),
        "task revision": own.revision,
        "scorer": {name: value for name, value in own.scorer.items() if name != "version"},
        "reader": own.scorer.get("version"),
        "pass threshold": own.correct_at,
        "persona texts": personas.hash[:8],
        "prompts": own.prompts_hash[:8],
        "gold answers": own.gold_hash[:8],
        **_judging(record, own),
        "engine": record.model.engine,
        "dtype": record.model.dtype,
        "role": record.placement.role,
    }
    return {name: _text(value) for name, value in found.items()}


def _template(record: RunRecord, own: TaskRecord) -> str:
    """The template's name, if the run was given one; else its text."""
    given = record.config.get("template")
    return str(given) if given else own.template


def _judging(record: RunRecord, own: TaskRecord) -> dict[str, Any]:
    if not own.is_judged or record.panel is None:
        return {}
    panel = record.panel
    judges = ", ".join(f"{judge.short_name} ({judge.fingerprint[:8]})" for judge in panel.judges)
    return {"judges": judges, "judge repeats": panel.repeats, "panel": panel.hash[:8]}


def _flat(content: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Names and values; those of the endpoint's and the template's arguments one by one."""
    found: list[tuple[str, Any]] = []
    for name, value in content.items():
        if isinstance(value, Mapping) and name in ("request_fields", "chat_template_kwargs"):
            found += value.items()
        else:
            found.append((name, value))
    return found


def _text(value: Any) -> str:
    if value is None or value in ("", (), [], {}):
        return "none"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 12].rstrip()}… ({hash_json(text)[:8]})"


def differing(several: Sequence[Settings]) -> list[str]:
    """Names of the settings in which some differ; without those that follow from another."""
    names = dict.fromkeys(name for settings in several for name in settings)
    found = [name for name in names if len({settings.get(name) for settings in several}) > 1]
    implied = {name for cause in found for name in following(cause)}
    return [name for name in found if name not in implied]


def following(name: str) -> tuple[str, ...]:
    """Settings that differ wherever this one does, and say no more."""
    return _FOLLOWING.get(name, ())


def in_words(settings: Settings, names: Sequence[str]) -> str:
    """Settings as ``template adopt, seed 1``."""
    return ", ".join(f"{name} {settings.get(name, 'not recorded')}" for name in names)
