r"""Extraction: the final answer in a completion, generous with form and strict with content.

In order: the last balanced, non-empty ``\boxed{}``; the task's own patterns; what the kind of task allows in running
text. No step looks at the gold answer. Every search here takes time linear in the length of the text.
"""

from __future__ import annotations

import re

from personaeval.verify.equivalence import read_letter
from personaeval.verify.number import first_number, last_number
from personaeval.verify.patterns import last_match

# Two backslashes: some models escape their LaTeX once too often.
_BRACES = re.compile(r"\\?\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)

_UNBRACED = re.compile(r"\\boxed\s+([-+]?[\w.,/]+)")

_EMPTY_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{\s*\}")

_JOINT = re.compile(r"[ $]*(?:,|;|,? ?\b(?:and|or)\b|,? ?\\text\{ ?(?:and|or) ?\})[ $]*")


_ANCHOR = re.compile(
    r"\banswer\b(?:\s(?:to|of|for)\b[^\n.:=]{1,80}?)?[*_]{0,3}\s{0,3}(?:\b(?:is|be|was)\b|:|=)(?:\s?:)?[*_]{0,3}",
    re.IGNORECASE,
)

_HASHES = re.compile(r"####[ \t]{0,5}([^\n]{1,500})")

_DISPLAY = re.compile(
    r"\\\(([^\n]{1,500}?)\\\)|\\\[(.{1,500}?)\\\]|\$\$([^$]{1,500})\$\$|\$([^$\n]{1,500})\$", re.DOTALL
)

_SENTENCE_END = re.compile(r"[.;!?](?=[\s*_\"')]|$)|,?\s(?:because|since|as|where)\s", re.IGNORECASE)

_OPERATION = re.compile(r"\s?(?:[-+*/×÷−^]|\\times|\\cdot|\\div|plus|minus|times)\s?[\d(]")

_RELATION = re.compile(r"(?<![<>!:])=(?!=)|\\approx(?![a-zA-Z])|≈")

_LINE = 500


_BARE = r"([B-HJ-Z])(?=[\s.,:;)*_\]]|$)|([AI])(?=[.,:;)*_\]]|\s*$|\s*\n|\s(?:because|since|as|which)\b)"

_LETTER = rf"(?:\(([A-Z])\)|\\text\{{\(?([A-Z])\)?\}}|{_BARE})"

_CHOSEN = re.compile(
    rf"(?i:\banswer\b(?:\s(?:is|was|be)\b)?)\s{{0,3}}:?\s{{0,3}}[*_$]{{0,3}}(?:(?i:option|choice)\s)?{_LETTER}"
)

_MENTIONED = re.compile(rf"(?i:\b(?:option|choice)\b)\s[*_$]{{0,3}}{_LETTER}|(?<![\w)])\(([A-Z])\)(?!\w)")

_OPENING = re.compile(r"\s*[*_(]{0,3}([A-Z])[*_]{0,3}[).:][*_]{0,3}(?:\s|$)")


def boxed(text: str) -> str | None:
    r"""Return what the last balanced, non-empty ``\boxed{}`` or ``\fbox{}`` holds, braces inside it included.

    Boxes joined only by a comma or ``and`` are one list: ``\boxed{1}, \boxed{2}`` is ``1, 2``.
    """
    if "box" not in text:
        return None
    found = _boxes(text)
    if not found:
        bare = last_match(_UNBRACED, text)
        return bare[1] if bare else None
    start, _, content = found.pop()
    parts = [content]
    while found and start - found[-1][1] < 30 and _JOINT.fullmatch(text, found[-1][1], start):
        start, _, content = found.pop()
        if content not in parts:
            parts.insert(0, content)
    return ", ".join(parts)


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """Return (start, end, content) of each balanced, non-empty box that holds no other, by position."""
    opened: list[tuple[int, int] | None] = []
    found: list[tuple[int, int, str]] = []
    for token in _BRACES.finditer(text):
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


def fallback(kind: str, text: str, choices: tuple[str, ...] = ()) -> str | None:
    """Return the answer that running text states, or None.

    Args:
        kind: kind of the task's scorer: math, numeric, choice or exact.
        text: the completion.
        choices: texts of the choices, for scorers of kind choice.
    """
    text = _EMPTY_BOX.sub("", text)
    match kind:
        case "numeric":
            return _numeric(text)
        case "choice":
            return _choice(text, choices)
        case "exact":
            return _stated(text) or _last_line(text)
        case _:
            return _math(text)


def _stated(text: str) -> str | None:
    """Return what follows the last ``answer is`` or ``answer:``, to the end of its line."""
    last = last_match(_ANCHOR, text)
    if last is None:
        hashes = _HASHES.findall(text)
        return hashes[-1].strip() or None if hashes else None
    line = text[last.end() : last.end() + _LINE].strip().split("\n", 1)[0]
    return line.strip(" *_") or None


def _last_line(text: str) -> str | None:
    return text.rstrip().rsplit("\n", 1)[-1].strip() or None


def _numeric(text: str) -> str | None:
    stated = _stated(text)
    if stated is not None:
        number = _number_in_sentence(stated)
        if number is not None:
            return number
    return last_number(text)


def _number_in_sentence(line: str) -> str | None:
    sentence = line[: end.start()] if (end := _SENTENCE_END.search(line)) else line
    value = _RELATION.split(sentence)[-1]
    number = first_number(value)
    if number is None:
        return None
    rest = value[value.index(number) + len(number) :]
    return value.strip() if _OPERATION.match(rest) else number


def _math(text: str) -> str | None:
    stated = _stated(text)
    if stated is not None:
        formula = _DISPLAY.search(stated)
        if formula:
            return next(group for group in formula.groups() if group).strip()
        return (stated[: end.start()] if (end := _SENTENCE_END.search(stated)) else stated).strip() or None
    formula = last_match(_DISPLAY, text)
    if formula is not None:
        content: str = next(group for group in formula.groups() if group)
        return _RELATION.split(content)[-1].strip() or None
    line = (_last_line(text) or "")[-_LINE:]
    if _RELATION.search(line):
        value = _RELATION.split(line)[-1].strip(" *_.")
        if value:
            return value
    return last_number(text)


def _choice(text: str, choices: tuple[str, ...]) -> str | None:
    allowed = {chr(ord("A") + place) for place in range(len(choices) or 26)}
    stated = [letter for letter in _letters(_CHOSEN, text) if letter in allowed]
    if stated:
        return stated[-1]
    line = (_last_line(text) or "")[-_LINE:]
    opening = _OPENING.match(line)
    if opening and opening[1] in allowed:
        return opening[1]
    letter = read_letter(line, choices)
    if letter:
        return letter
    for part in (line, text):
        mentioned = set(_letters(_MENTIONED, part)) & allowed
        if len(mentioned) == 1:
            return mentioned.pop()
    return None


def _letters(pattern: re.Pattern[str], text: str) -> list[str]:
    return [next(group for group in match.groups() if group) for match in pattern.finditer(text)]
