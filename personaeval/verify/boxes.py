r"""Boxes: the content of ``\boxed{}``, and ``####`` lines."""

from __future__ import annotations

import re
from dataclasses import dataclass

# Two backslashes: some models escape their LaTeX once too often.
_BRACES = re.compile(r"\\?\\(?:boxed|fbox|framebox)\s*\{|(?<![A-Za-z\\])boxed\{|\\.|[{}]", re.DOTALL)

_UNBRACED = re.compile(r"\\boxed\s{1,3}([-+]?[\w.,/]{1,100})")

_JOINT = re.compile(
    r"[ \n$]{0,4}(?:,|;|/|\\quad|\\qquad|,? ?(?:\b(?:and|or|und|oder|et|ou|y|o|e)\b|\\text\{ ?(?:and|"
    r"or) ?\}))[ \n$]{0,4}|[ $]{0,4}"
)

_EITHER = re.compile(r"\bor\b|\boder\b|\bou\b|\bo\b|/")

_PLACEHOLDER = re.compile(
    r"(?:\\text\s?\{)?\s*(?:\.{2,}|…|\\l?dots|_+|answer|your[ _](?:final[ _])?answer(?: here)?|"
    r"(?:the )?final[ _]answer|the answer|"
    r"answer here|x{2,}|\?+|result|number|\\?ldots|\\square|\\,|letter)\s*\}?",
    re.IGNORECASE,
)

_EMPTY = re.compile(r"\$?\\?\\(?:boxed|fbox)\s{0,3}\{\s{0,20}\}\$?")

_HASHES = re.compile(r"^[ \t>*]{0,5}#{2,6}[ \t]{0,5}([^\n]{1,300})$|#{4}[ \t]{0,5}([^\n#]{1,300})", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Box:
    """The content of a box, or of several that form one list, and its place."""

    content: str
    start: int
    end: int
    parts: tuple[str, ...]


def boxes(text: str) -> list[Box]:
    r"""The balanced boxes of a text in order, neither empty nor a placeholder, those joined by "and" as one list."""
    if "box" not in text:
        return []
    found: list[Box] = []
    for start, end, content in _boxes(text):
        if _PLACEHOLDER.fullmatch(content):
            continue
        last = found[-1] if found else None
        if last is not None and start - last.end < 30 and _JOINT.fullmatch(text, last.end, start):
            parts = last.parts if content in last.parts else (*last.parts, content)
            joint = " or " if _EITHER.search(text, last.end, start) else ", "
            listed = last.content if content in last.parts else f"{last.content}{joint}{content}"
            found[-1] = Box(listed, last.start, end, parts)
        else:
            found.append(Box(content, start, end, (content,)))
    if not found:
        bare = [match for match in _UNBRACED.finditer(text) if not _PLACEHOLDER.fullmatch(match[1])]
        return [Box(match[1], match.start(), match.end(), (match[1],)) for match in bare[-1:]]
    return found


def without_empty(text: str) -> str:
    """A text without the empty boxes of a repeated instruction."""
    empty = "box" in text and any(sign in text for sign in ("box{}", "boxed{}", "box{ ", "boxed{ ", "ed {"))
    return _EMPTY.sub("", text) if empty else text


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """(start, end, content) of each balanced, non-empty box that holds no other, by position."""
    opened: list[tuple[int, int] | None] = []
    found: list[tuple[int, int, str]] = []
    for token in _BRACES.finditer(text, max(0, text.index("box") - 8)):
        sign = token[0]
        if sign == "{":
            opened.append(None)
        elif sign == "}":
            box = opened.pop() if opened else None
            if box and not (found and found[-1][0] > box[0]):
                content = text[box[1] : token.start()].strip()
                if content:
                    found.append((box[0], token.end(), content))
        elif sign[-1] == "{" and len(sign) > 2:
            opened.append((token.start(), token.end()))
    return found


def hashes(text: str) -> list[tuple[int, str]]:
    """Place and content of ``#### …`` lines; headings of two or three signs are among them."""
    if "##" not in text:
        return []
    return [(match.start(), (match[1] or match[2]).strip(" *_#")) for match in _HASHES.finditer(text)][-50:]
