"""A model's thinking, told from its answer by the marks around it.

    >>> thinking = find_thinking("…{{ '<think>\\n' }}…")
    >>> thinking.split("2 and 2</think>4", opened=True)
    ('4', '2 and 2')
    >>> thinking.split("2 and 2 and", opened=True)
    ('', '2 and 2 and')

Families of models differ in their marks; those of the known ones are recognised from the chat template. Thinking that
is not finished is never an answer, whatever the marks.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from personaeval.errors import UsageError

DEFAULT_END = "</think>"


@dataclass(frozen=True, slots=True)
class Marks:
    """How one family of models marks its thinking.

    Attributes:
        start: what begins it.
        end: what ends it.
        around: what else may stand around the answer.
        hints: texts in a chat template that show the family; by default start and end.
        start_pattern: as a regular expression, if the text alone does not do.
        end_pattern: as a regular expression, if the text alone does not do.
        is_phrase: the marks are ordinary words, which mean nothing in the middle of a text.
    """

    start: str
    end: str
    around: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    start_pattern: str | None = None
    end_pattern: str | None = None
    is_phrase: bool = False

    def is_in(self, template: str) -> bool:
        """Whether a chat template shows this family."""
        return any(hint in template for hint in self.hints or (self.start, self.end))

    def starts(self, text: str) -> Iterator[re.Match[str]]:
        """The places where thinking begins."""
        return _compiled(self.start_pattern or _tolerant(self.start)).finditer(text)

    def ends(self, text: str) -> Iterator[re.Match[str]]:
        """The places where thinking ends."""
        return _compiled(self.end_pattern or _tolerant(self.end)).finditer(text)

    def tokens(self, special: Collection[str]) -> Iterator[str]:
        """The special tokens that make up the marks."""
        for text in (self.start, self.end, *self.around):
            yield from sorted((token for token in special if token in text), key=text.index)


_compiled = functools.lru_cache(maxsize=256)(re.compile)


@functools.lru_cache(maxsize=256)
def _tolerant(mark: str) -> str:
    """A mark as a regular expression; decoding may put spaces around the special tokens in it."""
    return r"\s*".join(re.escape(piece) for piece in re.split(r"(<[^<>]*>|\[[^\[\]]*\])", mark) if piece)


def _tag(name: str) -> Marks:
    return Marks(f"<{name}>", f"</{name}>")


THINK = _tag("think")

HARMONY = Marks(
    "<|channel|>analysis<|message|>",
    "<|channel|>final<|message|>",
    around=("<|start|>assistant", "<|end|>", "<|return|>"),
    hints=("<|channel|>", "<|start|>assistant"),
    # A message on any channel but the last one's; other messages may come before it.
    start_pattern=r"(?:<\|end\|>\s*)?(?:<\|start\|>\s*assistant\s*)?<\|channel\|>",
    end_pattern=r"<\|channel\|>\s*final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>",
)

KNOWN = (
    THINK,
    Marks("[THINK]", "[/THINK]"),  # Magistral
    Marks(  # Command
        "<|START_THINKING|>",
        "<|END_THINKING|>",
        around=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
    ),
    HARMONY,
    Marks("<|channel>thought", "<channel|>", hints=("<|channel>", "<channel|>"), start_pattern=r"<\|channel>"),  # Gemma
    Marks("◁think▷", "◁/think▷"),  # Kimi
    Marks(  # Kimi-K3
        "<|open|>think<|sep|>",
        "<|close|>think<|sep|>",
        around=("<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>"),
        hints=("<|open|>think", "<|open|>"),
    ),
    Marks(  # Sky-T1, OpenThinker
        "<|begin_of_thought|>", "<|end_of_thought|>", around=("<|begin_of_solution|>", "<|end_of_solution|>")
    ),
    Marks(  # Granite
        "Here is my thought process:",
        "Here is my response:",
        start_pattern=r"Here(?:'s| is) my thought process:",
        end_pattern=r"Here(?:'s| is) my response:",
        is_phrase=True,
    ),
    Marks(  # Apriel
        "Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", around=("[END FINAL RESPONSE]",), is_phrase=True
    ),
)
"""Besides these, any tag that :data:`_TAGS` finds: <seed:think>, <mm:think>, <think:low>, <thought>, …."""

_TAGS = re.compile(r"</?((?:[a-z][\w-]*[:|])?think(?:ing)?(?::[\w-]+)?|thoughts?|reasoning)>")

_LOOKS_LIKE = re.compile(
    r"(?i:<[^<>\s'\"{}]*(?:think|thought|reason|scratchpad|reflect)[^<>\s'\"{}]*>)"
    r"|\[/?[A-Z_]*(?:THINK|THOUGHT|REASON|SCRATCHPAD)[A-Z_]*\]"
)

_SWITCHES = re.compile(r"budget|effort|mode|level|length|no_?think|enable|^<\|think\|>$", re.IGNORECASE)
"""What tells a model how to think, and marks nothing."""

_UNMARKED = re.compile(r"\s*(?:analysis|commentary)(?=[A-Z\d\"'“\\(*])")
_UNMARKED_END = "assistantfinal"
"""What is left of harmony's channels where a server dropped their special tokens: "analysisWe need…assistantfinal4"."""


@dataclass(frozen=True)
class Thinking:
    """The marks by which a model's answers are split.

    Attributes:
        marks: of the families in question.
        is_unseen: the template is not known, so that any tag in an answer counts, and remains of channels do.
    """

    marks: tuple[Marks, ...] = (THINK,)
    is_unseen: bool = False
    _around: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_around", frozenset(text for marks in self.marks for text in marks.around))

    @property
    def key(self) -> str:
        """What identifies the splitting, for verdict keys: the named end, and whatever is not the default.

        A better splitting raises the version of the verifier, since another split is another text to verify.
        """
        named, *families = self.marks
        parts = [named.end] if named.start == opening(named.end) else [named.start, named.end]
        if not self.is_unseen:
            parts += [text for marks in families for text in (marks.start, marks.end)]
        return "\0".join(parts)

    def kept_tokens(self, special: Collection[str]) -> tuple[str, ...]:
        """The special tokens that decoding must leave in the text."""
        return tuple(dict.fromkeys(token for marks in self.marks for token in marks.tokens(special)))

    def is_opened_by(self, prompt: str) -> bool:
        """Whether the end of a prompt, what comes after the question, begins the thinking."""
        marks = self._marks_in(prompt)
        begun = max((found.start() for one in marks for found in one.starts(prompt)), default=-1)
        ended = max((found.start() for one in marks for found in one.ends(prompt)), default=-1)
        return begun > ended

    def split(self, text: str, opened: bool) -> tuple[str, str | None]:
        """Split a completion into the answer and the thinking before it.

        Args:
            text: what the model wrote.
            opened: whether the prompt itself began the thinking.

        Returns:
            ``(answer, thinking)``. Unfinished thinking has no answer; a text without thinking is all answer.
        """
        if self.is_unseen and (unmarked := _split_unmarked(text)) is not None:
            return unmarked
        marks = self._marks_in(text)
        last = max((found for one in marks for found in one.ends(text)), key=re.Match.end, default=None)
        if last is None and opened:
            return "", text
        thinking = None if last is None else text[: last.start()]
        rest = text if last is None else text[last.end() :].lstrip()
        begun = min((place for one in marks if (place := _begun(one, rest, last is None)) is not None), default=None)
        if begun is not None:
            # The model thinks again, or still.
            thinking = text if begun == 0 and last is None else (thinking or "") + rest[begun:]
            rest = rest[:begun].rstrip()
        return self._bare(rest), thinking

    def unknown_marks(self, template: str) -> list[str]:
        """What looks like marks of thinking in a template but belongs to no family in question."""
        known = {text for marks in self.marks for text in (marks.start, marks.end, *marks.around)}
        return [
            found
            for found in dict.fromkeys(_LOOKS_LIKE.findall(template))
            if not _SWITCHES.search(found) and not any(found in text or text in found for text in known)
        ]

    def _marks_in(self, text: str) -> Sequence[Marks]:
        return (*self.marks, *_tags_in(text)) if self.is_unseen else self.marks

    def _bare(self, answer: str) -> str:
        """The answer without the marks around it."""
        if not self._around or not any(text in answer for text in self._around):
            return answer
        begin, end = 0, len(answer)
        around = tuple(self._around)
        while True:
            before = (begin, end)
            while begin < end and answer[begin].isspace():
                begin += 1
            while begin < end and answer[end - 1].isspace():
                end -= 1
            begin += max((len(text) for text in around if answer.startswith(text, begin, end)), default=0)
            end -= max((len(text) for text in around if answer.endswith(text, begin, end)), default=0)
            if (begin, end) == before:
                return answer[begin:end]


def _begun(marks: Marks, text: str, is_whole: bool) -> int | None:
    """Where thinking begins in a text in which none of it ends; None if it does not."""
    found = next(marks.starts(text), None)
    if found is None or (marks.is_phrase and (not is_whole or text[: found.start()].strip())):
        return None
    return 0 if not text[: found.start()].strip() else found.start()


def _split_unmarked(text: str) -> tuple[str, str] | None:
    """The split of a text whose channels are there but not their marks; None for any other text."""
    head = text.lstrip().startswith(("analysis", "commentary"))
    if head and _UNMARKED_END in text:
        thinking, _, answer = text.rpartition(_UNMARKED_END)
        return answer.lstrip(), thinking
    return ("", text) if _UNMARKED.match(text) else None


def _tags_in(text: str) -> list[Marks]:
    return [_tag(name) for name in dict.fromkeys(_TAGS.findall(text)) if name != "think"]


def find_thinking(
    template: str | None, start: str | None = None, end: str = DEFAULT_END, is_endpoint: bool = False
) -> Thinking:
    """The marks of a model's thinking: those that are named, and those of the families that its template shows.

    Args:
        template: the chat template; None without one.
        start: what begins the thinking; None: what the end says of it.
        end: what ends it.
        is_endpoint: a server renders the template, so that every family may be met.

    Raises:
        UsageError: only one of start and end is named, and the other does not follow from it.
    """
    named = _named(start, end)
    shown = template or ""
    families = [marks for marks in KNOWN if marks.is_in(shown) or (is_endpoint and not marks.is_phrase)]
    families += _tags_in(shown)
    found = (named, *(marks for marks in families if (marks.start, marks.end) != (named.start, named.end)))
    return Thinking(found, is_unseen=is_endpoint)


def _named(start: str | None, end: str) -> Marks:
    """The marks that the options name; ``<think>`` if they name none."""
    known = (*KNOWN, *_tags_in(f"{start or ''} {end}"))
    if start is None:
        family = next((marks for marks in known if end == marks.end), None)
        if family is not None:
            return family
        start = opening(end)
        if start == end:
            raise UsageError(f"--reasoning-end {end}: what begins the thinking does not follow; add --reasoning-start.")
    elif end == DEFAULT_END:
        family = next((marks for marks in known if start == marks.start), None)
        if family is not None:
            return family
        end = re.sub(r"^([<\[◁]\|?)", r"\1/", start)
        if end == start:
            raise UsageError(f"--reasoning-start {start}: what ends the thinking does not follow; add --reasoning-end.")
    return next((marks for marks in known if (start, end) == (marks.start, marks.end)), Marks(start, end))


def opening(end: str) -> str:
    """The text that opens what ``end`` closes: ``<think>`` for ``</think>``; ``end`` itself where it does not tell."""
    if "/" in end:
        return end.replace("/", "", 1)
    words = {"END": "START", "End": "Start", "end_of": "begin_of", "end": "start"}
    for word, other in words.items():
        if word in end:
            return end.replace(word, other, 1)
    return end
