"""Normalisation: one spelling of a completion, so that what reads it meets few typographies.

Unicode compatibility forms, digits of all scripts, dashes, quotes, HTML, Markdown emphasis, LaTeX text wrappers and
invisible marks go; line breaks stay, since the place of an answer is evidence. Every step takes linear time.
"""

from __future__ import annotations

import html
import re
import unicodedata

HEAD, TAIL = 10_000, 40_000
"""Of a longer text, only this many characters at its start and end are read, where answers are."""

_FRACTIONS = {
    sign: f" {int(top)}/{int(bottom)}"
    for sign in "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
    for top, bottom in [unicodedata.normalize("NFKC", sign).split("\u2044")]
}

_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n", strict=True))

_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))

_SIGNS = {
    **dict.fromkeys("\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad\u202a\u202b\u202c\u202d\u202e"),
    **dict.fromkeys("\u2066\u2067\u2068\u2069\ufe0f\ufe0e\u0640"),
    **dict.fromkeys("−–‐‑‒﹣－", "-"),
    **dict.fromkeys("\u00a0\u2009\u202f\u2007\u2008\u2002\u2003\u2004\u2005\u2006\u200a\u3000", " "),
    **dict.fromkeys("“”„‟«»「」『』＂", '"'),
    **dict.fromkeys("‘’‚‛‹›ʼ＇", "'"),
    **dict.fromkeys("。｡", ". "),
    **dict.fromkeys("।॥۔", ". "),
    **dict.fromkeys(map(chr, range(0x64B, 0x653))),
    "\r": None,
    "、": ", ",
    "，": ", ",
    "：": ": ",
    "！": "! ",
    "？": "? ",
    "؟": "? ",
    "；": "; ",
    "؛": "; ",
    "،": ", ",
    "٫": ".",
    "٬": ",",
    "【": " [",
    "】": "] ",
    "İ": "I",
    "…": " ... ",
    "⁄": "/",
    "∕": "/",
    "％": "%",
    "٪": "%",
    "＝": "=",
    "🅱": "B",
    "🅰": "A",
    "🅾": "O",
}

_NEGATIVE_CIRCLED = {chr(0x1F150 + place): chr(65 + place) for place in range(26)} | {
    chr(0x1F170 + place): chr(65 + place) for place in range(26)
}

_TABLE = str.maketrans({**_NEGATIVE_CIRCLED, **_FRACTIONS, **_SIGNS})

_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]{1,20}")

_LOWERED = re.compile("[₀-₉]{1,20}")

_TAG = re.compile(r"</?([A-Za-z][A-Za-z0-9_-]{0,20})(?:\s[^<>\n]{0,100})?/?>")

_BLOCK_TAGS = frozenset({"p", "br", "div", "li", "ul", "ol", "tr", "table", "h1", "h2", "h3", "h4"})

_FENCE = re.compile(r"^[ \t]{0,3}```[^\n]{0,40}$", re.MULTILINE)

_SHORT = 2_000

_RUNS = re.compile(r"([^\w\s])\1{8,}|\n{9,}")

_SPACES = re.compile(r"[ \t\f\v]{3,}")

_STRUCK = re.compile(r"~~[^~\n]{1,300}~~")

_FOOTNOTE = re.compile(r"^\[\d{1,2}\]:[^\n]{0,300}$|(?<=[\w.!?%)])\[\d{1,2}\](?!\()", re.MULTILINE)

_STAGE = re.compile(r"(?<![\w*\\])\*(?=[a-z])([^*\n]{1,200})\*(?![\w*])")

_STARS = re.compile(
    r"(?<!\d)\*{2,3}|\*{2,3}(?!\d)|(?<![\w)\s*])\*(?=\S)|(?<=[^\s*])\*(?![\w(*\\])|^\*(?=\S)", re.MULTILINE
)

_UNDERSCORES = re.compile(r"(?<!\w)_{1,3}(?=\w)|(?<=\w)_{1,3}(?![\w{])")

_TELEGRAM = re.compile(r"(?<=\S) STOP(?!\w)")

_PLAIN_FENCE = re.compile(
    r"[ \t]{0,3}```(?:\s*|\s?(?:json|text|txt|yaml|yml|markdown|md|latex|tex|plaintext|answer|xml))[ \t]*"
)

_ANSWER_TAGS = frozenset({"answer", "final_answer", "final-answer", "finalanswer", "final", "result", "response"})

_TEX_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|normal|tt|sf|sc)?|mbox|hbox|math(?:rm|bf|it|sf|tt|bb|cal)|operatorname\*?|boldsymbol|bm|emph|"
    r"underline|textcolor\s?\{\w{1,20}\}|color\s?\{\w{1,20}\})\s?\{((?:\\[{}]|[^{}]){0,400})\}"
)

_TEX_STYLE = re.compile(
    r"\\(?:color\s?\{\w{1,20}\}|(?:huge|Huge|large|Large|LARGE|small|tiny|normalsize|displaystyle|textstyle|bf|it|rm|"
    r"boldmath|bfseries|itshape|checkmark|square|blacksquare|quad|qquad|left|right|big|Big|bigg|Bigg)(?![A-Za-z])|[,;:!])"
)

_TEX_MARKS = re.compile(r"\\[()\[\]]|\\?\$|(?<!\\)\\%")


def window(text: str) -> str:
    """The parts of a completion that are read: all of it, or head and tail of a very long one."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"


def unify(text: str) -> str:
    """Characters of one kind for all scripts: NFKC, ASCII digits, plain quotes and dashes, no invisible marks."""
    if "&" in text:
        text = html.unescape(text)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii():
        return text
    text = _RAISED.sub(lambda run: "^" + _exponent("".join(_SUPERSCRIPTS[sign] for sign in run[0])), text)
    text = _LOWERED.sub(lambda run: "_{" + "".join(_SUBSCRIPTS[sign] for sign in run[0]) + "}", text)
    text = unicodedata.normalize("NFKC", text.translate(_TABLE)).translate(_TABLE)
    if text.isascii():
        return text
    return "".join(map(_digit, text)) if any(map(str.isdecimal, set(text) - _ASCII_DIGITS)) else text


_ASCII_DIGITS = frozenset("0123456789")


def _digit(sign: str) -> str:
    return sign if sign < "\x80" or not sign.isdecimal() else str(unicodedata.decimal(sign))


def _exponent(digits: str) -> str:
    return digits if len(digits) == 1 else f"{{{digits}}}"


def prose(text: str) -> str:
    r"""A unified text without markup: HTML and Markdown emphasis, code blocks, stage directions, strike-outs.

    ``<answer>B</answer>`` becomes ``answer: B``. A text that is nothing but a code block keeps it.
    """
    if "<" in text:
        text = _TAG.sub(_tag, text)
    if "```" in text:
        text = _without_code(text)
    if " STOP" in text:
        text = _TELEGRAM.sub(".", text)
    if "~~" in text:
        text = _STRUCK.sub(" ", text)
    if "*" in text:
        text = _STAGE.sub(_direction, text)
        text = _STARS.sub("", text)
    if "_" in text:
        text = _UNDERSCORES.sub("", text)
    if "`" in text:
        text = text.replace("`", "")
    if "[" in text:
        text = _FOOTNOTE.sub("", text)
    return squeezed(text)


def squeezed(text: str) -> str:
    """A text whose runs of one sign or of spaces are short: what repeats for thousands of signs says nothing."""
    if len(text) < _SHORT:
        return text
    return _RUNS.sub(lambda run: run[0][:8], _SPACES.sub("  ", text))


def _tag(tag: re.Match[str]) -> str:
    name = tag[1].lower()
    if tag[1].isupper() and len(name) == 1 and "/" not in tag[0] and f"</{tag[1]}>" not in tag.string:
        return f" {tag[1]} "  # Answer: <B>
    if name in _ANSWER_TAGS:
        return "\n" if tag[0][1] == "/" else "\nanswer: "
    return "\n" if name in _BLOCK_TAGS else ""


def _without_code(text: str) -> str:
    parts = _FENCE.split(text)
    fences = _FENCE.findall(text)
    # Programs go; a short block without a language, or of data, is where some put their answer.
    kept = [
        part
        for number, part in enumerate(parts)
        if number % 2 == 0 or (_PLAIN_FENCE.fullmatch(fences[number - 1]) and part.count("\n") < 15)
    ]
    outside = "\n".join(kept)
    return outside if any(map(str.isalnum, outside)) else "\n".join(parts)


def _direction(stage: re.Match[str]) -> str:
    """A stage direction of several words goes (``*takes 2 swigs*``); one emphasised word stays."""
    words = stage[1]
    if " " in words:
        return f" {words} " if "answer" in words else "\n"
    start = stage.start()
    opens = start == 0 or stage.string[start - 1] == "\n"
    return f"{words}\n" if opens and stage.string[stage.end() : stage.end() + 1] == " " else words


def untex(text: str) -> str:
    """A text whose LaTeX wrappers, sizes, colours and dollar signs are gone; commands that mean something stay."""
    if "\\" in text:
        for _ in range(3):
            text, changed = _TEX_TEXT.subn(r" \1 ", text)
            if not changed:
                break
        text = _TEX_STYLE.sub(" ", text)
    if "$" in text or "\\" in text:
        text = _SPACES.sub("  ", _TEX_MARKS.sub(_mark, text))
    return text


def _mark(mark: re.Match[str]) -> str:
    """A dollar sign before a number may be one of money: it is kept out of the way, money is read by its number."""
    return "%" if mark[0].endswith("%") else " "


def lowered(text: str) -> str:
    """The text in lower case, character for character, so that places in one are places in the other."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(sign.lower() if len(sign.lower()) == 1 else sign for sign in text)
