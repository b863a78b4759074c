"""Tables of paired changes between checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from personaeval.analysis.compare import AlignedTask, interpret_pss_change
from personaeval.analysis.flips import find_flips
from personaeval.metrics.catalogue import HEADLINE, METRICS, PERSONA_SCORE
from personaeval.metrics.fidelity import PersonaSums
from personaeval.metrics.inference import Estimate, benjamini_hochberg, holm
from personaeval.metrics.jackknife import Scale, intervals, jackknife, p_equal
from personaeval.metrics.paired import Change, shared
from personaeval.metrics.sums import ItemSums, item_sums
from personaeval.report.formats import MARK, Cell, FormattedEstimate, Table
from personaeval.results.runs import CheckpointRuns, step_of

_CHANGE_COLUMNS = ("change", "relative", "p")


def compare_tables(
    base: CheckpointRuns,
    candidate: CheckpointRuns,
    pairs: Sequence[AlignedTask],
    generalise: bool = False,
    details: bool = True,
) -> list[Table]:
    """Return the tables of two checkpoints: the metrics of all tasks; then personas, categories and flips of each.

    Args:
        base: what is compared with.
        candidate: what is compared.
        pairs: their tasks, aligned.
        generalise: intervals for personas not tried, too.
        details: personas, categories and items as well.
    """
    tables = [_metrics_table(base, candidate, pairs, generalise)]
    for pair in pairs if details else ():
        tables += _persona_tables(pair, base, candidate)
        tables += _flip_tables(pair, base, candidate)
    return tables


def trend_tables(sides: Sequence[CheckpointRuns], pairs: Sequence[Sequence[AlignedTask]]) -> list[Table]:
    """Return a table per task: a row per checkpoint by training step, and the slope over the steps.

    Args:
        sides: the base first.
        pairs: for every side but the base, its tasks aligned with the base's.
    """
    steps = [step_of(side.name) for side in sides]
    if len(sides) < 3 or None in steps or len(set(steps)) < len(steps):
        return []
    known = [step for step in steps if step is not None]
    by_task = [{pair.task: pair for pair in row} for row in pairs]
    tables = []
    for task in by_task[0]:
        column = [own[task] for own in by_task if task in own]
        if len(column) == len(by_task):
            tables.append(_trend_table(sides, known, column))
    return tables


def _metrics_table(
    base: CheckpointRuns, candidate: CheckpointRuns, pairs: Sequence[AlignedTask], generalise: bool
) -> Table:
    found = [(pair, name, change) for pair in pairs for name, change in pair.changes(generalise).items()]
    # Where a score is 0 or 1, its mean is accuracy once more.
    found = [
        entry
        for entry in found
        if not (entry[2].base is entry[2].candidate is None or (entry[1] == "mean_score" and entry[0].binary))
    ]
    adjusted = holm(np.array([np.nan if change.p is None else change.p for _, _, change in found]))
    p_values = {(pair.task, name): float(p) for (pair, name, _), p in zip(found, adjusted, strict=True)}
    rows: list[tuple[Cell, ...]] = []
    for (pair, name, change), p in zip(found, adjusted, strict=True):
        metric = METRICS.get(name)
        title = metric.title if metric else name.replace("-", " ")
        rows.append((pair.task, title, *_change_cells(change, float(p))))
    clusters = (
        "items and personas resampled together (judged tasks: personas)"
        if generalise
        else "items are the clusters (judged tasks: personas)"
    )
    notes = [
        f"Paired on the same items, personas and samples; 95 % intervals, {clusters}. change: {candidate.name} minus "
        f"{base.name}, in the metric's unit; relative: as a share of {base.name}. p: of no change, two-sided, adjusted "
        f"by Holm over the {len(rows)} rows; * below {MARK}.",
        *_reading_notes(pairs, p_values),
        *_lacking_notes(base, candidate),
    ]
    notes += [
        f"{pair.task}: {rows[place][1]} is not defined for {base.name if change.base is None else candidate.name}."
        for place, (pair, _, change) in enumerate(found)
        if change.base is None or change.candidate is None
    ]
    notes += [f"{pair.task}: {note}" for pair in pairs for note in (*pair.notes, *pair.warnings)]
    if not (base.verifiable and candidate.verifiable):
        notes.append("An endpoint's checkpoint cannot be verified: the names are the server's.")
    columns = ("task", "metric", base.name, candidate.name, *_CHANGE_COLUMNS, "")
    return Table(f"{candidate.name} against {base.name}", columns, tuple(rows), tuple(notes))


def _change_cells(change: Change, p: float) -> tuple[Cell, ...]:
    return (
        FormattedEstimate(change.base),
        FormattedEstimate(change.candidate),
        _number(change.absolute, signed=True),
        _number(change.relative, percent=True),
        FormattedEstimate(p if np.isfinite(p) else None),
        "*" if p < MARK else "",
    )


def _number(interval: Estimate, signed: bool = False, percent: bool = False) -> FormattedEstimate:
    return FormattedEstimate(interval.value, interval.low, interval.high, signed=signed, percent=percent)


def _reading_notes(pairs: Sequence[AlignedTask], p_values: Mapping[tuple[str, str], float]) -> list[str]:
    """Say of each task whether a change of PSS is one of stability."""
    notes = []
    for pair in pairs:
        if pair.cells is not None:
            words = interpret_pss_change(pair.changes(), p_values.get((pair.task, "pss")))
            notes.append(f"{pair.task}: {words} (PSS, read beside κ and the persona effect).")
    return notes


def _lacking_notes(base: CheckpointRuns, candidate: CheckpointRuns) -> list[str]:
    """Say which tasks were left out, because one did not run them."""
    return [
        f"{task}: left out, {other.name} did not run it."
        for side, other in ((base, candidate), (candidate, base))
        for task in side.records
        if task not in other.records
    ]


def _persona_tables(pair: AlignedTask, base: CheckpointRuns, candidate: CheckpointRuns) -> list[Table]:
    tables = []
    for words, found in zip(("persona", "category"), pair.by_persona(), strict=True):
        if not found:
            continue
        p_values = np.array([1.0 if change.p is None else change.p for change in found.values()])
        adjusted = benjamini_hochberg(p_values)
        rows = [(name, *_change_cells(c, float(p))) for (name, c), p in zip(found.items(), adjusted, strict=True)]
        columns = (words, base.name, candidate.name, *_CHANGE_COLUMNS, "")
        note = (
            "Accuracy; 95 % intervals for other items under these personas. p: of no change, adjusted by Benjamini and "
            f"Hochberg over the {len(rows)} rows."
        )
        tables.append(Table(f"{pair.record.title} by {words}", columns, tuple(rows), (note,)))
    return tables


def _flip_tables(pair: AlignedTask, base: CheckpointRuns, candidate: CheckpointRuns) -> list[Table]:
    tables = []
    for words, flips in zip(("gained", "lost"), find_flips(pair, base, candidate), strict=True):
        rows: list[tuple[Cell, ...]] = []
        for flip in flips:
            answers = [answer if answer is not None else "–" for answer in flip.answers]
            rows.append(
                (
                    flip.item,
                    FormattedEstimate(flip.gained, digits=1),
                    FormattedEstimate(flip.lost, digits=1),
                    flip.persona,
                    *answers,
                )
            )
        if rows:
            columns = ("item", "gained", "lost", "persona", f"answer of {base.name}", f"answer of {candidate.name}")
            note = (
                "gained, lost: under how many personas the item became right, wrong; the answers are of a sample that "
                "flipped, under the persona named."
            )
            if pair.record.withhold_text:
                note += " The task's authors ask that its texts be shown nowhere."
            tables.append(Table(f"{pair.record.title}: items {words} most", columns, tuple(rows), (note,)))
    return tables


def _aligned_sums(pairs: Sequence[AlignedTask]) -> Sequence[ItemSums | PersonaSums]:
    """Return the sums of the base and of every candidate, over cells that all of them scored."""
    judged = [pair.judged for pair in pairs if pair.judged is not None]
    if judged:
        return [judged[0][0], *(candidate for _, candidate in judged)]
    counted = [pair.cells for pair in pairs if pair.cells is not None]
    cells = shared([counted[0][0], *(candidate for _, candidate in counted)])
    return [item_sums(own, pairs[0].record.domain, ()) for own in cells]


def _trend_table(sides: Sequence[CheckpointRuns], steps: Sequence[int], pairs: Sequence[AlignedTask]) -> Table:
    title = f"{pairs[0].record.title} by training step"
    if len({(pair.items, () if pair.cells is None else pair.cells[0].persona_ids) for pair in pairs}) > 1:
        note = "No trend: these checkpoints were not all asked the same items under the same personas."
        return Table(title, ("step", "checkpoint"), (), (note,))
    parts = _aligned_sums(pairs)
    is_judged = pairs[0].judged is not None
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
    # How far apart two slopes can be: half of the checkpoints at one end, half at the other.
    steepest = 500 * np.abs(centred).sum() / (centred @ centred)
    spans = np.concatenate([spans * steepest, np.repeat(spans, len(parts))])
    resting = np.any([part.weights(part.matrix)[:, places] > 0 for part in parts], axis=0).sum(axis=0)
    supporting = np.concatenate([resting, np.repeat(resting, len(parts))])
    found = jackknife(np.hstack([part.matrix for part in parts]), both, supporting, spans)
    scales: list[Scale] = ["raw" for _ in places]
    scales += [METRICS[name].scale for name in names for _ in parts]
    made, p_values = intervals(found, scales), p_equal(found)
    table = np.array(range(len(places), len(made))).reshape(len(places), len(parts))
    rows: list[tuple[Cell, ...]] = [
        (steps[column], sides[column].name, *(_number(made[int(row[column])]) for row in table))
        for column in np.argsort(steps)
    ]
    rows.append(("slope", "per 1000 steps", *(_number(one, signed=True) for one in made[: len(places)])))
    tested = "; ".join(f"{METRICS[name].title} {p:.3f}" for name, p in zip(names, p_values, strict=False))
    note = (
        "slope: least squares over the steps, on the same items, personas and samples for all; 95 % intervals for "
        f"other items (judged tasks: personas); p of no slope: {tested} (not adjusted)."
    )
    columns = ("step", "checkpoint", *(METRICS[name].title for name in names))
    return Table(title, columns, tuple(rows), (note,))
