"""A judge's reply: the schema it has to fit, and the strict reading of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from personaeval.generation.structured_query import UnreadableError, read_object, shown
from personaeval.judge.rubrics import SCORES

_LONGEST_REASONING = 1200

_USUAL_TOKENS = 1024

_REST_OF_REPLY = 64


def schema_for(max_tokens: int) -> str:
    """Return the JSON schema of a reply, as text.

    Where a judge has fewer new tokens than usual, its reasoning is held so short that the reply ends before them, even
    with a token for each character.
    """
    longest = _LONGEST_REASONING if max_tokens >= _USUAL_TOKENS else max(_REST_OF_REPLY, max_tokens - _REST_OF_REPLY)
    return json.dumps(
        {
            "type": "object",
            "properties": {
                # First, so that the score follows from it.
                "reasoning": {"type": "string", "maxLength": longest},
                "refusal": {"type": "boolean"},
                "ai_admission": {"type": "boolean"},
                "score": {"type": "integer", "enum": list(SCORES)},
            },
            "required": ["reasoning", "refusal", "ai_admission", "score"],
            "additionalProperties": False,
        }
    )


@dataclass(frozen=True, slots=True)
class Reply:
    """What a judge said of a response; a flag is None where it said nothing of it.

    ``expected`` is the mean over the scores it might have given, where their probabilities are known.
    """

    score: int
    reasoning: str
    refusal: bool | None
    ai_admission: bool | None
    expected: float | None = None


def read_reply(text: str, weights: Mapping[str, float] | None = None) -> Reply:
    """Read a reply: one JSON object, bare or in one code fence, whose score is a whole number from 1 to 5.

    Nothing is guessed: no score is fished out of prose, and none is rounded or clipped.

    Args:
        text: the reply.
        weights: where the expected score is wanted, the probabilities of the digits in the score's place.

    Raises:
        UnreadableError: it is anything else, or the probabilities are not those of the score.
    """
    content = read_object(text)
    if "score" not in content:
        raise UnreadableError(f"the reply has no score: {shown(text)}")
    score = content["score"]
    if type(score) is not int or score not in SCORES:
        raise UnreadableError(f"the score is {shown(json.dumps(score))[1:-1]}, not a whole number from 1 to 5")
    reasoning = content.get("reasoning")
    return Reply(
        score,
        reasoning if isinstance(reasoning, str) else "",
        _flag(content, "refusal"),
        _flag(content, "ai_admission"),
        None if weights is None else _expected(content, weights),
    )


def _expected(content: Mapping[str, Any], weights: Mapping[str, float]) -> float:
    """Return the mean of the scores by their probabilities, which are of the last digit in the reply."""
    total = sum(weights.values())
    if list(content)[-1] != "score" or str(content["score"]) not in weights or not total:
        raise UnreadableError("the probabilities of the score are not known (it must be a token of its own, the last)")
    return sum(int(score) * weight for score, weight in weights.items()) / total


def _flag(content: dict[str, Any], name: str) -> bool | None:
    value = content.get(name)
    return value if isinstance(value, bool) else None
