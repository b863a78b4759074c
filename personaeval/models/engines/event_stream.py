"""An answer that came as a stream of server-sent events, joined to the body of one that did not."""

from __future__ import annotations

import json
import re
from typing import Any

_JOINED = ("content", "reasoning", "reasoning_content", "refusal", "text")

_LINE_END = re.compile(r"\r\n|\n|\r")
"""Of lines of events. Others, such as U+2028, that ``splitlines`` knows may stand unescaped in JSON."""


def is_stream(content: bytes) -> bool:
    """Whether a response's body is a stream of events."""
    return content.lstrip()[:6].startswith((b"data:", b"event:", b":"))


def join_events(content: bytes) -> dict[str, Any]:
    """The body of the answer whose parts a stream holds.

    A stream that ended early has no finish reason, as an answer that was broken off.

    Raises:
        ValueError: an event is not JSON.
    """
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": None}}
    body: dict[str, Any] = {}
    seen = False
    for data in _events(content):
        event = json.loads(data)
        if not isinstance(event, dict):
            raise ValueError("an event that is no object")
        if event.get("error"):
            return {"error": event["error"]}
        if isinstance(event.get("usage"), dict):
            body["usage"] = event["usage"]
        choices = event.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            seen = True
            _add(choice, choices[0])
    return {**body, "choices": [choice]} if seen else body


def _events(content: bytes) -> list[str]:
    """The data of each event; the last one says that the stream is done."""
    found: list[str] = []
    lines: list[str] = []
    for line in (*_LINE_END.split(content.decode(errors="replace")), ""):
        if line.startswith("data:"):
            lines.append(line[5:].strip())
        elif not line and lines:
            data, lines = "\n".join(lines), []
            if data and data != "[DONE]":
                found.append(data)
    return found


def _add(choice: dict[str, Any], part: dict[str, Any]) -> None:
    """Add an event's choice to the joined one."""
    delta = part.get("delta") or part.get("message") or {}
    message = choice["message"]
    for name in _JOINED:
        value = delta.get(name) if name != "text" else part.get(name)
        target = choice if name == "text" else message
        if isinstance(value, str):
            target[name] = (target.get(name) or "") + value
        elif isinstance(value, list):
            target[name] = [*(target.get(name) or []), *value]
    if delta.get("tool_calls"):
        message["tool_calls"] = [*message.get("tool_calls", []), *delta["tool_calls"]]
    if part.get("finish_reason"):
        choice["finish_reason"] = part["finish_reason"]
    logprobs = part.get("logprobs")
    if isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list):
        known = choice.setdefault("logprobs", {"content": []})
        known["content"] += logprobs["content"]
