"""Text broken into lines that are as wide as a terminal shows them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.cells import cell_len, chop_cells

_INDENT = "  "


def fold(text: str, width: int) -> str:
    """The text over lines of at most a width; a longer word is broken after hyphens, or else anywhere.

    ``checkpoint-of-a-long-name`` becomes ``checkpoint-of-`` and ``a-long-name``.
    """
    lines = [""]
    for piece in _pieces(text, width):
        joined = lines[-1] + piece
        if cell_len(joined.strip()) <= width:
            lines[-1] = joined
        else:
            lines.append(piece.lstrip())
    return "\n".join(line.strip() for line in lines)


def hanging(text: str, width: int) -> str:
    """A sentence over lines of at most a width; all but the first are indented."""
    if cell_len(text) <= width:
        return text
    first, *rest = fold(text, width - len(_INDENT)).split("\n")
    return "\n".join([first, *(_INDENT + line for line in rest)])


def width_of(text: str) -> int:
    """Width of the longest line."""
    return max((cell_len(line) for line in text.split("\n")), default=0)


def narrowest(text: str) -> int:
    """The width to which a text can be folded without breaking a part of a word."""
    return max((cell_len(part) for word in text.split() for part in _parts(word)), default=0)


def _pieces(text: str, width: int) -> Iterator[str]:
    for word in re.findall(r"\s*\S+", text):
        if cell_len(word.strip()) <= width:
            yield word
            continue
        for part in _parts(word):
            if cell_len(part.strip()) <= width:
                yield part
            else:
                yield from chop_cells(part, width)


def _parts(word: str) -> list[str]:
    return re.findall(r"[^-_/]*[-_/]+|[^-_/]+", word)
