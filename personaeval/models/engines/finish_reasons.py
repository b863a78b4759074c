"""Why an answer ended, by the names that servers and engines have for it.

An answer counts only if its end is one of the known good ones. What is withheld is unscored with the reason. Any other
name means that something broke the answer off (``abort``, ``error``, ``insufficient_system_resource``, …), and a part
of an answer is none.
"""

from __future__ import annotations

import re
from typing import Any, Literal

End = Literal["stop", "length", "withheld", "called", "unnamed", "broken"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.replace("_", "").split())


_STOP = _names(
    "stop stop_sequence stop_string stop_str stop_token eos eos_token end_turn end_of_turn end_of_text end complete "
    "completed finished done normal"
)

_LENGTH = _names(
    "length max_tokens max_new_tokens max_output_tokens max_completion_tokens max_length length_limit token_limit "
    "model_length context_length context_length_exceeded model_context_window_exceeded"
)

_WITHHELD = _names(
    "safety image_safety recitation blocklist prohibited_content spii language refusal blocked sensitive moderation "
    "guardrail guardrails guardrail_intervened error_toxic policy_violation"
)
"""Of Gemini, Anthropic, Bedrock, Cohere and GLM; content filters have many more names, all beginning alike."""

_CALLED = _names("tool_calls tool_call tool_use function_call")


def end_of(reason: Any) -> End:
    """What a finish reason says of an answer; ``unnamed`` if there is none."""
    if isinstance(reason, dict):
        # Older SGLang: {"type": "stop", "matched": 2}.
        reason = reason.get("type")
    if reason is None or reason == "":
        return "unnamed"
    # MAX_TOKENS, maxTokens and FINISH_REASON_MAX_TOKENS are one.
    name = re.sub(r"[^a-z]", "", str(reason).lower()).removeprefix("finishreason")
    if name in _STOP:
        return "stop"
    if name in _LENGTH:
        return "length"
    if name in _CALLED:
        return "called"
    return "withheld" if name in _WITHHELD or name.startswith("contentfilter") else "broken"
