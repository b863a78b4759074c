"""Tokens without an embedding row: harmless while no prompt holds them, out of bounds in any engine once one does.

A tokenizer may well have more tokens than the model has rows (a padding token added for training), so only those that
occur in the prompts count. They are named before the weights are loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from personaeval.errors import UsageError
from personaeval.models.engines.local import tokenise
from personaeval.types import Request

_CHUNK = 1024


def refuse_rowless_tokens(name: str, tokenizer: Any, rows: int | None, requests: Iterable[Request]) -> None:
    """Refuse prompts with a token that has no row in the embedding.

    Args:
        name: of the model, for the message.
        tokenizer: the model's.
        rows: of its embedding; None if unknown.
        requests: whose prompts are looked at.

    Raises:
        UsageError: names the first such token, its id and the number of rows.
    """
    rowless = {} if rows is None else {number: text for text, number in tokenizer.get_vocab().items() if number >= rows}
    if not rowless:
        return
    suspects = _suspects(tokenizer, rowless, requests)
    while chunk := list(islice(suspects, _CHUNK)):
        for ids in tokenise(tokenizer, chunk):
            found = next((number for number in ids if number in rowless), None)
            if found is not None:
                raise UsageError(
                    f"{name}: token {rowless[found]!r} (id {found}) occurs in the prompts, but the embedding has only "
                    f"{rows} rows. Save the tokenizer that belongs to these weights, call resize_token_embeddings "
                    "before training, or take a --chat-template without it."
                )


def _suspects(tokenizer: Any, rowless: dict[int, str], requests: Iterable[Request]) -> Iterator[Request]:
    """The requests that may hold one: added tokens are matched as they are written, which is fast to rule out."""
    added = tokenizer.added_tokens_decoder
    if any(number not in added or added[number].normalized for number in rowless):
        yield from requests
        return
    automatic = not rowless.keys().isdisjoint(tokenizer("")["input_ids"])
    texts = [text.strip() for text in rowless.values()]
    for request in requests:
        if (automatic and request.special_tokens) or any(text in request.prompt for text in texts):
            yield request
