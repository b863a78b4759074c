"""Reads the word or short string that a text gives as its answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from personaeval.verify.boxes import boxes, hashes
from personaeval.verify.markers import languages, listed
from personaeval.verify.normalise import lowered, prose, untex
from personaeval.verify.reading import Candidate, Reading, choose
from personaeval.verify.statements import corrections, statements
from personaeval.verify.vocabulary import alternation, pattern, spoken

_EDGES = re.compile(r"^[^\w(\[{<)\]}>+-]+|[^\w)\]}>(\[{<%+]+$")

_SYMBOLS = re.compile(r"[\[\](){}<>][\[\](){}<>\s]*[\[\](){}<>]|[\[\](){}<>]")

_QUOTED = re.compile(
    r"\"([^\"\n]{1,200})\"|(?<!\w)'([^'\n]{1,200})'(?!\w)|(?<!\w)\*{1,3}([^*\n]{1,200})\*{1,3}(?!\w)|`([^`\n]{1,200})`"
)

_ARROW = re.compile(r"(?:->|→|⇒|=>|=)\s{0,3}([^\n]{1,200})")

_CLAUSE = re.compile(
    r"[,;!?…]|\.(?=\s|$)|\s[-–—]+\s|\s?[—]\s?|\(|\s(?:because|since|as|arr|matey|cap'n|sir|it is|"
    r"it be|desu|です|だ|STOP|stop|imo|imho|ngl|tbh|lol|fr|btw|innit|mate|my)(?!\w)|:\s|\n"
)

_BACK = re.compile(
    r"(?:^|[,.!?;:]\s)([^,.!?;:\n]{1,60}?)[,]?\s(?:it is|it be|it shall be|is the (?:answer|word|"
    r"result)|is my answer|is what)(?!\w)",
    re.IGNORECASE,
)

_OPEN_ENDED = re.compile(r"^\s{0,3}(?:,?\s?(?:or|oder|ou|o|и|или|and also|but no|but not|unless)(?!\w)|/)")

_LATIN_RUN = re.compile(r"[A-Za-z][A-Za-z'-]*(?: [A-Za-z][A-Za-z'-]*)*")

_LEADING = re.compile(
    r"^(?:a|an|the|just|simply|the word|the string|word|der|die|das|le|la|el|il|o|that|this|be)\s", re.IGNORECASE
)

_MOST = 30


def read(text: str, gold: str) -> Reading:
    """Read a windowed, unified completion; ``gold`` only tells whether marks inside an answer matter."""
    plain_text = prose(text)
    if "\\" in plain_text:
        plain_text = untex(plain_text)
    low = lowered(plain_text)
    codes = spoken(low)
    found = [*_from_boxes(text), *_from_statements(plain_text, low)]
    if not any(candidate.evidence in ("box", "hashes") for candidate in found):
        found += _from_sentences(text, plain_text, low, codes)
    return Reading(choose(found, corrections(low, codes)), lambda: found)


def same(gold: str, variants: tuple[str, ...], ignore_case: bool) -> bool:
    """Whether any reading of an answer is the gold answer."""
    wanted = _forms(gold)
    given = [form for variant in variants for form in _forms(variant)]
    if ignore_case:
        wanted, given = {form.casefold() for form in wanted}, [form.casefold() for form in given]
        meanings = {meaning for form in wanted if (meaning := _meaning().get(form))}
        if meanings and any(_meaning().get(form) in meanings for form in given):
            return True
    return any(form in wanted for form in given)


@cache
def _meaning() -> dict[str, str]:
    """Words for yes, no, true and false in all languages; ambiguous ones only in the first language."""
    table: dict[str, str] = {}
    for meaning in ("yes", "no", "true", "false"):
        for language in languages():
            for word in listed(getattr(language, meaning)):
                table.setdefault(word, meaning)
    return table


def _forms(text: str) -> set[str]:
    """Spellings of a string that count as the same: without quotes, end marks, doubled spaces and commas."""
    plain = " ".join(text.split()).strip(" \"'`*_")
    stripped = plain
    for _ in range(3):
        stripped = _EDGES.sub("", stripped)
    forms = {plain, plain.rstrip(".!?,;:"), stripped, stripped.replace(",", "")}
    forms |= {re.sub(r"\s+", " ", form) for form in tuple(forms)}
    letters = re.split(r"\s?[-,.·…\s]\s?", stripped)
    if len(letters) > 2 and all(len(letter) == 1 and letter.isalpha() for letter in letters):
        forms.add("".join(letters))
    if re.fullmatch(r"[(\[{]\s?[^\W_]\s?[)\]}]", stripped):
        forms.add(stripped.strip("([{ )]}"))
    return {form for form in forms if form}


def _from_boxes(text: str) -> Iterator[Candidate]:
    for box in boxes(text)[-20:]:
        content = " ".join(re.sub(r"\\([{}%$#&_])", r"\1", untex(prose(box.content))).split())
        yield Candidate("box", box.start, box.content, _variants(content), len(box.parts) == 1)
    for start, line in hashes(text):
        if text[start : start + 8].lstrip(" >*")[:4] != "####" or pattern("answer", "result").search(lowered(line)):
            continue
        if not re.match(r"(?:step|\d+[.)])\s", line, re.IGNORECASE) and len(line) < 60:
            yield Candidate("hashes", start, line, _variants(line))


def _variants(stretch: str) -> tuple[str, ...]:
    """Readings of a passage with an answer: all of it, its first sentence, its first clause, its quotations."""
    line = stretch.strip().split("\n", 1)[0][:400]
    sentence = re.split(r"[.!?](?=\s|$)", line)[0]
    found = [line, sentence, re.sub(r"\s(?:it|that|this)$", "", sentence)]
    clause = _CLAUSE.split(line, maxsplit=1)[0]
    if clause.strip() and not _OPEN_ENDED.match(line[len(clause) :]):
        found += [clause, _LEADING.sub("", clause.strip())]
    if lead := pattern("so", "it", "copula").match(lowered(line).lstrip()):
        rest = line.lstrip()[lead.end() :]
        found += [rest, _CLAUSE.split(rest.strip(), maxsplit=1)[0]]
    if symbols := _SYMBOLS.search(line):
        found.append(symbols[0])
    if quoted := _QUOTED.search(line):
        found.append(next(group for group in quoted.groups() if group))
    if arrow := list(_ARROW.finditer(line)):
        found += [arrow[-1][1], _CLAUSE.split(arrow[-1][1], maxsplit=1)[0]]
    if not line.isascii():
        # Words of another script end where the Latin ones do: "答えはpmalです".
        found += _LATIN_RUN.findall(line)[:1]
    return tuple(dict.fromkeys(part.strip() for part in found if part.strip()))


def _from_statements(text: str, low: str) -> Iterator[Candidate]:
    for statement in statements(low):
        start = statement.start
        while start > statement.marker and text[start - 1] in " ([{<>)]}":
            start -= 1
        stretch = text[start : min(statement.end + (text[statement.end : statement.end + 1] in ".!?;"), start + 400)]
        rest = stretch if statement.tight else text[start : start + 400].lstrip().split("\n", 1)[0]
        if statement.tight and not re.match(r"[\s\"'(*]*\w", stretch):
            stretch = ""
        variants = tuple(dict.fromkeys((*_variants(rest), *_variants(stretch)))) if stretch.strip() else ()
        lead = text[statement.sentence : statement.marker]
        back = re.match(rf"(.{{1,80}}?)[,]?\s(?:{_verbs()})\s(?:[^\W\d_]+\s){{0,3}}$", lead)
        if (not variants or _is_talk(variants[0])) and back:
            variants = (*variants, *_variants(back[1]))
        if not variants or (statement.tight and not back and not statement.strong):
            continue
        hedged = bool(re.match(r"^[^,.;!?\n]{0,60}\s(?:or|oder|ou|или)\s", rest)) or bool(
            re.match(r"\s{0,2}(?:not|n't|nicht|no es|n'est pas)\s", rest)
        )
        evidence = "statement" if statement.strong else "words"
        yield Candidate(
            evidence, statement.start, variants[min(1, len(variants) - 1)][:200], variants, not hedged, rank=1
        )


@cache
def _verbs() -> str:
    return "is|be|was|are|ist|est|es|è|é|on|är|er|jest|to|ni"


def _is_talk(text: str) -> bool:
    return not text.strip(" .!?") or len(text.split()) > 4


def _from_sentences(text: str, plain: str, low: str, codes: tuple[str, ...]) -> list[Candidate]:
    """Quoted or emphasised words and what follows a verb or an arrow in the last sentences; the first and last line."""
    found: list[Candidate] = []
    quotes = [
        (match.start(), group)
        for match in list(_QUOTED.finditer(text))[-_MOST:]
        if (group := next(one for one in match.groups() if one)) and len(group.split()) <= 6
    ]
    found += [Candidate("words", start, group, (group, *_variants(group))) for start, group in quotes]
    lines = [(match.start(), match[0]) for match in re.finditer(r"[^\n]*\S[^\n]*", plain)]
    if not lines:
        return found
    # A line of one word, and a sentence of one, are what was asked for.
    found += [
        Candidate("words", start, line.strip(), _variants(line))
        for start, line in [*lines[:_MOST], *lines[-_MOST:]]
        if len(lines) > 1 and len(line.split()) == 1 and re.search(r"\w", line)
    ]
    negation = pattern("negation", codes=codes)
    for number in dict.fromkeys((0, len(lines) - 1)):
        start, line = lines[number]
        variants = list(_variants(line[:400]))
        if back := _BACK.search(line):
            variants += _variants(back[1])
        found.append(Candidate("words", start, line.strip()[:200], tuple(variants), rank=-1))
    start, line = lines[-1]
    verbs = list(re.compile(f"{alternation('copula', 'it', 'so')}|[:→]|->").finditer(low, max(start, len(low) - 2000)))[
        -_MOST:
    ]
    for verb in verbs:
        stretch = plain[verb.end() : verb.end() + 200].split("\n", 1)[0]
        if not stretch.strip() or negation.match(stretch.lower().lstrip()):
            continue
        variants = list(_variants(stretch))
        found.append(
            Candidate("words", verb.end(), variants[min(1, len(variants) - 1)][:200], tuple(variants), rank=-1)
        )
    if not plain.isascii():
        runs = list(_LATIN_RUN.finditer(plain))
        letters = sum(map(str.isalpha, plain))
        if runs and sum(len(run[0]) for run in runs) * 2 < letters:
            found.append(Candidate("words", runs[-1].start(), runs[-1][0], (runs[-1][0],), rank=-1))
    return _merged(found)


def _merged(found: list[Candidate]) -> list[Candidate]:
    """Of unquoted sentences' ends the readings of the last few count alike."""
    plain = [one for one in found if one.rank < 0]
    if len(plain) < 2:
        return found
    last = max(plain, key=lambda one: one.start)
    variants = tuple(
        dict.fromkeys(text for one in plain for text in (one.value if isinstance(one.value, tuple) else ()))
    )
    merged = Candidate("words", last.start, last.answer, variants, rank=-1)
    return [*(one for one in found if one.rank >= 0), merged]
