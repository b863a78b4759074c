"""judgements.parquet, one row per (response, judge, repeat), and the ratings computed from its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from personaeval.errors import UsageError
from personaeval.judge.panel import JudgeInput, Panel, PanelResult
from personaeval.judge.rules import admits_ai, refuses
from personaeval.results.files import JUDGEMENTS, RowWriter, row_writer

SCHEMA = pa.schema(
    [
        pa.field("task", pa.string(), False),
        pa.field("item", pa.string(), False),
        pa.field("persona", pa.string(), False),
        pa.field("sample", pa.int16(), False),
        pa.field("dimension", pa.string(), False),
        pa.field("judge", pa.string(), False),
        pa.field("fingerprint", pa.string(), False),
        pa.field("repeat", pa.int16(), False),
        pa.field("score", pa.int8()),
        pa.field("refusal", pa.bool_()),
        pa.field("ai_admission", pa.bool_()),
        pa.field("explanation", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("prompt_tokens", pa.int32(), False),
        pa.field("completion_tokens", pa.int32(), False),
        pa.field("expected", pa.float64()),
        pa.field("reply", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class JudgementRow:
    """One row of judgements.parquet.

    ``score`` is None if the judgement is unscored, and ``reason`` says why; ``explanation`` is the judge's own;
    ``expected`` replaces ``score`` in all means if the judge's probabilities were asked for. The two flags are set by
    the rules, else by the judge; None if neither decides. ``reply`` is what the judge wrote (None in older files).
    """

    task: str
    item: str
    persona: str
    sample: int
    dimension: str
    judge: str
    fingerprint: str
    repeat: int
    score: int | None
    refusal: bool | None
    ai_admission: bool | None
    explanation: str | None
    reason: str | None
    prompt_tokens: int
    completion_tokens: int
    expected: float | None = None
    reply: str | None = None


def judgement_writer(folder: Path) -> AbstractContextManager[RowWriter[JudgementRow]]:
    """Writer of a run's judgements.parquet."""
    return row_writer(folder / JUDGEMENTS, SCHEMA)


def read_judgements(folder: Path) -> Iterator[JudgementRow]:
    """Yield the rows of a run's judgements.parquet.

    Raises:
        UsageError: it is missing or broken.
    """
    try:
        file = pq.ParquetFile(folder / JUDGEMENTS)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{folder / JUDGEMENTS}: cannot be read ({error}); has this run been judged?") from error
    with file:
        for batch in file.iter_batches(batch_size=4096):
            for row in batch.to_pylist():
                yield JudgementRow(**row)


def judgement_rows(
    panel: Panel, judge_inputs: Sequence[JudgeInput], panel_result: PanelResult
) -> Iterator[JudgementRow]:
    """Yield a panel's judgements as rows; the rules take precedence on refusals and admissions."""
    names = panel.short_names()
    rules = [(refuses(judge_input.response), admits_ai(judge_input.response)) for judge_input in judge_inputs]
    for judgement in panel_result.judgements():
        judge_input, reply = judge_inputs[judgement.judge_input], judgement.reply
        refusal, admission = rules[judgement.judge_input]
        yield JudgementRow(
            task=judge_input.task,
            item=judge_input.item,
            persona=judge_input.persona_id,
            sample=judge_input.sample,
            dimension=judge_input.dimension,
            judge=names[judgement.judge],
            fingerprint=panel.judges[judgement.judge].fingerprint,
            repeat=judgement.repeat,
            score=reply.score if reply else None,
            refusal=refusal or (reply.refusal if reply else None),
            ai_admission=admission or (reply.ai_admission if reply else None),
            explanation=reply.reasoning if reply else None,
            reason=judgement.reason,
            prompt_tokens=judgement.prompt_tokens,
            completion_tokens=judgement.completion_tokens,
            expected=reply.expected if reply else None,
            reply=judgement.text,
        )


@dataclass
class Ratings:
    """The scores and flags of one task, response by response."""

    responses: dict[tuple[str, int], int] = field(default_factory=dict)
    """(item, sample) -> index into the lists and arrays below."""
    personas: list[str] = field(default_factory=list)
    dimensions: list[str] = field(default_factory=list)
    judges: dict[str, int] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)
    """Index of a response -> why a judgement of it is unscored."""
    _entries: list[tuple[int, int, int, float]] = field(default_factory=list)
    _flags: list[list[list[bool]]] = field(default_factory=list)

    def add(self, row: JudgementRow) -> None:
        """Add a judgement."""
        place = self.responses.setdefault((row.item, row.sample), len(self.responses))
        if place == len(self.personas):
            self.personas.append(row.persona)
            self.dimensions.append(row.dimension)
            self._flags.append([[], []])
        judge = self.judges.setdefault(row.judge, len(self.judges))
        score = row.score if row.expected is None else row.expected
        self._entries.append((place, judge, row.repeat, np.nan if score is None else float(score)))
        if row.score is None:
            self.reasons.setdefault(place, f"{row.judge}: {row.reason}")
        for flags, flag in zip(self._flags[place], (row.refusal, row.ai_admission), strict=True):
            if flag is not None:
                flags.append(flag)

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """[responses, judges, repeats]; NaN if unscored. Read it only after adding every row."""
        repeats = 1 + max((repeat for _, _, repeat, _ in self._entries), default=0)
        found = np.full((len(self.responses), len(self.judges), repeats), np.nan)
        for response, judge, repeat, score in self._entries:
            found[response, judge, repeat] = score
        return found

    @cached_property
    def panel_scores(self) -> NDArray[np.float64]:
        """[responses]: mean over judges of each judge's mean over repeats; NaN if none scored."""
        return mean_scored(mean_scored(self.scores))

    def refusals(self) -> NDArray[np.float64]:
        """[responses]: 1 if at least half of the judgements with this flag say refusal, else 0; NaN without any."""
        return self._flagged(0)

    def admissions(self) -> NDArray[np.float64]:
        """[responses]: the same for admissions of being an AI."""
        return self._flagged(1)

    def _flagged(self, which: int) -> NDArray[np.float64]:
        said = [flags[which] for flags in self._flags]
        return np.array([float(2 * sum(given) >= len(given)) if given else np.nan for given in said])


def mean_scored(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over the last axis, ignoring NaN; NaN if all are."""
    present = ~np.isnan(scores)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(present, scores, 0).sum(axis=-1) / present.sum(axis=-1))


def collect(rows: Iterable[JudgementRow]) -> dict[str, Ratings]:
    """Task -> its ratings, from a stream of judgements."""
    found: dict[str, Ratings] = {}
    for row in rows:
        found.setdefault(row.task, Ratings()).add(row)
    return found
