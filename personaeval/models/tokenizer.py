"""Tokenizers: loading one with its chat template, and which of its tokens are control tokens."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from personaeval.errors import UsageError, first_line

_LEGACY_TEMPLATE = "chat_template.json"
"""Where processors used to keep the chat template; transformers' tokenizers don't look there."""

_BRACKETED = re.compile(r"[<\[◁].*[>\]▷]", re.DOTALL)


def load_tokenizer(name: str, trust_remote_code: bool) -> Any:
    """Load a transformers tokenizer from a directory or the hub, with its chat template.

    Raises:
        UsageError: transformers is not installed, or there is no such tokenizer.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise UsageError(
            f"tokenizer {name}: transformers cannot be imported ({error}); pip install 'personaeval[transformers]'."
        ) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except Exception as error:
        # OSError, ValueError, JSON and Rust errors all mean the same to a user.
        remedy = " It needs --trust-remote-code." if "trust_remote_code" in str(error) else ""
        raise UsageError(f"tokenizer {name}: cannot be loaded ({first_line(error)}).{remedy}") from error
    if not tokenizer.chat_template:
        tokenizer.chat_template = _legacy_template(name)
    return tokenizer


def _legacy_template(name: str) -> Any:
    """The chat template in chat_template.json; None without such a file."""
    path = Path(name) / _LEGACY_TEMPLATE
    if not Path(name).is_dir():
        from transformers.utils import cached_file

        try:
            found = cached_file(name, _LEGACY_TEMPLATE, _raise_exceptions_for_missing_entries=False)
        except OSError:
            return None
        if found is None:
            return None
        path = Path(found)
    if not path.is_file():
        return None
    try:
        template = json.loads(path.read_text(encoding="utf-8"))["chat_template"]
        if isinstance(template, list):
            template = {entry["name"]: entry["template"] for entry in template}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not a chat template ({first_line(error)}); save the tokenizer again.") from error
    return template


def read_chat_template(path: Path | None) -> str | None:
    """Text of a ``--chat-template`` file."""
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--chat-template {path}: cannot be read ({error}).") from error


def template_of(tokenizer: Any) -> str | None:
    """Text of a tokenizer's chat template; of several, of the one that is used without tools or documents."""
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return template or None


def special_tokens(tokenizer: Any) -> frozenset[str]:
    """A tokenizer's special tokens, which are marks and not text."""
    return frozenset(token.content for token in tokenizer.added_tokens_decoder.values() if token.special)


def control_tokens(tokenizer: Any) -> frozenset[str]:
    """Tokens that a text must not hold, as it would end a turn or begin one: special or bracketed added tokens."""
    return frozenset(
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if _BRACKETED.fullmatch(token.content) or (token.special and not token.content.strip().isalnum())
        if token.content.strip()
    )
