"""Reads which choice a text gives as its answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from personaeval.verify.boxes import boxes, hashes
from personaeval.verify.choice_lines import LONE, from_lines, is_alternative
from personaeval.verify.choices import Choices, Mention, foreign, lettered, mentions, named_texts, plain, single
from personaeval.verify.normalise import lowered, prose, untex
from personaeval.verify.patterns import last_match
from personaeval.verify.reading import Candidate, Reading, choose
from personaeval.verify.statements import Statement, corrections, sentence_end, sentence_start, statements
from personaeval.verify.vocabulary import alternation, pattern, spoken

_LIST_AND = re.compile(r",|&|/|\band\b|\bor\b|(?<!\w)(?:either|both)(?!\w)")

_WITHDRAWN = re.compile(
    r"[\s\"')\]*]{0,4}\?[\s\"')]{0,3}(?:no|nope|nay|nein|non|wait|wrong|nee|нет|不)(?!\w)|[\s\"')"
    r"\]*]{0,4}[.!,…-]{0,4}\s?(?:no,? wait|wait,? no)"
)

_A_MARKER = re.compile(
    r"^[ \t]*(?:a|ans|r|odp|rép|resp)[.]?[ \t]*[:=][ \t]*[\"'(*\[]{0,3}([a-z])[\"')*\].!]{0,4}[ \t]*$", re.MULTILINE
)

_HOLDS_LETTER = re.compile(r"(?<!\w)[a-j](?!\w)")

_ORDINAL = re.compile(
    r"(?<!\w)(first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last)(?:\s(?:and last|"
    r"listed|given|of the))?\s"
    r"(?:option|choice|answer|alternative|one|letter)(?!\w)"
)

_PLACES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")

_MOST = 60


def read(text: str, choices: tuple[str, ...]) -> Reading:
    """Read a windowed, unified completion."""
    plain_text = untex(prose(text)) if "\\" in text or "$" in text else prose(text)
    low = lowered(plain_text)
    given = replace(lettered(choices), codes=spoken(low))
    boxed = list(_from_boxes(text, given, choices))
    taken_back = corrections(low, given.codes)
    if boxed and not taken_back:
        return Reading(boxed[-1], lambda: [*boxed, *_from_statements(plain_text, low, given)])
    strong = [*boxed, *_from_hashes(text, given), *_from_statements(plain_text, low, given)]
    weak = [*from_lines(plain_text, given), *_from_words(plain_text, low, given)]
    found = [*strong, *weak]
    if not any(one.evidence in ("box", "hashes", "statement", "letter") for one in found):
        found += _from_texts(low, given)
    elif taken_back:
        found += _from_texts(low, given, taken_back[-1])
    chosen = choose(found, taken_back)
    if chosen is None:
        found += _from_mentions(plain_text, given)
        chosen = choose(found)
    return Reading(chosen, lambda: found)


def _from_boxes(text: str, given: Choices, choices: tuple[str, ...]) -> Iterator[Candidate]:
    for box in boxes(text)[-20:]:
        found = {one.value: one for part in box.parts if (one := read_short(part, given, choices)) is not None}
        if len(found) == 1:
            (one,) = found.values()
            yield Candidate("box", box.start, str(one.answer), one.value, one.firm)
        elif found:
            yield Candidate("box", box.start, box.content, None, firm=False)


def _from_hashes(text: str, given: Choices) -> Iterator[Candidate]:
    for start, line in hashes(text):
        lone = LONE.match(line)
        if lone and lone[1].upper() in given.letters and len(line) < 12:
            yield Candidate("hashes", start, lone[1].upper(), lone[1].upper())


def read_short(content: str, given: Choices, choices: tuple[str, ...]) -> Candidate | None:
    """Read a box's content: ``B``, ``(b)``, ``B. Paris``, ``Paris``, ``The answer is B``; None for anything else."""
    text = " ".join(untex(prose(content)).split())
    whole = single(choices, content)
    lone = LONE.match(text)
    if lone and lone[1].upper() in given.letters and (whole is None or len(text.strip(" .()")) == 1):
        return Candidate("box", 0, lone[1].upper(), lone[1].upper())
    if whole:
        return Candidate("box", 0, text, whole)
    return _choice_of(text, 0, len(text), given, "box")


def _choice_of(text: str, start: int, end: int, given: Choices, evidence: str) -> Candidate | None:
    """The choice that a passage names: its first letter that is not rejected, else a choice's text."""
    found = [one for one in mentions(text, start, end, given) if one.letter in given.letters]
    kept = [one for one in found if not one.rejected]
    words = plain(text[start:end])
    texts = named_texts(words, given)
    if texts and texts[0].start == 0 and _HOLDS_LETTER.search(words[: texts[0].end]) and len(words[: texts[0].end]) > 1:
        # A choice whose own text names letters ("Both A and B", "25 D").
        return Candidate(evidence, start, texts[0].letter, texts[0].letter)
    if kept and not (texts and not kept[0].marked and _within_text(text, start, kept[0], given)):
        first = kept[0]
        if _WITHDRAWN.match(lowered(text[first.end : first.end + 24])):
            return None
        rivals = [one for one in kept[1:] if one.letter != first.letter]
        if rivals and is_alternative(text, first, rivals[0]):
            letters = list(dict.fromkeys(one.letter for one in kept))
            return Candidate(evidence, first.start, " or ".join(letters), None, firm=False)
        return Candidate(evidence, first.start, first.letter, first.letter, rank=int(first.marked))
    if sign := foreign(text, start, end, given):
        return Candidate(evidence, sign.start, sign.letter, sign.letter)
    letters = list(dict.fromkeys(one.letter for one in texts))
    negated = bool(texts) and bool(pattern("negation", codes=given.codes).search(words[: texts[0].start][-24:]))
    if negated:
        return None
    if len(letters) == 1:
        return Candidate(evidence, start, letters[0], letters[0])
    if len(letters) > 1:
        gap = words[texts[0].end : next(one.start for one in texts if one.letter != letters[0])]
        if _LIST_AND.search(gap) and len(gap) < 12:
            return Candidate(evidence, start, " or ".join(letters), None, firm=False)
        return Candidate(evidence, start, letters[0], letters[0])
    return None


def _within_text(text: str, start: int, mention: Mention, given: Choices) -> bool:
    """Whether a lone capital opens a choice's text (``A dog``) rather than naming a choice."""
    words = plain(text[mention.start : mention.start + 200])
    return mention.letter in "AI" and any(
        own and len(own) > 1 and words.startswith(own) and (own[0] == mention.letter.lower() and " " in own)
        for own in given.texts
    )


def _from_statements(text: str, low: str, given: Choices) -> Iterator[Candidate]:
    for statement in statements(low):
        candidate = _state(text, low, statement, given)
        if candidate is not None:
            yield candidate
    for lone in list(_A_MARKER.finditer(low))[-5:]:
        letter = lone[1].upper()
        if letter in given.letters:
            yield Candidate("statement", lone.start(1), letter, letter)


def _state(text: str, low: str, statement: Statement, given: Choices) -> Candidate | None:
    evidence = "statement" if statement.strong else "words"
    start, end = statement.start, statement.end
    lone = LONE.match(text[start : min(end, start + 30)])
    if lone and lone[1].upper() in given.letters and (end - start < 30):
        candidate: Candidate | None = Candidate(evidence, start, lone[1].upper(), lone[1].upper(), rank=1)
    else:
        candidate = _tight(text, statement, given, evidence) or _choice_of(text, start, end, given, evidence)
    if candidate is not None:
        if _WITHDRAWN.match(low[end : end + 20]) or (low[end : end + 1] == "?" and _denied(low, end + 1)):
            return None
        return candidate
    return _before(text, low, statement, given)


def _denied(low: str, place: int) -> bool:
    return bool(re.match(r"[\s\"')]{0,3}(?:no|nope|nay|nein|non|нет|不)(?!\w)", low[place : place + 12]))


def _tight(text: str, statement: Statement, given: Choices, evidence: str) -> Candidate | None:
    """``Answer B``, ``Answer (B) is …``: a letter right after the marker, before any verb."""
    if statement.tight:
        return None
    begin = statement.marker
    window = text[begin : statement.start]
    found = re.search(r"\s[\"'(\[*]{0,3}(?:choice\s|option\s)?([A-Z])[\"')\]*]{0,3}\s(?=\w)", window)
    if found is None or found[1] not in given.letters or (found[1] in "AI" and "(" not in found[0]):
        return None
    if re.search(r"(?:question|problem|part|item|to|for|of)\s$", lowered(window[: found.start() + 1])):
        return None
    rest = mentions(text, begin + found.start(1) - 1, statement.end, given)
    kept = [one for one in rest if not one.rejected]
    if kept and kept[0].letter == found[1]:
        return Candidate(evidence, kept[0].start, found[1], found[1])
    return None


def _before(text: str, low: str, statement: Statement, given: Choices) -> Candidate | None:
    """``B is the right answer``."""
    lead = low[statement.sentence : statement.marker]
    if not _leads_back().search(lead):
        return None
    found = mentions(text, statement.sentence, min(statement.end, statement.marker + 60), given)
    kept = [one for one in found if one.start < statement.marker]
    if not kept:
        texts = named_texts(plain(lead), given)
        negated = pattern("negation", codes=given.codes).search(lead)
        if texts and not negated and len({one.letter for one in texts}) == 1:
            return Candidate("statement", statement.sentence, texts[0].letter, texts[0].letter)
        return None
    last = kept[-1]
    if last.rejected:
        return None
    if len(kept) > 1 and kept[-2].letter != last.letter and is_alternative(text, kept[-2], last):
        return Candidate("statement", last.start, f"{kept[-2].letter} or {last.letter}", None, firm=False)
    return Candidate("statement", last.start, last.letter, last.letter)


@cache
def _leads_back() -> re.Pattern[str]:
    return re.compile(f"(?:{alternation('copula')}|[,:–—-]|が|は|是|为)[^.!?]{{0,40}}$")


@cache
def _picks() -> re.Pattern[str]:
    """Pattern of what comes right before a choice's letter in running text."""
    return re.compile(
        rf"(?P<choose>{alternation('choose')})|(?P<option>{alternation('option')})|(?P<so>{alternation('so', 'it')}|"
        r"(?<!\w)(?:it has to be|it must be|has to be|must be|it's got to be|gotta be|it is|it's|'tis|"
        r"it be|that's|is|be|c'est|es ist|ist|es la|es|è la|est la|e la|é a|это|that leaves|leaves)(?!\w)|"
        r"→|⇒)"
    )


def _from_words(text: str, low: str, given: Choices) -> Iterator[Candidate]:
    """``I pick B``, ``Option B``, ``it has to be B``, ``B it is``."""
    found = list(_picks().finditer(low))[-_MOST:]
    for pick in found:
        kind = str(pick.lastgroup)
        start = pick.end()
        end = min(sentence_end(low, start, 60), start + 60)
        if kind != "choose":
            near = re.match(
                r"[\s\"'(\[*:,→>—–-]{0,5}(?:(?:is|be|ist|est|es|definitely|clearly|surely|of course|the|la|die|"
                r"der|option|choice|letter|opción|lettre|la lettre|number|answer|certainly|probably)"
                r"\s[\"'(\[*]{0,2}){0,3}[\"'(\[*]{0,2}[a-z](?![a-zà-ɏ0-9])",
                low[start : start + 60],
            )
            if near is None:
                continue
            end = min(end, start + near.end() + 30)
        candidate = _choice_of(text, start, end, given, "words")
        if candidate is None or (kind == "so" and candidate.start - start > 40):
            continue
        lead = low[max(0, pick.start() - 24) : pick.start()]
        if re.search(
            r"(?:not|never|wouldn't|won't|don't|n't|only|nor|neither|nicht|no|pas|non)\s(?:say\s|pick\s|choose\s)?$",
            lead,
        ):
            continue
        rejected = [
            one
            for one in mentions(text, max(0, start - 12), sentence_end(low, start, 120), given)
            if one.start == candidate.start
        ]
        if rejected and rejected[0].rejected:
            continue
        if _later_rejected(text, low, candidate, given):
            continue
        yield Candidate(
            "words", candidate.start, candidate.answer, candidate.value, candidate.firm, rank=int(kind == "choose")
        )
    for ordinal in list(_ORDINAL.finditer(low))[-5:]:
        place = len(given.letters) - 1 if ordinal[1] == "last" else _PLACES.index(ordinal[1])
        denied = pattern("negation", "wrong", codes=given.codes).search(
            low, max(0, ordinal.start() - 20), ordinal.end() + 20
        )
        if place < len(given.letters) and given.texts and not denied:
            yield Candidate("words", ordinal.start(), given.letters[place], given.letters[place], rank=-1)
    for it_is in list(
        re.finditer(
            r"(?<![\w'])[\"'(\[*]{0,2}([A-Z])[\"')\]*]{0,2}[,]?\s(?:it is|it be|is it|it must be|it shall be|"
            r"is right|is correct|is what|is where|is the option|gets my|is the (?:right|correct|best)|"
            r"is true|be the one|is the one|is my)(?!\w)",
            text,
            re.IGNORECASE,
        )
    )[-20:]:
        letter = it_is[1].upper()
        lead = low[max(0, it_is.start() - 12) : it_is.start()]
        if letter in given.letters and it_is[1].isupper() and not re.search(r"(?:not|nor|if|whether)\s$", lead):
            yield Candidate("words", it_is.start(1), letter, letter)


def _later_rejected(text: str, low: str, candidate: Candidate, given: Choices) -> bool:
    """Whether the same sentence later rejects the choice: ``option B …, and it is wrong``."""
    end = sentence_end(low, candidate.start, 160)
    tail = low[candidate.start : end]
    wrong = pattern("wrong", codes=given.codes).search(tail)
    return bool(wrong) and not mentions(
        text, candidate.start + 3, candidate.start + wrong.start() if wrong else end, given
    )


def _from_texts(low: str, given: Choices, start: int = 0) -> list[Candidate]:
    """A choice's own text: the only one in the last sentence with any, else the only one in the whole text."""
    if not any(given.texts):
        return []
    end = len(low)
    low = low[start:]
    words = (
        " ".join(re.sub(r"[\"'`$]", "", low[-6000:]).split())
        if len(low) > 6000
        else " ".join(re.sub(r"[\"'`$]", "", low).split())
    )
    found = named_texts(words, given)
    found = [one for one in found if not _is_rejected(words, one, given.codes)]
    if not found:
        return []
    last = found[-1]
    begin = sentence_start(words, last.start)
    near = {one.letter for one in found if one.start >= begin}
    everywhere = {one.letter for one in found}
    if len(near) == 1 or len(everywhere) == 1:
        letter = last.letter if len(near) == 1 else everywhere.pop()
        return [Candidate("option_text", end, words[last.start : last.end], letter)]
    return []


def _is_rejected(words: str, mention: Mention, codes: tuple[str, ...]) -> bool:
    before = words[sentence_start(words, mention.start) : mention.start][-40:]
    negation = last_match(pattern("negation", codes=codes), before)
    if negation is not None and re.fullmatch(r"[^,;:]{0,20}", before[negation.end() :]):
        return True
    end = sentence_end(words, mention.end, 60)
    wrong = pattern("wrong", codes=codes).search(words, mention.end, end)
    denied = re.match(r"\s(?:is|are|was|ist|est|es|è)(?:n't| not| nicht| pas)", words[mention.end : mention.end + 12])
    return bool(denied) or (wrong is not None and wrong.start() - mention.end < 40)


def _from_mentions(text: str, given: Choices) -> list[Candidate]:
    """The only choice whose letter is named in brackets and not rejected."""
    found = mentions(text, 0, min(len(text), 20_000), given)
    kept = {one.letter for one in found if text[one.start] in "([" and not one.rejected}
    named = {one.letter for one in found if one.rejected}
    if len(kept) == 1 and not kept & named:
        letter = kept.pop()
        first = next(one for one in found if one.letter == letter)
        if _later_rejected(text, lowered(text), Candidate("words", first.start, letter), given):
            return []
        return [Candidate("words", first.start, letter, letter)]
    if named and len(given.letters) <= 10 and len(named) == len(given.letters) - 1:
        letter = next(iter(set(given.letters) - named))
        return [Candidate("words", len(text), letter, letter)]
    return []
