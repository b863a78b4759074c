"""Symbolic comparison by Math-Verify. Only worker processes import this: it loads Math-Verify and SymPy at once."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from math_verify import parse, verify

for _name in ("math_verify", "latex2sympy2_extended"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)


def equal(gold: str, answer: str) -> bool:
    """Whether an answer equals the gold answer, both in LaTeX; may run forever.

    Math-Verify runs without its own time-out, an alarm signal that cannot interrupt long computations in C.
    """
    return bool(verify(_gold(gold), _parse(answer), timeout_seconds=None))


@lru_cache(maxsize=4096)
def _gold(text: str) -> list[Any]:
    return _parse(text)


def _parse(text: str) -> list[Any]:
    return list(parse(f"\\boxed{{{text}}}", parsing_timeout=None))


# The fork server imports this module once: tables that the parser builds on first use are then there in every worker.
equal(r"\frac{x+1}{2}", r"\sqrt{x}, [1, 2)")
