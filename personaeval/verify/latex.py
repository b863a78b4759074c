"""LaTeX: the same formula written in one way, so that equal answers become equal strings."""

from __future__ import annotations

import re

_UNICODE = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "°": r"^\circ",
        "∞": r"\infty ",
        "π": r"\pi ",
        "×": r"\times ",
        "÷": r"\div ",
        "·": r"\cdot ",
        "⋅": r"\cdot ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∈": r"\in ",
        "±": r"\pm ",
        "≈": r"\approx ",
        "²": "^2",
        "³": "^3",
        "½": r"\frac{1}{2}",
        "¼": r"\frac{1}{4}",
        "¾": r"\frac{3}{4}",
        "％": "%",
        "\u00a0": " ",
        "\u2009": " ",
        "\u202f": " ",
    }
)

_ROOT = re.compile(r"√\s?(?:\(([^()]{1,200})\)|(\w+))")

_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"))

_SCIENTIFIC = re.compile(r"([-+]?(?:\d+(?:\.\d*)?|\.\d+))[eE]([-+]?\d{1,3})")

_SPACED_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?: \d{3})+(?:\.\d+)?")

_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


_SPACES = re.compile(r"\\[,;:> ]|\\q?quad(?![a-zA-Z])|~|\s+")

_DROPPED = re.compile(
    r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits)(?![a-zA-Z])|\\!|\^\\circ|\^\{\s*\\circ\s*\}|\\\$|\$"
)

_FONT = re.compile(
    r"\\(?:text(?:bf|it|rm|normal|tt|sf)?|mbox|math(?:rm|bf|it|sf|tt)|operatorname|hbox|boldsymbol)\s*\{([^{}]*)\}"
)

_FRACTION_NAME = re.compile(r"\\[dtc]frac(?![a-zA-Z])")

_FRACTION_TOP = re.compile(r"\\frac\s*(\d)(?=\s*[\d{])")

_FRACTION_BOTTOM = re.compile(r"(\\frac\{[^{}]*\})\s*(\d)")

_ROOT_BARE = re.compile(r"\\sqrt\s*(\w)")

_SINGLE = re.compile(r"([\^_])\s*\{\s*(\w)\s*\}")

_LOOSE_SPACE = re.compile(r"(?<![A-Za-z0-9]) | (?![A-Za-z0-9])")

_RELATION_NAMES = {
    r"\leq": r"\le",
    r"\geq": r"\ge",
    r"\neq": r"\ne",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
    r"\dots": r"\ldots",
}

_RELATIONS = re.compile(r"\\(?:[lgn]eq|[lr]brace|dots)(?![a-zA-Z])")


_CONSTANT = re.compile(r"\\(?:mathrm|text|textrm|operatorname)\s?\{\s?([ei])\s?\}")


def _constant(found: re.Match[str]) -> str:
    return f" {found[1]}" if found.string[found.start() - 1 : found.start()].isalpha() else found[1]


def repair(text: str) -> str:
    r"""An answer as LaTeX that a parser reads: without wrappers, full stop and characters that TeX lacks.

    ``"**−7.**"`` becomes ``"-7"``, ``"90°"`` becomes ``"90^\circ"``, ``"6.7e-5"`` becomes ``"6.7 \times 10^{-5}"``.
    """
    text = text.translate(_UNICODE).replace(r"\degree", r"^\circ").replace("{,}", ",").replace(r"\!", "")
    if "{" in text:
        text = _CONSTANT.sub(_constant, text)
    text = _ROOT.sub(lambda m: rf"\sqrt{{{m[1] or m[2]}}}", text)
    text = _unwrap(text)
    scientific = _SCIENTIFIC.fullmatch(text)
    if scientific:
        return rf"{scientific[1]} \times 10^{{{int(scientific[2])}}}"
    if _SPACED_THOUSANDS.fullmatch(text):
        return text.replace(" ", "")
    return re.sub(r"(?<!\\)%", r"\\%", text)


def _unwrap(text: str) -> str:
    while True:
        before = text
        text = _trim(text.strip())
        for start, end in _WRAPPERS:
            inner = text[len(start) : -len(end)]
            if text.startswith(start) and text.endswith(end) and inner and start not in inner:
                text = inner
                break
        if text == before:
            return text


def _trim(text: str) -> str:
    if text.endswith(r"\right."):
        return text
    for space in (r"\,", r"\;", r"\\"):
        text = text.removesuffix(space)
    return text.rstrip(".,;")


def canonical(text: str) -> str:
    r"""One spelling for all answers that differ only in typesetting.

    Fraction styles, ``\left`` and ``\right``, fonts, spaces that TeX ignores, degree and dollar signs, separators of
    thousands, ``\frac12`` for ``\frac{1}{2}``: all of these go. Letters keep their case.
    """
    text = repair(text)
    text = _DROPPED.sub("", text)
    text = _SPACES.sub(" ", text)
    text = unfont(text)
    text = _RELATIONS.sub(lambda m: _RELATION_NAMES[m[0]], text)
    text = _FRACTION_NAME.sub(r"\\frac", text)
    text = _FRACTION_TOP.sub(r"\\frac{\1}", text)
    text = _FRACTION_BOTTOM.sub(r"\1{\2}", text)
    text = _ROOT_BARE.sub(r"\\sqrt{\1}", text)
    text = _SINGLE.sub(r"\1\2", text)
    text = _LOOSE_SPACE.sub("", text.strip())
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    return text


def unfont(text: str) -> str:
    r"""A formula with ``\text{…}`` and similar commands replaced by their content, three levels deep."""
    for _ in range(3):
        plain = _FONT.sub(r" \1 ", text)
        if plain == text:
            break
        text = plain
    return re.sub(r" +", " ", text)
