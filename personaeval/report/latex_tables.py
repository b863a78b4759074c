r"""Tables for LaTeX that fit a page: booktabs, caption, label, and no row past ``\textwidth``.

For pdfLaTeX, the article class at 10 points on letter paper. Columns that do not fit are left out, and named in a
comment; ``--columns`` chooses others::

    print(to_latex(tables))
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from personaeval.report.estimates import FormattedEstimate
from personaeval.report.folding import fold
from personaeval.report.table import Cell, Key, Table

_TEXT_WIDTH = 345.0
"""Points between the margins."""

_GAP = 6.0
"""Points between two columns, with tabcolsep at 3."""

_SIZES = (("footnotesize", 1.0), ("scriptsize", 0.94), ("tiny", 0.82))
"""Sizes of type that are tried, with the width of their figures as a share of the first."""

_LONGEST = 40
"""Tables of more rows may break over pages."""

_HEADING = 12
"""Characters in a line of a heading."""

_LONG_WORD = 16
"""Longer words of a caption may be broken."""

_UNBROKEN = 8
"""Characters of a word in a caption that stay together."""

_FIRST = ("change", "PSS", "κ", "accuracy", "PersonaScore", "p")
"""Columns that matter most: words that their headings end with."""

_LABELS = ("metric", "persona", "item")
"""Columns without which the rows have no name."""

_SYMBOLS = {
    "κ": r"$\kappa$",
    "α": r"$\alpha$",
    "μ": r"$\mu$",
    "ρ": r"$\rho$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "−": "$-$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    **{char: f"\\{char}" for char in "&%$#_{}"},
}
_FIGURE = {"-": "$-$", "+": "$+$", "<": "$<$", ">": "$>$", "*": "$^{*}$", "%": r"\%"}


@dataclass(frozen=True)
class _Column:
    """A column in LaTeX.

    Attributes:
        name: its heading as plain text.
        heading: in LaTeX.
        cells: in LaTeX.
        width: in points, in the first of the sizes.
        is_text: aligned to the left.
    """

    name: str
    heading: str
    cells: tuple[str, ...]
    width: float
    is_text: bool


def to_latex(tables: Sequence[Table], legend: Sequence[str]) -> str:
    """Tables with what they need in the preamble, as comments.

    Args:
        tables: without control characters.
        legend: comments at the end.
    """
    needed = ["booktabs", *(["longtable"] if any(len(table.rows) > _LONGEST for table in tables) else [])]
    parts = ["\n".join(rf"% needs \usepackage{{{name}}}" for name in needed)]
    parts += map(_table, tables, _labels(tables))
    if legend:
        parts.append("\n".join(f"% {line}" for line in legend))
    return "\n\n".join(parts)


def _table(table: Table, label: str) -> str:
    named = _Names(table)
    columns = [_column(table, place, named) for place in range(len(table.columns))]
    shown, size = _chosen(columns)
    comments = [f"{own}: {name}" for name, own in named.ids.items()] + list(table.notes)
    if left := [column.name for column in columns if column not in shown]:
        comments.append(f"Left out, as they do not fit: {', '.join(left)}. --columns chooses others.")
    intervals = "; 95\\,\\% intervals" if any(_has_interval(row) for row in table.rows) else ""
    caption = rf"\caption{{{_breakable(named.latin(table.title))}{intervals}.}}"
    label = rf"\label{{tab:{label}}}"
    layout = f"@{{}}{''.join('l' if column.is_text else 'r' for column in shown)}@{{}}"
    heading = " & ".join(column.heading for column in shown) + r" \\"
    body = [" & ".join(cells) + r" \\" for cells in zip(*(column.cells for column in shown), strict=True)]
    style = [rf"\{size}", r"\setlength{\tabcolsep}{3pt}"]
    lines = [f"% {line}" for line in comments]
    if len(table.rows) > _LONGEST:
        lines += ["{" + style[0], *style[1:], rf"\begin{{longtable}}{{{layout}}}", rf"{caption}{label} \\"]
        lines += [r"\toprule", heading, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot", *body]
        lines += [r"\end{longtable}", "}"]
    else:
        lines += [
            r"\begin{table}",
            r"\centering",
            r"\sloppy",
            *style,
            caption,
            label,
            rf"\begin{{tabular}}{{{layout}}}",
        ]
        lines += [r"\toprule", heading, r"\midrule", *body, r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines)


class _Names:
    """Names that pdfLaTeX cannot set are replaced by ids, which a comment explains."""

    def __init__(self, table: Table) -> None:
        self.ids: dict[str, str] = {}
        keys = [*zip((str(row[0]) for row in table.rows), table.row_keys, strict=False)]
        keys += [(name, key) for name, key in zip(table.columns, table.column_keys, strict=False) if key is not None]
        for name, key in keys:
            if not _is_latin(name) and name not in self.ids:
                self.ids[name] = self._id(key)

    def _id(self, key: Key) -> str:
        return (key.fingerprint or "")[:8] if key.fingerprint and not key.persona else f"name-{len(self.ids) + 1}"

    def latin(self, text: str) -> str:
        """The text with such names replaced; of others, the characters that cannot be set."""
        for name, own in self.ids.items():
            text = text.replace(name, own)
        return "".join(char if _is_latin(char) else "?" for char in text)


def _is_latin(text: str) -> bool:
    return all(char.isascii() or char in _SYMBOLS or ("À" <= char <= "ÿ" and char not in "ÐÞðþ") for char in text)


def _column(table: Table, place: int, named: _Names) -> _Column:
    name, cells = table.columns[place], [row[place] for row in table.rows]
    is_text = not place or all(isinstance(cell, str) for cell in cells)
    is_name = not place or name == "run"
    texts = [named.latin(str(cell)) for cell in cells]
    key = table.column_keys[place] if table.column_keys else None
    of_checkpoint = key is not None and key.checkpoint is not None and key.form is None
    lines = [named.latin(name)] if is_text else fold(named.latin(name), _HEADING).split("\n")
    heading = _stacked([_text(line, of_checkpoint) for line in lines])
    width = max(_measure(line, of_checkpoint) for line in lines)
    width = max([width, *(_measure(text, is_name) for text in texts)])
    return _Column(
        name,
        heading,
        tuple(_cell(cell, text, is_name) for cell, text in zip(cells, texts, strict=True)),
        width,
        is_text,
    )


def _stacked(lines: Sequence[str]) -> str:
    """A heading of several lines."""
    if len(lines) == 1:
        return lines[0]
    return r"\shortstack[r]{" + r"\\".join(lines) + "}"


def _cell(cell: Cell, text: str, is_name: bool) -> str:
    if is_name:
        return _text(text, is_name)
    if isinstance(cell, FormattedEstimate) and not cell.persona and not cell.word:
        return "".join(_FIGURE.get(char, _SYMBOLS.get(char, char)) for char in text)
    return escaped(text)


def _text(text: str, is_name: bool) -> str:
    """Escaped text; a name in typewriter type, all of whose letters are of one width."""
    return rf"\texttt{{{escaped(text)}}}" if is_name else escaped(text)


def escaped(text: str) -> str:
    """Text with the characters that mean something to LaTeX written as such."""
    return "".join(_SYMBOLS.get(char, char) for char in text)


def _chosen(columns: Sequence[_Column]) -> tuple[list[_Column], str]:
    """The columns that fit, those that matter most first, and the size of type."""
    labels = [column for place, column in enumerate(columns) if not place or column.name in _LABELS]
    others = sorted((column for column in columns if column not in labels), key=_rank)
    for size, share in _SIZES:
        chosen = list(labels)
        for column in others:
            if _total([*chosen, column], share) <= _TEXT_WIDTH:
                chosen.append(column)
        if len(chosen) >= len(labels) + min(len(others), 3) or size == _SIZES[-1][0]:
            return [column for column in columns if column in chosen], size
    raise AssertionError("the last size is taken")


def _rank(column: _Column) -> int:
    return next((place for place, end in enumerate(_FIRST) if column.name.endswith(end)), len(_FIRST))


def _total(columns: Sequence[_Column], share: float) -> float:
    return share * sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _measure(text: str, is_name: bool) -> float:
    return 4.3 * len(text) if is_name else _width(text)


def _width(text: str) -> float:
    """Points of a text in Computer Modern at 8 points, rather too much than too little."""
    return sum(_CHARACTERS.get(char, 6.8 if char.isupper() else 4.9) for char in text)


_CHARACTERS = dict.fromkeys("0123456789", 4.3) | dict.fromkeys(" .,:;'!|il()[]", 3.0) | dict.fromkeys("mM%w", 7.8)
_CHARACTERS |= dict.fromkeys("+-±<>=×κ–", 6.8) | dict.fromkeys("W@", 8.8) | {"*": 4.6, "…": 9.5}


def _has_interval(row: Sequence[Cell]) -> bool:
    return any(isinstance(cell, FormattedEstimate) and cell.low is not None for cell in row)


def _labels(tables: Sequence[Table]) -> list[str]:
    """A label for each table: what it shows, and of which task; numbered where that does not tell them apart."""
    found: list[str] = []
    for table in tables:
        key = table.key | (table.row_keys[0] if table.row_keys else Key())
        words = f"{table.key.view or 'table'}-{key.task or ''}".lower()
        slug = re.sub(r"[^a-z0-9]+", "-", words).strip("-")
        same = sum(own == slug or own.startswith(f"{slug}-") for own in found)
        found.append(f"{slug}-{same + 1}" if same else slug)
    return found


def _breakable(text: str) -> str:
    """Escaped prose in which long words may be broken anywhere."""
    words = []
    for word in text.split(" "):
        if len(word) <= _LONG_WORD:
            words.append(escaped(word))
            continue
        parts = [word[place : place + _UNBROKEN] for place in range(0, len(word), _UNBROKEN)]
        words.append(r"\allowbreak{}".join(map(escaped, parts)))
    return " ".join(words)
