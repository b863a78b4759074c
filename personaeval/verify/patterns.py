"""Patterns: the regular expressions a task brings to find its answers.

They are written by others and meet hostile text, and nothing interrupts a regular expression within a process. So one
runs in this process only where it cannot take long: it repeats nothing that can itself vary in length, and the text
is short. All else runs in a worker that is killed on time-out.
"""

from __future__ import annotations

import re
from collections import deque
from functools import lru_cache

SHORT = 4_000
"""Characters up to which even quadratic time passes unnoticed."""


@lru_cache(maxsize=256)
def compiled(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """A scorer's compiled patterns; reading the task file has refused those that are no regular expressions."""
    return tuple(map(re.compile, patterns))


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """A pattern's last match in a text; None without any."""
    found = deque(pattern.finditer(text), maxlen=1)
    return found[0] if found else None


def search(patterns: tuple[str, ...], text: str) -> str | None:
    """First group (or all) of the last match of the first pattern that matches, stripped; None without a match."""
    for pattern in compiled(patterns):
        last = last_match(pattern, text)
        if last is not None:
            found = last[1] if pattern.groups else last[0]
            if found and found.strip():
                return str(found).strip()
    return None


@lru_cache(maxsize=256)
def telling(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The patterns that match more than a bare number or letter; the reader finds those better without a pattern."""
    return tuple(
        pattern
        for pattern in patterns
        if not any(re.fullmatch(pattern, bare) for bare in ("7", "-7.5", "B")) or not _is_tame(pattern)
    )


@lru_cache(maxsize=256)
def is_tame(patterns: tuple[str, ...]) -> bool:
    """Whether no pattern repeats a group that can itself vary in length (``(a+)*``, ``(a|ab)+``)."""
    return all(_is_tame(pattern) for pattern in patterns)


def _is_tame(pattern: str) -> bool:
    bare = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", pattern, flags=re.DOTALL)
    varies = [False]
    place = 0
    while place < len(bare):
        sign = bare[place]
        place += 1
        if sign == "(":
            varies.append(False)
            place += bare[place : place + 1] == "?"
        elif sign == ")" and len(varies) > 1:
            inner = varies.pop()
            repeated = bare[place : place + 1] in ("*", "+", "{")
            if inner and repeated:
                return False
            varies[-1] |= inner
        elif sign in "*+?{|":
            varies[-1] = True
    return True
