"""Personas from data files, folders and hub datasets, such as PersonaHub and Nemotron-Personas.

``FILE[:TEXT[,ID]]``, ``FOLDER[:TEXT[,ID]][@SPLIT]`` or ``hf:DATASET[:TEXT[,ID]][@SPLIT]``. Without a named column, the
known ones are read (:mod:`personaeval.library.persona_columns`). A text completes "You are …"; a whole prompt is sent
as it is.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from personaeval.documents import explain_validation
from personaeval.errors import UsageError, suggest
from personaeval.library.duplicates import near_duplicates
from personaeval.library.items import Row
from personaeval.library.persona_columns import (
    ID,
    MESSAGES,
    NAME,
    OWN,
    PROMPT,
    TEXT,
    Columns,
    filled_column,
    find_column,
    is_filled,
    plain_name,
    spellings,
)
from personaeval.library.persona_files import Source, columns_in_words, read_hub, read_source
from personaeval.library.persona_ids import Identifiers
from personaeval.library.personas import Category, Persona
from personaeval.library.selectors import Selector, parse
from personaeval.library.wording import Fit, blanks, refuse_misfits

_ARTICLE = re.compile(r"(A|An|The) (?=\S)")

_ASKED_BESIDE = {plain_name(name) for name in ("persona", "input persona")}

_SENTENCES = re.compile(r"[.!?।]\s+\S|[。！？][^。！？\s”」』]")


@dataclass(frozen=True, slots=True)
class Reading:
    """How personas are read from files.

    Attributes:
        fit: what the run's template takes; None: not to be checked, as where personas are only shown.
        drop_near_duplicates: leave out texts that share most of their words with an earlier one.
    """

    fit: Fit | None = None
    drop_near_duplicates: bool = False


def is_import(selector: str) -> bool:
    """Whether a selector of ``--personas`` names a data file, a folder or a hub dataset."""
    return parse(selector) is not None


def read_personas(selector: str, reading: Reading | None = None) -> tuple[tuple[Persona, ...], dict[str, Any]]:
    """Personas of a data file, folder or hub dataset, and a record of what was read and left out.

    Exact repeats are left out and counted, except declared paraphrases; so are empty rows.

    Raises:
        UsageError: it cannot be read, has no column of texts, a row is broken, or its texts don't fit the template;
            names the rows.
    """
    reading = reading or Reading()
    asked = parse(selector)
    if asked is None:
        raise UsageError(f"--personas {selector}: neither a data file, nor a folder, nor a hub dataset (hf:NAME).")
    wanted = [name for name in (asked.text, asked.id) if name is not None]
    if asked.is_hub:
        source = read_hub(asked.name, asked.split, asked.text, wanted)
    else:
        source = read_source(Path(asked.name), asked.split, wanted)
    if not source.rows:
        raise UsageError(f"{source.named}: it holds no rows, so no personas.")
    columns = _choose_columns(source, asked)
    texts = _texts(source, columns)
    _refuse_misfits(source, columns, texts, reading.fit)
    personas, foreign = _make_personas(source, columns, texts, reading.fit)
    kept = _without_repeats(personas)
    repeats = len(personas) - len(kept)
    near = 0
    if reading.drop_near_duplicates:
        kept, near = _without_near_duplicates(kept)
    counts = {
        "rows": len(source.rows),
        "empty": len(source.rows) - len(texts),
        **({"repeats": repeats} if repeats else {}),
        "near_duplicates": near,
        "personas": len(kept),
    }
    origin = {"selector": selector, **source.origin, "column": columns.main, **counts}
    if columns.id or columns.name:
        origin["id_column"] = columns.id or columns.name
    if whole := sum(text.is_prompt for text in texts):
        origin["prompts"] = whole
    if foreign:
        origin["foreign_categories"] = foreign
    origin |= _told_of(texts, reading.fit)
    return tuple(kept), origin


def describe_import(origin: Mapping[str, Any]) -> str:
    """One line for the user: what was read and left out."""
    read = [f"column {origin['column']}"]
    if "id_column" in origin:
        read.append(f"ids by {origin['id_column']}")
    if prompts := origin.get("prompts"):
        read.append(f"{prompts:,} whole prompts, sent as they are")
    counts = {"repeats": "repeats", "near_duplicates": "near-duplicates", "empty": "empty rows"}
    left_out = [f"{origin[key]:,} {words}" for key, words in counts.items() if origin.get(key)]
    line = f"{origin['selector']}: {origin['rows']:,} rows, {', '.join(read)}; {origin['personas']:,} personas"
    line += f", left out {' and '.join(left_out)}." if left_out else "."
    if foreign := origin.get("foreign_categories"):
        line += f" Its categories are not the library's ({', '.join(foreign[:5])}); they are kept as tags."
    if sentences := origin.get("sentences"):
        line += f" {sentences:,} texts are several sentences or fields: --template described introduces them as such."
    if held := origin.get("blanks"):
        line += f" {held[0]:,} texts hold what looks like a blank to fill in ({', '.join(held[1:])})."
    return line


def _told_of(texts: Sequence[_Text], fit: Fit | None) -> dict[str, Any]:
    """What is taken as it is, and said: blanks to fill in, and sentences where a template wants a completion."""
    found: dict[str, Any] = {}
    with_blanks = [text for text in texts if blanks(text.raw)]
    if with_blanks:
        found["blanks"] = [len(with_blanks), *blanks(with_blanks[0].raw)[:3]]
    sentences = sum(bool(_SENTENCES.search(text.raw.strip())) for text in texts if not text.is_prompt)
    if fit is Fit.COMPLETION and sentences > len(texts) / 2:
        found["sentences"] = sentences
    return found


@dataclass(frozen=True, slots=True)
class _Text:
    """The text of one row as it stands in the file; ``place`` is the row's number."""

    place: int
    row: Row
    raw: str
    is_prompt: bool


def _choose_columns(source: Source, asked: Selector) -> Columns:
    rows = source.rows
    present = spellings(rows)
    for name in (asked.text, asked.id):
        if name is not None and plain_name(name) not in present:
            raise UsageError(f"{source.named}: it has no column {name!r}.{suggest(name, present.values())}")
    name = filled_column(NAME, rows, present)
    own_id = present[plain_name(asked.id)] if asked.id else find_column(ID, present)
    if asked.text is not None:
        chosen = present[plain_name(asked.text)]
        known = plain_name(chosen)
        if known in map(plain_name, PROMPT):
            return Columns(prompt=chosen, name=name, id=own_id)
        if known in map(plain_name, MESSAGES):
            return Columns(messages=chosen, name=name, id=own_id)
        return Columns(text=chosen, name=name if name != chosen else None, id=own_id)
    found = Columns(
        text=filled_column(TEXT, rows, present),
        prompt=filled_column(PROMPT, rows, present),
        messages=find_column(MESSAGES, present),
        name=name,
        id=own_id,
    )
    if not found.main:
        raise UsageError(
            f"{source.named}: none of its columns is known to hold personas: {columns_in_words(rows)}. Known are "
            f"{', '.join(TEXT[:5])}, …, and {', '.join(PROMPT[:2])}, … for whole prompts; name another one: "
            f"{'hf:DATASET' if asked.is_hub else asked.name}:COLUMN"
        )
    return found


def _texts(source: Source, columns: Columns) -> list[_Text]:
    """The text of every row that is not empty."""
    found = []
    for place, row in enumerate(source.rows, start=1):
        where = f"{source.named}, row {place}"
        if columns.prompt and plain_name(columns.text) in _ASKED_BESIDE and is_filled(row.get(columns.prompt)):
            _refuse_both(row, columns, where, source.named)
        for column, is_prompt in ((columns.prompt, True), (columns.messages, True), (columns.text, False)):
            if column is not None and is_filled(row.get(column)):
                raw = (
                    _system_turn(row[column], where) if column == columns.messages else _raw(row[column], column, where)
                )
                found.append(_Text(place, row, raw, is_prompt))
                break
        else:
            if not source.is_lenient and any(is_filled(value) for value in row.values()):
                raise UsageError(
                    f"{where}: the column {columns.main!r} is empty; a persona needs a text. Fill it, or take the row "
                    "out."
                )
    if not found:
        raise UsageError(
            f"{source.named}: the column {columns.main!r} is empty in every row, so there are no personas."
        )
    return found


def _refuse_both(row: Row, columns: Columns, where: str, named: str) -> None:
    """Refuse a row with a persona and a prompt: in datasets, that is what somebody in the persona's place asks."""
    if is_filled(row.get(columns.text or "")):
        raise UsageError(
            f"{where}: both {columns.text!r} and {columns.prompt!r} are filled, and which of them makes the persona is "
            f"not told. Name it: {named}:{columns.text} for a description, {named}:{columns.prompt} for a whole prompt."
        )


def _raw(value: Any, column: str, where: str) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(part, str) for part in value):
        parts = [part.strip() for part in value if part.strip()]
        is_sentences = all(part[-1] in ".!?。！？।" for part in parts)
        value = (" " if is_sentences else ", ").join(parts)
    if not isinstance(value, str):
        raise UsageError(
            f"{where}: the column {column!r} holds {type(value).__name__} {str(value)[:40]!r}; wanted is a text or a "
            "list of texts."
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{where}: it holds half a surrogate pair, which is not valid text.") from error
    return value.strip()


def _system_turn(value: Any, where: str) -> str:
    turns = value if isinstance(value, list) else []
    for turn in turns:
        if isinstance(turn, Mapping) and turn.get("role", turn.get("from")) in ("system", "developer"):
            content = turn.get("content", turn.get("value"))
            if is_filled(content):
                return _raw(content, "system turn", where)
    raise UsageError(
        f"{where}: its conversation has no system turn, which would be the persona's prompt; put the prompt into a "
        "column `prompt`."
    )


def _refuse_misfits(source: Source, columns: Columns, texts: Sequence[_Text], fit: Fit | None) -> None:
    described = [text for text in texts if not text.is_prompt]
    whole = [(_place(text, columns), text.raw) for text in texts if text.is_prompt]
    refuse_misfits(source.named, whole, Fit.VERBATIM)
    refuse_misfits(source.named, ((_place(text, columns), text.raw) for text in described), fit or Fit.VERBATIM)


def _place(text: _Text, columns: Columns) -> str:
    own = next((text.row.get(name) for name in (columns.id, columns.name) if name and text.row.get(name)), None)
    return f"row {text.place}" + (f" ({own})" if own is not None else "")


def _make_personas(
    source: Source, columns: Columns, texts: Sequence[_Text], fit: Fit | None
) -> tuple[list[Persona], list[str]]:
    """The persona of every text, and the categories that are not the library's."""
    is_own = columns.prompt is not None or plain_name(columns.text) == "text"
    own = {name: spelling for name in OWN if is_own and (spelling := find_column([name], spellings(source.rows)))}
    foreign = _foreign_categories(texts, own.get("category"))
    ids = Identifiers(source.named, columns)
    made = []
    for text in texts:
        described = clean(text.raw)
        values: dict[str, Any] = {"category": Category.IMPORTED.value, "tags": ("imported",)}
        if text.is_prompt or fit is Fit.VERBATIM:
            beside = text.row.get(columns.text) if text.is_prompt and columns.text else None
            values |= {"prompt": text.raw, "text": clean(beside) if isinstance(beside, str) and beside else text.raw}
        else:
            values["text"] = described
        values |= _own_values(text.row, own, foreign)
        values["id"], name = ids.choose(text.place, text.row, text.raw, described)
        try:
            made.append(Persona.model_validate(values | {"name": name}))
        except ValidationError as error:
            raise UsageError(f"{source.named}, row {text.place}: {explain_validation(error, Persona)}") from error
    return made, foreign


def _own_values(row: Row, own: Mapping[str, str], foreign: Sequence[str]) -> dict[str, Any]:
    values = {name: row[spelling] for name, spelling in own.items() if is_filled(row.get(spelling))}
    tags = values.get("tags")
    if isinstance(tags, str):
        values["tags"] = tuple(tag.strip() for tag in tags.split(";"))
    if isinstance(values.get("domain"), list):
        values["domain"] = ", ".join(map(str, values["domain"]))
    category = values.get("category")
    if isinstance(category, str):
        values["category"] = category.strip().lower()
        if category in foreign:
            values["category"] = Category.IMPORTED.value
            values["tags"] = (*values.get("tags", ("imported",)), category)
    return values


def _foreign_categories(texts: Sequence[_Text], column: str | None) -> list[str]:
    """The categories of a file that uses none of ours; a single unknown one among ours is a mistake, as is a typo."""
    if column is None:
        return []
    used = {value for text in texts if isinstance(value := text.row.get(column), str) and value.strip()}
    ours = {category.value for category in Category}
    if any(value.strip().lower() in ours or difflib.get_close_matches(value, ours, cutoff=0.75) for value in used):
        return []
    return sorted(used)


def clean(text: str) -> str:
    """The text as completion of "You are …": one line, no final full stop, a leading article in lower case."""
    line = " ".join(text.split())
    line = line.removesuffix(".").rstrip() if not line.endswith("..") else line
    return _ARTICLE.sub(lambda match: match[0].lower(), line, count=1) if _ARTICLE.match(line) else line


def _without_repeats(personas: Sequence[Persona]) -> list[Persona]:
    """The personas whose text or prompt has not occurred before; a declared paraphrase is kept."""
    kept, seen = [], Counter[tuple[str, str | None]]()
    for persona in personas:
        text = (persona.text if persona.prompt is None else "", persona.prompt)
        if persona.paraphrase_of is not None or not seen[text]:
            kept.append(persona)
        seen[text] += persona.paraphrase_of is None
    return kept


def _without_near_duplicates(personas: Sequence[Persona]) -> tuple[list[Persona], int]:
    originals = [place for place, persona in enumerate(personas) if persona.paraphrase_of is None]
    repeats = near_duplicates([personas[place].prompt or personas[place].text for place in originals])
    left_out = {originals[index] for index in repeats}
    return [persona for place, persona in enumerate(personas) if place not in left_out], len(repeats)
