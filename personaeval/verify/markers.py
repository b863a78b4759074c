"""Markers: the words by which people say that an answer follows, a section per language.

The words are data, in ``data/markers.yaml``; this module reads them. To add a language, add a section there.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import yaml

from personaeval.verify.normalise import unify

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Language:
    """Words of one language.

    Attributes:
        code: ISO 639-1, or 639-3 for languages without one.
        answer: nouns that announce the answer.
        result: nouns that may announce it: "result", "total".
        copula: verbs between such a noun and the answer.
        choose: phrases before the answer: "I pick".
        option: words for "option" or "letter".
        so: words that open a conclusion.
        it: phrases that point at a value: "it is", "there are".
        either: words that join alternatives: "or", "and".
        negation: "not" and similar words.
        wrong: words for a rejected choice.
        right: words for the right one.
        correction: words that retract an earlier statement.
        bound: words that turn a number into a bound: "at least", "more than".
        common: frequent words that identify the language.
        yes, no, true, false: these words.
        letters: letters that few other languages use.
        comma: whether a comma is its decimal sign, and a dot or a space separates thousands.
        spaced: whether words are separated by spaces.
    """

    code: str
    answer: str
    result: str = ""
    copula: str = ""
    choose: str = ""
    option: str = ""
    so: str = ""
    it: str = ""
    either: str = ""
    negation: str = ""
    wrong: str = ""
    right: str = ""
    correction: str = ""
    bound: str = ""
    common: str = ""
    yes: str = ""
    no: str = ""
    true: str = ""
    false: str = ""
    letters: str = ""
    comma: bool = False
    spaced: bool = True


@cache
def languages() -> tuple[Language, ...]:
    """All languages of the table, English first."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    table = yaml.load((_DATA / "markers.yaml").read_text(encoding="utf-8"), loader)  # noqa: S506
    return tuple(Language(code, **entries) for code, entries in table.items())


@cache
def listed(entries: str) -> tuple[str, ...]:
    """The single words or phrases of a field, unified."""
    return tuple(word for entry in entries.split("|") if (word := unify(entry).strip()))


@cache
def words(field: str, spaced: bool, codes: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """All entries of a field over some languages, or all, that do or do not put spaces between words; longest first."""
    assert field in {entry.name for entry in fields(Language)}, field
    found = {
        word
        for language in languages()
        if language.spaced is spaced and (codes is None or language.code in codes)
        for word in listed(getattr(language, field))
    }
    return tuple(sorted(found, key=lambda word: (-len(word), word)))


SCRIPT_LETTERS = (
    "АВСДЕ",
    "ΑΒΓΔΕ",
    "أبجده",
    "אבגדה",
    "कखगघङ",
    "কখগঘঙ",
    "กขคงจ",
    "アイウエオ",
    "あいうえお",
    "가나다라마",
    "甲乙丙丁戊",
)
"""Letters that stand for choices A to E in other scripts."""

OTHER_LETTERS = {"Б": "B", "Г": "D", "С": "C", "Е": "E", "ا": "A", "إ": "A", "د": "D", "ج": "C", "ب": "B", "أ": "A"} | {
    name: letter
    for names, letter in (("ए", "A"), ("बी", "B"), ("सी", "C"), ("डी", "D"), ("ई", "E"))
    for name in (names,)
}
"""Further letters, and names of Latin ones in other scripts."""
