"""Answers that are cut off are said early, with what to do, and said again under the table."""

import pytest

from personaeval.pipeline.truncation import warn_of_truncation
from personaeval.types import Completion


def completions(cut: int, total: int):
    for row in range(total):
        yield Completion(
            row=row,
            key=bytes(16),
            text="x",
            finish_reason="length" if row < cut else "stop",
            prompt_tokens=1,
            completion_tokens=32 if row < cut else 5,
        )


@pytest.mark.parametrize(
    ("cut", "total", "said"),
    [
        (50, 60, "m: all first 50 answers were cut off, at 32 tokens: raise --max-tokens."),
        (30, 200, "m: 30 of the first 50 answers were cut off, at 32 tokens: raise --max-tokens."),
        (24, 200, ""),
        (49, 49, ""),
    ],
)
def test_it_is_said_once_after_fifty(cut, total, said):
    taken, lines = [], []
    watched = warn_of_truncation(taken.append, lines.append, "m")
    for completion in completions(cut, total):
        watched(completion)
    assert len(taken) == total
    assert len(lines) == bool(said)
    assert not said or lines[0].startswith(said)
