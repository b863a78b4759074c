"""What would decide an inconclusive check: more items, samples or personas, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from personaeval.analysis.compare import AlignedTask
from personaeval.metrics.catalogue import METRICS, StabilityMetric
from personaeval.metrics.error_shares import ErrorShares, error_shares
from personaeval.metrics.noninferiority import REASONABLE, NonInferiorityTest
from personaeval.metrics.paired import Change


@dataclass(frozen=True)
class _Size:
    """One sample size of a task.

    Attributes:
        kind: items, samples or personas.
        now: its number.
        wanted: the number that decides if only it grows; None if ten times as many would not, or that is unknown.
        most: how many the task has; None if unknown, or as many as one likes.
    """

    kind: str
    now: int
    wanted: int | None = None
    most: int | None = None

    @property
    def is_possible(self) -> bool:
        """Whether the task has as many as are wanted."""
        return self.wanted is not None and (self.most is None or self.wanted <= self.most)


def remedy(
    aligned: AlignedTask,
    metric: str,
    tested: NonInferiorityTest,
    max_drop: float,
    tests: int,
    generalise_to_personas: bool,
) -> str:
    """How much data would decide, with a power of 80 %, if the true decline is the observed one.

    Args:
        aligned: the task of both runs.
        metric: name of the metric.
        tested: the test of its decline.
        max_drop: the margin.
        tests: number of tests in Holm's family.
        generalise_to_personas: whether personas are resampled as well, so that items and personas must grow together.
    """
    if tested.bounds[1] is None:
        return f"{_count(len(aligned.items), 'items')} are too few for an interval"
    times = tested.required_multiple(max_drop, tests)
    if aligned.cells is None:
        personas = int(tested.result.clusters[0])
        sizes = [_Size("personas", personas, _scaled(personas, times), _all_used(aligned, personas))]
        return _words(aligned.task, sizes, [], tested, max_drop)
    items = _Size("items", len(aligned.items), _scaled(len(aligned.items), times), _all_items(aligned))
    m = len(aligned.cells[0].persona_ids) - 1
    shares = _shares(aligned, metric, tested, generalise_to_personas)

    def needed(now: int, share: float | None) -> int | None:
        if share is None:
            return None
        wanted = range(now + 1, REASONABLE * now + 1)
        return next((n for n in wanted if tested.is_decided(max_drop, tests, 1 - share * (1 - now / n))), None)

    samples = int(aligned.cells[0].scored.max(initial=1))
    others = [
        _Size("samples", samples, needed(samples, shares.samples)),
        _Size("personas", m, needed(m, shares.personas)),
    ]
    together = [items, _Size("personas", m, _scaled(m, times))] if generalise_to_personas else [items]
    return _words(aligned.task, together, others, tested, max_drop)


def _scaled(now: int, times: float | None) -> int | None:
    return None if times is None else math.ceil(times * now)


def _all_items(aligned: AlignedTask) -> int | None:
    """How many items the task has; None if that is unknown, or they are generated."""
    origin = aligned.record.origin
    known = origin.get("items")
    return known if isinstance(known, int) and origin.get("kind") != "reasoning_gym" else None


def _all_used(aligned: AlignedTask, personas: int) -> int | None:
    """How many personas a judged task has, if the run used all of its questions; else unknown."""
    origin = aligned.record.origin
    return personas if "items" in origin and origin["items"] == origin.get("items_used") else None


def _shares(aligned: AlignedTask, name: str, tested: NonInferiorityTest, generalise_to_personas: bool) -> ErrorShares:
    metric = METRICS[name]
    if not isinstance(metric, StabilityMetric) or aligned.cells is None or not tested.result.errors[0] > 0:
        return ErrorShares()
    greedy = aligned.record.sampling.get("temperature", 0) == 0
    shares = error_shares(aligned.cells, metric, aligned.record.domain, greedy)
    if not generalise_to_personas:
        return shares
    by_item: Change = aligned.changes()[name]
    return shares.with_personas_resampled(float(by_item.tested.errors[0] / tested.result.errors[0]) ** 2)


def _words(
    task: str, together: Sequence[_Size], others: Sequence[_Size], tested: NonInferiorityTest, max_drop: float
) -> str:
    """The sizes that decide; ``together`` grow at once, each of the ``others`` alone."""
    short = [size for size in together if size.wanted is not None and not size.is_possible]
    enough = [size for size in others if size.is_possible]
    if together[0].wanted is None and not enough:
        if tested.is_undecidable(max_drop):
            return f"not decidable with ten times the data: it rests on only {tested.items:,.0f} items"
        kinds = _list([size.kind for size in together])
        return f"not decidable with ten times the {kinds}: the decline is too close to max_drop"
    joint = _list([f"{size.wanted:,} {size.kind}" for size in together])
    now = _list([_count(size.now, size.kind) for size in _distinct([*together, *others])])
    alone = [f"{size.wanted:,} {size.kind}{' alone' if len(together) > 1 else ''}" for size in enough]
    if together[0].wanted is None:
        return f"about {' or '.join(alone)} would decide it at this decline ({now} now)"
    if not short:
        return f"about {' or '.join([joint, *alone])} would decide it at this decline ({now} now)"
    has = f"{task} has {_count(short[0].most or 0, short[0].kind)}"
    if not alone:
        return f"{has}; about {joint} would decide it at this decline ({now} now)"
    return f"{has}; about {' or '.join(alone)} would decide it at this decline ({now} now)"


def _distinct(sizes: Sequence[_Size]) -> list[_Size]:
    return list({size.kind: size for size in reversed(sizes)}.values())[::-1]


def _count(number: int, kind: str) -> str:
    return f"{number:,} {kind.removesuffix('s') if number == 1 else kind}"


def _list(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]
