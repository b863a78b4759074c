"""Question sets, in which every question belongs to one persona, from a folder in one of two layouts.

Own layout: ``personas.yaml``, a persona set, and ``questions.jsonl`` with ``id``, ``persona``, ``dimension``,
``environment`` and ``question`` in every row. PersonaGym's layout: ``benchmark-v1/`` with one JSON file per persona,
named by the persona's text, holding lists of questions under the names of the five tasks; ``personas.jsonl`` beside it
lists the expected personas.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personaeval.documents import read_document
from personaeval.errors import UsageError, suggest
from personaeval.library.data_files import read_jsonl
from personaeval.library.personas import Category, Persona, PersonaSet

COLUMNS = ("id", "persona", "dimension", "environment", "question")

_BENCHMARK = "benchmark-v1"

_DIMENSIONS = {
    "Expected Action": "expected-action",
    "Action Justification": "action-justification",
    "Linguistic Habits": "linguistic-habits",
    "Persona Consistency": "persona-consistency",
    "Toxicity": "toxicity-control",
}
"""PersonaGym's task names -> our dimensions."""


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Personas and the rows of their questions; ``origin`` records what was read."""

    personas: tuple[Persona, ...]
    rows: tuple[Mapping[str, str], ...]
    origin: Mapping[str, Any]


def load_questions(folder: Path) -> QuestionSet:
    """Read a folder of either layout.

    Raises:
        UsageError: the folder has neither layout, or a file in it is missing or broken; names the file.
    """
    if not folder.is_dir():
        raise UsageError(f"question folder {folder}: no such folder (looked for {folder.absolute()}).")
    if (folder / "questions.jsonl").is_file():
        return _own(folder)
    for place in (folder, folder / _BENCHMARK, folder / "questions" / _BENCHMARK):
        if place.name == _BENCHMARK and place.is_dir():
            return _personagym(place)
    raise UsageError(
        f"question folder {folder}: it holds neither questions.jsonl with personas.yaml, nor PersonaGym's "
        f"{_BENCHMARK}/."
    )


def _own(folder: Path) -> QuestionSet:
    personas = read_document(folder / "personas.yaml", PersonaSet).personas
    known = {persona.id for persona in personas}
    if len(known) < len(personas):
        raise UsageError(f"{folder / 'personas.yaml'}: two personas have the same id.")
    path = folder / "questions.jsonl"
    rows = []
    for where, row in read_jsonl(path):
        if not isinstance(row, dict) or set(row) != set(COLUMNS):
            raise UsageError(f"{where}: expected an object with the keys {', '.join(COLUMNS)}.")
        wrong = next((name for name in COLUMNS if not isinstance(row[name], str)), None)
        wrong = wrong or next((name for name in COLUMNS if not row[name].strip() and name != "environment"), None)
        if wrong is not None:
            raise UsageError(f"{where}: {wrong!r} must be a text that is not empty.")
        if row["persona"] not in known:
            raise UsageError(f"{where}: there is no persona {row['persona']!r}.{suggest(row['persona'], known)}")
        rows.append(row)
    origin = {"kind": "questions", "layout": "own", "sha256": _sha256([folder / "personas.yaml", path])}
    return QuestionSet(personas, tuple(rows), origin)


def _personagym(folder: Path) -> QuestionSet:
    files = {path.stem: path for path in sorted(folder.glob("*.json"))}
    listing = folder.parent / "personas.jsonl"
    if listing.is_file():
        for where, row in read_jsonl(listing):
            text = row.get("persona") if isinstance(row, dict) else row
            if not isinstance(text, str):
                raise UsageError(f"{where}: expected an object with the key 'persona'.")
            if text not in files:
                raise UsageError(f"{folder / f'{text}.json'}: is missing; {where}, names its persona.")
    if not files:
        raise UsageError(f"{folder}: it holds no file of questions (<persona>.json).")
    personas, rows = [], []
    for text, path in files.items():
        persona = _as_persona(text, path)
        personas.append(persona)
        for dimension, questions in _read_tasks(path).items():
            rows += [
                {
                    "id": f"{persona.id}/{dimension}/{number}",
                    "persona": persona.id,
                    "dimension": dimension,
                    "environment": "",
                    "question": question,
                }
                for number, question in enumerate(questions, start=1)
            ]
    origin = {"kind": "questions", "layout": "personagym", "sha256": _sha256(files.values())}
    return QuestionSet(tuple(personas), tuple(rows), origin)


def _as_persona(text: str, path: Path) -> Persona:
    """Persona of a file's name: the text follows "You are"; the id is short and distinct."""
    text = " ".join(text.split()).rstrip(".")
    article, _, rest = text.partition(" ")
    text = f"{article.lower()} {rest}" if article in {"A", "An", "The"} else text
    if not text:
        raise UsageError(f"{path}: its name should be the text of a persona.")
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower().removeprefix("a ").removeprefix("an ")).strip("-")[:40].strip("-")
    digest = hashlib.blake2b(text.encode(), digest_size=3).hexdigest()
    return Persona(id=f"{slug}-{digest}".lstrip("-"), text=text, category=Category.BIOGRAPHY)


def _read_tasks(path: Path) -> dict[str, list[str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read as JSON ({error}).") from error
    if not isinstance(content, dict) or set(content) != set(_DIMENSIONS):
        raise UsageError(f"{path}: expected an object with the keys {', '.join(_DIMENSIONS)}.")
    for name, questions in content.items():
        if not isinstance(questions, list) or not questions:
            raise UsageError(f"{path}: {name!r} must be a list of questions.")
        for number, question in enumerate(questions, start=1):
            if not isinstance(question, str) or not question.strip():
                raise UsageError(f"{path}: question {number} of {name!r} is not a text.")
    return {_DIMENSIONS[name]: content[name] for name in _DIMENSIONS}


def _sha256(paths: Iterable[Path]) -> str:
    state = hashlib.sha256()
    for path in paths:
        state.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return state.hexdigest()
