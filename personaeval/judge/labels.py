"""Human labels: people's scores of a run's responses, read from a file, matched to responses, compared with the judges.

A label belongs to one response: to its persona, its question and its exact text. Only a random sample of a checkpoint's
own responses may correct its score. Whether the labels are of its own responses is checked here; whether the sample is
random cannot be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from personaeval.errors import UsageError
from personaeval.judge.agreement_summary import with_people
from personaeval.judge.judgements import Ratings, mean_scored
from personaeval.library.data_files import read_file
from personaeval.library.items import Row
from personaeval.library.sources import ItemSet
from personaeval.results.files import LABELS, RowWriter, row_writer
from personaeval.types import Response

COLUMNS = ("persona", "task", "question", "response", "score", "annotator")

_CHECKPOINT = "checkpoint"

_LOW, _HIGH = 1.0, 5.0

_SCHEMA = pa.schema(
    [pa.field(name, pa.float64() if name == "score" else pa.string(), False) for name in COLUMNS]
    + [pa.field(_CHECKPOINT, pa.string())]
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Label:
    """One person's score of one response.

    ``persona`` is an id or a description, ``task`` a dimension, ``question`` an id or a text; ``checkpoint``, if
    given, is the short name or the fingerprint of the model that wrote the response.
    """

    persona: str
    task: str
    question: str
    response: str
    score: float
    annotator: str
    checkpoint: str | None


@dataclass
class Joined:
    """Labels by response.

    ``scores`` maps each response (item, sample) to its score by annotator; ``unmatched_labels`` match no response of
    this run.
    """

    scores: dict[tuple[str, int], dict[str, float]] = field(default_factory=dict)
    unmatched_labels: list[Label] = field(default_factory=list)
    labels_of_other_checkpoints: int = 0
    """Number of labels that name another checkpoint."""


def read_labels(path: Path) -> tuple[Label, ...]:
    """Read a CSV, Parquet or JSONL file of labels.

    Raises:
        UsageError: it cannot be read, lacks a column, or a row is broken; names the row.
    """
    rows, _, named = read_file(path)
    if not rows:
        raise UsageError(f"{named}: the file holds no labels.")
    absent = [name for name in COLUMNS if name not in rows[0]]
    if absent:
        raise UsageError(f"{named}: it has no column {', '.join(absent)}; labels need {', '.join(COLUMNS)}.")
    labels = []
    seen: dict[tuple[object, ...], int] = {}
    for number, row in enumerate(rows, start=1):
        label = _read_row(row, f"{named}, row {number}")
        one = (label.checkpoint, label.persona, label.task, label.question, _digest(label.response), label.annotator)
        if one in seen:
            raise UsageError(f"{named}, row {number}: {label.annotator} labelled this response in row {seen[one]} too.")
        seen[one] = number
        labels.append(label)
    return tuple(labels)


def _read_row(row: Row, where: str) -> Label:
    texts = {}
    for name in COLUMNS:
        if name == "score":
            continue
        value = row.get(name)
        # Annotators are often numbered.
        text = str(value).strip() if isinstance(value, int) and name == "annotator" else value
        if not isinstance(text, str) or not (text.strip() or name == "response"):
            raise UsageError(f"{where}: {name!r} must be a text that is not empty.")
        texts[name] = text
    try:
        score = float(row["score"])
    except (TypeError, ValueError):
        score = float("nan")
    if not _LOW <= score <= _HIGH:
        raise UsageError(f"{where}: the score is {row['score']!r}, not a number from 1 to 5.")
    checkpoint = row.get(_CHECKPOINT)
    return Label(**texts, score=score, checkpoint=str(checkpoint).strip() if checkpoint not in (None, "") else None)


def keep_labels(folder: Path, labels: Iterable[Label]) -> None:
    """Store labels in a run's folder, so that later judges are compared with them too."""
    writer: RowWriter[Label]
    with row_writer(folder / LABELS, _SCHEMA) as writer:
        for label in labels:
            writer.add(label)


def kept_labels(folder: Path) -> tuple[Label, ...]:
    """The labels stored in a run's folder; empty without any.

    Raises:
        UsageError: the file is broken.
    """
    path = folder / LABELS
    if not path.is_file():
        return ()
    try:
        return tuple(Label(**row) for row in pq.read_table(path).to_pylist())
    except (OSError, pa.ArrowException, TypeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); delete it and give --human again.") from error


def join(
    labels: Iterable[Label],
    items: ItemSet,
    responses: Iterable[Response],
    names: Sequence[str],
    titles: Mapping[str, str],
) -> Joined:
    """Match each label to a response.

    Args:
        labels: people's scores.
        items: those of a judged task.
        responses: the run's, of this task.
        names: names of the checkpoint that labels may use.
        titles: dimension -> title of its rubric; labels may use either.
    """
    found = Joined()
    # Reversed, so that among samples with equal text the first one gets the label.
    places = {
        (one.item, _digest(one.text)): (one.item, one.sample)
        for one in reversed(list(responses))
        if one.text is not None
    }
    questions = dict(_questions(items, titles))
    for label in labels:
        if label.checkpoint is not None and label.checkpoint not in names:
            found.labels_of_other_checkpoints += 1
            continue
        item = questions.get((_plain(label.persona), _plain(label.task), _plain(label.question)))
        place = places.get((item, _digest(label.response))) if item is not None else None
        if place is None:
            found.unmatched_labels.append(label)
        else:
            found.scores.setdefault(place, {})[label.annotator] = label.score
    return found


def _questions(items: ItemSet, titles: Mapping[str, str]) -> Iterator[tuple[tuple[str, str, str], str]]:
    texts = {persona.id: persona.text for persona in items.personas}
    for item in reversed(items.items):
        dimension = item.dimension or ""
        for persona in (item.persona, texts[item.persona]):
            for task in (dimension, titles[dimension]):
                for question in (item.id, item.prompt):
                    yield (_plain(persona), _plain(task), _plain(question)), item.id


def _plain(text: str) -> str:
    """The text without differences that spreadsheets and people introduce into names."""
    return " ".join(text.replace("-", " ").replace("_", " ").casefold().split())


def _digest(text: str | None) -> bytes:
    # Spreadsheets rewrite line ends and trim blanks at the ends.
    lines = (text or "").replace("\r\n", "\n").replace("\r", "\n").strip()
    return hashlib.blake2b(lines.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def compare(joined: Joined, ratings: Ratings) -> dict[str, Any]:
    """Agreement between judges and people, and the human-corrected PersonaScore if it is valid.

    It is valid if every label that does not name another checkpoint matches a response of this run.
    """
    people = np.full(len(ratings.personas), np.nan)
    annotators = sorted({name for given in joined.scores.values() for name in given})
    table = np.full((len(people), len(annotators)), np.nan)
    for place, given in joined.scores.items():
        row = ratings.responses[place]
        for name, score in given.items():
            table[row, annotators.index(name)] = score
        people[row] = float(np.mean(list(given.values())))
    reason = _why_not_corrected(joined)
    corrected = None if reason else _correct(ratings, people)
    if corrected is None and not reason:
        reason = "a dimension has no label, or all labels belong to one persona"
    return {
        "labels": int((~np.isnan(table)).sum()),
        "responses": len(joined.scores),
        "annotators": len(annotators),
        "unmatched_labels": len(joined.unmatched_labels),
        "other_checkpoints": joined.labels_of_other_checkpoints,
        "alpha": _alpha(table),
        "panel": _agreement(ratings.panel_scores, people),
        "judges": {name: _agreement(mean_scored(ratings.scores[:, n]), people) for name, n in ratings.judges.items()},
        "agreement": with_people(ratings, table, people),
        "corrected": corrected,
        "reason": reason,
    }


def _why_not_corrected(joined: Joined) -> str | None:
    if not joined.unmatched_labels:
        return None if joined.scores else "no label matches a response of this run"
    first = joined.unmatched_labels[0]
    return (
        f"{len(joined.unmatched_labels)} labels match no response of this run (such as {first.annotator}'s for "
        f"{first.persona}, {first.task}), so the labels are no sample of these responses"
    )


def _alpha(table: Floats) -> float | None:
    from personaeval.metrics.agreement import krippendorff_alpha

    return krippendorff_alpha(table, level="ordinal") if table.shape[1] > 1 else None


def _agreement(judged: Floats, people: Floats) -> dict[str, Any]:
    from personaeval.metrics.agreement import rank_correlation, weighted_kappa

    both = ~np.isnan(judged) & ~np.isnan(people)
    return {
        "responses": int(both.sum()),
        "kappa": weighted_kappa(judged[both], people[both], low=_LOW, high=_HIGH),
        "rank_correlation": rank_correlation(judged[both], people[both]),
    }


def _correct(ratings: Ratings, people: Floats) -> dict[str, Any] | None:
    from personaeval.metrics.ppi import FEW_LABELS, correct

    scored = ~np.isnan(ratings.panel_scores)
    dimensions, dimension = np.unique(np.array(ratings.dimensions), return_inverse=True)
    _, persona = np.unique(np.array(ratings.personas)[scored], return_inverse=True)
    names = tuple(dimensions.tolist())
    found = correct(ratings.panel_scores[scored], people[scored], persona, dimension[scored], names)
    if found is None:
        return None
    return {
        "persona_score": found.corrected.to_json(),
        "labels_alone": found.labels_alone.to_json(),
        "weight": found.weight,
        "labels": found.labels,
        "few_labels": sorted(name for name, count in found.labels.items() if count < FEW_LABELS),
    }
