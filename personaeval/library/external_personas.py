"""Personas from data files and hub datasets, such as PersonaHub and Nemotron-Personas.

``FILE.jsonl``, ``FILE.json``, ``FILE.csv``, ``FILE.parquet`` or ``hf:DATASET[:COLUMN]``. The text comes from the named
column, else from ``text``, else from ``persona`` (as in PersonaHub and Nemotron-Personas). With a ``text`` column, the
columns ``category``, ``tags``, ``domain``, ``expect`` and ``paraphrase_of`` are read as in a persona set; otherwise
only the text is read.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from personaeval.documents import explain_validation
from personaeval.errors import UsageError, first_line, suggest
from personaeval.library.data_files import hub_revision, read_file
from personaeval.library.duplicates import near_duplicates
from personaeval.library.items import Row
from personaeval.library.personas import Category, Persona

HUB = "hf:"

_SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")

_TEXT_COLUMNS = ("text", "persona")

_ID_COLUMNS = ("id", "uuid")

_OWN_COLUMNS = ("category", "tags", "domain", "expect", "paraphrase_of")

_ARTICLE = re.compile(r"(A|An|The) (?=\S)")


def is_import(selector: str) -> bool:
    """Whether a selector of ``--personas`` names a data file or a hub dataset."""
    return selector.startswith(HUB) or Path(selector).suffix.lower() in _SUFFIXES


def read_personas(selector: str) -> tuple[tuple[Persona, ...], dict[str, Any]]:
    """Personas of a data file or hub dataset, and a record of what was read and left out.

    Near-duplicates (:mod:`personaeval.library.duplicates`) are left out and counted, except declared paraphrases; so
    are empty rows of a hub dataset, which a user cannot fix.

    Raises:
        UsageError: it cannot be read, has no column of texts, or a row is broken; names the row.
    """
    column: str | None
    if selector.startswith(HUB):
        name, _, column = selector.removeprefix(HUB).partition(":")
        rows, origin, named = _read_hub(name, column or None)
    else:
        rows, origin, named = read_file(Path(selector))
        column = None
    if not rows:
        raise UsageError(f"{named}: it holds no rows.")
    column = _find_column(rows[0], column or None, named)
    full = [(number, row) for number, row in enumerate(rows, start=1) if _words(row.get(column))]
    if len(full) < len(rows) and not selector.startswith(HUB):
        present = {number for number, _ in full}
        first = next(number for number in range(1, len(rows) + 1) if number not in present)
        raise UsageError(f"{named}, row {first}: the column {column!r} is empty; a persona needs a text.")
    personas = [_persona(row, column, f"{named}, row {number}") for number, row in full]
    kept, repeats = _leave_out_repeats(personas)
    _refuse_one_id_twice(kept, named)
    counts = {"rows": len(rows), "empty": len(rows) - len(full), "near_duplicates": repeats, "personas": len(kept)}
    return tuple(kept), {"selector": selector, **origin, "column": column, **counts}


def describe_import(origin: Mapping[str, Any]) -> str:
    """One line for the user: what was read and left out."""
    return (
        f"{origin['selector']}: {origin['rows']:,} rows, column {origin['column']}; {origin['personas']:,} personas, "
        f"left out {origin['near_duplicates']:,} near-duplicates and {origin['empty']:,} empty rows."
    )


def _find_column(row: Row, wanted: str | None, named: str) -> str:
    if wanted is not None:
        if wanted not in row:
            raise UsageError(f"{named}: it has no column {wanted!r}.{suggest(wanted, map(str, row))}")
        return wanted
    found = next((name for name in _TEXT_COLUMNS if name in row), None)
    if found is None:
        raise UsageError(
            f"{named}: it has neither a column 'text' nor 'persona'; its columns: {', '.join(map(str, row))}. "
            "Name one for a hub dataset: hf:DATASET:COLUMN; in a file, rename it."
        )
    return found


def _words(value: object) -> list[str]:
    return value.split() if isinstance(value, str) else []


def _persona(row: Row, column: str, where: str) -> Persona:
    text = clean(row[column])
    values: dict[str, Any] = {"text": text, "category": Category.IMPORTED.value, "tags": ("imported",)}
    if column == _TEXT_COLUMNS[0]:
        values |= {name: row[name] for name in _OWN_COLUMNS if row.get(name) not in (None, "")}
        if isinstance(values["tags"], str):
            values["tags"] = tuple(tag.strip() for tag in values["tags"].split(";"))
    values["id"] = _identifier(row, text)
    try:
        return Persona.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"{where}: {explain_validation(error, Persona)}") from error


def clean(text: str) -> str:
    """The text as completion of "You are …": one line, no final full stop, a leading article in lower case."""
    line = " ".join(text.split())
    line = line.removesuffix(".").rstrip() if not line.endswith("..") else line
    return _ARTICLE.sub(lambda match: match[0].lower(), line, count=1) if _ARTICLE.match(line) else line


def _identifier(row: Row, text: str) -> str:
    """The row's own id reduced to the characters of an id, else one derived from the text."""
    own = next((str(row[name]) for name in _ID_COLUMNS if row.get(name) not in (None, "")), "")
    plain = re.sub(r"[^a-z0-9_-]+", "-", own.lower()).strip("-_")
    return plain or "x" + hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _leave_out_repeats(personas: Sequence[Persona]) -> tuple[list[Persona], int]:
    originals = [place for place, persona in enumerate(personas) if persona.paraphrase_of is None]
    repeats = near_duplicates([personas[place].text for place in originals])
    left_out = {originals[index] for index in repeats}
    return [persona for place, persona in enumerate(personas) if place not in left_out], len(repeats)


def _refuse_one_id_twice(personas: Sequence[Persona], named: str) -> None:
    seen: dict[str, str] = {}
    for persona in personas:
        other = seen.setdefault(persona.id, persona.text)
        if other != persona.text:
            raise UsageError(f"{named}: the id {persona.id!r} is given to both {other!r} and {persona.text!r}.")


def _read_hub(name: str, column: str | None) -> tuple[list[Row], dict[str, Any], str]:
    """Read the known columns of the split ``train``.

    If the dataset has no default configuration, the one named like the column is read, as in PersonaHub.
    """
    import datasets

    named = f"hub dataset {name}"
    wanted = column or _TEXT_COLUMNS[1]
    config = None
    try:
        try:
            dataset = datasets.load_dataset(name, split="train")
        except ValueError as error:
            if "config" not in str(error).lower():
                raise
            config = wanted
            dataset = datasets.load_dataset(name, config, split="train")
    except Exception as error:
        # The library raises a dozen unrelated types for "not there", "no network" and "no such split".
        raise UsageError(
            f"{named}: cannot be loaded ({first_line(error)}). Without network, pass a local copy: "
            "--personas FILE.jsonl"
        ) from error
    origin = {
        "kind": "hub",
        "dataset": name,
        "config": config,
        "revision": hub_revision(dataset, name),
        "data_fingerprint": dataset._fingerprint,
    }
    useful = {column, *_TEXT_COLUMNS, *_ID_COLUMNS, *_OWN_COLUMNS}
    present = [name for name in dataset.column_names if name in useful]
    # Without a known column, one row is enough to list the columns in the error.
    rows: list[Row] = list(dataset.select_columns(present)) if present else list(dataset.select(range(1)))
    if column is not None and column not in dataset.column_names:
        raise UsageError(f"{named}: it has no column {column!r}.{suggest(column, dataset.column_names)}")
    return rows, origin, named
