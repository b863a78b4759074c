"""Judging of a run: the panel scores the responses of its judged tasks; the result is judgements.parquet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from personaeval.judge.exemplars import anchor
from personaeval.judge.judge_prompt import preamble
from personaeval.judge.judgements import JudgementRow, Ratings, collect, judgement_rows, judgement_writer
from personaeval.judge.labels import compare, join, kept_labels
from personaeval.judge.panel import JudgeInput, Panel, in_order
from personaeval.judge.rubrics import Rubrics
from personaeval.judge.usage import JudgeUsage
from personaeval.library.sources import ItemSet
from personaeval.models.families import relation
from personaeval.progress import Progress
from personaeval.results.ledger import Ledger
from personaeval.results.records import RunRecord
from personaeval.results.responses import read_responses
from personaeval.types import Response, Status


@dataclass(frozen=True)
class JudgingResult:
    """Result of judging a run: ratings per task, usage per judge."""

    ratings: Mapping[str, Ratings] = field(default_factory=dict)
    usages: Sequence[JudgeUsage] = ()


def make_judge_inputs(items: ItemSet, rubrics: Rubrics, responses: Iterable[Response]) -> Iterator[JudgeInput]:
    """Yield the judge inputs of a task's responses; responses that the engine never gave are skipped."""
    blanks = {judge_input.item: judge_input for judge_input in blank_judge_inputs(items, rubrics)}
    for response in responses:
        if response.text is not None:
            yield replace(blanks[response.item], sample=response.sample, response=response.text)


def blank_judge_inputs(items: ItemSet, rubrics: Rubrics, samples: int = 1) -> Iterator[JudgeInput]:
    """Yield a judge input with an empty response for every sample of every item."""
    personas = {persona.id: persona.text for persona in items.personas}
    leads = {name: preamble(rubric) for name, rubric in rubrics.items()}
    for item in items.items:
        dimension = item.dimension or ""
        for sample in range(samples):
            yield JudgeInput(
                lead=leads[dimension],
                task=items.task.name,
                item=item.id,
                persona_id=item.persona,
                sample=sample,
                dimension=dimension,
                persona=personas[item.persona],
                question=item.prompt,
                response="",
            )


def with_score(response: Response, ratings: Ratings) -> Response:
    """The response with the panel's score, or unscored with a judge's reason if no judge scored it."""
    if response.text is None:
        return response
    place = ratings.responses[response.item, response.sample]
    score = float(ratings.panel_scores[place])
    if math.isnan(score):
        return replace(response, status=Status.UNSCORED.value, score=None, reason=ratings.reasons[place])
    return replace(response, status=Status.JUDGED.value, score=score, reason=None)


def judge_run(
    panel: Panel,
    judge_inputs: Iterable[JudgeInput],
    rubrics: Mapping[str, Rubrics],
    folder: Path,
    ledger: Ledger,
    progress: Progress,
) -> JudgingResult:
    """Let the panel score a run's responses, and write judgements.parquet.

    Raises:
        EngineError: the panel uses exemplars, and some could not be written.
    """
    ordered = in_order(list(judge_inputs))
    usages: list[JudgeUsage] = []
    if panel.exemplars:
        anchored = anchor(panel, ordered, rubrics, ledger, progress)
        ordered, usages = anchored.judge_inputs, [anchored.usage]
        if anchored.without:
            progress.message(f"{anchored.without} questions have no readable exemplars and are judged without.")
    panel_result = panel.judge(ordered, ledger, progress)
    with judgement_writer(folder) as writer:

        def kept() -> Iterator[JudgementRow]:
            for row in judgement_rows(panel, ordered, panel_result):
                writer.add(row)
                yield row

        return JudgingResult(collect(kept()), [*usages, *panel_result.usages])


def compare_with_humans(
    folder: Path,
    record: RunRecord,
    tasks: Iterable[tuple[ItemSet, Rubrics]],
    ratings: Mapping[str, Ratings],
) -> dict[str, Any]:
    """Task -> agreement of its judges with the human labels stored in the run's folder; empty without labels.

    Args:
        folder: the run's folder, with its tables written.
        record: run.json.
        tasks: the judged tasks' items and rubrics.
        ratings: the judges' scores.
    """
    labels = kept_labels(folder)
    if not labels:
        return {}
    fingerprint = record.model.fingerprint
    names = (record.short_name, fingerprint, fingerprint[:8])
    found = {}
    for items, rubrics in tasks:
        name = items.task.name
        if name in ratings:
            own = (response for response in read_responses(folder) if response.task == name)
            titles = {dimension: rubric.title for dimension, rubric in rubrics.items()}
            found[name] = compare(join(labels, items, own, names, titles), ratings[name])
    return found


def warn_of_judges(record: RunRecord, progress: Progress) -> None:
    """Print, before anything is generated, the warnings about judges that every table will repeat.

    Args:
        record: run.json.
        progress: prints them.
    """
    for judge in record.panel.judges if record.panel else ():
        kin = relation(judge.to_json(), record.model.to_json())
        if kin is not None:
            progress.message(f"Judge {judge.short_name} is {kin} as the model it judges; such judges favour their own.")
        if judge.check is None:
            progress.message(
                f"Judge {judge.short_name} has not been validated (personaeval judge-check --judge …): treat its "
                "scores as unverified."
            )
        elif not judge.check["passed"]:
            progress.message(f"Judge {judge.short_name} failed the judge check: it {judge.check['verdict']}")
