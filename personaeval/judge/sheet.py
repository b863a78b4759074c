"""One judge's sheet: what it is asked of every response, and the keys under which its replies are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from personaeval.engines import Request, Sampling
from personaeval.judge.prompts import judge_prompt
from personaeval.plan import KEY_BYTES, key_state
from personaeval.prompts import Frame


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One response to be judged.

    ``lead`` is the preamble of its dimension's rubric; ``persona`` and ``question`` are what the model was given.
    """

    lead: str
    task: str
    item: str
    persona_id: str
    sample: int
    dimension: str
    persona: str
    question: str
    response: str


class Sheet:
    """Rows of (exhibit, repeat), asked in this order: the exhibits go rubric by rubric, for the prefix cache.

    Args:
        exhibits: what is judged.
        frame: makes the judge's prompt of a text.
        identity: what beside prompt and sampling can change the judge's reply.
        sampling: of the judge.
        rows: the rows of the whole sheet that this one asks again, with a reminder of how to reply; None: all, without.
        repeats: how often each exhibit is judged.
    """

    def __init__(
        self,
        exhibits: Sequence[Exhibit],
        frame: Frame,
        identity: dict[str, Any],
        sampling: Sampling,
        repeats: int,
        rows: Sequence[int] | None = None,
    ) -> None:
        self._exhibits = exhibits
        self._frame = frame
        self._sampling = sampling
        self._repeats = repeats
        self._rows = rows
        self.size = len(exhibits) * repeats if rows is None else len(rows)
        self.characters = 0
        state = key_state(identity, sampling, frame.special_tokens)
        keys = bytearray()
        last, prompt = -1, b""
        for row in range(self.size):
            number, repeat = self._place(row)
            if number != last:
                last, prompt = number, frame.identity(self._text(number))
            self.characters += len(prompt)
            one = state.copy()
            one.update(prompt + b"\0repeat:" + str(repeat).encode())
            keys += one.digest()
        self._keys = bytes(keys)

    def keys(self, start: int, stop: int) -> list[bytes]:
        """Return the judgement keys of rows ``start`` to ``stop - 1``."""
        return [self._keys[i : i + KEY_BYTES] for i in range(start * KEY_BYTES, stop * KEY_BYTES, KEY_BYTES)]

    def requests(self, wanted: Callable[[int], bool]) -> Iterator[Request]:
        """Yield the requests of the wanted rows."""
        for row in range(self.size):
            if wanted(row):
                number, repeat = self._place(row)
                yield Request(
                    row=row,
                    key=self._keys[row * KEY_BYTES : (row + 1) * KEY_BYTES],
                    prompt=self._frame.fill(self._text(number)),
                    sampling=self._sampling,
                    seed=repeat,
                    special_tokens=self._frame.special_tokens,
                )

    def _place(self, row: int) -> tuple[int, int]:
        return divmod(row if self._rows is None else self._rows[row], self._repeats)

    def _text(self, number: int) -> str:
        one = self._exhibits[number]
        return judge_prompt(one.lead, one.persona, one.question, one.response, reminder=self._rows is not None)
