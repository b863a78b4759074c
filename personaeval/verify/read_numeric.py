"""Reads the number that a text gives as its answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from personaeval.verify import number_words, quantities
from personaeval.verify.boxes import Box, boxes, hashes
from personaeval.verify.normalise import lowered, prose, unify, untex
from personaeval.verify.patterns import last_match
from personaeval.verify.quantities import Quantity
from personaeval.verify.reading import Candidate, Reading, choose
from personaeval.verify.statements import Statement, corrections, sentence_end, statements
from personaeval.verify.vocabulary import alternation, pattern, spoken

_DIRECT = 6
"""Most words between a marker and its number."""

_WORDS = re.compile(r"[^\W\d_]{2,}")

_PROCESS = re.compile(
    r"(?<!\w)(?:found|obtained|computed|calculated|adding|subtracting|multiplying|dividing|solving|by|first|step|question|problem|part)(?!\w)"
)

_COMPARED = re.compile(r"(?:[<>≤≥]|\\[lg](?:e|eq|t)(?![a-z]))=?\s{0,2}[$€£]?$")

_REFUSAL = re.compile(
    r"(?:i )?(?:do not|don't|dont|cannot|can't|can not) (?:know|answer|solve|say|tell|help|do)|"
    r"no idea|not sure what|i refuse|"
    r"have no answer|not a mathematician|no sé|je ne sais|weiß nicht|não sei|non so|не знаю|不知道|"
    r"わかりません|لا أعرف|नहीं पता|sijui|nescio"
)

_SELF = re.compile(
    r"(?<!\w)(?:i am|i'm|i be|i was|my age is|am|ich bin|je suis|soy|tengo|j'ai|tenho|sono|ho|мне|私は|"
    r"我)(?: only| just| but)?\s$"
)

_STATED = re.compile(
    r"(?:=|≈|→|⇒|->|:|(?<!\w)(?:equals?|equal to|makes?|gives?|leaves?|gets?|earns?|totals?|appears?|"
    r"occurs?|found|counted?|spends?|"
    r"costs?|pays?|have|has|becomes?|reaches|left with|needs|holds?|weighs|measures|lasts|wins?|"
    r"profit of|total of|sum of|answer|"
    r"got|receive[sd]?|remain|remains|comes to|amounts to|is|are|be|was|were|'s|'tis|it's))(?:\s(?:is|"
    r"be|only|exactly|just|now|a|the|of|total|about|"
    r"approximately|precisely|up to|to))?[\s$€£₹¥(\"'*|]{0,4}$"
)

_LIST_MARK = re.compile(r"^[ \t#>*-]{0,8}(?:step )?(\d{1,2})[.):](?=\s)", re.MULTILINE)

_ALONE = re.compile(r"^[\s\"'*_(>|#=~`$€£₹¥+-]*$")

_TRAILING = re.compile(r"[\s\"'*_)<|#=~`$€£₹¥%.!,;:?-]*(?:[^\W\d_]+[\s\"'*_)|$.!,;-]*){0,3}$")


@dataclass(frozen=True, slots=True)
class _Text:
    """A normalised completion, its numbers and its languages."""

    text: str
    low: str
    commas: bool | None
    digits: list[Quantity]
    codes: tuple[str, ...]


def read(text: str) -> Reading:
    """Read a windowed, unified completion."""
    made = _make(text)
    boxed = list(_from_boxes(text, made.commas, made.codes))
    taken_back = corrections(made.low, made.codes)
    if boxed and not taken_back and not _outweighed(boxed):
        return Reading(boxed[-1], lambda: [*boxed, *_from_hashes(made), *_from_statements(made)])
    stated = [*_from_hashes(made), *_from_statements(made)]
    if _outweighed(boxed):
        # Several boxes are steps; where the text then states its answer, that is it.
        behind = [one for one in stated if one.evidence == "statement" and one.start > boxed[-1].start]
        if behind:
            return Reading(choose(behind, taken_back), lambda: [*boxed, *stated])
    candidates = [*boxed, *stated, *_from_sentences(made)]
    chosen = choose(candidates, taken_back)
    if chosen is None and (last := _last(made)):
        return Reading(last)
    return Reading(chosen, lambda: candidates)


def stated(text: str) -> list[Candidate]:
    """Values that a unified text states after or before a marker."""
    return list(_from_statements(_make(text)))


def candidates(text: str) -> list[Candidate]:
    """All candidates of a unified text without boxes; the last number only if there is no other candidate."""
    made = _make(text)
    found = [*_from_hashes(made), *_from_statements(made), *_from_sentences(made)]
    return found or ([last] if (last := _last(made)) else [])


def is_bound(before: str) -> bool:
    """Whether a text ends in a word that turns the next number into a bound."""
    low = lowered(before)[-40:]
    return any(not low[bound.end() :].strip(" $(") for bound in pattern("bound", codes=spoken(low)).finditer(low))


def read_box(content: str, commas: bool | None, codes: tuple[str, ...]) -> Candidate | None:
    """Read the content of a box; None where no number is in it."""
    made = _make(content, commas, codes)
    found = _values(made, 0, len(made.low))
    if not found:
        return None
    low = made.low
    value = _settled(made, found, 0, len(low))
    if value is None:
        return Candidate("box", 0, content, None, firm=False)
    quantity, firm = value
    return Candidate("box", 0, content, quantity.value, firm, quantity.percent)


def _outweighed(boxed: list[Candidate]) -> bool:
    return len({candidate.value for candidate in boxed}) > 1


def _make(text: str, commas: bool | None = None, codes: tuple[str, ...] | None = None) -> _Text:
    plain = quantities.prepare(text)
    plain = untex(prose(plain)) if "\\" in plain else prose(plain)
    low = lowered(plain)
    if codes is None:
        codes = spoken(low)
    if commas is None:
        commas = quantities.uses_commas(low)
    return _Text(plain, low, commas, quantities.scan(low, commas), codes)


def _from_boxes(text: str, commas: bool | None, codes: tuple[str, ...]) -> Iterator[Candidate]:
    for box in boxes(text)[-20:]:
        candidate = _joined(box, commas, codes) if len(box.parts) > 1 else read_box(box.content, commas, codes)
        if candidate is not None:
            yield Candidate("box", box.start, box.content, candidate.value, candidate.firm, candidate.percent)


def _joined(box: Box, commas: bool | None, codes: tuple[str, ...]) -> Candidate | None:
    parts = [part for part in (read_box(content, commas, codes) for content in box.parts) if part is not None]
    if len({part.value for part in parts}) > 1:
        return Candidate("box", box.start, box.content, None, firm=False)
    return parts[0] if parts else None


def _from_hashes(made: _Text) -> Iterator[Candidate]:
    for start, line in hashes(made.text):
        if pattern("answer", "result").search(lowered(line)):
            continue
        found = read_box(line, made.commas, made.codes)
        digits = re.search(r"\d", line)
        if found is None or (digits and len(_WORDS.findall(line)) > 3) or re.match(r"\d{1,2}[.)]\s+\D", line):
            continue
        yield Candidate("hashes", start, line, found.value, found.firm, found.percent)


def _from_statements(made: _Text) -> Iterator[Candidate]:
    for statement in statements(made.low):
        candidate = _state(made, statement)
        if candidate is not None:
            yield candidate


def _state(made: _Text, statement: Statement) -> Candidate | None:
    low, start, end = made.low, statement.start, statement.end
    found = _values(made, start, end)
    if found and (statement.tight and found[0].start > start + 3):
        found = []
    if found:
        first = found[0]
        between = low[start : first.start]
        if len(_WORDS.findall(between)) > _DIRECT or (_PROCESS.search(between) and not first.worked):
            found = []
    if found:
        settled = _settled(made, found, start, end)
        if settled is not None:
            quantity, firm = settled
            answer = made.text[quantity.start : quantity.end].strip()
            # A calculation after a marker may be its first step only.
            strong = statement.strong and not (quantity.worked and statement.marker < 3)
            evidence = "statement" if strong else "words"
            return Candidate(evidence, quantity.start, answer, quantity.value, firm, quantity.percent, rank=1)
        return None
    if statement.strong:
        return _before(made, statement)
    return None


def _before(made: _Text, statement: Statement) -> Candidate | None:
    """``18 is the answer``: the value precedes the marker."""
    lead = made.low[statement.sentence : statement.marker]
    if not _leads_back().search(lead):
        return None
    found = _values(made, statement.sentence, statement.marker)
    if not found:
        return None
    quantity = found[-1]
    if len(_WORDS.findall(made.low, quantity.end, statement.marker)) > 5:
        return None
    firm = _is_firm(made, quantity, statement.sentence, statement.marker)
    answer = made.text[quantity.start : quantity.end].strip()
    return Candidate("statement", quantity.start, answer, quantity.value, firm, quantity.percent)


@cache
def _leads_back() -> re.Pattern[str]:
    return re.compile(f"(?:{alternation('copula')}|[,:–—-])[^.!?]{{0,30}}$")


def _values(made: _Text, start: int, end: int) -> list[Quantity]:
    """Values between two places: in digits, or else in words."""
    low = made.low
    inside = [one for one in made.digits if start <= one.start and one.end <= end + 1]
    found = quantities.values(low, inside)
    if found and (found[0].start - start < 30 or end - start > 400):
        return found
    part = low[start:end]
    worded = quantities.in_words(part, made.text[start:end], made.codes)
    if not worded:
        lone = _lone_roman(made.text[start:end])
        worded = [lone] if lone else []
    shifted = [Quantity(one.value, one.start + start, one.end + start) for one in worded]
    if found:
        # "eighteen (9*2)": what comes first.
        return found if not shifted or found[0].start < shifted[0].start else [*shifted[:1], *found]
    return shifted


def _lone_roman(text: str) -> Quantity | None:
    """A Roman numeral of one letter, which counts only if it is alone."""
    alone = re.fullmatch(r"[\s\"'(*]{0,5}(minus )?([MDCLXVI])[\s\"').!*,]{0,5}", text)
    if alone is None:
        return None
    value = Fraction(number_words.roman(alone[2]))
    return Quantity(-value if alone[1] else value, alone.start(1 if alone[1] else 2), alone.end(2))


def _settled(made: _Text, found: list[Quantity], start: int, end: int) -> tuple[Quantity, bool] | None:
    """The value a passage states, and whether it is final; None if the passage only says what the value is not."""
    low = made.low
    for place, quantity in enumerate(found):
        if _is_negated(made, start, quantity.start):
            continue
        follower = found[place + 1] if place + 1 < len(found) else None
        firm = _is_firm(made, quantity, start, end)
        if follower is not None and follower.value != quantity.value:
            gap = low[quantity.end : follower.start]
            if _is_alternative(gap):
                firm = False
        return quantity, firm
    return Quantity(None, found[0].start, found[0].end), False


def _is_negated(made: _Text, start: int, place: int) -> bool:
    before = made.low[max(start, place - 24) : place]
    negation = last_match(pattern("negation", codes=made.codes), before)
    if negation is None:
        return False
    between = before[negation.end() :]
    return len(_WORDS.findall(between)) <= 2 and not re.search(r"[,;:\d]", between)


def _is_firm(made: _Text, quantity: Quantity, start: int, end: int) -> bool:
    """Whether a number is stated as such, and not as a bound: ``at least 18``, ``> 18``, ``18 or more``."""
    low = made.low
    before = low[max(start, quantity.start - 30) : quantity.start]
    if _COMPARED.search(before):
        return False
    after = low[quantity.end : min(len(low), quantity.end + 30)]
    bound = last_match(pattern("bound", codes=made.codes), before)
    if (
        bound is not None
        and not _WORDS.search(before[bound.end() :])
        and not re.search(r"[\d,;:]", before[bound.end() :])
    ):
        return False
    follows = pattern("bound", codes=made.codes).match(after.lstrip(" \"'")) or re.match(
        r"\s?(?:\+(?!\s?\d)|\w+ (?=or more|or less))", after
    )
    return not follows


def _is_alternative(gap: str) -> bool:
    gap = re.sub(r"[^\W\d_]*(?:ould|ight|ay) be|perhaps|maybe", " ", gap)
    return bool(
        re.fullmatch(
            r"[\s$€£\"'*()]*(?:[^\W\d_]{1,20}\s)?(?:[,/]?\s?"
            + f"(?:{alternation('either')})"
            + r"|,|/)\s?[\s$€£\"'*(]*",
            gap,
        )
    )


def _from_sentences(made: _Text) -> list[Candidate]:
    """Numbers that a sentence states (``it's 18``, ``= 18``) or consists of."""
    low = made.low
    found = quantities.values(low, made.digits)
    if not found:
        return _worded(made)
    marks = [match.start(1) for match in _LIST_MARK.finditer(low)]
    listed = set(marks) if len(marks) > 1 or (marks and low.startswith("1", marks[0])) else set()
    candidates = []
    refusal = _REFUSAL.search(low)
    for quantity in found[-400:]:
        if quantity.start in listed or (refusal and quantity.start > refusal.start()):
            continue
        before = low[max(0, quantity.start - 60) : quantity.start]
        if _SELF.search(before):
            continue
        line = before.rsplit("\n", 1)[-1]
        sentence = re.split(r"[.!?;](?=\s)", line)[-1]
        rest = low[quantity.end : sentence_end(low, quantity.end, 80)]
        opens = quantity.start == len(before) or len(before) < 60 or "\n" in before or sentence != line
        alone = opens and _ALONE.fullmatch(sentence) and _TRAILING.fullmatch(rest)
        if alone or quantity.worked or _STATED.search(before) or _copula().search(before):
            firm = _is_firm(made, quantity, 0, len(low)) and not _is_negated(made, 0, quantity.start)
            answer = made.text[quantity.start : quantity.end].strip()
            rank = 1 if alone else 0
            candidates.append(Candidate("words", quantity.start, answer, quantity.value, firm, quantity.percent, rank))
    return candidates


@cache
def _copula() -> re.Pattern[str]:
    return re.compile(f"{alternation('copula')}[\\s$€£₹¥(\"'*|]{{0,4}}$")


def _worded(made: _Text) -> list[Candidate]:
    """Numbers in words of a text without digits; the last sentence with one counts most."""
    low, text = made.low[-3000:], made.text[-3000:]
    shift = len(made.low) - len(low)
    found = quantities.in_words(low, text, made.codes)
    if not found and (lone := _lone_roman(text)):
        found = [lone]
    candidates = []
    for quantity in found:
        before = low[max(0, quantity.start - 60) : quantity.start]
        if _SELF.search(before):
            continue
        sentence = re.split(r"[.!?;\n](?=\s|$)", before)[-1] if before else ""
        rest = low[quantity.end : sentence_end(low, quantity.end, 80)]
        alone = bool(_ALONE.fullmatch(sentence) and _TRAILING.fullmatch(rest)) and len(before) < 60
        stated = alone or bool(_STATED.search(before) or _copula().search(before))
        if not stated:
            continue
        firm = _is_firm(made, Quantity(quantity.value, quantity.start + shift, quantity.end + shift), 0, len(made.low))
        answer = text[quantity.start : quantity.end].strip()
        candidates.append(Candidate("words", quantity.start + shift, answer, quantity.value, firm, rank=int(alone)))
    return candidates


def _last(made: _Text) -> Candidate | None:
    """The very last number, unless the text refuses to answer."""
    low = made.low
    refusal = _REFUSAL.search(low)
    found = [
        quantity
        for quantity in quantities.values(low, made.digits)[-50:]
        if not _SELF.search(low[max(0, quantity.start - 40) : quantity.start])
    ]
    if not found:
        part = low[-3000:]
        shift = len(low) - len(part)
        found = [
            Quantity(one.value, one.start + shift, one.end + shift)
            for one in quantities.in_words(part, made.text[-3000:], made.codes)
        ]
    if not found or (refusal and found[-1].start > refusal.start()) or (refusal and len(low) < 200):
        return None
    quantity = found[-1]
    firm = _is_firm(made, quantity, 0, len(low)) and not _is_negated(made, 0, quantity.start)
    answer = made.text[quantity.start : quantity.end].strip() or low[quantity.start : quantity.end]
    return Candidate("last_number", quantity.start, answer, quantity.value, firm, quantity.percent)


def mentions(text: str) -> list[tuple[Fraction, bool]]:
    """Numbers of the last sentence with any, and whether each is a percentage."""
    made = _make(unify(text))
    found = quantities.values(made.low, made.digits)[-50:]
    if not found:
        return []
    last = found[-1].start
    begin = max((end.end() for end in re.finditer(r"[.!?](?=\s)|\n", made.low[max(0, last - 400) : last])), default=0)
    begin += max(0, last - 400)
    return [(one.value, one.percent) for one in found if one.start >= begin and one.value is not None]
