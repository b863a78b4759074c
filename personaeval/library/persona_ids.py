"""Ids and shown names of personas in files, from their own ids, their names or their texts.

>>> Identifiers("cast.csv", Columns(name="name")).choose(1, {"name": "José"}, "a smith", "a smith")
('jose', 'José')
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

from personaeval.errors import UsageError
from personaeval.library.items import Row
from personaeval.library.persona_columns import Columns, is_filled
from personaeval.library.personas import BASELINE

_DIGEST = 6


class Identifiers:
    """Chooses ids: the row's own, else its name, else a hash of the text; each as an id may be written."""

    def __init__(self, named: str, columns: Columns) -> None:
        self._named = named
        self._columns = columns
        self._taken: dict[str, tuple[str, str]] = {}
        self._given: dict[str, tuple[int, str]] = {}

    def choose(self, place: int, row: Row, raw: str, described: str) -> tuple[str, str | None]:
        """Id and shown name; the name is None where the id says as much.

        Args:
            place: the row's number.
            row: the row.
            raw: its text as it stands there.
            described: the text as the template's sentence takes it.

        Raises:
            UsageError: the row's own id is another row's, or the baseline's.
        """
        columns = self._columns
        own = _cell(row, columns.id)
        name = _cell(row, columns.name)
        if own:
            self._refuse_one_id_twice(own, place, described)
        source = own or name
        shown = name or own
        slug = _slug(source, fold=not own)
        if slug == BASELINE.id:
            if own:
                raise UsageError(
                    f"{self._named}, row {place}: the id {own!r} is reserved for the prompt without a persona; "
                    "rename it."
                )
            slug = f"{slug}-{_digest(described)}"
        identifier = slug or f"x{_digest(described)}"
        taken = self._taken.setdefault(identifier, (source, raw))
        if taken != (source, raw) and slug:
            # Two names that differ in signs an id cannot hold, or two persons of one name.
            identifier = f"{slug}-{_digest(source if own else described)}"
            self._taken.setdefault(identifier, (source, raw))
        says_as_much = shown in ("", identifier) or (own and not name and identifier == _slug(own))
        return identifier, None if says_as_much else shown

    def _refuse_one_id_twice(self, own: str, place: int, text: str) -> None:
        first, other = self._given.setdefault(own, (place, text))
        if other != text:
            raise UsageError(
                f"{self._named}, rows {first} and {place}: the id {own!r} is given to both {other[:60]!r} and "
                f"{text[:60]!r}; ids must differ."
            )


def _cell(row: Row, column: str | None) -> str:
    value = row.get(column) if column else None
    return " ".join(str(value).split()) if isinstance(value, str | int | float) and is_filled(value) else ""


def _slug(own: str, fold: bool = False) -> str:
    """A name reduced to the characters of an id; ``fold``: é becomes e."""
    if fold:
        own = "".join(sign for sign in unicodedata.normalize("NFKD", own) if not unicodedata.combining(sign))
    return re.sub(r"[^a-z0-9_-]+", "-", own.lower()).strip("-_")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).hexdigest()
