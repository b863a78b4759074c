r"""Tidying: what people put into a box beside the answer, taken out: words, units, colours, check marks.

``\boxed{42, arr!}`` says 42 and ``\boxed{1 \text{ and } -2}`` says 1, -2; ``\boxed{41 or 42}`` and ``\boxed{> 42}``
leave it open.
"""

from __future__ import annotations

import re
from functools import lru_cache

from personaeval.verify.normalise import lowered, unify, untex
from personaeval.verify.number import parse_number
from personaeval.verify.number_words import romans
from personaeval.verify.statements import statements
from personaeval.verify.vocabulary import pattern

_COLOURS = re.compile(r"\\(?:textcolor|color|colorbox)\s?(?:\[\w+\])?\{[^{}]{1,30}\}")

_STYLES = re.compile(
    r"\\(?:huge|Huge|large|Large|LARGE|small|tiny|normalsize|bf|bfseries|it|rm|tt|displaystyle|textstyle|boldmath|checkmark|"
    r"blacksquare|square|star|bigstar|heartsuit|smiley|qed|tag\s?\{[^{}]{0,20}\})(?![A-Za-z])"
)

_SYMBOLS = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b50\u2b55\u2705]+")

_BOLD = re.compile(r"\\(?:mathbf|boldsymbol|bm|textbf|underline|mathit|emph)\s?\{([^{}]{0,300})\}")

_WRAPPED = re.compile(r"\s*\\(?:mathbf|boldsymbol|bm|textbf|underline|mathit|emph|boxed|displaystyle)\s?\{")

_WORDY = re.compile(
    r"\\(?:text|mbox|mathrm|textrm|textit|hbox|operatorname)\s?\{|(?<![\\A-Za-z])[A-Za-z]{3,}|[^\W\d_a-zA-Z\u0370-\u03ff]{2,}"
)

_COMMANDS = re.compile(r"\\[A-Za-z]+")

_FUNCTIONS = frozenset(
    [
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "log",
        "ln",
        "exp",
        "min",
        "max",
        "gcd",
        "lcm",
        "mod",
        "deg",
        "det",
        "dim",
        "arg",
        "lim",
        "sup",
        "inf",
        "arcsin",
        "arccos",
        "arctan",
        "sinh",
        "cosh",
        "tanh",
        "sqrt",
        "frac",
        "pmatrix",
        "bmatrix",
        "vmatrix",
        "matrix",
        "begin",
        "end",
        "array",
        "cases",
        "left",
        "right",
        "infty",
    ]
)

_JOINERS = re.compile(
    r"\s*(?:,\s?)?(?:\\q?quad|\\[;,\s])*\s*(?:(?<![A-Za-z\\])(?:and|or|und|oder|et|ou|y|o|e|и|или)(?![A-Za-z])|和|或|,?\s?\\q?quad)(?:\\q?quad|\\[;,\s])*\s*"
)

_RELATIONS = re.compile(r"[<>≤≥]|\\(?:[lg]eq?|[lg]t|leqslant|geqslant|ne|neq)(?![A-Za-z])")

_ABOUT = re.compile(
    r"(?:\\approx|\\sim|≈|~|(?<!\w)(?:about|approximately|exactly|roughly|around|circa|approx\.?|environ|etwa|genau|unos))\s*",
    re.IGNORECASE,
)

_ASIDE = re.compile(r"\(\s?[^\W\d_][^\d()]{1,60}\)")

_WORD = re.compile(r"(?<![\\A-Za-z])[^\W\d_]{2,}['’]?[^\W\d_]*[.!?]*")

_THOUSANDS = re.compile(r"(?<=\d)(?<![\d.]\d{3}),(?=\d{3}(?:,\d{3}){0,4}(?![\d,]))(?<!\d\d\d\d,)")

_TEX_THOUSANDS = re.compile(r"(?<=\d)(?:\\[,;: ]|\{,\}|,?\\!,?)\s?(?=\d{3}(?!\d))")

_ROMAN = re.compile(r"\s*(minus |-)?([MDCLXVI]{2,12})[\s.!]*")

_RATIO = re.compile(r"(\d+)\s+to\s+(\d+)")

_BOUND = re.compile(
    r"\b(?:at (?:least|most)|(?:more|less|greater|fewer|larger|smaller) than|or (?:more|less|fewer|"
    r"greater|larger|higher)|"
    r"not|minimum|maximum)\b"
)

UNITS = {
    **dict.fromkeys(("cent", "cents", "c", "¢"), ("money", "cent")),
    **dict.fromkeys(("dollar", "dollars", "usd"), ("money", "dollar")),
    **dict.fromkeys(("euro", "euros"), ("money", "euro")),
    **dict.fromkeys(("pound", "pounds"), ("pounds", "pound")),
    **dict.fromkeys(("degree", "degrees"), ("angle", "degree")),
    **dict.fromkeys(("radian", "radians", "rad"), ("angle", "radian")),
    **{
        name: (dimension, names[0])
        for dimension, groups in {
            "length": (
                "mm millimeter millimeters millimetre millimetres",
                "cm centimeter centimeters centimetre centimetres",
                "m meter meters metre metres",
                "km kilometer kilometers kilometre kilometres",
                "in inch inches",
                "ft foot feet",
                "yd yard yards",
                "mi mile miles",
            ),
            "time": (
                "s sec second seconds",
                "min minute minutes",
                "h hr hour hours",
                "day days",
                "week weeks",
                "month months",
                "year years",
            ),
            "mass": (
                "mg milligram milligrams",
                "g gram grams",
                "kg kilogram kilograms",
                "ton tons tonne tonnes",
                "oz ounce ounces",
                "lb lbs",
            ),
            "volume": (
                "ml milliliter milliliters",
                "l liter liters litre litres",
                "gallon gallons",
                "quart quarts",
                "cup cups",
            ),
        }.items()
        for group in groups
        for names in (group.split(),)
        for name in names
    },
}
"""Units by name: what they measure, and which one it is."""


def undressed(content: str) -> str:
    """A formula without colours, sizes, bold and emoji."""
    text = unify(content)
    if not text.isascii():
        text = _SYMBOLS.sub(" ", text)
    if "\\" in text:
        text = _STYLES.sub(" ", _COLOURS.sub("", text))
        for _ in range(2):
            text = _BOLD.sub(r"{\1}", text)
    while wrapped := _WRAPPED.match(text):
        if not text.endswith("}") or not _closes(text[wrapped.end() - 1 :]):
            break
        text = text[wrapped.end() : -1].strip()
    text = re.sub(r"^(?:\\[,;: ]|\\q?quad(?![A-Za-z])|[\s~])+|(?:\\[,;: ]|\\q?quad(?![A-Za-z])|[\s~])+$", "", text)
    while len(text) > 2 and text[0] == "{" and text[-1] == "}" and _closes(text):
        text = text[1:-1].strip()
    return (
        re.sub(r"(?:\\q?quad|\\[,;: ])+\s*$|[\s.]+$", "", text).strip()
        if text.endswith(("quad", " ", "\\,", "\\;"))
        else text
    )


def _closes(text: str) -> bool:
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if depth == 0:
            return place == len(text) - 1
    return False


def is_wordy(text: str) -> bool:
    """Whether a formula contains words."""
    if not _WORDY.search(text):
        return False
    bare = _COMMANDS.sub(" ", text)
    words = re.findall(r"[^\W\d_]{2,}", bare)
    return any(word not in _FUNCTIONS for word in words)


@lru_cache(maxsize=4_096)
def is_word(gold: str) -> bool:
    """Whether a gold answer consists of words only: no number with a unit."""
    return is_wordy(gold) and not any(map(str.isdigit, gold))


@lru_cache(maxsize=65_536)
def tidy(content: str, gold: str) -> tuple[str, bool]:
    """A formula without the words around it, and whether it is stated as the answer.

    Args:
        content: content of a box, or the text after a marker.
        gold: the gold answer; only its kind matters (a number, a word, an interval).
    """
    text = undressed(content)
    if len(text) > 2_000:
        return text, True
    number = parse_number(gold) is not None
    if number and _RELATIONS.search(text) and "=" not in text:
        return text, False
    if number and (bare := _ABOUT.sub("", text, count=1)) != text and _ABOUT.match(text):
        text = bare
    if "," not in gold and ("," in text or "\\" in text):
        text = _THOUSANDS.sub("", _TEX_THOUSANDS.sub("", text))
    if number and parse_number(text) is None and (worded := _ROMAN.fullmatch(text)):
        value = romans(worded[2])[0].value
        return f"{-value if worded[1] else value}", True
    if not is_wordy(text):
        return (_listed(text), True) if "quad" in text else (text, True)
    return _without_words(text, gold, number)


def _without_words(text: str, gold: str, number: bool) -> tuple[str, bool]:
    plain = _spoken(text)
    low = lowered(plain)
    for statement in statements(low):
        if statement.start < statement.end:
            plain = plain[statement.start :].strip()
            low = lowered(plain)
            break
    if is_word(gold):
        return _worded(plain, gold), not pattern("negation", codes=("en",)).search(low) or "no" in lowered(gold)
    if _other_unit(low, gold):
        return text, False
    if number:
        return _number(text, plain, low)
    if _RATIO.search(plain):
        plain = _RATIO.sub(r"\1:\2", plain)
    if pattern("negation", codes=("en",)).search(low):
        return text, False
    joined = _JOINERS.sub(", ", _ASIDE.sub(" ", _ABOUT.sub(" ", plain)))
    kept = _WORD.sub(lambda word: word[0] if word[0].lower().strip(".!?") in _FUNCTIONS else " ", joined)
    kept = re.sub(r"\s+", " ", re.sub(r"(?:,\s*)+(?=,|$)|^[\s,]+", "", kept)).strip(" ,;!.")
    return (kept or text), True


def _spoken(text: str) -> str:
    """Text wrappers opened; formulas stay as they are."""
    return " ".join(
        re.sub(r"\\(?:text(?:rm|it|bf|tt|sf)?|mbox|hbox|mathrm|operatorname)\s?\{([^{}]*)\}", r" \1 ", text).split()
    )


def _listed(text: str) -> str:
    return re.sub(r"\s*,?\s*(?:\\q?quad)+\s*,?\s*", ", ", text).strip(" ,")


def _worded(plain: str, gold: str) -> str:
    """A word among flavour: ``Evelyn, of course!``; a gold of several clauses keeps them."""
    if "," in gold:
        return plain
    head = re.split(r"[,;!]|\.(?=\s|$)", plain, maxsplit=1)[0].strip()
    return head or plain


def _number(text: str, plain: str, low: str) -> tuple[str, bool]:
    from personaeval.verify import read_numeric

    found = read_numeric.read_box(untex(plain), None, ("en",))
    if parse_number(text) is not None:
        return text, not _BOUND.search(low)
    # Formulas among words stay formulas: only where the rest is words is the number read out.
    stripped = _WORD.sub(" ", _ASIDE.sub(" ", plain)).strip(" ,;.!?'\"-")
    formula = bool(re.search(r"\\[a-zA-Z]+|[\^_{}]|[A-Za-z]", stripped))
    listed = _JOINERS.search(low)
    if listed and not formula:
        joined = _WORD.sub(" ", _JOINERS.sub(", ", plain)).strip(" ,;.!")
        if re.search(r"\d[^,]*,[^,]*\d", joined):
            return joined, True
    if found is None:
        spoken = read_numeric.read(untex(plain)).chosen
        if spoken is None or formula:
            return (_WORD.sub(" ", plain).strip(" ,;.!") or text) if formula else text, True
        found = spoken
    if formula:
        return stripped, found.firm
    if found.value is None:
        return text, False
    percent = r"\%" if found.percent else ""
    return f"{found.value}{percent}", found.firm


def _other_unit(low: str, gold: str) -> bool:
    """Whether both name a unit of one kind, and another one."""
    wanted = _units(lowered(_spoken(gold)))
    given = _units(low)
    return any(wanted.get(dimension, unit) != unit for dimension, unit in given.items())


def _units(low: str) -> dict[str, str]:
    found = [UNITS[word] for word in re.findall(r"[^\W\d_]+|¢", re.sub(r"\\[a-z]+", " ", low)) if word in UNITS]
    return dict(found)
