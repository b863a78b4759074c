"""The plan: every request of a run, in order, without holding them.

A row is one (task, persona, item, sample), numbered in that order; ``responses.parquet`` has the same rows. The
plan knows each row's key, the hash of everything that can change its answer, and makes requests on demand.

A task's personas are either crossed with its items, or each goes with a span of items of its own. Either way the rows
of one persona are a :class:`Block` of neighbouring items.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personaeval.documents import canonical_json
from personaeval.library.personas import Persona
from personaeval.library.sources import ItemSet
from personaeval.library.tasks import Item
from personaeval.models.prompts import PromptTemplate, Renderer, Role
from personaeval.results.ledger import KEY_BYTES
from personaeval.types import Request, Sampling

_DISPATCH_BLOCK = 256

_MOST_CHECKED = 2000

_FEW_CHECKED = 4


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task's part of the plan.

    ``prompt_templates`` and ``spans`` go with ``personas``; a span holds the numbers of a persona's first item and of
    the one after its last.
    ``first_row`` is the number of its first row.
    """

    items: ItemSet
    personas: tuple[Persona, ...]
    prompt_templates: tuple[PromptTemplate, ...]
    spans: tuple[tuple[int, int], ...]
    sampling: Sampling
    samples: int
    seed: int
    first_row: int

    @property
    def rows(self) -> int:
        """Number of rows: a persona's items × samples, over all personas."""
        return sum(end - begin for begin, end in self.spans) * self.samples

    def blocks(self) -> Iterator[Block]:
        """The personas' blocks in row order."""
        first_row = self.first_row
        for persona_index, (begin, end) in enumerate(self.spans):
            yield Block(self, persona_index, begin, end, first_row)
            first_row += (end - begin) * self.samples


@dataclass(frozen=True, slots=True)
class Block:
    """The rows of one persona: items ``begin`` to ``end - 1`` of a task, each with all its samples."""

    task: TaskPlan
    persona_index: int
    begin: int
    end: int
    first_row: int

    @property
    def prompt_template(self) -> PromptTemplate:
        """The persona's prompt template."""
        return self.task.prompt_templates[self.persona_index]

    @property
    def items(self) -> tuple[Item, ...]:
        """The persona's items."""
        return self.task.items.items[self.begin : self.end]


@dataclass(frozen=True, slots=True)
class Row:
    """What a row number stands for."""

    task: TaskPlan
    persona: Persona
    prompt_template: PromptTemplate
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
        self._blocks = [block for task in self.tasks for block in task.blocks()]
        self._first_rows = [block.first_row for block in self._blocks]
        self._keys = bytearray()

    def compute_keys(self, on_progress: Callable[[int], None] | None = None) -> None:
        """Render every prompt once and fill the keys, 16 bytes a row."""
        keys = bytearray()
        characters = 0
        for block in self._blocks:
            task, prompt_template = block.task, block.prompt_template
            draws = [
                draw_key(task.sampling, task.seed, sample, f"seed:{task.seed + sample}")
                for sample in range(task.samples)
            ]
            state = self._state(task.sampling, prompt_template.special_tokens)
            for item in block.items:
                prompt = prompt_template.identity(item.prompt)
                characters += len(prompt)
                base = state.copy()
                base.update(prompt)
                for draw in draws:
                    one = base.copy()
                    one.update(draw)
                    keys += one.digest()
            if on_progress is not None:
                on_progress(len(keys) // KEY_BYTES)
        self._keys, self.prompt_characters = keys, characters

    def _state(self, sampling: Sampling, special_tokens: bool) -> Any:
        return key_state(self.identity, sampling, special_tokens)

    def key(self, row: int) -> bytes:
        """A row's request key."""
        return bytes(self._keys[row * KEY_BYTES : (row + 1) * KEY_BYTES])

    def keys(self, start: int, stop: int) -> list[bytes]:
        """Request keys of rows ``start`` to ``stop - 1``."""
        part = bytes(self._keys[start * KEY_BYTES : stop * KEY_BYTES])
        return [part[i : i + KEY_BYTES] for i in range(0, len(part), KEY_BYTES)]

    def row(self, number: int) -> Row:
        """Task, persona, item and sample of a row."""
        block = self._blocks[bisect.bisect_right(self._first_rows, number) - 1]
        task, persona_index = block.task, block.persona_index
        offset, sample = divmod(number - block.first_row, task.samples)
        item_index = block.begin + offset
        return Row(
            task=task,
            persona=task.personas[persona_index],
            prompt_template=task.prompt_templates[persona_index],
            item=task.items.items[item_index],
            item_index=item_index,
            persona_index=persona_index,
            sample=sample,
        )

    def requests(self, wanted: Callable[[int], bool]) -> Iterator[Request]:
        """Requests of the wanted rows, in an order that suits a prefix cache.

        Persona by persona; within one, a block of items is sent whole before its next sample: the block's prompts
        are computed by then, and not yet evicted.
        """
        for block in self._blocks:
            task, prompt_template, items = block.task, block.prompt_template, block.items
            for begin in range(0, len(items), _DISPATCH_BLOCK):
                part = range(begin, min(begin + _DISPATCH_BLOCK, len(items)))
                for sample in range(task.samples):
                    for offset in part:
                        row = block.first_row + offset * task.samples + sample
                        if wanted(row):
                            yield self._request(task, row, prompt_template, items[offset], sample)

    def _request(self, task: TaskPlan, row: int, prompt_template: PromptTemplate, item: Item, sample: int) -> Request:
        return Request(
            row=row,
            key=self.key(row),
            prompt=prompt_template.fill(item.prompt),
            sampling=task.sampling,
            seed=draw_seed(task.sampling, task.seed, sample, prompt_template.identity(item.prompt)),
            special_tokens=prompt_template.special_tokens,
        )


def key_state(identity: Mapping[str, Any], sampling: Sampling, special_tokens: bool) -> Any:
    """Hash state that all request keys of one kind begin with; prompt and seed are added later."""
    shared = {"identity": identity, "sampling": sampling.record(), "special_tokens": special_tokens}
    state = hashlib.blake2b(digest_size=KEY_BYTES)
    state.update(canonical_json(shared) + b"\0")
    return state


def draw_key(sampling: Sampling, seed: int, repeat: int, greedy: str) -> bytes:
    """What a request key ends with: which of the prompt's draws this is.

    ``greedy`` is how greedy keys say it: as they did before every row had random numbers of its own, so that stored
    greedy answers still count. The zero byte ends the prompt, which may itself end in digits.
    """
    return f"\0draw:{seed}:{repeat}".encode() if not sampling.is_greedy else f"\0{greedy}".encode()


def draw_seed(sampling: Sampling, seed: int, repeat: int, prompt: bytes) -> int:
    """The engine's seed for one request, 0 to 2³¹ − 1: the range that every server takes.

    Every (prompt, repeat) draws random numbers of its own. With one seed for all rows of a sample, all items and
    personas share the same quantiles, and are no independent clusters. The model's identity is left out, so that two
    checkpoints share the random numbers of a prompt, which pairs them. A row drawn again alone draws the same.

    Args:
        sampling: of the request; greedy ones draw nothing, and have the plain sum as their seed.
        seed: of the run.
        repeat: the sample's index.
        prompt: the bytes of the rendered prompt, or of the messages for an endpoint.
    """
    if sampling.is_greedy:
        return seed + repeat
    state = hashlib.blake2b(f"{seed}:{repeat}\0".encode(), digest_size=4)
    state.update(prompt)
    return int.from_bytes(state.digest(), "big") & 0x7FFFFFFF


def describe_greedy_samples(plan: Plan) -> str | None:
    """A warning about several samples of greedy tasks; None without any."""
    greedy = [task for task in plan.tasks if task.samples > 1 and task.sampling.is_greedy]
    if not greedy:
        return None
    names = ", ".join(task.items.task.name for task in greedy)
    return (
        f"{greedy[0].samples} samples at temperature 0 ({names}): they differ by the rounding of batches alone, so "
        "repeatability and corrected PSS do not measure sampling noise; add --temperature 0.7, or leave --samples out"
    )


def choose_templates(
    renderer: Renderer, items: ItemSet, sentences: Sequence[str | None], role: Role
) -> tuple[tuple[PromptTemplate, ...], bool]:
    """A prompt template per persona, and whether all are fast ones.

    A fast template is used only if it gives what full rendering gives: for the first persona on up to 2 000 items
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
    parts: Sequence[tuple[ItemSet, tuple[PromptTemplate, ...], Sampling]],
    personas: tuple[Persona, ...],
    samples: int,
    seed: int,
) -> list[TaskPlan]:
    """Task plans with their row numbers; items that bring their own personas are not crossed with others."""
    plans: list[TaskPlan] = []
    first_row = 0
    for items, prompt_templates, sampling in parts:
        own = items.personas or personas
        spans = _own_spans(items) if items.personas else ((0, len(items.items)),) * len(own)
        plan = TaskPlan(items, own, prompt_templates, spans, sampling, samples, seed, first_row)
        plans.append(plan)
        first_row += plan.rows
    return plans


def _own_spans(items: ItemSet) -> tuple[tuple[int, int], ...]:
    """Where each persona's items begin and end; items are ordered by persona."""
    counts = Counter(item.persona for item in items.items)
    ends = list(itertools.accumulate(counts[persona.id] for persona in items.personas))
    return tuple(zip([0, *ends[:-1]], ends, strict=True))
