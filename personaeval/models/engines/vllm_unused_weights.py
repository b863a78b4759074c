"""Loaded into vLLM's workers alone: drops the tensors that the model has no use for, where vLLM would refuse them.

vLLM ends at a name that its model does not know, such as a trainer's value head. Which names are harmless was decided
before it started; they come in an environment variable, as workers are processes of their own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import wraps
from typing import Any

from personaeval.models.engines import UNUSED_WEIGHTS


class WithoutUnusedWeights:
    """vLLM mixes this into its workers; loading this module is what counts."""


def _drop_unused() -> None:
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

    all_weights = DefaultModelLoader.get_all_weights

    @wraps(all_weights)
    def used_weights(*arguments: Any, **more: Any) -> Iterator[tuple[str, Any]]:
        unused = frozenset(json.loads(os.environ.get(UNUSED_WEIGHTS, "[]")))
        return ((name, tensor) for name, tensor in all_weights(*arguments, **more) if name not in unused)

    DefaultModelLoader.get_all_weights = used_weights


_drop_unused()
