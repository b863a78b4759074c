"""Which writing system a text is mostly in, to tell a wrong answer in another language from a wrong answer."""

from __future__ import annotations

import unicodedata
from collections import Counter

_LOOKED_AT = 2000


def script(text: str) -> str | None:
    """Return the Unicode script of most letters in a text's first 2 000 characters, None without letters.

    The script is the first word of a letter's Unicode name: LATIN, CYRILLIC, CJK, ARABIC, ….
    """
    part = text[:_LOOKED_AT]
    if part.isascii():
        return "LATIN" if any(map(str.isalpha, part)) else None
    letters = Counter(
        "LATIN" if letter.isascii() else unicodedata.name(letter, "UNKNOWN").split(" ", 1)[0]
        for letter in part
        if letter.isalpha()
    )
    return letters.most_common(1)[0][0] if letters else None
