"""The marker table as regular expressions over unified lower-case text, and the language of a text by its words."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from personaeval.verify.markers import languages, words

_SCRIPTS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile("[\u3040-\u30ff]"), ("ja", "zh")),
    (re.compile("[\uac00-\ud7af]"), ("ko",)),
    (re.compile("[\u4e00-\u9fff]"), ("zh",)),
    (re.compile("[\u0900-\u097f]"), ("hi",)),
    (re.compile("[\u0980-\u09ff]"), ("bn",)),
    (re.compile("[\u0600-\u06ff]"), ("ar", "fa", "ur")),
    (re.compile("[\u0400-\u04ff]"), ("ru", "uk", "bg")),
    (re.compile("[\u0590-\u05ff]"), ("he",)),
    (re.compile("[\u0370-\u03ff]{3}"), ("el",)),
    (re.compile("[\u0e00-\u0e7f]"), ("th",)),
    (re.compile("[\u0b80-\u0bff]"), ("ta",)),
    (re.compile("[\u0c00-\u0c7f]"), ("te",)),
)

_WORD = re.compile(r"[^\W\d_]+", re.UNICODE)

_LOOKED_AT = 3_000


@cache
def alternation(*fields: str, codes: tuple[str, ...] | None = None, ascii_only: bool = False) -> str:
    """Alternatives of all entries of some fields, each a whole word where its language separates words.

    Args:
        fields: of :class:`~personaeval.verify.markers.Language`.
        codes: only of these languages; default: of all.
        ascii_only: without those that an ASCII text cannot hold.
    """

    def entries(spaced: bool) -> list[str]:
        found = {word for field in fields for word in words(field, spaced, codes)}
        return sorted(word for word in found if word.isascii() or not ascii_only)

    parts = []
    if spaced := entries(True):
        # A word boundary after a sign ("no,") would require a letter there.
        parts.append(rf"{_trie(spaced, _BEGINS)}(?![^\W_])")
    if joined := entries(False):
        parts.append(_trie(joined))
    return f"(?:{'|'.join(parts)})" if parts else "(?!)"


# Checked after the first sign, so that a search skips to the places with such a sign.
_BEGINS = r"(?<![^\W_].)"


def _trie(entries: list[str], after_head: str = "") -> str:
    """Sorted words as nested alternatives, the longest match first: few signs decide at each place of a text."""
    heads: dict[str, list[str]] = {}
    for word in entries:
        if word:
            heads.setdefault(word[0], []).append(word[1:])
    branches = [re.escape(head) + after_head + (_trie(rest) if any(rest) else "") for head, rest in heads.items()]
    nested = f"(?:{'|'.join(branches)})"
    return f"{nested}?" if "" in entries else nested


@lru_cache(maxsize=512)
def pattern(*fields: str, codes: tuple[str, ...] | None = None) -> re.Pattern[str]:
    """A compiled :func:`alternation`."""
    return re.compile(alternation(*fields, codes=codes))


@cache
def _telling() -> dict[str, tuple[str, ...]]:
    """Words that tell a language: the frequent ones, and those that announce an answer."""
    table: dict[str, tuple[str, ...]] = {}
    for language in languages():
        entries = f"{language.common}|{language.answer}|{language.result}|{language.so}|{language.right}"
        for word in {entry.strip() for entry in entries.split("|")}:
            if word and " " not in word:
                table[word] = (*table.get(word, ()), language.code)
    return table


@cache
def _signs() -> dict[str, tuple[str, ...]]:
    """Letters that few languages have."""
    table: dict[str, tuple[str, ...]] = {}
    for language in languages():
        for sign in language.letters:
            table[sign] = (*table.get(sign, ()), language.code)
    return table


@cache
def _commas() -> frozenset[str]:
    return frozenset(language.code for language in languages() if language.comma)


def spoken(low: str) -> tuple[str, ...]:
    """Languages a lower-case text seems to be in, likeliest first; English is always among them."""
    part = low if len(low) <= 2 * _LOOKED_AT else low[:_LOOKED_AT] + low[-_LOOKED_AT:]
    found: list[str] = []
    if not part.isascii():
        for script, codes in _SCRIPTS:
            if script.search(part):
                found += codes
    counts: dict[str, float] = {}
    telling = _telling()
    for word in set(_WORD.findall(part)):
        codes = telling.get(word, ())
        for code in codes:
            counts[code] = counts.get(code, 0) + 1 / len(codes)
    if not part.isascii():
        for sign in set(part) & _signs().keys():
            for code in _signs()[sign]:
                counts[code] = counts.get(code, 0) + 0.6
    best = sorted(counts, key=lambda code: -counts[code])
    english = counts.get("en", 0)
    found += [code for code in best[:2] if counts[code] >= max(0.3, english / 2) and code != "en"]
    order = list(dict.fromkeys(found))
    return ("en", *order) if english and english >= max(counts.values()) else (*order, "en")


def writes_commas(codes: tuple[str, ...]) -> bool:
    """Whether the first of some languages has a decimal comma."""
    return bool(codes) and codes[0] in _commas()
