"""Drawing the next token of each row of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from personaeval.types import Sampling


class TokenSampler:
    """Draws a batch's next tokens: the likeliest, or by each row's own random numbers."""

    def __init__(
        self, sampling: Sampling, seeds: Sequence[int], length: int, device: Any, allowed: Sequence[int] = ()
    ) -> None:
        """Take one seed per row, the most tokens per row, and the only allowed token ids, if restricted."""
        self._sampling = sampling
        self._allowed = list(allowed)
        if not sampling.is_greedy:
            self._uniform = _uniform(seeds, length, sampling.max_tokens).to(device)

    def __call__(self, logits: Any, step: int) -> Any:
        """Token ids (rows,) for logits (rows, vocabulary).

        Sampling inverts the cumulative distribution of the tokens sorted by probability, cut to the smallest
        nucleus of at least ``top_p``: one uniform number a token, whatever the other rows of the batch are.
        """
        import torch

        if self._allowed:
            masked = torch.full_like(logits, float("-inf"))
            masked[:, self._allowed] = logits[:, self._allowed]
            logits = masked
        if self._sampling.is_greedy:
            return logits.argmax(-1)
        ordered, tokens = (logits / self._sampling.temperature).softmax(-1).sort(dim=-1, descending=True)
        mass = ordered.cumsum(-1)
        nucleus = mass - ordered < self._sampling.top_p
        kept = torch.where(nucleus, ordered, 0).cumsum(-1)
        goal = self._uniform[:, step, None] * kept[:, -1:]
        # A goal rounded up to the whole mass would otherwise fall behind the last token.
        place = torch.searchsorted(kept, goal, right=True).clamp(max=nucleus.sum(-1, keepdim=True) - 1)
        return tokens.gather(-1, place)[:, 0]

    def keep(self, index: Any) -> None:
        """Forget all rows but these."""
        if not self._sampling.is_greedy:
            self._uniform = self._uniform[index]


def _uniform(seeds: Sequence[int], length: int, max_tokens: int) -> Any:
    """Uniform numbers (rows, length) in [0, 1).

    A row's depend on its seed alone: not on the device, nor on how many the longest row of its batch needs.
    """
    import torch

    numbers = torch.empty(len(seeds), length)
    for index, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(seed % 2**63)
        numbers[index] = torch.rand(max_tokens, generator=generator)[:length]
    return numbers
