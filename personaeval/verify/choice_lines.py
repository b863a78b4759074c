"""Choice letters that open a line or are all of it."""

from __future__ import annotations

import re

from personaeval.verify.choices import Choices, Mention, mentions
from personaeval.verify.normalise import lowered
from personaeval.verify.reading import Candidate

LONE = re.compile(
    r"^[\s\"'*_>#|=~\[({-]{0,8}(?:[Oo]ption|[Cc]hoice|[Ll]etter|OPTION|CHOICE|LETTER|[Ss]o|[Tt]hus|[Hh]ence|[Tt]herefore|SO|[Ee]rgo|[Aa]lso|[Dd]onc|→|=>|->)?"
    r"[\s:,\"'*_({\[]{0,4}([A-Za-z])[\s\"'*_>)\]}|.,:;!?~=-]*[^\w]*$"
)

_OPENS = re.compile(r"^[\s\"'*_>#|\[({-]{0,6}([A-Z])[\"'*_]{0,3}(?:[)\].:,!;]|\s[-–—=]|\s?[–—]|\s*$|\s?->|\s\()")

_OPENS_SMALL = re.compile(r"^[\s\"'*_>#|\[({-]{0,6}([a-z])[\"'*_]{0,3}[)\]]")


_GAP = re.compile(
    r"[\s\"')\].,:*_-]{0,5}[^.!?;\n]{0,24}?(?:/|&|,|(?<!\w)(?:or|and|nor|maybe|perhaps|oder|und|ou|et|o|y|u|e|или|и|または|和|或)(?!\w)|或|和|أو|या|または)"
    r"[\s\"'(\[*_]{0,4}(?:(?:maybe|perhaps|possibly|even|both|option|vielleicht|quizás)\s)?[\s\"'(\[*_]{0,3}"
)


def is_alternative(text: str, first: Mention, second: Mention) -> bool:
    """Whether two letters are named as alternatives, with only a comma or \"or\" between them."""
    gap = lowered(text[first.end : second.start])
    if "(" in gap and not re.search(r"\b(?:or|maybe)\b", gap):
        return False
    return len(gap) < 40 and bool(_GAP.fullmatch(gap))


def from_lines(text: str, given: Choices) -> list[Candidate]:
    """Letters that open or are the first or last line, or the last sentence: ``B``, ``B) Paris``, ``So B.``."""
    lines = [(match.start(), match[0]) for match in re.finditer(r"[^\n]*\S[^\n]*", text)]
    if not lines:
        return []
    found: list[Candidate] = []
    openings = [letter for _, line in lines[:200] if (letter := _opening(line, given))]
    for number in dict.fromkeys((0, len(lines) - 1)):
        start, line = lines[number]
        lone = LONE.match(line[:80]) if len(line) <= 80 else None
        if lone and lone[1].upper() in given.letters and (lone[1].isupper() or len(lone[0].strip(" .!()")) <= 2):
            found.append(Candidate("letter", start, lone[1].upper(), lone[1].upper(), rank=1))
            continue
        letter = _opening(line, given)
        others = [other for other in openings if other != letter]
        if letter and not others:
            seen = mentions(text, start, start + min(len(line), 300), given)
            if seen and seen[0].letter == letter and not seen[0].rejected:
                rivals = [one for one in seen[1:] if one.letter != letter]
                hedged = bool(rivals) and is_alternative(text, seen[0], rivals[0])
                found.append(Candidate("letter", start, letter, None if hedged else letter, firm=not hedged))
    start, line = lines[-1]
    sentence = re.split(r"(?<=[.!?])\s+", line[-200:])[-1]
    opening = _opening(sentence, given) if len(sentence) < min(40, len(line)) else None
    if opening and not found and not mentions(sentence, 2, len(sentence), given):
        found.append(Candidate("letter", start + len(line) - len(sentence), opening, opening))
    sentence = re.split(r"(?<=[.!?;:,–—→])\s+", line[-200:])[-1]
    lone = LONE.match(sentence) if len(sentence) < 40 else None
    if lone and lone[1].isupper() and lone[1] in given.letters and not found[-1:]:
        place = start + len(line) - len(sentence)
        before = lowered(text[max(0, place - 30) : place])
        if not re.search(r"(?:\bnot|nor|except)\W*$", before) and not _listed(text, place, given):
            found.append(Candidate("letter", place, lone[1], lone[1]))
    return found


def _listed(text: str, place: int, given: Choices) -> bool:
    """Whether a letter ends a list of letters: ``A, B, C``."""
    before = text[max(0, place - 8) : place]
    return bool(re.search(r"[A-Z]\W{0,3},\s*$", before))


def _opening(line: str, given: Choices) -> str | None:
    match = _OPENS.match(line) or _OPENS_SMALL.match(line)
    letter = match[1].upper() if match else ""
    if not letter or letter not in given.letters:
        return None
    if letter == "I" and re.match(r"[\s\"'*_>#|\[({-]{0,6}I,\s", line):
        return None
    return letter
