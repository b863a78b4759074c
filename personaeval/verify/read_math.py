r"""Reads the formula that a text gives as its answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from personaeval.verify import quantities, read_numeric
from personaeval.verify.boxes import boxes, hashes
from personaeval.verify.normalise import lowered, prose
from personaeval.verify.number import parse_number
from personaeval.verify.reading import Candidate, Reading, choose
from personaeval.verify.statements import corrections, sentence_end, sentence_start, statements
from personaeval.verify.tidy import is_word, tidy
from personaeval.verify.vocabulary import alternation, pattern, spoken

DISPLAY = re.compile(
    r"\\\(([^\n]{1,500}?)\\\)|\\\[(.{1,500}?)\\\]|\$\$([^$]{1,500})\$\$|(?<!\\)\$([^$\n]{1,500})(?<!\\)\$", re.DOTALL
)

_RELATION = re.compile(r"(?<![<>!:=\\])=(?!=)|\\approx(?![a-zA-Z])|≈|\\implies(?![a-zA-Z])|\\Rightarrow(?![a-zA-Z])")

_CUT = re.compile(
    r"\s(?:because|since|as|where|which|matey|arr|for|when|so|thanks|by|of|if)\s|,\s(?=[^\W\d_]{2,})|\s[-–—]\s(?=[^\W\d_]{3})|[!?](?=\s|$)|:\s(?=[A-Za-z]{2})"
)

# Within JSON a backslash is written twice.
_ESCAPED = re.compile(
    r"\\\\(?:[dtc]?frac|begin|end|sqrt|text|pi|cdot|times|left|right|mathrm|infty|pm|cup|binom)(?![a-z])|\\\\[{}]"
)

_LOCAL = re.compile(r"(?<![\d.,])(?:[1-9]\d{0,2}(?:\.\d{3})+(?:,\d{1,9})?|\d{1,9},\d{1,2})(?![\d.,]\d|\d)")

_JOINED = re.compile(r"[\s,;]{0,4}(?:(?:and|or|und|oder|et|ou|y|o|e|и|或|和)[\s,]{0,3}(?:[a-z]\s?=\s?)?)?")

_MATHY = re.compile(r"[\d$\\^=√π]")


def read(text: str, gold: str) -> Reading:
    """Read a windowed, unified completion; of ``gold`` only the kind is looked at."""
    located = boxes(text)[-20:]
    probe = " ".join(box.content for box in located) or text
    if _LOCAL.search(probe) and parse_number(gold) is not None:
        text = _without_locale(text)
        located = boxes(text)[-20:]
    found = [Candidate("box", box.start, *_tidied(box.content, gold)) for box in located]
    tail = text[located[-1].end :] if located else ""
    taken_back = [located[-1].end + place for place in _corrections(tail)] if located else []
    if found and not taken_back and (len(found) == 1 or len({one.answer for one in found}) == 1):
        return Reading(found[-1], lambda: [*found, *_from_plain_statements(text, gold)])
    plain = prose(text)
    low = lowered(plain)
    stated = [*_from_hashes(plain, gold), *_from_statements(plain, low, gold)]
    if len(found) > 1:
        behind = [one for one in stated if one.evidence == "statement" and one.start > found[-1].start]
        if behind:
            return Reading(choose(behind), lambda: [*found, *stated])
    candidates = [*found, *stated]
    if not candidates or taken_back:
        candidates += _from_prose(text, plain, low, gold, bool(taken_back))
    return Reading(choose(candidates, taken_back), lambda: candidates)


def _corrections(tail: str) -> list[int]:
    """Places where a text retracts what precedes them."""
    if not any(map(str.isalpha, tail)):
        return []
    low = lowered(tail)
    return corrections(low, spoken(low) if len(low) < 400 else ("en",))


def _from_plain_statements(text: str, gold: str) -> Iterator[Candidate]:
    plain = prose(text)
    return _from_statements(plain, lowered(plain), gold)


def _without_locale(text: str) -> str:
    """Numbers as English writes them, where the words of a text are of a language with a decimal comma."""
    low = lowered(text)
    if not quantities.uses_commas(low):
        return text
    return _LOCAL.sub(lambda number: number[0].replace(".", "").replace(",", "."), text)


def _tidied(content: str, gold: str) -> tuple[str, str, bool]:
    if _ESCAPED.search(content):
        content = content.replace("\\\\", "\\")
    answer, firm = tidy(content, gold)
    return content, answer, firm


def _from_hashes(text: str, gold: str) -> Iterator[Candidate]:
    for start, line in hashes(text):
        if pattern("answer", "result").search(lowered(line)):
            continue
        if (
            not re.match(r"(?:step|\d+[.)])\s", line, re.IGNORECASE)
            and len(line) < 60
            and not re.match(r"[A-Za-z]{3,}\s?[A-Za-z]*\W*$", line)
        ):
            yield Candidate("hashes", start, *_tidied(_undisplayed(line), gold))


def _undisplayed(stretch: str) -> str:
    formula = DISPLAY.search(stretch)
    return _content(formula) if formula else stretch.strip(" *_$")


def _content(formula: re.Match[str]) -> str:
    return next(group for group in formula.groups() if group).strip()


def _from_statements(text: str, low: str, gold: str) -> Iterator[Candidate]:
    # What is boxed within a statement is a candidate already.
    told = [one for one in statements(low) if "boxed" not in low[one.start : one.end + 1]]
    for statement in told:
        evidence = "statement" if statement.strong else "words"
        stretch = _in_quotes(text, statement.start) or text[statement.start : _sentence_end(text, statement.start)]
        content = _stated(stretch, gold)
        if content is None or (statement.tight and not re.match(r"[\s\"'(*$\\]*[\d$\\(-]", stretch)):
            content = None
            if statement.strong:
                lead = text[statement.sentence : statement.marker]
                formulas = list(DISPLAY.finditer(lead))
                if formulas and re.search(
                    rf"{alternation('copula')}[^.!?]{{0,30}}$", low[statement.sentence : statement.marker]
                ):
                    content = _content(formulas[-1])
        if content is not None:
            yield Candidate(evidence, statement.start, *_tidied(content, gold), rank=1)
    if told and parse_number(gold) is not None:
        # Numbers in words and before the marker are read as numeric tasks read them.
        for candidate in read_numeric.stated(text):
            yield Candidate(
                "words" if candidate.evidence != "statement" else "statement",
                candidate.start,
                candidate.answer,
                _value(candidate),
                candidate.firm,
            )


def _in_quotes(text: str, start: int) -> str | None:
    """The content of quotes around the answer: ``"answer": "x, y", "sure": 1``."""
    quoted = re.match(r"\"((?:[^\"\\\n]|\\.){1,300})\"", text[start : start + 310])
    return quoted[1] if quoted else None


def _value(candidate: Candidate) -> str:
    percent = r"\%" if candidate.percent else ""
    return f"{candidate.value}{percent}" if candidate.value is not None else candidate.answer


def _sentence_end(text: str, start: int) -> int:
    """Place where a sentence ends; a full stop within a formula does not end it."""
    for formula in DISPLAY.finditer(text, start, start + 400):
        if formula.start() - start < 60:
            return sentence_end(text, formula.end())
        break
    return sentence_end(text, start)


def _stated(stretch: str, gold: str) -> str | None:
    """The formula that the passage after a marker states."""
    formulas = list(DISPLAY.finditer(stretch))
    while formulas and re.search(r"(?<!\w)(?:not|nicht|pas|no es|non)\s$", stretch[: formulas[0].start()].lower()):
        stretch = stretch[formulas.pop(0).end() :]
        formulas = list(DISPLAY.finditer(stretch))
    if formulas and len(re.findall(r"[^\W\d_]{2,}", stretch[: formulas[0].start()])) <= 6:
        first = formulas[0]
        before = stretch[: first.start()]
        if re.search(r"\d\s*$", before):
            return _cut(stretch)
        content, end = _content(first), first.end()
        for follower in formulas[1:]:
            if not _JOINED.fullmatch(stretch, end, follower.start()):
                break
            content, end = f"{content}, {_content(follower)}", follower.end()
        rest = stretch[end : end + 40]
        if re.match(r"\s?(?:or more|or less|at least)", rest) or read_numeric.is_bound(before):
            return f"{before} {content} {rest}"
        relation = _RELATION.split(content)
        return relation[-1].strip() if len(relation) > 2 else content
    cut = _cut(stretch)
    if cut is None or (not _MATHY.search(cut) and not is_word(gold) and parse_number(gold) is None and len(cut) > 12):
        return None
    if parse_number(gold) is not None and not re.search(r"[A-Za-z]\s?[=^]|\\|\(", cut):
        # A sentence around a number is read as such.
        return None if re.search(r"[^\W\d_]{2,}|[^\x00-\x7f]", cut) or not re.search(r"\d", cut) else cut
    if len(re.findall(r"[^\W\d_]{3,}", cut)) > 6 and not is_word(gold):
        return None
    return cut


def _cut(stretch: str) -> str | None:
    line = stretch.split("\n", 1)[0]
    cut = _CUT.split(line, maxsplit=1)[0]
    return cut.strip(" *_\"'.,;:`").rstrip("$") or None


def _from_prose(text: str, plain: str, low: str, gold: str, late: bool) -> list[Candidate]:
    """The last sentence with a formula: what follows its verb or its last equals sign."""
    number = parse_number(gold) is not None
    if number and not DISPLAY.search(plain):
        return [_as_math(one) for one in read_numeric.candidates(text)]
    formulas = list(DISPLAY.finditer(plain))[-50:]
    if formulas and not late:
        last = formulas[-1]
        end = sentence_end(plain, last.end())
        tail = plain[last.end() : end]
        if verb := _final_verb().search(lowered(tail)):
            value = tail[verb.end() :].strip(" *_.!\"'")
            if value and _MATHY.search(value):
                return [Candidate("words", last.end() + verb.end(), *_tidied(_cut(value) or value, gold))]
        if _RELATION.match(tail.lstrip()) and (value := _RELATION.split(tail)[-1].strip(" *_.!")):
            return [Candidate("words", last.end(), *_tidied(_cut(value) or value, gold))]
        later = read_numeric.candidates(plain[end:]) if number else []
        if later:
            shift = end
            return [Candidate(one.evidence, one.start + shift, one.answer, _value(one), one.firm) for one in later]
        content = _RELATION.split(_content(last))[-1].strip()
        return [Candidate("words", last.start(), *_tidied(content or _content(last), gold))]
    return _from_last_line(plain, low, gold)


def _as_math(one: Candidate) -> Candidate:
    return Candidate(one.evidence, one.start, one.answer, _value(one), one.firm, rank=one.rank)


@cache
def _final_verb() -> re.Pattern[str]:
    return re.compile(f"{alternation('copula', codes=('en', 'fr', 'de', 'es'))}\\s*(?=[\\d(\\\\$√π-])")


def _from_last_line(plain: str, low: str, gold: str) -> list[Candidate]:
    lines = [(match.start(), match[0]) for match in re.finditer(r"[^\n]*\S[^\n]*", plain)]
    for number in dict.fromkeys((len(lines) - 1, 0)) if lines else ():
        start, line = lines[number]
        begin = max(sentence_start(plain, start + len(line.rstrip(" .!?"))), start)
        line = plain[begin : start + len(line)][-500:]
        if _RELATION.search(line):
            value = _cut(_RELATION.split(line)[-1])
            if value:
                return [Candidate("words", begin, *_tidied(value, gold))]
        if verb := list(_final_verb().finditer(lowered(line))):
            value = _cut(line[verb[-1].end() :])
            if value:
                return [Candidate("words", begin, *_tidied(value, gold))]
        short = line.strip(" *_.!?\"'`,")
        if is_word(gold):
            words = [_cut(line) or short]
            verbs = list(
                re.compile(alternation("copula", "it", "so", codes=("en", "fr", "de", "es"))).finditer(lowered(line))
            )
            if verbs:
                words.insert(0, _cut(line[verbs[-1].end() :]) or short)
            return [Candidate("words", begin, *_tidied(words[0], gold))]
        if short and len(short) < 60 and _MATHY.search(short) and len(re.findall(r"[^\W\d_]{3,}", short)) <= 3:
            return [Candidate("words", begin, *_tidied(_cut(short) or short, gold))]
    found = read_numeric.candidates(plain)
    best = choose(found)
    return [_as_math(best)] if best else []
