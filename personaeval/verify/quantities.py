r"""Quantities: the numbers of a text with their exact values, and what joins them.

Signs, separators of all locales, fractions, percent, scientific notation, magnitudes, times, number words and Roman
numerals. A calculation counts as one value: ``9 * 2 = 18`` is 18, ``8 * 0`` has none. Never half a number: ``8/3`` is
not 3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from personaeval.verify import number_words
from personaeval.verify.scales import SCALES
from personaeval.verify.vocabulary import spoken, writes_commas

_LONGEST = 120

_MOST = 4_000

_RUN = re.compile(r"(?:\d+(?:(?:[.,'_]|(?<!\d\d\d\d) (?=\d{3}(?!\d|[.,]\d{3}\d)))\d+)*|(?<![\d.])\.\d+)")

_SUFFIX = re.compile(
    r"(?P<fraction>\s?/\s?\d{1,12}(?:\.\d{1,12})?(?![\d/]))|(?P<date>/\d+/\d+)|"
    r"(?P<clock>:\d{2}(?::\d{2})?(?!\d))|(?P<hours>h(?P<minutes>[0-5]\d)(?!\d))|"
    r"(?P<times>\s?(?:\\times|\\cdot|×|·|\*|x)\s?10\s?(?:\^|\*\*)\s?(?:\{\s?(?P<braced>[-+]?\d{1,3})\s?\}|(?P<bare>[-+]?\d{1,3})))|"
    r"(?P<exponent>[eE][-+]?\d{1,3}(?!\w))|"
    r"(?P<power>\s?(?:\^|\*\*)\s?(?:\{\s?(?P<up>-?\d{1,3})\s?\}|(?P<high>-?\d{1,3})(?!\d)))"
)

_PERCENT = re.compile(
    r"\s?%|\s(?:per ?cent|percent|prozent|pour ?cent|por ?ciento|por ?cento|per cento|procent|процент\w*)(?!\w)"
)

_MIXED = re.compile(r" (?:and )?(\d{1,9})/(\d{1,9})(?![\d/])")

_SCALE = re.compile(r"(?:\s|-)?([^\W\d_]+(?:\u093c[^\W\d_]*)?\.?)")

_CURRENCY_BEFORE = re.compile(r"(?:[$€£¥₹₽₩]|(?<![a-z])(?:rs\.?|usd|eur|inr|us))\s?$")

_CURRENCY_AFTER = re.compile(
    r"\s?(?:[€£¥₹₽₩]|(?:dollars?|euros?|pounds?|rupees?|dólares|reais|pesos|rubel|рубл\w*|долл\w*|franken|francs?|rupien?|rp|usd|eur|kr)(?!\w))"
)

_MINUS = re.compile(
    r"(?:negative|minus|menos|moins|meno|minus|минус|мінус|سالب|ऋण|माइनस|负|マイナス|마이너스|eksi)\s?$"
)

_PAIRED_FRACTION = re.compile(r"\\[dtc]?frac\s?(?:\{\s?(-?[\d.,]{1,20})\s?\}|(\d))\s?(?:\{\s?([\d.,]{1,20})\s?\}|(\d))")

_TEX_THOUSANDS = re.compile(r"(?<=\d)(?:\\[,;: ]|\{,\}|,\\!\s?|\\!,|~)(?=\d{3}(?!\d))")

_OPERATOR = re.compile(
    r"[^.!?;=\d]{0,24}?(?:[-+*/×÷^·]|\\times|\\cdot|\\div|(?<!\w)(?:plus|minus|times|multiplied by|"
    r"divided by|less|take away|"
    r"mal|fois|por|per|más|menos|moins|meno|più|mais|vezes|volte|умножить на|плюс|минус|x|keer|by)"
    r"(?!\w))\s{0,2}[$€£(]{0,2}\s?",
)

_RELATION = re.compile(
    r"[^.!?;\n=]{0,40}?(?:=|≈|\\approx|\\implies|\\Rightarrow|⇒|→|->|(?<!\w)(?:equals|gives|makes|leaves|is equal to|"
    r"ergibt|gleich|donne|font|égale|da|igual a|fa|равно|är lika med|is)(?!\w))"
    r"[^\w.!?;\n=]{0,6}(?:\w{1,20}\s){0,2}?[^\w.!?;\n=]{0,6}"
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of a text.

    Attributes:
        value: exact; None if it is no plain number (a date, a calculation without result).
        start, end: its place in the text.
        percent: written with a percent sign; the value is the number before it.
        worked: whether it is the result of the calculation before it.
    """

    value: Fraction | None
    start: int
    end: int
    percent: bool = False
    worked: bool = False


def prepare(text: str) -> str:
    r"""A unified text with LaTeX fractions and separators as plain ones, ready to be scanned."""
    if "\\" in text or "{,}" in text:
        text = _TEX_THOUSANDS.sub(",", text)
        text = _PAIRED_FRACTION.sub(_plain_fraction, text)
    return text


def _plain_fraction(found: re.Match[str]) -> str:
    space = " " if found.string[found.start() - 1 : found.start()].isdigit() else ""
    return f"{space}{found[1] or found[2]}/{found[3] or found[4]}"


def uses_commas(low: str) -> bool | None:
    """Whether the numbers of a text, or its language, use a decimal comma; None if nothing shows it."""
    if re.search(r"\d\.\d{3},\d|\d\.\d{3}\.\d{3}(?!\d)|(?<![\d.,])\d{1,3} \d{3},\d|(?<![\d.,])0,\d", low):
        return True
    if re.search(r"\d,\d{3}\.\d|\d,\d{3},\d{3}(?!\d)", low):
        return False
    return writes_commas(spoken(low)) or None


def scan(low: str, commas: bool | None = None) -> list[Quantity]:
    """The numbers in digits of a prepared lower-case text, in order; at most the last few thousand."""
    found: list[Quantity] = []
    end = 0
    for run in _RUN.finditer(low):
        if run.start() < end:
            continue
        quantities = _quantities(low, run, commas)
        if quantities:
            found += quantities
            end = quantities[-1].end
    return found[-_MOST:]


def _quantities(low: str, run: re.Match[str], commas: bool | None) -> list[Quantity]:
    start, end = run.span()
    before = low[max(0, start - 12) : start]
    glued = start and ((low[start - 1].isascii() and low[start - 1].isalpha()) or low[start - 1] == "_")
    if glued and not _CURRENCY_BEFORE.search(before):
        return []
    digits = run[0]
    if len(digits) > _LONGEST:
        return [Quantity(None, start, end)]
    money = bool(_CURRENCY_BEFORE.search(before) or _CURRENCY_AFTER.match(low, end))
    value = _read(digits, commas, money)
    if value is None:
        parts = list(re.finditer(r"\d+", digits))
        if "," in digits and "." not in digits and len(parts) < 50:
            return [Quantity(Fraction(part[0]), start + part.start(), start + part.end()) for part in parts]
        return [Quantity(None, start, end)]
    value, end = _suffixed(low, value, end)
    if value is not None:
        value, end = _scaled(low, value, end)
    percent = _PERCENT.match(low, end)
    if percent:
        end = percent.end()
    first, negative = _sign(low, start, before)
    return [Quantity(-value if negative and value is not None else value, first, end, bool(percent))]


def _read(digits: str, commas: bool | None, money: bool) -> Fraction | None:
    """The value of digits with separators; None if they are not one number."""
    if digits.isdigit():
        return Fraction(digits)
    digits = digits.replace("_", " ").replace("'", " ")
    if " " in digits:
        groups = re.split("[ ]", re.split("[.,]", digits)[0])
        rest = digits[sum(map(len, groups)) + len(groups) - 1 :]
        if len(groups) > 1 and not (len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])):
            return None
        digits = "".join(groups) + rest
        if " " in digits or len(re.findall("[.,]", rest)) > 1:
            return None
        return Fraction(digits.replace(",", "."))
    dots, marks = digits.count("."), digits.count(",")
    if dots and marks:
        decimal = "." if digits.rindex(".") > digits.rindex(",") else ","
        other = "," if decimal == "." else "."
        if digits.count(decimal) > 1 or not _grouped(digits.split(decimal)[0], other):
            return None
        return Fraction(digits.replace(other, "").replace(decimal, "."))
    if marks:
        if _grouped(digits, ","):
            return Fraction(digits.replace(",", ""))
        return Fraction(digits.replace(",", ".")) if marks == 1 else None
    if dots == 1:
        if (commas or (money and commas is not False)) and _grouped(digits, "."):
            return Fraction(digits.replace(".", ""))
        return Fraction(digits if digits[0] != "." else f"0{digits}")
    return Fraction(digits.replace(".", "")) if _grouped(digits, ".") else None


def _grouped(digits: str, mark: str) -> bool:
    """Whether separators stand where those of thousands do, or of lakhs and crores."""
    first, *rest = digits.split(mark)
    if not rest:
        return True
    if not 1 <= len(first) <= 3 or first.startswith("0") or len(rest[-1]) != 3:
        return False
    middle = {len(group) for group in rest[:-1]}
    return middle <= {3} or (middle == {2} and len(first) <= 2)


def _suffixed(low: str, value: Fraction, end: int) -> tuple[Fraction | None, int]:
    mixed = _MIXED.match(low, end)
    if mixed and value.denominator == 1 and 0 < int(mixed[1]) < int(mixed[2]):
        return value + Fraction(int(mixed[1]), int(mixed[2])), mixed.end()
    suffix = _SUFFIX.match(low, end)
    if suffix is None:
        return (None if low[end : end + 1] == "^" else value), end
    end = suffix.end()
    if suffix["fraction"]:
        below = Fraction(suffix["fraction"].strip(" /"))
        return (value / below if below else None), end
    if suffix["clock"]:
        return (value if set(suffix["clock"]) <= set(":0") else None), end
    if suffix["hours"]:
        return value + Fraction(int(suffix["minutes"]), 60), end
    if suffix["times"]:
        return value * Fraction(10) ** int(suffix["braced"] or suffix["bare"]), end
    if suffix["exponent"]:
        return value * Fraction(10) ** int(suffix["exponent"][1:]), end
    if suffix["power"]:
        power = int(suffix["up"] or suffix["high"])
        small = abs(power) <= 60 and abs(value.numerator) < 10**6 and value.denominator < 10**6
        return (value**power if small and (value or power > 0) else None), end
    return None, end


def _scaled(low: str, value: Fraction, end: int) -> tuple[Fraction, int]:
    for _ in range(2):
        word = _SCALE.match(low, end)
        if word is None:
            break
        name = word[1].rstrip(".")
        scale = SCALES.get(name) or (SCALES.get(name[0]) if name[0] > "\u2e80" else None)
        if scale is None or (name == "k" and low[end : end + 1].isspace()):
            break
        value *= scale
        end = word.start(1) + (len(name) if name in SCALES else 1)
    return value, end


def _sign(low: str, start: int, before: str) -> tuple[int, bool]:
    """Where the number begins with its sign, and whether that is a minus."""
    place = start
    while place and low[place - 1] in "$€£¥₹":
        place -= 1
    if place and low[place - 1] in "-+" and (place == 1 or not _ends_operand(low[place - 2])):
        return place - 1, low[place - 1] == "-"
    if word := _MINUS.search(before):
        earlier = low[: start - len(before) + word.start()][-24:].rstrip()
        if not (earlier and earlier[-1].isdigit()) and not re.search(r"\d\s?\w*$", earlier):
            return start - len(before) + word.start(), True
    return start, False


def _ends_operand(sign: str) -> bool:
    """Whether a minus sign after it would be a subtraction; in scripts without spaces, letters are no operands."""
    return sign in ")]}%" or (sign.isalnum() and sign < "\u0e00")


def values(low: str, quantities: list[Quantity]) -> list[Quantity]:
    """The values a text states: a calculation is its result, and one without a result has no value.

    Args:
        low: the prepared lower-case text.
        quantities: its numbers, in order.
    """
    found: list[Quantity] = []
    place = 0
    while place < len(quantities):
        chain, relations = [quantities[place]], []
        while place + 1 < len(quantities):
            gap_start, gap_end = quantities[place].end, quantities[place + 1].start
            if gap_end - gap_start > 60:
                break
            gap = low[gap_start:gap_end]
            # A minus sign taken for the sign of a number after another one is an operation.
            sign = low[gap_end : gap_end + 1] in "-+" and not gap.strip()
            if _RELATION.fullmatch(gap):
                relations.append(len(chain))
            elif not (sign or _OPERATOR.fullmatch(gap)):
                break
            chain.append(quantities[place + 1])
            place += 1
        found.append(_result(low, chain, relations))
        place += 1
    return found


def _result(low: str, chain: list[Quantity], relations: list[int]) -> Quantity:
    first, last = chain[0], chain[-1]
    if len(chain) == 1:
        return first if not _opens(low, first) else Quantity(None, first.start, first.end, worked=True)
    if relations and relations[-1] == len(chain) - 1:
        return Quantity(last.value, last.start, last.end, last.percent, worked=True)
    if relations and relations[0] == 1:
        return Quantity(first.value, first.start, first.end, first.percent, worked=True)
    return Quantity(None, first.start, last.end, worked=True)


def _opens(low: str, quantity: Quantity) -> bool:
    """Whether an operation without a second number follows: ``3 + x``, ``5x``."""
    return bool(
        re.match(r"\s?(?:[+*×÷^]\s?[(a-z\\]|\\(?:sqrt|pi)|π|√|[xyzn](?!\w))", low[quantity.end : quantity.end + 8])
    )


def in_words(low: str, text: str, codes: tuple[str, ...]) -> list[Quantity]:
    """The numbers in words of a short text, and its Roman numerals of two letters or more."""
    found = [Quantity(word.value, word.start, word.end) for word in number_words.scan(low[:4000], codes)]
    if not found and len(low) <= 60:
        # "Siete!" tells no language: what is nearly all a number in one of them is that number.
        found = [
            Quantity(word.value, word.start, word.end)
            for word in number_words.scan(low, number_words.known())
            if 10 * (word.end - word.start) >= 6 * len(low.strip(" .!?"))
        ][:1]
    found = [_negated(low, quantity) for quantity in found if not _is_article(low, quantity)]
    if not found:
        found = [
            _negated(low, Quantity(word.value, word.start, word.end))
            for word in number_words.romans(text[:4000])
            if word.end - word.start > 1
        ]
    return found


def _negated(low: str, quantity: Quantity) -> Quantity:
    sign = _MINUS.search(low, max(0, quantity.start - 12), quantity.start)
    if sign is None or quantity.value is None or quantity.value < 0:
        return quantity
    return Quantity(-quantity.value, sign.start(), quantity.end)


_ARTICLES = frozenset(
    {
        "one",
        "a",
        "an",
        "un",
        "une",
        "uno",
        "una",
        "um",
        "uma",
        "ein",
        "eine",
        "en",
        "et",
        "ett",
        "een",
        "一",
        "一つ",
        "unus",
    }
)


def _is_article(low: str, quantity: Quantity) -> bool:
    """Whether a word for one is only an article or a pronoun: a word follows it."""
    word = low[quantity.start : quantity.end]
    return word in _ARTICLES and bool(
        re.match(r"\s?(?![でだ个個つ枚人])[^\W\d_]", low[quantity.end : quantity.end + 2])
    )
