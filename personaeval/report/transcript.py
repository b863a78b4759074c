"""Answers as text to read: the prompt as asked, the answer, how it was read, the verdict and the judges' reasons.

Everything a model or a data file wrote is hostile: no control character, direction mark or markup of it reaches the
terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from personaeval.analysis.answers import Answer, FoundAnswers, Judgement, find_answers
from personaeval.config import ShowOptions, make_options
from personaeval.config.keywords import given, takes_options
from personaeval.results.runs import open_checkpoints
from personaeval.types import Response, Status

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console, Group

_WIDTH = 100

_LABELS = 9
"""Width of the column of labels."""

_JOINERS = "\u200c\u200d"
"""Part of words in Persian and Indic scripts, and of emoji."""

_EVIDENCE = {
    "box": "in its box",
    "hashes": "after ####",
    "statement": "where it states its answer",
    "pattern": "by the task's pattern",
    "letter": "the letter it states",
    "words": "in words",
    "option_text": "the text of a choice",
    "last_number": "the last number of the text",
}

_VERDICTS = {
    Status.CORRECT: ("right", "green"),
    Status.WRONG: ("wrong", "red"),
    Status.NO_ANSWER: ("wrong: no final answer found", "red"),
    Status.UNSCORED: ("unscored", "yellow"),
    Status.ANSWERED: ("not judged yet", "yellow"),
    Status.JUDGED: ("judged", "cyan"),
}

_WITHHELD = "(withheld: the authors of this task ask that its items not be shown)"


@dataclass(frozen=True, repr=False)
class Answers:
    """Answers of a run, to read as text or as a DataFrame.

    Attributes:
        found: the answers and how many there are.
        thinking: whether the text shows the thinking in full.
    """

    found: FoundAnswers = field(repr=False)
    thinking: bool = False

    def __len__(self) -> int:
        return len(self.found.answers)

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.found.answers)

    def __getitem__(self, place: int) -> Answer:
        return self.found.answers[place]

    @property
    def total(self) -> int:
        """Number of answers that fit; only the first are read."""
        return self.found.total

    def __str__(self) -> str:
        return self.render(_WIDTH)

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return f"~~~text\n{self.render(_WIDTH).replace('~~~', '~~ ~')}\n~~~"

    def render(self, width: int | None = None) -> str:
        """The text, wrapped at a width; None: not wrapped, for other programs."""
        if width is None:
            return "\n".join(self._unwrapped())
        from rich.console import Console

        console = Console(file=StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
        console.print(self.renderable())
        text: str = console.file.getvalue()  # type: ignore[attr-defined]
        return "\n".join(line.rstrip() for line in text.splitlines())

    def _unwrapped(self) -> Iterator[str]:
        for answer in self.found.answers:
            yield self._heading(answer).plain
            for label, text, _ in self._lines(answer):
                first, *others = visible(text).split("\n")
                yield f"{label:<{_LABELS}}  {first}".rstrip()
                yield from (f"{'':<{_LABELS}}  {line}".rstrip() for line in others)
            yield ""
        yield from self._footer()

    def show(self, console: Console) -> None:
        """Print on a terminal, through its pager where the text is longer than a screen."""
        import os

        # As git does: colours are kept, and a text that fits the screen is not paged.
        os.environ.setdefault("LESS", "FRX")
        with console.pager(styles=True):
            console.print(self.renderable())

    def renderable(self) -> Group:
        """The answers for a console of rich."""
        from rich.console import Group
        from rich.text import Text

        parts: list[Any] = []
        for answer in self.found.answers:
            parts += [self._heading(answer), self._body(answer), Text()]
        parts += [Text(line, style="dim") for line in self._footer()]
        return Group(*parts)

    def frame(self) -> pd.DataFrame:
        """One row per answer: ids, prompt, texts, verdict, and the other run's answer if flips were asked for."""
        import pandas as pd

        rows = [_row(answer, self.found.checkpoint) for answer in self.found.answers]
        frame = pd.DataFrame(rows, columns=list(_row_columns()))
        texts = [name for name in frame.columns if name not in _NUMBERS]
        return frame.astype(dict.fromkeys(texts, "string") | _NUMBERS)

    def _heading(self, answer: Answer) -> Any:
        from rich.text import Text

        response = answer.response
        words, colour = _VERDICTS[Status(response.status)]
        place = [response.task, f"item {response.item}", response.persona]
        place += [f"sample {response.sample}"] if answer.record.samples > 1 else []
        place += [answer.dimension] if answer.dimension else []
        text = Text()
        text.append("── ", style="dim")
        text.append(" · ".join(visible(part) for part in place), style="bold")
        text.append(" · ", style="dim")
        text.append(f"{words}{_details(answer)}", style=colour)
        return text

    def _body(self, answer: Answer) -> Any:
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        grid.add_column(width=_LABELS, no_wrap=True)
        grid.add_column(overflow="fold")
        for label, text, style in self._lines(answer):
            grid.add_row(Text(label, style="dim"), Text(visible(text), style=style))
        return grid

    def _lines(self, answer: Answer) -> Iterator[tuple[str, str, str]]:
        """Label, text and style of each part of an answer."""
        response = answer.response
        if answer.record.withhold_text:
            yield "prompt", _WITHHELD, "dim"
            return
        if answer.prompt is None:
            yield "prompt", "(not stored; run the run's command again to store it)", "dim"
        else:
            for role, text in answer.prompt.parts:
                yield role, text, ""
            if not answer.prompt.is_exact:
                yield "", "(before the chat template and the task's own instructions)", "dim"
        if answer.before is not None:
            yield from self._given(answer.before, f"{self.found.base}", answer.was_right)
            yield from self._given(response, self.found.checkpoint, answer.is_right)
        else:
            yield from self._given(response, "answer", None)
        if not answer.record.is_judged:
            yield "gold", response.gold, ""
        for judgement in answer.judgements:
            yield "judge", _judged(judgement), ""

    def _given(self, response: Response, label: str, is_right: bool | None) -> Iterator[tuple[str, str, str]]:
        """One answer: thinking, text, and what was read in it."""
        if label != "answer":
            yield "", f"{label}: {'right' if is_right else 'wrong'}", "bold"
        if response.thinking:
            whole = self.thinking
            folded = f"({len(response.thinking):,} characters; --thinking shows them)"
            yield "thinking", response.thinking if whole else folded, "dim"
        text = response.text
        yield "answer", text if text else "(empty)" if text is not None else "(none)", ""
        if response.answer is not None:
            how = _EVIDENCE.get(response.evidence or "", "")
            yield "read as", f"{response.answer}{f'   ({how})' if how else ''}", ""

    def _footer(self) -> Iterator[str]:
        yield from map(visible, self.found.notes)
        total, shown = self.found.total, len(self.found.answers)
        if not total:
            yield "No answer fits."
        elif shown < total:
            yield f"{shown} of {total:,} answers; -n {min(total, 10 * shown)} shows more."


@takes_options(ShowOptions)
def show(run: str | Path, **settings: Any) -> Answers:
    """Answers of a run to read: the prompt as asked, the answer, how it was read, and the verdict.

    Prints and displays as text; iterating gives the answers, ``frame()`` a DataFrame.

    Args:
        run: a run's folder, or RESULTS/NAME.
        settings: fields of :class:`~personaeval.config.ShowOptions`: ``persona="pirate", wrong=True, number=20``.

    Raises:
        UsageError: no such run, task, persona or item.
        InvalidRunError: ``flipped`` names a run without any of the tasks.
    """
    flipped = settings.pop("flipped", None)
    asked = {"run": str(run), "flipped": None if flipped is None else str(flipped), **settings}
    return read_answers(make_options(ShowOptions, given(ShowOptions, asked)))


def read_answers(options: ShowOptions) -> Answers:
    """The answers that ``show`` is asked for.

    Raises:
        UsageError: no such run, task, persona or item.
        InvalidRunError: the run to compare with has none of the tasks.
    """
    named = [options.run] + ([options.flipped] if options.flipped is not None else [])
    checkpoint, *base = open_checkpoints(named)
    return Answers(find_answers(checkpoint, options, base[0] if base else None), options.thinking)


def visible(text: str) -> str:
    """The text with every character that a terminal would obey or hide written as its code, such as ``\\x1b``."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(_visible(letter) for letter in text.replace("\r\n", "\n").expandtabs(4))


def _visible(letter: str) -> str:
    if letter.isprintable() or letter in "\n" or letter in _JOINERS or unicodedata.category(letter) == "Zs":
        return letter
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _details(answer: Answer) -> str:
    """What else the heading says: the score, flags, and the reason of an unscored answer."""
    response, found = answer.response, []
    if answer.record.is_judged and response.score is not None:
        found.append(f"{response.score:.2f} of 5")
    elif response.score not in (None, 0.0, 1.0):
        found.append(f"score {response.score:.2f}")
    if response.reason:
        found.append(visible(response.reason))
    if response.suspect:
        found.append("suspect, the text holds the gold answer")
    if response.truncated:
        found.append("cut off at max_tokens")
    if answer.was_right is not None:
        found.append(f"{'right' if answer.was_right else 'wrong'} before")
    return "".join(f" · {part}" for part in found)


def _judged(judgement: Judgement) -> str:
    score = "unscored" if judgement.score is None else f"{judgement.score} of 5"
    repeat = f", repeat {judgement.repeat + 1}" if judgement.repeat else ""
    flags = ["refusal"] if judgement.refusal else []
    flags += ["admits to be an AI"] if judgement.ai_admission else []
    why = judgement.explanation or judgement.reason or ""
    return f"{judgement.judge}{repeat}: {', '.join([score, *flags])}{f'. {why}' if why else ''}"


_NUMBERS: dict[str, Any] = {"sample": "Int64", "score": "Float64", "truncated": "boolean", "suspect": "boolean"}


def _row_columns() -> tuple[str, ...]:
    ids = ("checkpoint", "task", "item", "persona", "sample")
    texts = ("prompt", "thinking", "text", "answer", "gold", "status", "score", "truncated", "suspect", "reason")
    return (*ids, *texts, "judges", "answer_before", "status_before")


def _row(answer: Answer, checkpoint: str) -> dict[str, Any]:
    response = answer.response
    row = {name: getattr(response, name) for name in _row_columns() if hasattr(response, name)}
    prompt = answer.prompt and "\n\n".join(text for _, text in answer.prompt.parts)
    judges = "\n".join(map(_judged, answer.judgements)) or None
    before = answer.before
    return row | {
        "checkpoint": checkpoint,
        "prompt": prompt,
        "judges": judges,
        "answer_before": before and before.answer,
        "status_before": before and before.status,
    }
