"""Model families: judges tend to favour answers of their own family."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_FAMILIES = {
    "GPT": r"gpt|chatgpt|davinci|\bo[134](?:-|$)",
    "Claude": r"claude",
    "Gemini": r"gemini|gemma|palm-?2",
    "Llama": r"(?<!tiny)llama|vicuna|alpaca",
    "Qwen": r"qwen|qwq",
    "Mistral": r"mistral|mixtral|ministral|magistral|codestral|pixtral|zephyr",
    "DeepSeek": r"deepseek",
    "Phi": r"\bphi[-_ ]?\d",
    "SmolLM": r"smollm",
    "Command": r"command-?(?:r|a)\b|\baya\b|cohere",
    "Granite": r"granite",
    "OLMo": r"olmo|tulu",
    "Yi": r"\byi[-_]\d",
    "GLM": r"glm",
    "Kimi": r"kimi|moonshot",
    "Grok": r"grok",
    "Nemotron": r"nemotron",
    "Falcon": r"falcon",
    "InternLM": r"internlm",
    "MiniCPM": r"minicpm",
    "EXAONE": r"exaone",
}

_GENERIC = {"llama", "mistral"}
"""Architectures used by many families: their names do not tell who trained a model."""


def family(*names: str | None) -> str | None:
    """Family of the first name that reveals one; None if none does.

    Args:
        names: for example the model's name, the name in its configuration, and its architecture's.
    """
    for name in names:
        for found, pattern in _FAMILIES.items():
            if name and name.lower() not in _GENERIC and re.search(pattern, name, re.IGNORECASE):
                return found
    return None


def relation(judge: Mapping[str, Any], model: Mapping[str, Any]) -> str | None:
    """How a judge is related to the model it judges, in words; None if nothing indicates that it is.

    Args:
        judge: the judge as recorded in run.json.
        model: the judged model as recorded in run.json.
    """
    if judge["fingerprint"] == model["fingerprint"]:
        return "the very same checkpoint"
    if judge.get("family") and judge.get("family") == model.get("family"):
        return f"of the same family ({judge['family']})"
    return None
