"""Shared by the engines of this process: tokenising prompts and refusing those that are too long."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from personaeval.errors import EngineError
from personaeval.models.tokenizer import special_tokens
from personaeval.types import Completion, Request


def tokenise(tokenizer: Any, requests: Sequence[Request]) -> list[list[int]]:
    """Token ids of each request's rendered prompt."""
    ids: list[list[int]] = [[] for _ in requests]
    for special in (False, True):
        places = [place for place, request in enumerate(requests) if request.special_tokens is special]
        texts = [requests[place].prompt for place in places]
        if texts:
            encoded = tokenizer(texts, add_special_tokens=special, return_attention_mask=False)["input_ids"]
            for place, tokens in zip(places, encoded, strict=True):
                ids[place] = tokens
    return ids


def answer_token_ids(tokenizer: Any, answers: Sequence[str]) -> list[int]:
    """Token ids of answers that are one token each.

    Raises:
        ValueError: one is more than a token.
    """
    ids = [tokenizer(answer, add_special_tokens=False)["input_ids"] for answer in answers]
    for answer, own in zip(answers, ids, strict=True):
        if len(own) != 1:
            raise ValueError(f"{answer!r} is {len(own)} tokens")
    return [own[0] for own in ids]


def failed(request: Request, reason: str) -> Completion:
    """Completion of a request that failed alone."""
    return Completion(row=request.row, key=request.key, text="", finish_reason="", error=reason)


def not_computing(engine: str) -> EngineError:
    """The error for a model whose log-probabilities are NaN: its weights, or their dtype, are unfit."""
    return EngineError(
        f"{engine}: the model's log-probabilities are not numbers (NaN). Its weights are broken, or overflow in this "
        "--dtype: try --dtype bfloat16 or float32, or an earlier checkpoint."
    )


def refused(request: Request, length: int, context: float) -> Completion | None:
    """Failed completion of a prompt that leaves no room for an answer; None if there is room.

    ``length`` and ``context`` are numbers of tokens.
    """
    if length == 0:
        return failed(request, "the prompt is empty: there is no token to continue from")
    if length < context:
        return None
    return failed(
        request,
        f"the prompt has {length} tokens and the model's context {context:.0f}: none is left for an answer",
    )


class SpecialTokenFilter:
    """Removes special tokens from a text, except those to keep."""

    def __init__(self, tokenizer: Any, kept: Sequence[str]) -> None:
        self.any_kept = bool(kept)
        others = sorted(special_tokens(tokenizer) - set(kept), key=len, reverse=True) if kept else []
        self._others = re.compile("|".join(map(re.escape, others)) or "(?!)")

    def strip(self, text: str) -> str:
        """The decoded text without special tokens, except those to keep."""
        return self._others.sub("", text) if self.any_kept else text
