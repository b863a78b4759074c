"""What past runs of a task in the results folder say of the error of the next comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from personaeval.errors import PersonaevalError
from personaeval.metrics.catalogue import HEADLINE, PERSONA_SCORE
from personaeval.metrics.fidelity import PersonaSums
from personaeval.metrics.inference import finite_or_none
from personaeval.metrics.jackknife import JackknifeResult, jackknife
from personaeval.metrics.paired import changes, shared
from personaeval.metrics.power import PLANNED, drawn_cells
from personaeval.metrics.sums import Cells, Ints, item_sums
from personaeval.results.runs import CheckpointRuns, finished_runs

_LOOKED_AT = 8
"""Runs of a task among which two comparable ones are sought."""

_SAME = ("kind", "revision", "template", "sampling", "samples", "scorer", "correct_at", "asked")


@dataclass(frozen=True, slots=True)
class PastRuns:
    """The newest run of a task, or the newest two that can be compared.

    Attributes:
        names: of the checkpoints, the newest first.
        values: accuracy, PSS and repeatability (None with one sample), or PersonaScore, of the newest.
        errors: standard error × √clusters of each metric's change between the two. If there is one run only: that of
            its own PersonaScore; of other tasks none.
        freedom: degrees of freedom of PersonaScore's error per persona.
        personas: number of personas behind the errors, without the baseline.
        samples: S of the runs.
    """

    names: tuple[str, ...]
    values: dict[str, float | None]
    errors: dict[str, float]
    freedom: float
    personas: int
    samples: int


def past_runs(output: Path, task: str) -> PastRuns | None:
    """The newest runs of a task: two comparable ones of different checkpoints if there are; None without any."""
    newest, alone = None, None
    for run in islice(_runs(output, task), _LOOKED_AT):
        try:
            if newest is None:
                alone = _alone(run, task)
                newest = None if alone is None else run
            elif _are_comparable(newest, run, task):
                both = _compared(newest, run, task)
                if both is not None:
                    return both
        except PersonaevalError:
            continue  # a broken file is no reason not to plan this run
    return alone


def _runs(output: Path, task: str) -> Iterator[CheckpointRuns]:
    for run in finished_runs(output):
        record = run.record
        if task in record.tasks:
            model = record.model
            yield CheckpointRuns(record.short_name, model.fingerprint, model.fingerprint_verifiable, {task: run})


def _are_comparable(first: CheckpointRuns, second: CheckpointRuns, task: str) -> bool:
    records = first.task_record(task), second.task_record(task)
    panels = [run.records[task].panel for run in (first, second)]
    return (
        first.fingerprint != second.fingerprint
        and all(getattr(records[0], name) == getattr(records[1], name) for name in _SAME)
        and (not records[0].is_judged or len({panel and panel.hash for panel in panels}) == 1)
    )


def _alone(run: CheckpointRuns, task: str) -> PastRuns | None:
    record = run.task_record(task)
    if not record.is_judged:
        cells = _Counted.read(run, task).cells()
        values = _values(cells)
        known = values["accuracy"] is not None and values["pss"] is not None
        return PastRuns((run.name,), values, {}, 1.0, cells.q.shape[1] - 1, record.samples) if known else None
    [sums] = _persona_sums([run], task)
    return _scored((run.name,), sums, jackknife(sums.matrix, sums.estimate), record.samples)


def _compared(first: CheckpointRuns, second: CheckpointRuns, task: str) -> PastRuns | None:
    names, samples = (first.name, second.name), first.task_record(task).samples
    if first.task_record(task).is_judged:
        sums = _persona_sums([first, second], task)
        return _scored(names, sums[0], changes(sums[0], sums[1])[0].tested, samples)
    newest, other = _Counted.read(first, task), _Counted.read(second, task)
    runs = shared([newest.common(other).cells(), other.common(newest).cells()])
    n, width = runs[0].correct.shape
    if n < 2 or width < 3:
        return None
    found = dict(zip(HEADLINE, changes(*(item_sums(cells, "", ()) for cells in runs)), strict=False))
    errors: dict[str, float] = {name: float(found[name].tested.errors[0]) * n**0.5 for name in PLANNED}
    if not all(np.isfinite(error) and error > 0 for error in errors.values()):
        return None  # two runs without a difference do not tell how large it can be
    return PastRuns(names, _values(newest.cells()), errors, 1.0, width - 1, samples)


def _values(cells: Cells) -> dict[str, float | None]:
    sums = item_sums(cells, "", ())
    with np.errstate(divide="ignore", invalid="ignore"):
        found = dict(zip(HEADLINE, sums.estimate(sums.matrix.sum(axis=0)), strict=False))
    return {name: finite_or_none(float(found[name])) for name in ("accuracy", "pss", "repeatability")}


@dataclass(frozen=True, slots=True)
class _Counted:
    """Right and scored answers of a run, [items, personas], the baseline in column 0."""

    items: tuple[tuple[str, bytes | None], ...]
    personas: tuple[tuple[str, str], ...]
    correct: Ints
    scored: Ints

    @classmethod
    def read(cls, run: CheckpointRuns, task: str) -> _Counted:
        table = run.cells(task)
        texts = {one.persona: one.text for one in run.runs[task].personas()}
        shape = (-1, len(texts))
        items, digests, personas = (table[name].to_pylist() for name in ("item", "digest", "persona"))
        return cls(
            items=tuple(zip(items[:: len(texts)], digests[:: len(texts)], strict=True)),
            personas=tuple((name, texts[name]) for name in personas[: len(texts)]),
            correct=table["correct"].to_numpy().reshape(shape),
            scored=table["scored"].to_numpy().reshape(shape),
        )

    def common(self, other: _Counted) -> _Counted:
        """Items and personas that the other has too, in the order of their names; the baseline stays first."""
        rows = _places(self.items, other.items)
        columns = [0, *(place for place in _places(self.personas, other.personas) if place)]
        kept = np.ix_(rows, columns)
        return replace(self, correct=self.correct[kept], scored=self.scored[kept])

    def cells(self) -> Cells:
        return replace(drawn_cells(self.correct, 1), scored=self.scored)


def _places(
    own: Sequence[tuple[str, str | bytes | None]], other: Sequence[tuple[str, str | bytes | None]]
) -> list[int]:
    both = set(other)
    return sorted((place for place, key in enumerate(own) if key in both), key=lambda place: own[place][0])


def _persona_sums(runs: Sequence[CheckpointRuns], task: str) -> list[PersonaSums]:
    """Sums over the personas of the responses that were judged in all runs."""
    tables = [
        {(row["item"], row["digest"]): row for row in run.cells(task).to_pylist() if row["scored"]} for run in runs
    ]
    common = [key for key in tables[0] if all(key in own for own in tables)]
    dimensions = list(dict.fromkeys(tables[0][key]["dimension"] for key in common))
    return [PersonaSums.of_rows([own[key] for key in common], dimensions) for own in tables]


def _scored(names: tuple[str, ...], sums: PersonaSums, found: JackknifeResult, samples: int) -> PastRuns | None:
    personas = len(sums.matrix)
    error = float(found.errors[0]) if personas > 1 else 0.0
    if not np.isfinite(error) or error <= 0:
        return None
    value = finite_or_none(float(sums.estimate(sums.matrix.sum(axis=0))[0]))
    errors = {PERSONA_SCORE.name: error * personas**0.5}
    return PastRuns(names, {PERSONA_SCORE.name: value}, errors, float(found.freedom[0]) / personas, personas, samples)
