"""Rows that are decoded together: similar prompts, as many as the memory holds."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from personaeval.engines import Completion, Request, Sampling

_MAX_ROWS = {"cpu": 128, "cuda": 512, "mps": 64}
_PREFILL_TOKENS = {"cpu": 16_384, "cuda": 65_536, "mps": 8_192}
"""Padded prompt tokens of one batch: bounds the activations of the first forward pass."""
_MEMORY_SHARE = 0.6


@dataclass(slots=True)
class Row:
    """A request being decoded: its prompt and what has been written so far."""

    request: Request
    prompt: list[int]
    limit: int
    written: list[int] = field(default_factory=list)
    text: str | None = None
    finish_reason: str = ""

    def completion(self, decode: Callable[[list[int]], str]) -> Completion:
        """Return what was written, as text."""
        return Completion(
            row=self.request.row,
            key=self.request.key,
            text=decode(self.written) if self.text is None else self.text,
            finish_reason=self.finish_reason,
            prompt_tokens=len(self.prompt),
            completion_tokens=len(self.written),
        )


class Limits:
    """How many rows a batch may have: bounded by memory and, on a failure, by experience."""

    def __init__(self, model: Any) -> None:
        config = model.config.get_text_config()
        kind = model.device.type
        self.context: float = getattr(config, "max_position_embeddings", None) or math.inf
        self._max_rows = _MAX_ROWS.get(kind, 64)
        self._prefill = _PREFILL_TOKENS.get(kind, 8_192)
        self._cached = max(1, int(_free_memory(model.device) * _MEMORY_SHARE / _cache_bytes(config, model.dtype)))

    def shrink(self, rows: int) -> None:
        """Keep to this many rows from now on."""
        self._max_rows = max(1, min(self._max_rows, rows))

    def batches(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Split rows into batches of one sampling each, the longest prompts first."""
        groups: dict[Sampling, list[Row]] = {}
        for row in rows:
            groups.setdefault(row.request.sampling, []).append(row)
        for group in groups.values():
            group.sort(key=lambda row: len(row.prompt), reverse=True)
            while group:
                longest = len(group[0].prompt)
                fit = min(
                    self._max_rows,
                    self._prefill // longest,
                    self._cached // (longest + group[0].request.sampling.max_tokens),
                )
                count = max(1, fit)
                yield group[:count]
                del group[:count]


def _cache_bytes(config: Any, dtype: Any) -> int:
    """Return the bytes of keys and values for one token of one row."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * dtype.itemsize)


def _free_memory(device: Any) -> int:
    """Return the bytes a batch may count on."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    # Main memory is shared with everything else that runs on the machine.
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") // 3
