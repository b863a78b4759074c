"""What the engines that run in this process share: prompts become token ids, and some are refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from personaeval.engines import Completion, Request


def tokenise(tokenizer: Any, requests: Sequence[Request]) -> list[list[int]]:
    """Return the token ids of each request's prompt, a rendered text."""
    ids: list[list[int]] = [[] for _ in requests]
    for special in (False, True):
        places = [place for place, request in enumerate(requests) if request.special_tokens is special]
        texts = [requests[place].prompt for place in places]
        if texts:
            encoded = tokenizer(texts, add_special_tokens=special, return_attention_mask=False)["input_ids"]
            for place, tokens in zip(places, encoded, strict=True):
                ids[place] = tokens
    return ids


def failed(request: Request, reason: str) -> Completion:
    """Return the completion of a request that failed alone."""
    return Completion(row=request.row, key=request.key, text="", finish_reason="", error=reason)


def refused(request: Request, length: int, context: float) -> Completion | None:
    """Return the completion of a prompt that leaves no room for an answer, None where there is room.

    ``length`` and ``context`` are numbers of tokens.
    """
    if length == 0:
        return failed(request, "the prompt is empty: it has no token to go on from")
    if length < context:
        return None
    return failed(
        request,
        f"the prompt has {length} tokens and the model's context {context:.0f}: none is left for an answer",
    )
