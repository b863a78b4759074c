"""A judge's reply: its fields, from which the schema and the exact reader follow."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from personaeval.generation.structured_reply import (
    AskedLength,
    StructuredReply,
    UnreadableError,
    ending,
    ends_with,
    shown,
)
from personaeval.judge.rubrics import SCORES, Score

_LONGEST_REASONING = 1200

_USUAL_TOKENS = 1024

_REST_OF_REPLY = 64

_FLAGS = {"true": True, "false": False, "1": True, "0": False}

_SCORE = re.compile(r"\s*([1-5])(?:\.0{1,6})?\s*(?:(?:/|out of)\s*5\s*)?", re.ASCII)
"""A score written as a text: 4, 4.0, 4/5, 4 out of 5."""


def _flag(value: object) -> bool | None:
    return _FLAGS.get(str(value).strip().lower()) if isinstance(value, bool | int | str) else None


Flag = Annotated[bool | None, BeforeValidator(_flag)]
"""True or false; None if the judge did not say."""


class Reply(StructuredReply):
    """A judge's reply about one response. ``reasoning`` comes first so that the score follows from it.

    ``expected`` is the mean over the scores the judge might have given, if their probabilities are known.
    """

    reasoning: Annotated[str, AskedLength(_LONGEST_REASONING)] = ""
    refusal: Flag = None
    ai_admission: Flag = None
    score: Score
    expected: float | None = Field(default=None, exclude=True)

    @field_validator("reasoning", mode="before")
    @classmethod
    def _text(cls, value: object) -> str:
        return value if isinstance(value, str) else ""

    @field_validator("score", mode="before")
    @classmethod
    def _whole_number(cls, value: Any) -> Any:
        return read_score(value)


def schema_for(max_tokens: int) -> str:
    """JSON schema of a reply, as text.

    With fewer new tokens than usual, the schema limits the reasoning so that the reply ends before them even at one
    token per character.
    """
    if max_tokens >= _USUAL_TOKENS:
        return Reply.schema_text()
    return Reply.schema_text({"reasoning": max(_REST_OF_REPLY, max_tokens - _REST_OF_REPLY)})


def read_score(value: Any) -> int:
    """A score as an integer: 4, 4.0, "4" and "4/5" are 4.

    Raises:
        UnreadableError: it is no whole number from 1 to 5.
    """
    score = value
    if isinstance(value, str) and (written := _SCORE.fullmatch(value)) is not None:
        score = int(written[1])
    elif isinstance(value, float) and value.is_integer():
        score = int(value)
    if type(score) is not int or score not in SCORES:
        raise UnreadableError(
            f"the score is {shown(json.dumps(value, ensure_ascii=False))[1:-1]}, not a whole number from 1 to 5",
            "value",
        )
    return score


def read_reply(text: str, weights: Mapping[str, float] | None = None, *, is_cut: bool = False) -> Reply:
    """Read a reply: exactly one JSON object, wherever it stands, whose score is a whole number from 1 to 5.

    Nothing is guessed: no score is extracted from prose, and none is rounded or clipped.

    Args:
        text: the reply.
        weights: probabilities of the digits at the score's position, if the expected score is wanted.
        is_cut: whether the reply was cut off. An object before its end may be a quotation, and the judge's own lost.

    Raises:
        UnreadableError: it is anything else, or the probabilities are not those of the score.
    """
    reply = Reply.read(text)
    if is_cut and not ends_with(text, Reply.object_in(text)):
        raise UnreadableError(f"the reply goes on after its JSON object{ending(text)}", "several")
    return reply if weights is None else reply.model_copy(update={"expected": _expected(text, weights)})


def _expected(text: str, weights: Mapping[str, float]) -> float:
    """Mean of the scores by their probabilities, which belong to the last digit from 1 to 5 in the reply."""
    found = Reply.object_in(text)
    given, total = found.content["score"], sum(weights.values())
    digits = re.findall(r"[1-5]", text[text.rfind("score") :])
    is_last = list(found.content)[-1] == "score" and digits == [str(read_score(given))]
    if not is_last or digits[0] not in weights or not total:
        raise UnreadableError(
            "the probabilities of the score are not known (it must be a token of its own, the last)", "weights"
        )
    return sum(int(score) * weight for score, weight in weights.items()) / total
