"""A warning while there is time to act: most of the first answers were cut off at their token limit."""

from __future__ import annotations

from collections.abc import Callable

from personaeval.types import Completion

_FIRST = 50
"""Number of answers after which it is said."""

_MANY = 0.5
"""Share of cut off answers from which it is said."""


def warn_of_truncation(
    on_completion: Callable[[Completion], None], say: Callable[[str], None], name: str
) -> Callable[[Completion], None]:
    """The same callback, with a message after the first answers if many of them were cut off.

    Args:
        on_completion: what is done with each completion.
        say: shows a message.
        name: the model's, which the message begins with.
    """
    seen = cut = limit = 0

    def watched(completion: Completion) -> None:
        nonlocal seen, cut, limit
        on_completion(completion)
        if seen >= _FIRST:
            return
        seen += 1
        if completion.finish_reason == "length":
            cut += 1
            limit = max(limit, completion.completion_tokens)
        if seen == _FIRST and cut >= _MANY * seen:
            many = "all" if cut == seen else f"{cut} of the"
            say(
                f"{name}: {many} first {_FIRST} answers were cut off, at {limit:,} tokens: raise --max-tokens. You can "
                "stop now; what is answered within the limit is kept."
            )

    return watched
