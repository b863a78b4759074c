"""Decoding constrained by a JSON schema, through llguidance; vLLM has this built in."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Collection, Sequence
from typing import Any


class Grammars:
    """The grammars of one tokenizer.

    Args:
        tokenizer: a transformers tokenizer.
        eos: ids of all tokens that end an answer.
    """

    def __init__(self, tokenizer: Any, eos: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._eos = sorted(eos)
        self._known: Any = None

    def hold(self, schema: str, rows: int, vocabulary: int) -> GrammarState | None:
        """Constraint of a batch to a schema; None without llguidance, or if it cannot read the tokenizer.

        Args:
            schema: a JSON schema, as text.
            rows: number of answers.
            vocabulary: number of logits per row.
        """
        if importlib.util.find_spec("llguidance") is None or not getattr(self._tokenizer, "is_fast", False):
            return None
        import llguidance
        import llguidance.hf

        if self._known is None:
            self._known = llguidance.hf.from_tokenizer(self._tokenizer, n_vocab=vocabulary, eos_token=self._eos)
        # Otherwise a small model fills its token limit with blanks between two keys.
        fixed: Any = {"whitespace_flexible": False, "key_separator": ": ", "item_separator": ", "}
        grammar = llguidance.LLMatcher.grammar_from_json_schema(json.loads(schema), overrides=fixed)
        return GrammarState([llguidance.LLMatcher(self._known, grammar) for _ in range(rows)], vocabulary, self._eos)


class GrammarState:
    """The grammar states of a batch of answers."""

    def __init__(self, matchers: Sequence[Any], vocabulary: int, eos: Sequence[int]) -> None:
        self._matchers = list(matchers)
        self._vocabulary = vocabulary
        self._eos = list(eos)

    def mask(self, logits: Any) -> Any:
        """Logits (rows, vocabulary) in which tokens that the grammar rules out are masked."""
        import numpy as np
        import torch
        from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

        bits = allocate_token_bitmask(len(self._matchers), self._vocabulary)
        for row, matcher in enumerate(self._matchers):
            if not matcher.is_stopped():
                fill_next_token_bitmask(matcher, bits, row)
        allowed = np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")[:, : self._vocabulary].astype(bool)
        for row, matcher in enumerate(self._matchers):
            if matcher.is_stopped():
                allowed[row] = False
                allowed[row, self._eos] = True
        return logits.masked_fill(~torch.from_numpy(allowed).to(logits.device), float("-inf"))

    def take(self, row: int, token: int) -> None:
        """Advance a row's grammar by its next token."""
        if not self._matchers[row].is_stopped():
            self._matchers[row].consume_token(token)

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these."""
        self._matchers = [self._matchers[row] for row in rows]
