"""A judged task of one checkpoint by persona: every dimension with intervals, and who each persona is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from personaeval.errors import UsageError
from personaeval.metrics.catalogue import PERSONA_SCORE
from personaeval.report.entries import Entry
from personaeval.report.estimates import FormattedEstimate, scale_of
from personaeval.report.judging_notes import words_of
from personaeval.report.table import Cell, Key, Table
from personaeval.results.runs import open_runs

Scores = Mapping[tuple[str, str], Sequence[float]]
"""(persona, dimension) -> the mean score of each question."""

_LEGEND = "Intervals of a persona are for other questions like these (Student's t over its questions)."


def with_dimensions(table: Table, entry: Entry) -> Table:
    """A table of one checkpoint by persona with a column per dimension and the personas' texts.

    The table itself if the run's cells or personas cannot be read.
    """
    if "folder" not in entry.summary:
        return table
    try:
        run = open_runs(str(Path(entry.summary["folder"])))
        cells = run.cells(entry.task).to_pylist()
        texts = {row.persona: row.text for row in run.runs[entry.task].personas(entry.task)}
    except (UsageError, KeyError):
        return table
    scores: dict[tuple[str, str], list[float]] = {}
    for row in cells:
        if row["scored"]:
            scores.setdefault((row["persona"], row["dimension"]), []).append(row["score_sum"] / row["scored"])
    dimensions = list(dict.fromkeys(row["dimension"] for row in cells))
    rows = tuple(
        (*row, *_dimension_cells(scores, key.persona, dimensions), texts.get(key.persona or "", ""))
        for row, key in zip(table.rows, table.row_keys, strict=True)
    )
    return Table(
        table.title,
        (*table.columns, *map(words_of, dimensions), "who"),
        rows,
        table.notes,
        (*table.legend, _LEGEND),
        table.key,
        table.row_keys,
        (*table.column_keys, *(entry.key | Key(metric=name) for name in dimensions), None),
    )


def _dimension_cells(scores: Scores, persona: str | None, dimensions: Sequence[str]) -> list[Cell]:
    if persona is None:
        return [""] * len(dimensions)
    return [_estimate(scores.get((persona, dimension), ())) for dimension in dimensions]


def _estimate(values: Sequence[float]) -> FormattedEstimate:
    """Mean with Student's interval over questions, kept on the scale; without one for a single question."""
    from scipy.special import stdtrit

    if not values:
        return FormattedEstimate(None, why="no question was scored")
    mean, scale = float(np.mean(values)), scale_of(PERSONA_SCORE.name)
    if len(values) < 2 or scale is None:
        return FormattedEstimate(mean, scale=scale)
    arm = float(stdtrit(len(values) - 1, 0.975) * np.std(values, ddof=1) / len(values) ** 0.5)
    return FormattedEstimate(mean, max(scale[0], mean - arm), min(scale[1], mean + arm), scale=scale)
