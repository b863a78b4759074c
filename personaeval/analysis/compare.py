"""Alignment of two checkpoints on the same items, personas and samples, and their paired changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from personaeval.analysis.aligned_cells import (
    COUNTED,
    arrange,
    judged_with_unscored_wrong,
    with_unscored_wrong,
)
from personaeval.analysis.comparability import items_that_differ, placement_notes, settings_that_differ
from personaeval.errors import InvalidRunError, UsageError, suggest
from personaeval.metrics import two_way_bootstrap
from personaeval.metrics.catalogue import HEADLINE, METRICS, PERSONA_SCORE
from personaeval.metrics.coverage_warnings import (
    TRUNCATED_LIMIT,
    UNSCORED_LIMIT,
    coverage_warnings,
    empty_warnings,
    few_personas_warning,
)
from personaeval.metrics.fidelity import PersonaSums
from personaeval.metrics.inference import Estimate
from personaeval.metrics.paired import Change, changes, make_changes, shared
from personaeval.metrics.sums import Cells, item_sums
from personaeval.metrics.two_way_bootstrap import RESAMPLED
from personaeval.results.cells import EMPTY
from personaeval.results.records import TaskRecord
from personaeval.results.runs import CheckpointRuns

_ALPHA = 0.05

_SHARED = ("unscored", "truncated", "scored")


@dataclass(frozen=True)
class AlignedTask:
    """One task of two checkpoints, aligned.

    Attributes:
        task: name of the task.
        record: the base's entry in run.json.
        items: ids that both have, in the order of the arrays.
        cells: base and candidate, restricted to cells that both scored; None for a judged task.
        judged: sums over personas of base and candidate; None for a task with right and wrong answers.
        dimensions: those of a judged task; else empty.
        unscored: share of the common samples without a score, of base and candidate.
        notes: what was left out, and which settings differ.
        warnings: on each run's own numbers; the run's own tables show them too.
        identical: whether all counts of the common cells are equal.
        cells_if_wrong: ``cells`` with every unscored answer taken as wrong; None if nothing is unscored.
        judged_if_wrong: ``judged`` with the lowest score in place of every missing one; None likewise.
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
    cells_if_wrong: tuple[Cells, Cells] | None = None
    judged_if_wrong: tuple[PersonaSums, PersonaSums] | None = None

    def with_unscored_wrong(self) -> AlignedTask | None:
        """The same with every unscored answer taken as wrong; None if nothing is unscored."""
        if self.cells_if_wrong is None and self.judged_if_wrong is None:
            return None
        return replace(self, cells=self.cells_if_wrong, judged=self.judged_if_wrong)

    def changes(self, generalise_to_personas: bool = False) -> dict[str, Change]:
        """Change of every metric, by name.

        Args:
            generalise_to_personas: intervals for other personas as well, for the metrics that allow it.
        """
        if self.judged is not None:
            found = changes(*self.judged)
            return dict(zip((PERSONA_SCORE.name, *self.dimensions), found, strict=True))
        base, candidate = self._cells()
        if not generalise_to_personas:
            before, after = (item_sums(cells, self.record.domain, ()) for cells in (base, candidate))
            return _meaningful(dict(zip(HEADLINE, changes(before, after), strict=False)))
        found = make_changes(*two_way_bootstrap.changes(base, candidate))
        return _meaningful(dict(zip(RESAMPLED, found, strict=True)))

    @property
    def binary(self) -> bool:
        """Whether all scores are 0 or 1, so that the mean score is accuracy."""
        return all(np.array_equal(cells.score_sum, cells.correct) for cells in self.cells or ())

    def by_persona(self) -> tuple[dict[str, Change], dict[str, Change]]:
        """Change of accuracy by persona and by category; both empty for a judged task."""
        if self.cells is None:
            return {}, {}
        base, candidate = self.cells
        names = base.category_names
        found = changes(*(item_sums(cells, self.record.domain, names) for cells in (base, candidate)))
        first, last = len(HEADLINE), len(HEADLINE) + len(base.persona_ids)
        personas = dict(zip(base.persona_ids, found[first:last], strict=True))
        return personas, dict(zip(names, found[last:], strict=True))

    def _cells(self) -> tuple[Cells, Cells]:
        assert self.cells is not None, "a judged task has no right and wrong answers"
        return self.cells


def _meaningful(found: dict[str, Change]) -> dict[str, Change]:
    """The changes, without the relative change of metrics for which it is meaningless."""
    return {
        name: change if METRICS[name].is_ratio else replace(change, relative=Estimate(None))
        for name, change in found.items()
    }


def align(
    base: CheckpointRuns, candidate: CheckpointRuns, task: str, allow_different_settings: bool = False
) -> AlignedTask:
    """Align a task of two checkpoints on the items and personas that both have.

    Raises:
        InvalidRunError: one lacks the task, settings differ, or nothing is common to both.
    """
    for checkpoint in (base, candidate):
        if task not in checkpoint.records:
            raise InvalidRunError(f"{checkpoint.name} has no {task}. Run it first, with the settings of the other.")
    rows = base.cells(task), candidate.cells(task)
    differing = settings_that_differ(base, candidate, task) + items_that_differ(rows)
    if differing and not allow_different_settings:
        raise InvalidRunError(
            f"{task}: {base.name} and {candidate.name} are not comparable: {'; '.join(differing)}. Run one again with "
            "the other's settings, or pass --allow-different-settings."
        )
    notes = [f"Different settings, compared anyway: {'; '.join(differing)}."] if differing else []
    notes += placement_notes(base, candidate, task)
    is_judged = base.task_record(task).is_judged
    if is_judged != candidate.task_record(task).is_judged:
        raise InvalidRunError(f"{task}: only one of {base.name} and {candidate.name} is judged.")
    aligned = (_align_judged if is_judged else _align_counted)(base, candidate, task, rows, notes)
    empty = _empty_answers((base, candidate), task, rows)
    return replace(aligned, warnings=(*aligned.warnings, *empty)) if empty else aligned


def _align_counted(
    base: CheckpointRuns, candidate: CheckpointRuns, task: str, rows: Sequence[pa.Table], notes: list[str]
) -> AlignedTask:
    texts = [{one.persona: one.text for one in checkpoint.runs[task].personas()} for checkpoint in (base, candidate)]
    personas = [name for name in texts[0] if texts[1].get(name, None) == texts[0][name]]
    items = _common([table["item"].unique().to_pylist() for table in rows])
    if not items or len(personas) < 2:
        raise InvalidRunError(f"{task}: {base.name} and {candidate.name} have no common items and personas.")
    notes += _left_out(base, candidate, rows, len(items), [sorted(set(own) - set(personas)) for own in texts])
    described = {one.persona: one for one in base.runs[task].personas()}
    cells = [arrange(table, items, personas, described) for table in rows]
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
        identical=all(np.array_equal(getattr(cells[0], name), getattr(cells[1], name)) for name in COUNTED),
        cells_if_wrong=with_unscored_wrong(cells),
    )


def counts_of(checkpoint: CheckpointRuns, task: str) -> Cells:
    """All cells of a checkpoint's task with right and wrong answers.

    Raises:
        UsageError: the cells cannot be read.
    """
    table = checkpoint.cells(task)
    described = {one.persona: one for one in checkpoint.runs[task].personas()}
    return arrange(table, table["item"].unique().to_pylist(), list(described), described)


def _align_judged(
    base: CheckpointRuns, candidate: CheckpointRuns, task: str, rows: Sequence[pa.Table], notes: list[str]
) -> AlignedTask:
    texts = [
        {one.persona: one.text for one in checkpoint.runs[task].personas(task)} for checkpoint in (base, candidate)
    ]
    personas = [name for name in texts[0] if texts[1].get(name) == texts[0][name]]
    tables = [{row["item"]: row for row in table.to_pylist() if row["persona"] in set(personas)} for table in rows]
    items = _common([list(own) for own in tables])
    both = [item for item in items if all(own[item]["scored"] for own in tables)]
    if not both:
        raise InvalidRunError(
            f"{task}: no response is judged in both {base.name} and {candidate.name}. Run personaeval score."
        )
    notes += _left_out(base, candidate, rows, len(items), [sorted(set(own) - set(personas)) for own in texts])
    dimensions = tuple(dict.fromkeys(tables[0][item]["dimension"] for item in items))
    sums = [PersonaSums.of_rows([own[item] for item in both], dimensions) for own in tables]
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
        judged_if_wrong=judged_with_unscored_wrong(tables, items, dimensions),
    )


def _shares(
    checkpoints: Sequence[CheckpointRuns], counts: Sequence[Mapping[str, int]]
) -> tuple[tuple[float, float], list[str]]:
    """Each checkpoint's unscored share of the common answers, and warnings above the limits."""
    totals = [max(own["scored"] + own["unscored"], 1) for own in counts]
    unscored, cut = ([own[name] / total for own, total in zip(counts, totals, strict=True)] for name in _SHARED[:2])
    told = [
        f"{share:.1%} of {checkpoint.name}'s answers are unscored; those cells are left out for both."
        for checkpoint, share in zip(checkpoints, unscored, strict=True)
        if share > UNSCORED_LIMIT
    ]
    told += [
        f"{share:.1%} of {checkpoint.name}'s answers were cut off at max_tokens."
        for checkpoint, share in zip(checkpoints, cut, strict=True)
        if share > TRUNCATED_LIMIT
    ]
    return (unscored[0], unscored[1]), told


def _empty_answers(checkpoints: Sequence[CheckpointRuns], task: str, rows: Sequence[pa.Table]) -> list[str]:
    """Warnings on each checkpoint's empty answers, of all its items and personas."""
    found = []
    for checkpoint, table in zip(checkpoints, rows, strict=True):
        # Older files do not count them.
        empty, with_reasoning = (pc.sum(table[name]).as_py() or 0 for name in EMPTY)
        answers = sum(pc.sum(table[name]).as_py() for name in ("scored", "unscored"))
        is_endpoint = checkpoint.runs[task].record.model.engine == "openai"
        whose = f"{checkpoint.name}'s "
        found += empty_warnings(empty, with_reasoning, answers, is_endpoint=is_endpoint, whose=whose)
    return [f"{warning[0].upper()}{warning[1:]}." for warning in found]


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
    for checkpoint, table, extra in zip((base, candidate), rows, personas, strict=True):
        more = len(table["item"].unique()) - items
        if more:
            notes.append(f"Left out: {more} items of {checkpoint.name} that the other lacks.")
        if extra:
            notes.append(
                f"Left out: personas of {checkpoint.name} that the other lacks or words differently: "
                f"{', '.join(extra)}."
            )
    return notes


def interpret_pss_change(changes: Mapping[str, Change], p: float | None) -> str:
    """Interpretation of a change of PSS: is it one of stability, or of accuracy only?

    PSS rises with accuracy by itself. It is called a change of stability only if κ changed significantly in the same
    direction, or the persona effect in the opposite one.

    Args:
        changes: a task's changes, by metric.
        p: adjusted p-value of "no change of PSS"; None or NaN if it was not tested.
    """
    if p is None or not np.isfinite(p):
        return "not tested"
    if p >= _ALPHA:
        return "no change shown"
    pss = changes["pss"].absolute.value or 0.0
    if _significant(changes, "kappa") * pss > 0 or _significant(changes, "persona_effect") * pss < 0:
        return "stability has risen" if pss > 0 else "stability has fallen"
    return "accuracy change only"


def _significant(changes: Mapping[str, Change], name: str) -> float:
    """A metric's change; 0 unless it is significant."""
    change = changes.get(name)
    if change is None or change.p is None or change.p >= _ALPHA:
        return 0.0
    return change.absolute.value or 0.0


def common_tasks(checkpoints: Sequence[CheckpointRuns], task: str | None = None) -> list[str]:
    """Tasks that all checkpoints have, or ``task`` alone.

    Raises:
        InvalidRunError: there is none.
        UsageError: no checkpoint has ``task``.
    """
    known = {name for checkpoint in checkpoints for name in checkpoint.records}
    if task is not None and task not in known:
        raise UsageError(f"--task {task}: none of these runs has it.{suggest(task, known)}")
    found = [
        name
        for name in checkpoints[0].records
        if all(name in checkpoint.records for checkpoint in checkpoints) and task in (None, name)
    ]
    if not found:
        which = "; ".join(f"{checkpoint.name}: {', '.join(checkpoint.records)}" for checkpoint in checkpoints)
        raise InvalidRunError(f"no common task ({which}).")
    return found
