"""Reading a response of status 200: the answer in it, or why there is none."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from personaeval.errors import EngineError
from personaeval.models.engines.endpoint import redact
from personaeval.models.engines.event_stream import is_stream, join_events
from personaeval.models.engines.finish_reasons import end_of
from personaeval.types import Completion, Request, repair_surrogates

UNNAMED = ""
"""Finish reason of an answer whose server gave none."""

_CALLED = "the model called a tool instead of answering"


class SenselessError(Exception):
    """A response of status 200 without an answer; a retry may succeed."""


class BrokenOffError(SenselessError):
    """An answer that the endpoint began and did not end; it has accepted the request."""


class UnusableError(Exception):
    """A well-formed response that is not an answer; a retry would not help."""


def read_completion(content: bytes, request: Request) -> Completion:
    """Read the body of a response of status 200.

    Returns:
        The completion; its finish reason is ``stop``, ``length`` or :data:`UNNAMED`.

    Raises:
        SenselessError: it holds no answer, for example because a proxy failed, or one that was broken off.
        UnusableError: it holds a tool call or a filter's notice instead of an answer.
    """
    try:
        body = join_events(content) if is_stream(content) else json.loads(content)
    except (ValueError, RecursionError):
        shown = redact(content[:80].decode(errors="replace"))
        raise SenselessError(f"the answer is not JSON ({shown!r})") from None
    choice = _first_choice(body)
    finish_reason = _finish_reason(choice, request)
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    score_tokens = request.sampling.score_tokens
    text, reasoning = _texts(choice, request)
    return Completion(
        row=request.row,
        key=request.key,
        text=text,
        finish_reason=finish_reason,
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        cached_tokens=_count(details, "cached_tokens") if isinstance(details, dict) else 0,
        reasoning=reasoning,
        weights=_weights(choice.get("logprobs"), score_tokens) if score_tokens and text else None,
    )


def _first_choice(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise SenselessError("the answer is JSON of another kind")
    choices = body.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        choice: dict[str, Any] = choices[0]
        if choice.get("error"):
            raise BrokenOffError(f"the endpoint broke off the answer ({redact(str(choice['error']))})")
        return choice
    if body.get("error"):
        raise SenselessError(f"status 200 with an error in it ({redact(str(body['error']))})")
    raise SenselessError("the answer has no choices")


def _finish_reason(choice: dict[str, Any], request: Request) -> str:
    reason = choice.get("finish_reason")
    match end_of(reason):
        case "stop":
            return "stop"
        case "length":
            return "length"
        case "unnamed":
            return UNNAMED
        case "called":
            if request.sampling.schema is None:
                raise UnusableError(_CALLED)
            return "stop"
        case "withheld":
            raise UnusableError(f"the endpoint's content filter withheld the answer ({redact(str(reason))})")
        case "broken":
            raise BrokenOffError(f"the endpoint broke off the answer ({redact(str(reason))})")


def _texts(choice: dict[str, Any], request: Request) -> tuple[str, str | None]:
    """Text and reasoning of an answer. Several servers write an empty text as null."""
    if isinstance(request.prompt, str):
        if "text" not in choice:
            raise SenselessError("the answer holds no text")
        text, reasoning = choice["text"], None
    else:
        message = choice.get("message")
        if not isinstance(message, dict):
            raise SenselessError("the answer has no message")
        if message.get("tool_calls"):
            return _called_with(message["tool_calls"], request), None
        reasoning = message.get("reasoning") or message.get("reasoning_content")
        text, thought = _joined(message.get("content"))
        reasoning = reasoning or thought
        # A refusal is the model's own text, which some servers put in another field.
        text = message.get("refusal") if text is None else text
    reasoning = repair_surrogates(reasoning) if isinstance(reasoning, str) else None
    if text is None:
        return "", reasoning
    if not isinstance(text, str):
        raise SenselessError("the answer holds no text")
    return repair_surrogates(text), reasoning


def _joined(content: Any) -> tuple[Any, str | None]:
    """Text and thinking of a message's content, which may be a list of parts; anything else is left as it is."""
    if not isinstance(content, list):
        return content, None
    if not all(isinstance(part, dict) for part in content):
        raise SenselessError("the answer holds parts that are none")
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content:
        kind = str(part.get("type", "text"))
        is_thought = "think" in kind or "reason" in kind
        (thoughts if is_thought else texts).append(_part_text(part, kind))
    return "".join(texts), "".join(thoughts) or None


def _part_text(part: dict[str, Any], kind: str) -> str:
    """The text of a part, which may be a list of parts itself."""
    inner = next((part[name] for name in ("text", kind, "content", "thinking", "reasoning") if part.get(name)), "")
    if isinstance(inner, list):
        return "".join(_part_text(one, str(one.get("type", "text"))) for one in inner if isinstance(one, dict))
    return inner if isinstance(inner, str) else ""


def _called_with(calls: Any, request: Request) -> str:
    """The arguments of a tool call that stands for a reply whose form was asked for.

    Raises:
        UnusableError: another call.
    """
    if request.sampling.schema is not None and isinstance(calls, list) and len(calls) == 1:
        function = calls[0].get("function") if isinstance(calls[0], dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        if isinstance(arguments, str) and arguments.strip():
            return repair_surrogates(arguments)
    raise UnusableError(_CALLED)


def _weights(logprobs: Any, score_tokens: Sequence[str]) -> dict[str, float]:
    """Probabilities of the score tokens at the last position that holds one; empty if none does.

    Raises:
        EngineError: the endpoint gives no log-probabilities.
    """
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list) or not tokens:
        raise EngineError("The endpoint gives no log-probabilities (logprobs); do without --expected-score.")
    found: dict[str, float] = {}
    place = next((one for one in reversed(tokens) if str(one.get("token")).strip() in score_tokens), None)
    for one in (place or {}).get("top_logprobs") or ():
        # "4" and " 4" are two tokens for the same answer.
        text = str(one["token"]).strip()
        if text in score_tokens:
            found[text] = found.get(text, 0.0) + math.exp(min(float(one["logprob"]), 0.0))
    return found


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and value > 0 else 0
