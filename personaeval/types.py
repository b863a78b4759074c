"""The data of a run: requests yield completions, which get a verdict and become responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class Response:
    """One row of responses.parquet.

    ``text`` is None if the engine gave none; ``reason`` says why a row is unscored.
    """

    task: str
    persona: str
    item: str
    sample: int
    key: bytes
    gold: str
    text: str | None
    thinking: str | None
    answer: str | None
    status: str
    score: float | None
    truncated: bool
    prompt_tokens: int
    completion_tokens: int
    reason: str | None
    evidence: str | None = None
    suspect: bool | None = None
    suspect_chance: float | None = None


Message = Mapping[str, str]
"""One chat message: ``{"role": "system"|"user"|"assistant", "content": text}``."""


Prompt = str | tuple[Message, ...]
"""Input of an engine: rendered text (local engines) or chat messages (endpoints)."""


_RECORDED_NAMES = {"score_tokens": "options", "answer_tokens": "labels"}
"""Fields of :class:`Sampling` that keys and files hold under an older name; changing one would change every key."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters, one object shared by all requests of a task.

    ``temperature`` None is the server's default, whatever that is. ``schema`` is a JSON schema, as text, that
    constrains the answer; engines that cannot enforce it ignore it. ``score_tokens`` are texts of one token each: the
    engine reports their probabilities at the answer's last token that is one of them; only endpoints can.
    ``answer_tokens`` are texts of one token each: the answer is the likeliest of them and nothing else; only local
    engines can.
    """

    temperature: float | None = 0.0
    top_p: float = 1.0
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()
    schema: str | None = None
    score_tokens: tuple[str, ...] = ()
    answer_tokens: tuple[str, ...] = ()

    @property
    def is_greedy(self) -> bool:
        """Whether nothing is drawn."""
        return self.temperature == 0

    def record(self) -> dict[str, Any]:
        """The fields for keys and run.json, under the names they have there; an unset constraint is left out."""
        always = ("temperature", "top_p", "max_tokens", "stop")
        fields = {_RECORDED_NAMES.get(name, name): value for name, value in asdict(self).items()}
        return {name: value for name, value in fields.items() if value or name in always}


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to complete once.

    ``row`` is its index in the plan (and in ``responses.parquet``); ``seed`` is this row's own, so that one missing
    row can be drawn alone (:func:`personaeval.generation.plan.draw_seed`). ``special_tokens`` says whether the
    tokenizer should add its own (a chat template has written them already; a plain prompt has not).
    """

    row: int
    key: bytes
    prompt: Prompt
    sampling: Sampling
    seed: int
    special_tokens: bool = False


EMPTY = "empty"
"""Finish reason of an answer that had neither text nor tokens, and still had none when it was asked for again."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine returned for a request.

    ``text`` is everything the model wrote, including thinking unless the endpoint returns that separately as
    ``reasoning``. ``finish_reason`` is ``"stop"``, ``"length"`` (truncated) or :data:`EMPTY`. With ``error`` set, the
    text is empty and means nothing. ``weights`` are the probabilities of the sampling's score tokens, if it has any.
    """

    row: int
    key: bytes
    text: str
    finish_reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning: str | None = None
    error: str | None = None
    weights: Mapping[str, float] | None = None

    @property
    def is_blank(self) -> bool:
        """Whether it has neither text nor reasoning nor tokens, and nothing that explains it: perhaps a fault."""
        is_silent = not self.text.strip() and not (self.reasoning or "").strip()
        return is_silent and self.completion_tokens == 0 and self.finish_reason == "stop" and self.error is None


class Status(StrEnum):
    """Outcome of an answer."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    ANSWERED = "answered"
    """To be scored by judges, who have not been asked yet."""
    JUDGED = "judged"
    """Scored by judges; there is no right or wrong."""
    UNSCORED = "unscored"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The score of one completion.

    Attributes:
        score: 1.0 correct, 0.0 wrong or no answer, None unscored.
        answer: the final answer read from the text, None if none was found.
        status: the outcome.
        reason: why it is unscored, else None.
        evidence: how the answer was recognised (box, hashes, statement, pattern, letter, words, option_text,
            last_number); None without an answer, or if another program's scorer read it.
        suspect: wrong, though the text holds the right answer where an answer would stand.
        chance: probability that a wrong answer looks suspect by chance; 0 unless wrong.
    """

    score: float | None
    answer: str | None
    status: Status
    reason: str | None = None
    evidence: str | None = None
    suspect: bool = False
    chance: float = 0.0


ANSWERED = Verdict(None, None, Status.ANSWERED)
"""Verdict on an answer that judges are to score."""

NO_ANSWER = Verdict(0.0, None, Status.NO_ANSWER)
"""Verdict on a text without an answer: wrong, and counted separately."""


def repair_surrogates(text: str) -> str:
    """The text with every half of a surrogate pair replaced by U+FFFD: UTF-8 cannot hold one, JSON can escape one."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
