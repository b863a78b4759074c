"""The plan: every request of a run, in order, without holding them.

A row is one (task, persona, item, sample), numbered in that order; ``responses.parquet`` has the same rows. The
plan knows each row's key, the hash of everything that can change its answer, and makes requests on demand.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from personaeval.engines import Request, Sampling
from personaeval.personas import Persona
from personaeval.prompts import Frame, Renderer, Role
from personaeval.sources import ItemSet
from personaeval.tasks import Item

KEY_BYTES = 16
_DISPATCH_BLOCK = 256
_MOST_CHECKED = 2000
_FEW_CHECKED = 4


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task's part of the plan.

    ``frames`` goes with ``personas``. ``first_row`` is the number of its first row.
    """

    items: ItemSet
    personas: tuple[Persona, ...]
    frames: tuple[Frame, ...]
    sampling: Sampling
    samples: int
    seed: int
    first_row: int

    @property
    def rows(self) -> int:
        """Number of rows: personas × items × samples."""
        return len(self.personas) * len(self.items.items) * self.samples

    def prompts(self) -> Iterator[tuple[Frame, Item]]:
        """Yield every distinct (persona, item) in row order."""
        for frame in self.frames:
            for item in self.items.items:
                yield frame, item


@dataclass(frozen=True, slots=True)
class Row:
    """What a row number stands for."""

    task: TaskPlan
    persona: Persona
    frame: Frame
    item: Item
    item_index: int
    persona_index: int
    sample: int


class Plan:
    """The rows of one checkpoint's run.

    Args:
        tasks: the parts, in row order.
        identity: everything but prompt and sampling that can change an answer: fingerprint, engine, dtype, ….
    """

    def __init__(self, tasks: Sequence[TaskPlan], identity: Mapping[str, Any]) -> None:
        self.tasks = tuple(tasks)
        self.identity = dict(identity)
        self.size = sum(task.rows for task in self.tasks)
        self.prompt_characters = 0
        self._first_rows = [task.first_row for task in self.tasks]
        self._keys = bytearray()

    def compute_keys(self, on_progress: Callable[[int], None] | None = None) -> None:
        """Render every prompt once and fill the keys, 16 bytes a row."""
        keys = bytearray()
        characters = 0
        for task in self.tasks:
            # The zero byte ends the prompt, which may itself end in digits.
            seeds = [b"\0seed:" + str(task.seed + sample).encode() for sample in range(task.samples)]
            for frame in task.frames:
                state = self._state(task.sampling, frame.special_tokens)
                for item in task.items.items:
                    prompt = frame.identity(item.prompt)
                    characters += len(prompt)
                    base = state.copy()
                    base.update(prompt)
                    for seed in seeds:
                        one = base.copy()
                        one.update(seed)
                        keys += one.digest()
                if on_progress is not None:
                    on_progress(len(keys) // KEY_BYTES)
        self._keys, self.prompt_characters = keys, characters

    def _state(self, sampling: Sampling, special_tokens: bool) -> Any:
        shared = {"identity": self.identity, "sampling": asdict(sampling), "special_tokens": special_tokens}
        state = hashlib.blake2b(digest_size=KEY_BYTES)
        state.update(json.dumps(shared, sort_keys=True, ensure_ascii=False, default=str).encode() + b"\0")
        return state

    def key(self, row: int) -> bytes:
        """Return a row's request key."""
        return bytes(self._keys[row * KEY_BYTES : (row + 1) * KEY_BYTES])

    def keys(self, start: int, stop: int) -> list[bytes]:
        """Return the request keys of rows ``start`` to ``stop - 1``."""
        part = bytes(self._keys[start * KEY_BYTES : stop * KEY_BYTES])
        return [part[i : i + KEY_BYTES] for i in range(0, len(part), KEY_BYTES)]

    def row(self, number: int) -> Row:
        """Return what row ``number`` stands for."""
        task = self.tasks[bisect.bisect_right(self._first_rows, number) - 1]
        cell, sample = divmod(number - task.first_row, task.samples)
        persona_index, item_index = divmod(cell, len(task.items.items))
        return Row(
            task=task,
            persona=task.personas[persona_index],
            frame=task.frames[persona_index],
            item=task.items.items[item_index],
            item_index=item_index,
            persona_index=persona_index,
            sample=sample,
        )

    def requests(self, wanted: Callable[[int], bool]) -> Iterator[Request]:
        """Yield the requests of the wanted rows, in the order that suits a prefix cache.

        Persona by persona; within one, a block of items is sent whole before its next sample: the block's prompts
        are computed by then, and not yet evicted.
        """
        for task in self.tasks:
            count = len(task.items.items)
            for persona_index, frame in enumerate(task.frames):
                first = task.first_row + persona_index * count * task.samples
                for begin in range(0, count, _DISPATCH_BLOCK):
                    block = range(begin, min(begin + _DISPATCH_BLOCK, count))
                    for sample in range(task.samples):
                        for index in block:
                            row = first + index * task.samples + sample
                            if wanted(row):
                                yield self._request(task, row, frame, task.items.items[index], sample)

    def _request(self, task: TaskPlan, row: int, frame: Frame, item: Item, sample: int) -> Request:
        return Request(
            row=row,
            key=self.key(row),
            prompt=frame.fill(item.prompt),
            sampling=task.sampling,
            seed=task.seed + sample,
            special_tokens=frame.special_tokens,
        )


def choose_frames(
    renderer: Renderer, items: ItemSet, sentences: Sequence[str | None], role: Role
) -> tuple[tuple[Frame, ...], bool]:
    """Return a frame per persona, and whether all could be fast ones.

    A fast frame is used only if it gives what full rendering gives: for the first persona on up to 2 000 items
    spread over the task, for the others on a few. One mismatch, and the whole task is rendered in full.
    """
    plain = items.task.plain
    full = tuple(renderer.full(sentence, role, plain) for sentence in sentences)
    fast = tuple(renderer.fast(sentence, role, plain) for sentence in sentences)
    checked = _MOST_CHECKED
    for quick, slow in zip(fast, full, strict=True):
        step = -(-len(items.items) // checked)
        sample = [item.prompt for item in items.items[::step]]
        if quick is None or any(quick.identity(prompt) != slow.identity(prompt) for prompt in sample):
            return full, False
        checked = _FEW_CHECKED
    return tuple(quick for quick in fast if quick is not None), True


def lay_out(
    parts: Sequence[tuple[ItemSet, tuple[Frame, ...], Sampling]],
    personas: tuple[Persona, ...],
    samples: int,
    seed: int,
) -> list[TaskPlan]:
    """Return the task plans with their row numbers."""
    plans: list[TaskPlan] = []
    first_row = 0
    for items, frames, sampling in parts:
        plan = TaskPlan(items, personas, frames, sampling, samples, seed, first_row)
        plans.append(plan)
        first_row += plan.rows
    return plans
