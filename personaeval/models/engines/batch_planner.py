"""Batches of rows to decode together: similar prompts, as many as the memory holds.

In a persona sweep, the prompts of one persona share a prefix. Rows are grouped by prefix, so that a batch computes it
once; within a group they are sorted by length, so that little is padded.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from personaeval.types import Completion, Request, Sampling

_MAX_ROWS = {"cpu": 128, "cuda": 512, "mps": 64}

_PREFILL_TOKENS = {"cpu": 16_384, "cuda": 65_536, "mps": 8_192}
"""Padded prompt tokens of one batch: bounds the activations of the first forward pass."""

_MEMORY_SHARE = 0.6

_LEAST_FAMILY = 32
"""Fewer rows than this are worth more in one batch with others than a longer common beginning."""

_KEPT_SHARE = 0.8


@dataclass(slots=True)
class Row:
    """A request being decoded: its prompt and the tokens generated so far."""

    request: Request
    prompt: list[int]
    limit: int
    written: list[int] = field(default_factory=list)
    text: str | None = None
    finish_reason: str = ""

    def completion(self, decode: Callable[[list[int]], str]) -> Completion:
        """The generated text."""
        return Completion(
            row=self.request.row,
            key=self.request.key,
            text=decode(self.written) if self.text is None else self.text,
            finish_reason=self.finish_reason,
            prompt_tokens=len(self.prompt),
            completion_tokens=len(self.written),
        )


class BatchPlanner:
    """Limits the rows of a batch by memory and by earlier out-of-memory failures."""

    def __init__(self, model: Any) -> None:
        config = model.config.get_text_config()
        kind = model.device.type
        self.context: float = getattr(config, "max_position_embeddings", None) or math.inf
        self._max_rows = _MAX_ROWS.get(kind, 64)
        self._prefill = _PREFILL_TOKENS.get(kind, 8_192)
        self._cached = max(1, int(_free_memory(model.device) * _MEMORY_SHARE / _cache_bytes(config, model.dtype)))

    def shrink(self, rows: int) -> None:
        """Limit batches to this many rows from now on."""
        self._max_rows = max(1, min(self._max_rows, rows))

    def batches(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Split rows into batches of equal sampling and prefix group, the longest prompts of a group first."""
        groups: dict[Sampling, list[Row]] = {}
        for row in rows:
            groups.setdefault(row.request.sampling, []).append(row)
        for group in groups.values():
            for family in _prefix_groups(group):
                family.sort(key=lambda row: len(row.prompt), reverse=True)
                while family:
                    longest = len(family[0].prompt)
                    fit = min(
                        self._max_rows,
                        self._prefill // longest,
                        self._cached // (longest + family[0].request.sampling.max_tokens),
                    )
                    count = max(1, fit)
                    yield family[:count]
                    del family[:count]


def common_start(rows: Sequence[Row]) -> int:
    """Length of the prompts' common prefix, leaving each prompt at least one token of its own."""
    # Of sorted sequences, the first and the last differ earliest.
    first, last = min(row.prompt for row in rows), max(row.prompt for row in rows)
    return min(_alike(first, last), min(len(row.prompt) for row in rows) - 1)


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _prefix_groups(rows: list[Row]) -> Iterator[list[Row]]:
    """Split rows where the common prefix would become much shorter and the group is large enough by itself."""
    ordered = sorted(rows, key=lambda row: row.prompt)
    family: list[Row] = []
    shared = 0
    for row in ordered:
        alike = _alike(family[0].prompt, row.prompt) if family else len(row.prompt)
        if len(family) >= _LEAST_FAMILY and alike < _KEPT_SHARE * shared:
            yield family
            family, alike = [], len(row.prompt)
        family.append(row)
        shared = min(shared, alike) if len(family) > 1 else alike
    if family:
        yield family


def _cache_bytes(config: Any, dtype: Any) -> int:
    """Bytes of keys and values for one token of one row."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * dtype.itemsize)


def _free_memory(device: Any) -> int:
    """Bytes that a batch may use."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    # Main memory is shared with everything else that runs on the machine.
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") // 3
