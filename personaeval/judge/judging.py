"""The judged tasks of a run: their responses go before the panel, and what it says becomes judgements.parquet."""

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
from personaeval.results.responses import read_responses
from personaeval.types import Response, Status


@dataclass(frozen=True)
class JudgingResult:
    """What came of a run's judged tasks: the ratings of each, and each judge's part in this command."""

    ratings: Mapping[str, Ratings] = field(default_factory=dict)
    usages: Sequence[JudgeUsage] = ()


def make_judge_inputs(items: ItemSet, rubrics: Rubrics, responses: Iterable[Response]) -> Iterator[JudgeInput]:
    """Yield what judges are shown of a judged task's responses; one that the engine never gave is passed over."""
    blanks = {judge_input.item: judge_input for judge_input in blank_judge_inputs(items, rubrics)}
    for response in responses:
        if response.text is not None:
            yield replace(blanks[response.item], sample=response.sample, response=response.text)


def blank_judge_inputs(items: ItemSet, rubrics: Rubrics, samples: int = 1) -> Iterator[JudgeInput]:
    """Yield an exhibit for every sample of every item, its response still empty."""
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
    """Return a judged task's response with the panel's score; unscored, with a judge's reason, where none scored it."""
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
    """Have the panel score a run's exhibits, and write judgements.parquet.

    Raises:
        EngineError: exemplars are wanted, and some could not be had.
    """
    ordered = in_order(list(judge_inputs))
    usages: list[JudgeUsage] = []
    if panel.exemplars:
        anchored = anchor(panel, ordered, rubrics, ledger, progress)
        ordered, usages = anchored.judge_inputs, [anchored.usage]
        if anchored.without:
            progress.message(
                f"{anchored.without} questions have no exemplars that can be read, and are judged without."
            )
    panel_result = panel.judge(ordered, ledger, progress)
    with judgement_writer(folder) as writer:

        def kept() -> Iterator[JudgementRow]:
            for row in judgement_rows(panel, ordered, panel_result):
                writer.add(row)
                yield row

        return JudgingResult(collect(kept()), [*usages, *panel_result.usages])


def compare_with_humans(
    folder: Path,
    record: Mapping[str, Any],
    tasks: Iterable[tuple[ItemSet, Rubrics]],
    ratings: Mapping[str, Ratings],
) -> dict[str, Any]:
    """Return for each judged task what the human labels kept beside a run say of its judges; nothing without labels.

    Args:
        folder: the run's, its tables written.
        record: run.json.
        tasks: the judged tasks' items and rubrics.
        ratings: what the judges said.
    """
    labels = kept_labels(folder)
    if not labels:
        return {}
    fingerprint = record["model"]["fingerprint"]
    names = (record["label"], fingerprint, fingerprint[:8])
    found = {}
    for items, rubrics in tasks:
        name = items.task.name
        if name in ratings:
            own = (response for response in read_responses(folder) if response.task == name)
            titles = {dimension: rubric.title for dimension, rubric in rubrics.items()}
            found[name] = compare(join(labels, items, own, names, titles), ratings[name])
    return found


def warn_of_judges(record: Mapping[str, Any], progress: Progress) -> None:
    """Say before anything is generated what will be said of the judges under every table.

    Args:
        record: run.json.
        display: for the user.
    """
    for judge in record["panel"]["judges"] if record["panel"] else ():
        kin = relation(judge, record["model"])
        if kin is not None:
            progress.message(f"Judge {judge['label']} is {kin} as the model it judges; such judges favour their own.")
        if judge["check"] is None:
            progress.message(f"Judge {judge['label']} was never checked; personaeval judge-check tells if it is sound.")
        elif not judge["check"]["passed"]:
            progress.message(f"Judge {judge['label']} failed the judge check: it {judge['check']['verdict']}")
