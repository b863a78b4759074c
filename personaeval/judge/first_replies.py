"""What a judge's first replies have in common, if none of them can be read: said at once, with the remedy.

A judge that never replies in the asked form would otherwise cost a whole run before anybody sees it.
"""

from __future__ import annotations

from collections.abc import Callable

from personaeval.generation.structured_reply import UnreadableError
from personaeval.results.ledger import Stored
from personaeval.types import Completion

FIRST = 20

_OWN_FORM = (
    "Does it reply in a form of its own, such as [RESULT] 4 or [[4]]? --judge-format prometheus or rating reads these; "
    "else use another judge"
)

_MORE_TOKENS = (
    "Give it more tokens with --judge-max-tokens, or turn its thinking off (for many models: "
    "--judge-chat-template-kwarg enable_thinking=false)"
)

REMEDIES = {
    "field": "Its server takes the whole reply for thinking: serve it without a reasoning parser, or turn its thinking "
    "off (for many models: --judge-chat-template-kwarg enable_thinking=false)",
    "thinking": _MORE_TOKENS,
    "cut off": _MORE_TOKENS,
    "empty": "Ask it one question by hand: a judge without a word to say, or a server that withholds the text, cannot "
    "judge",
    "no object": _OWN_FORM,
    "key": _OWN_FORM,
    "no mark": "It does not reply in this form; try another --judge-format, or another judge",
    "value": "It does not keep to the scale from 1 to 5; use another judge",
    "weights": "Do without --expected-score",
}
"""Fault of a reply -> what to do about it."""

_ANY = "Read some replies (column reply of judgements.parquet), and use another judge or --judge-format"


class FirstReplies:
    """Watches the first replies of one judge.

    Args:
        name: the judge's.
        read: reads a reply.
        say: prints a line.
    """

    def __init__(self, name: str, read: Callable[[Stored], object], say: Callable[[str], None]) -> None:
        self._name = name
        self._read = read
        self._say = say
        self._seen = 0
        self._faults: set[str] = set()

    def watch(self, completion: Completion) -> None:
        """Look at a reply; once 20 of them have the same fault, say so."""
        if self._seen >= FIRST:
            return
        self._seen += 1
        stored = Stored(
            completion.text,
            completion.reasoning,
            completion.finish_reason,
            completion.prompt_tokens,
            completion.completion_tokens,
            completion.weights,
        )
        try:
            self._read(stored)
        except UnreadableError as error:
            self._faults.add(error.fault)
            if self._seen == FIRST and len(self._faults) == 1:
                said = f"judge {self._name}: none of its first {FIRST} replies can be read: {error}."
                self._say(f"{said} {remedy(error.fault)}.")
        else:
            self._seen = FIRST


def remedy(fault: str) -> str:
    """What to do about replies with a fault."""
    return REMEDIES.get(fault, _ANY)
