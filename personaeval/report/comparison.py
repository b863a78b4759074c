"""Tables of paired changes between checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from personaeval.analysis.compare import AlignedTask, interpret_pss_change
from personaeval.analysis.flips import find_flips
from personaeval.metrics.catalogue import HEADLINE, METRICS, PERSONA_SCORE
from personaeval.metrics.change_bounds import change_intervals, p_no_change
from personaeval.metrics.fidelity import PersonaSums, mean_of_means
from personaeval.metrics.inference import Estimate, benjamini_hochberg, holm
from personaeval.metrics.jackknife import Scale, intervals, jackknife
from personaeval.metrics.paired import Change, shared
from personaeval.metrics.sums import ItemSums, item_sums
from personaeval.report.estimates import MARK, FormattedEstimate, p_value, scale_of
from personaeval.report.table import INTERVAL_NOTE, Cell, Key, Table, count, grouped
from personaeval.results.runs import CheckpointRuns, numbered_names, step_of

_INTERVALS = f"{INTERVAL_NOTE}."


def compare_tables(
    base: CheckpointRuns,
    candidate: CheckpointRuns,
    tasks: Sequence[AlignedTask],
    generalise_to_personas: bool = False,
    details: bool = True,
) -> list[Table]:
    """Tables of two checkpoints: the metrics of all tasks; then personas, categories and flips of each task.

    Args:
        base: the checkpoint to compare with.
        candidate: the checkpoint to compare.
        tasks: the tasks of both, aligned.
        generalise_to_personas: intervals for other personas as well.
        details: include the tables by persona, category and item.
    """
    tables = [_metrics_table(base, candidate, tasks, generalise_to_personas)]
    for aligned in tasks if details else ():
        tables += _persona_tables(aligned, base, candidate)
        tables += _flip_tables(aligned, base, candidate)
    return tables


def trend_tables(checkpoints: Sequence[CheckpointRuns], tasks: Sequence[Sequence[AlignedTask]]) -> list[Table]:
    """A table per task: a row per checkpoint by training step, and the slope over the steps.

    Args:
        checkpoints: the base first.
        tasks: for every checkpoint but the base, its tasks, aligned with the base's.

    Returns:
        Nothing with fewer than three checkpoints, or if their names do not give distinct steps.
    """
    steps = [step_of(checkpoint.name) for checkpoint in checkpoints]
    if len(checkpoints) < 3 or None in steps or len(set(steps)) < len(steps):
        return []
    known = [step for step in steps if step is not None]
    by_task = [{aligned.task: aligned for aligned in row} for row in tasks]
    tables = []
    for task in by_task[0]:
        column = [own[task] for own in by_task if task in own]
        if len(column) == len(by_task):
            tables.append(_trend_table(checkpoints, known, column))
    return tables


def _metrics_table(
    base: CheckpointRuns, candidate: CheckpointRuns, tasks: Sequence[AlignedTask], generalise_to_personas: bool
) -> Table:
    found = [
        (aligned, name, change) for aligned in tasks for name, change in aligned.changes(generalise_to_personas).items()
    ]
    # If every score is 0 or 1, the mean score is accuracy.
    found = [
        entry
        for entry in found
        if not (entry[2].base is entry[2].candidate is None or (entry[1] == "mean_score" and entry[0].binary))
    ]
    adjusted = holm(np.array([np.nan if change.p is None else change.p for _, _, change in found]))
    p_values = {(aligned.task, name): float(p) for (aligned, name, _), p in zip(found, adjusted, strict=True)}
    rows: list[tuple[Cell, ...]] = []
    for (aligned, name, change), p in zip(found, adjusted, strict=True):
        rows.append((aligned.task, _title(name), *_change_cells(change, float(p), name)))
    notes = numbered_names((base, candidate))
    notes += [*_interpretations(tasks, p_values), *_missing_task_notes(base, candidate)]
    undefined = [
        (aligned.task, f"{_title(name)} is undefined for {base.name if change.base is None else candidate.name}.")
        for aligned, name, change in found
        if change.base is None or change.candidate is None
    ]
    names = [aligned.task for aligned in tasks]
    notes += grouped(names, undefined)
    notes += grouped(names, [(own.task, note) for own in tasks for note in (*own.notes, *own.warnings)])
    if not (base.verifiable and candidate.verifiable):
        notes.append("Endpoints' checkpoints cannot be verified; their names are the server's.")
    headings, keys = _columns(base, candidate)
    return Table(
        f"{candidate.name} against {base.name}",
        ("task", "metric", *headings),
        tuple(rows),
        tuple(notes),
        _metrics_legend(base, candidate, len(rows), generalise_to_personas),
        Key(view="metrics"),
        tuple(Key(task=own.task, metric=name, n=_clusters(own)) for own, name, _ in found),
        (None, None, *keys),
    )


def _title(name: str) -> str:
    metric = METRICS.get(name)
    return metric.title if metric else name.replace("-", " ")


def _clusters(aligned: AlignedTask) -> int:
    """Number of items; for a judged task, of personas."""
    return len(aligned.items) if aligned.judged is None else len(aligned.judged[0].matrix)


def _metrics_legend(
    base: CheckpointRuns, candidate: CheckpointRuns, rows: int, generalise_to_personas: bool
) -> tuple[str, ...]:
    clusters = (
        "items and personas resampled together (judged tasks: personas)"
        if generalise_to_personas
        else "items are the clusters (judged tasks: personas)"
    )
    return (
        f"Paired on the same items, personas and samples; 95 % intervals, {clusters}. change: {candidate.name} minus "
        f"{base.name}, in the metric's own unit (0.010 is one point); relative: as a share of {base.name}. p: for no "
        f"change, two-sided, adjusted by Holm over the {count(rows, 'row')}; * below {MARK}.",
        _INTERVALS,
    )


def _columns(base: CheckpointRuns, candidate: CheckpointRuns) -> tuple[tuple[str, ...], tuple[Key | None, ...]]:
    """Headings and keys of the cells of a change."""
    both = [Key(checkpoint=own.name, fingerprint=own.fingerprint) for own in (base, candidate)]
    changed = [both[1] | Key(base=base.name, form=form) for form in ("_change", "_relative_change")]
    return (base.name, candidate.name, "change", "relative", "p"), (*both, *changed, None)


def _change_cells(change: Change, p: float, metric: str = "accuracy") -> tuple[Cell, ...]:
    absolute, relative, scale = change.absolute, change.relative, scale_of(metric)
    adjusted = p if np.isfinite(p) else None
    return (
        FormattedEstimate(change.base, scale=scale),
        FormattedEstimate(change.candidate, scale=scale),
        FormattedEstimate(absolute.value, absolute.low, absolute.high, signed=True, p=adjusted),
        FormattedEstimate(relative.value, relative.low, relative.high, percent=True),
        p_value(adjusted),
    )


def _interpretations(tasks: Sequence[AlignedTask], p_values: Mapping[tuple[str, str], float]) -> list[str]:
    """Per task: is a change of PSS one of stability?"""
    notes = []
    for aligned in tasks:
        if aligned.cells is not None:
            words = interpret_pss_change(aligned.changes(), p_values.get((aligned.task, "pss")))
            notes.append(f"{aligned.task}: {words} (PSS, interpreted with κ and the persona effect).")
    return notes


def _missing_task_notes(base: CheckpointRuns, candidate: CheckpointRuns) -> list[str]:
    """Tasks that only one of the two has."""
    return [
        f"{task}: left out, {other.name} did not run it."
        for checkpoint, other in ((base, candidate), (candidate, base))
        for task in checkpoint.records
        if task not in other.records
    ]


def _persona_tables(aligned: AlignedTask, base: CheckpointRuns, candidate: CheckpointRuns) -> list[Table]:
    tables = []
    for words, found in zip(("persona", "category"), aligned.by_persona(), strict=True):
        if not found:
            continue
        p_values = np.array([1.0 if change.p is None else change.p for change in found.values()])
        adjusted = benjamini_hochberg(p_values)
        rows = [(name, *_change_cells(c, float(p))) for (name, c), p in zip(found.items(), adjusted, strict=True)]
        headings, keys = _columns(base, candidate)
        note = f"Accuracy; p adjusted by Benjamini and Hochberg over the {count(len(rows), 'row')}."
        tables.append(
            Table(
                f"{aligned.record.title} by {words}",
                (words, *headings),
                tuple(rows),
                (note,),
                (_INTERVALS,),
                Key(view=f"by_{words}", task=aligned.task, metric="accuracy", n=_clusters(aligned)),
                tuple(Key(persona=name) if words == "persona" else Key(category=name) for name in found),
                (None, *keys),
            )
        )
    return tables


def _flip_tables(aligned: AlignedTask, base: CheckpointRuns, candidate: CheckpointRuns) -> list[Table]:
    tables = []
    for words, flips in zip(("gained", "lost"), find_flips(aligned, base, candidate), strict=True):
        rows: list[tuple[Cell, ...]] = []
        for flip in flips:
            shown = [answer if answer is not None else "–" for answer in flip.answers]
            rows.append(
                (
                    flip.item,
                    FormattedEstimate(flip.gained, digits=1),
                    FormattedEstimate(flip.lost, digits=1),
                    flip.persona,
                    *shown,
                )
            )
        if rows:
            columns = ("item", "gained", "lost", "persona", f"answer of {base.name}", f"answer of {candidate.name}")
            sides = [Key(checkpoint=own.name, fingerprint=own.fingerprint) for own in (base, candidate)]
            moved = sides[1] | Key(base=base.name)
            note = (
                "gained, lost: number of personas under which the item became right, wrong. The answers are those of a "
                "sample that flipped, under the persona named."
            )
            if aligned.record.withhold_text:
                note += " The task's authors ask not to show its texts."
            keys = (moved | Key(metric="gained"), moved | Key(metric="lost"), None)
            answers = tuple(own | Key(metric="answer") for own in sides)
            tables.append(
                Table(
                    f"{aligned.record.title}: items {words} most",
                    columns,
                    tuple(rows),
                    (),
                    (note,),
                    Key(view=words, task=aligned.task),
                    tuple(Key(item=flip.item, persona=flip.persona) for flip in flips),
                    (None, *keys, *answers),
                )
            )
    return tables


def _aligned_sums(tasks: Sequence[AlignedTask]) -> Sequence[ItemSums | PersonaSums]:
    """Sums of the base and of every candidate, over cells that all of them scored."""
    judged = [aligned.judged for aligned in tasks if aligned.judged is not None]
    if judged:
        return [judged[0][0], *(candidate for _, candidate in judged)]
    counted = [aligned.cells for aligned in tasks if aligned.cells is not None]
    cells = shared([counted[0][0], *(candidate for _, candidate in counted)])
    return [item_sums(own, tasks[0].record.domain, ()) for own in cells]


def _trend_table(checkpoints: Sequence[CheckpointRuns], steps: Sequence[int], tasks: Sequence[AlignedTask]) -> Table:
    title = f"{tasks[0].record.title} by training step"
    asked = {(own.items, () if own.cells is None else own.cells[0].persona_ids) for own in tasks}
    if len(asked) > 1:
        note = "No trend: these checkpoints were not all asked the same items under the same personas."
        return Table(title, ("step", "checkpoint"), (), (note,), column_keys=(None, None))
    parts = _aligned_sums(tasks)
    is_judged = tasks[0].judged is not None
    names = (PERSONA_SCORE.name,) if is_judged else ("accuracy", "pss", "kappa")
    places = [0] if is_judged else [HEADLINE.index(name) for name in names]
    width = parts[0].matrix.shape[1]
    centred = np.array(steps, dtype=np.float64) - np.mean(steps)

    def both(
        sums: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        cut = [sums[..., place * width : (place + 1) * width] for place in range(len(parts))]
        values = np.stack([part.estimate(own)[..., places] for part, own in zip(parts, cut, strict=True)], axis=-1)
        slopes = 1000 * (values @ centred) / (centred @ centred)
        flat = values.reshape(*values.shape[:-2], -1)
        return np.concatenate([slopes, flat], axis=-1)

    spans = np.array([METRICS[name].span for name in names])
    # Largest possible slope: half of the checkpoints at one end of the scale, half at the other.
    steepest = 500 * np.abs(centred).sum() / (centred @ centred)
    spans = np.concatenate([spans * steepest, np.repeat(spans, len(parts))])
    clusters = np.any([part.weights(part.matrix)[:, places] > 0 for part in parts], axis=0).sum(axis=0)
    supporting = np.concatenate([clusters, np.repeat(clusters, len(parts))])
    found = jackknife(np.hstack([part.matrix for part in parts]), both, supporting, spans)
    slopes, items = found.part(slice(0, len(places))), np.inf if is_judged else clusters.astype(np.float64)
    scales: list[Scale] = [METRICS[name].scale for name in names for _ in parts]
    made = change_intervals(slopes, np.broadcast_to(items, len(places)), ["raw"] * len(places))
    made += (
        [mean_of_means(*np.split(part.matrix, 2, axis=1)) for part in parts]
        if is_judged
        else intervals(found.part(slice(len(places), None)), scales)
    )
    p_values = p_no_change(slopes, items)
    table = np.array(range(len(places), len(made))).reshape(len(places), len(parts))
    rows: list[tuple[Cell, ...]] = [
        (steps[column], checkpoints[column].name, *(_formatted(made[int(row[column])]) for row in table))
        for column in np.argsort(steps)
    ]
    rows.append(("slope", "per 1000 steps", *(_formatted(one, signed=True) for one in made[: len(places)])))
    tested = "; ".join(f"{METRICS[name].title} {_p(p)}" for name, p in zip(names, p_values, strict=False))
    note = (
        "slope: least squares over the steps, on the same items, personas and samples for all; 95 % intervals for "
        f"other items (judged tasks: personas); p for no slope: {tested} (not adjusted)."
    )
    ordered = [checkpoints[column] for column in np.argsort(steps)]
    return Table(
        title,
        ("step", "checkpoint", *(METRICS[name].title for name in names)),
        tuple(rows),
        (note,),
        (_INTERVALS,),
        Key(view="trend", task=tasks[0].task, n=_clusters(tasks[0])),
        (*(Key(checkpoint=own.name, fingerprint=own.fingerprint) for own in ordered), Key(form="_slope")),
        (None, None, *(Key(metric=name) for name in names)),
    )


def _p(p: float) -> str:
    return str(p_value(float(p)))


def _formatted(interval: Estimate, signed: bool = False) -> FormattedEstimate:
    return FormattedEstimate(interval.value, interval.low, interval.high, signed=signed)
