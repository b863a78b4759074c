"""A judge's reply: the schema it has to fit, and the strict reading of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from personaeval.inquiry import UnreadableError
from personaeval.judge.rubrics import SCORES

_LONGEST_REASONING = 1200
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            # First, so that the score follows from it.
            "reasoning": {"type": "string", "maxLength": _LONGEST_REASONING},
            "refusal": {"type": "boolean"},
            "ai_admission": {"type": "boolean"},
            "score": {"type": "integer", "enum": list(SCORES)},
        },
        "required": ["reasoning", "refusal", "ai_admission", "score"],
        "additionalProperties": False,
    }
)
_FENCED = re.compile(r"```(?:json)?\s*\n(.*)\n\s*```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a judge said of a response; a flag is None where it said nothing of it."""

    score: int
    reasoning: str
    refusal: bool | None
    ai_admission: bool | None


def read_reply(text: str) -> Reply:
    """Read a reply: one JSON object, bare or in one code fence, whose score is a whole number from 1 to 5.

    Nothing is guessed: no score is fished out of prose, and none is rounded or clipped.

    Raises:
        UnreadableError: it is anything else.
    """
    text = text.strip()
    if not text:
        raise UnreadableError("the reply is empty")
    fenced = _FENCED.fullmatch(text)
    try:
        content = json.loads(fenced[1] if fenced else text, object_pairs_hook=_distinct)
    except UnreadableError:
        raise
    except (ValueError, RecursionError):
        raise UnreadableError(f"the reply is not one JSON object: {_shown(text)}") from None
    if not isinstance(content, dict):
        raise UnreadableError(f"the reply is not a JSON object: {_shown(text)}")
    if "score" not in content:
        raise UnreadableError(f"the reply has no score: {_shown(text)}")
    score = content["score"]
    if type(score) is not int or score not in SCORES:
        raise UnreadableError(f"the score is {_cut(json.dumps(score))}, not a whole number from 1 to 5")
    reasoning = content.get("reasoning")
    return Reply(
        score,
        reasoning if isinstance(reasoning, str) else "",
        _flag(content, "refusal"),
        _flag(content, "ai_admission"),
    )


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise UnreadableError("the reply gives a key twice")
    return content


def _flag(content: dict[str, Any], name: str) -> bool | None:
    value = content.get(name)
    return value if isinstance(value, bool) else None


def _shown(text: str) -> str:
    return repr(_cut(" ".join(text.split())))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"
