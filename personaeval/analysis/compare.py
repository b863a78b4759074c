"""Two checkpoints on the same items, personas and samples: what is aligned, left out, or may not be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa

from personaeval.analysis.comparability import items_that_differ, placement_notes, settings_that_differ
from personaeval.errors import InvalidRunError, UsageError, suggest
from personaeval.metrics import two_way_bootstrap
from personaeval.metrics.catalogue import HEADLINE, METRICS, PERSONA_SCORE
from personaeval.metrics.coverage_warnings import (
    TRUNCATED_LIMIT,
    UNSCORED_LIMIT,
    coverage_warnings,
    few_personas_warning,
)
from personaeval.metrics.fidelity import PersonaSums
from personaeval.metrics.inference import Estimate
from personaeval.metrics.jackknife import intervals
from personaeval.metrics.paired import Change, changes, make_changes, shared
from personaeval.metrics.sums import Cells, item_sums
from personaeval.metrics.two_way_bootstrap import RESAMPLED
from personaeval.results.persona_table import PersonaRow
from personaeval.results.records import TaskRecord
from personaeval.results.runs import CheckpointRuns

_SHOWN = 0.05

_SHARED = ("unscored", "truncated", "scored")

_COUNTS = tuple(field.name for field in fields(Cells))[3:]


@dataclass(frozen=True)
class AlignedTask:
    """One task of two checkpoints, aligned.

    Attributes:
        task: its name.
        record: the base's entry in run.json.
        items: ids that both have, in the order of the arrays.
        cells: of base and candidate, only what both scored; None for a judged task.
        judged: sums over personas of base and candidate; None for a task with right and wrong answers.
        dimensions: of a judged task.
        unscored: share of the common samples that base and candidate have no score for.
        notes: what was left out, and what a reader must know.
        warnings: on each run's own numbers; its own tables show them too.
        identical: whether every count of every common cell is the same.
    """

    task: str
    record: TaskRecord
    items: tuple[str, ...]
    cells: tuple[Cells, Cells] | None
    judged: tuple[PersonaSums, PersonaSums] | None
    dimensions: tuple[str, ...]
    unscored: tuple[float, float]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    identical: bool

    def changes(self, generalise: bool = False) -> dict[str, Change]:
        """Return the change of every metric by its name.

        Args:
            generalise: claim something about personas that were not tried, too; only metrics that allow it.
        """
        if self.judged is not None:
            found = changes(*self.judged)
            return dict(zip((PERSONA_SCORE.name, *self.dimensions), found, strict=True))
        base, candidate = self._cells()
        if not generalise:
            before, after = (item_sums(cells, self.record.domain, ()) for cells in (base, candidate))
            return _meaningful(dict(zip(HEADLINE, changes(before, after), strict=False)))
        differences, ratios, *values = two_way_bootstrap.changes(base, candidate)
        found = make_changes(differences, intervals(ratios, ["log"] * len(RESAMPLED)), *values)
        return _meaningful(dict(zip(RESAMPLED, found, strict=True)))

    @property
    def binary(self) -> bool:
        """Whether all scores are 0 or 1, so that the mean score is accuracy."""
        return all(np.array_equal(cells.score_sum, cells.correct) for cells in self.cells or ())

    def by_persona(self) -> tuple[dict[str, Change], dict[str, Change]]:
        """Return the change of accuracy under each persona and in each category; empty for a judged task."""
        if self.cells is None:
            return {}, {}
        base, candidate = self.cells
        names = base.category_names
        found = changes(*(item_sums(cells, self.record.domain, names) for cells in (base, candidate)))
        first, last = len(HEADLINE), len(HEADLINE) + len(base.persona_ids)
        personas = dict(zip(base.persona_ids, found[first:last], strict=True))
        return personas, dict(zip(names, found[last:], strict=True))

    def _cells(self) -> tuple[Cells, Cells]:
        assert self.cells is not None, "a judged task has no cells of right and wrong"
        return self.cells


def _meaningful(found: dict[str, Change]) -> dict[str, Change]:
    """Take the relative change from metrics where it means nothing."""
    return {
        name: change if METRICS[name].is_ratio else replace(change, relative=Estimate(None))
        for name, change in found.items()
    }


def align(
    base: CheckpointRuns, candidate: CheckpointRuns, task: str, allow_different_settings: bool = False
) -> AlignedTask:
    """Return a task of two checkpoints on what both have.

    Raises:
        InvalidRunError: one does not have it, they were asked differently, or nothing is common to both.
    """
    for side in (base, candidate):
        if task not in side.records:
            raise InvalidRunError(f"{side.name} has no {task}: run it first, with the settings of the other.")
    rows = base.cells(task), candidate.cells(task)
    differing = settings_that_differ(base, candidate, task) + items_that_differ(rows)
    if differing and not allow_different_settings:
        raise InvalidRunError(
            f"{task}: {base.name} and {candidate.name} are not comparable: {'; '.join(differing)}. Run one again with "
            "the other's settings, or give --allow-different-settings."
        )
    notes = [f"Different settings, compared nevertheless: {'; '.join(differing)}."] if differing else []
    notes += placement_notes(base, candidate, task)
    is_judged = base.task_record(task).is_judged
    if is_judged != candidate.task_record(task).is_judged:
        raise InvalidRunError(f"{task}: judged in one of {base.name} and {candidate.name} only.")
    if is_judged:
        return _align_judged(base, candidate, task, rows, notes)
    return _align_counted(base, candidate, task, rows, notes)


def _align_counted(
    base: CheckpointRuns, candidate: CheckpointRuns, task: str, rows: Sequence[pa.Table], notes: list[str]
) -> AlignedTask:
    texts = [{one.persona: one.text for one in side.runs[task].personas()} for side in (base, candidate)]
    personas = [name for name in texts[0] if texts[1].get(name, None) == texts[0][name]]
    items = _common([table["item"].unique().to_pylist() for table in rows])
    if not items or len(personas) < 2:
        raise InvalidRunError(f"{task}: {base.name} and {candidate.name} have no common items and personas.")
    notes += _left_out(base, candidate, rows, len(items), [sorted(set(own) - set(personas)) for own in texts])
    described = {one.persona: one for one in base.runs[task].personas()}
    cells = [_arrange(table, items, personas, described) for table in rows]
    present = cells[0].is_scored & cells[1].is_scored
    if not present[:, 1:].any():
        raise InvalidRunError(f"{task}: no answer was scored in both {base.name} and {candidate.name}.")
    both = shared(cells)
    accuracies = [float(one.q[:, 1:][present[:, 1:]].mean()) for one in cells]
    nearest = min(accuracies, key=lambda accuracy: min(accuracy, 1 - accuracy))
    found = coverage_warnings(len(items), nearest, solved=min(one.solved for one in both))
    counts = [{name: int(getattr(own, name).sum()) for name in _SHARED} for own in cells]
    unscored, told = _shares((base, candidate), counts)
    return AlignedTask(
        task=task,
        record=base.task_record(task),
        items=tuple(items),
        cells=(both[0], both[1]),
        judged=None,
        dimensions=(),
        unscored=unscored,
        notes=tuple(notes),
        warnings=(*told, *(f"{warning}." for warning in found)),
        identical=all(np.array_equal(getattr(cells[0], name), getattr(cells[1], name)) for name in _COUNTS),
    )


def counts_of(side: CheckpointRuns, task: str) -> Cells:
    """Return all cells of one side's task with right and wrong answers.

    Raises:
        UsageError: they cannot be read.
    """
    table = side.cells(task)
    described = {one.persona: one for one in side.runs[task].personas()}
    return _arrange(table, table["item"].unique().to_pylist(), list(described), described)


def _arrange(table: pa.Table, items: Sequence[str], personas: Sequence[str], described: dict[str, PersonaRow]) -> Cells:
    """Return rows as arrays [items, personas]."""
    place, keep = _places(table, items, personas)
    arrays = {}
    for name in _COUNTS:
        values = table[name].to_numpy()[keep]
        array = np.zeros(len(items) * len(personas), dtype=values.dtype)
        array[place] = values
        arrays[name] = array.reshape(len(items), len(personas))
    return Cells(
        persona_ids=tuple(personas),
        categories=tuple(described[name].category for name in personas),
        domains=tuple(described[name].domain for name in personas),
        **arrays,
    )


def _places(table: pa.Table, items: Sequence[str], personas: Sequence[str]) -> tuple[Any, Any]:
    """Return where in the flattened array each kept row belongs, and which rows are kept."""
    numbers = []
    for column, known in (("item", items), ("persona", personas)):
        encoded = table[column].combine_chunks().dictionary_encode()
        number = {name: place for place, name in enumerate(known)}
        lookup = np.array([number.get(name, -1) for name in encoded.dictionary.to_pylist()])
        numbers.append(lookup[encoded.indices.to_numpy(zero_copy_only=False)])
    keep = (numbers[0] >= 0) & (numbers[1] >= 0)
    return numbers[0][keep] * len(personas) + numbers[1][keep], keep


def _align_judged(
    base: CheckpointRuns, candidate: CheckpointRuns, task: str, rows: Sequence[pa.Table], notes: list[str]
) -> AlignedTask:
    texts = [{one.persona: one.text for one in side.runs[task].personas(task)} for side in (base, candidate)]
    personas = [name for name in texts[0] if texts[1].get(name) == texts[0][name]]
    tables = [{row["item"]: row for row in table.to_pylist() if row["persona"] in set(personas)} for table in rows]
    items = _common([list(own) for own in tables])
    both = [item for item in items if all(own[item]["scored"] for own in tables)]
    if not both:
        raise InvalidRunError(
            f"{task}: no response is judged in both {base.name} and {candidate.name}: personaeval score."
        )
    notes += _left_out(base, candidate, rows, len(items), [sorted(set(own) - set(personas)) for own in texts])
    dimensions = tuple(dict.fromkeys(tables[0][item]["dimension"] for item in items))
    sums = [_persona_sums(own, both, dimensions) for own in tables]
    counts = [{name: sum(own[item][name] for item in items) for name in _SHARED} for own in tables]
    unscored, told = _shares((base, candidate), counts)
    if warning := few_personas_warning(len(sums[0].matrix)):
        told.append(f"{warning}.")
    return AlignedTask(
        task=task,
        record=base.task_record(task),
        items=tuple(both),
        cells=None,
        judged=(sums[0], sums[1]),
        dimensions=dimensions,
        unscored=unscored,
        notes=tuple(notes),
        warnings=tuple(told),
        identical=np.array_equal(sums[0].matrix, sums[1].matrix),
    )


def _persona_sums(rows: dict[str, Any], items: Sequence[str], dimensions: Sequence[str]) -> PersonaSums:
    personas = {name: place for place, name in enumerate(dict.fromkeys(rows[item]["persona"] for item in items))}
    columns = {name: place for place, name in enumerate(dimensions)}
    matrix = np.zeros((len(personas), 2 * len(dimensions)))
    for item in items:
        row = rows[item]
        place, column = personas[row["persona"]], columns[row["dimension"]]
        matrix[place, column] += row["score_sum"]
        matrix[place, len(dimensions) + column] += row["scored"]
    order = sorted(personas, key=lambda name: personas[name])
    return PersonaSums(matrix[[personas[name] for name in order]])


def _shares(
    sides: Sequence[CheckpointRuns], counts: Sequence[Mapping[str, int]]
) -> tuple[tuple[float, float], list[str]]:
    """Return what share of each side's common answers is unscored, and in words what is more than little."""
    totals = [max(own["scored"] + own["unscored"], 1) for own in counts]
    unscored, cut = ([own[name] / total for own, total in zip(counts, totals, strict=True)] for name in _SHARED[:2])
    told = [
        f"{share:.1%} of {side.name}'s answers are unscored; what one lacks is left out of both."
        for side, share in zip(sides, unscored, strict=True)
        if share > UNSCORED_LIMIT
    ]
    told += [
        f"{share:.1%} of {side.name}'s answers were cut off at max_tokens."
        for side, share in zip(sides, cut, strict=True)
        if share > TRUNCATED_LIMIT
    ]
    return (unscored[0], unscored[1]), told


def _common(ids: Sequence[Sequence[str]]) -> list[str]:
    other = set(ids[1])
    return [name for name in ids[0] if name in other]


def _left_out(
    base: CheckpointRuns,
    candidate: CheckpointRuns,
    rows: Sequence[pa.Table],
    items: int,
    personas: Sequence[Sequence[str]],
) -> list[str]:
    notes = []
    for side, table, extra in zip((base, candidate), rows, personas, strict=True):
        more = len(table["item"].unique()) - items
        if more:
            notes.append(f"Left out: {more} items of {side.name} that the other does not have.")
        if extra:
            notes.append(
                f"Left out: personas of {side.name} that the other lacks or words otherwise: {', '.join(extra)}."
            )
    return notes


def interpret_pss_change(changes: Mapping[str, Change], p: float | None) -> str:
    """Say in three words whether a change of PSS is one of stability.

    PSS rises with accuracy by itself. It is called a change of stability only where κ is shown to have moved the same
    way, or the persona effect the other way.

    Args:
        changes: of a task's metrics.
        p: of no change of PSS, adjusted; None or NaN where it was not tested.
    """
    if p is None or not np.isfinite(p):
        return "not tested"
    if p >= _SHOWN:
        return "no change shown"
    pss = changes["pss"].absolute.value or 0.0
    if _shown(changes, "kappa") * pss > 0 or _shown(changes, "persona_effect") * pss < 0:
        return "stability has risen" if pss > 0 else "stability has fallen"
    return "accuracy change only"


def _shown(changes: Mapping[str, Change], name: str) -> float:
    """Return a metric's change; 0 where none is shown."""
    change = changes.get(name)
    if change is None or change.p is None or change.p >= _SHOWN:
        return 0.0
    return change.absolute.value or 0.0


def common_tasks(sides: Sequence[CheckpointRuns], task: str | None = None) -> list[str]:
    """Return the tasks that all sides have.

    Raises:
        InvalidRunError: there are none.
        UsageError: the wanted one is unknown to all.
    """
    known = {name for side in sides for name in side.records}
    if task is not None and task not in known:
        raise UsageError(f"--task {task}: none of these runs has it.{suggest(task, known)}")
    found = [name for name in sides[0].records if all(name in side.records for side in sides) and task in (None, name)]
    if not found:
        which = "; ".join(f"{side.name}: {', '.join(side.records)}" for side in sides)
        raise InvalidRunError(f"no common task ({which}).")
    return found
