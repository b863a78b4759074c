"""The judged tasks of a run: their responses go before the panel, and what it says becomes judgements.parquet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from personaeval.judge.judgements import JudgementRow, Ratings, collect, judgement_rows, judgement_writer
from personaeval.judge.panel import Bench, Panel, in_order
from personaeval.judge.prompts import preamble
from personaeval.judge.rubrics import Rubrics
from personaeval.judge.sheet import Exhibit
from personaeval.ledger import Ledger
from personaeval.progress import Display
from personaeval.results import Response
from personaeval.sources import ItemSet
from personaeval.verify import Status


@dataclass(frozen=True)
class Hearing:
    """What came of a run's judged tasks: the ratings of each, and each judge's part in this command."""

    ratings: Mapping[str, Ratings] = field(default_factory=dict)
    benches: Sequence[Bench] = ()


def exhibits_of(items: ItemSet, rubrics: Rubrics, responses: Iterable[Response]) -> Iterator[Exhibit]:
    """Yield what judges are shown of a judged task's responses; one that the engine never gave is passed over."""
    questions = {item.id: item for item in items.items}
    personas = {persona.id: persona.text for persona in items.personas}
    leads = {name: preamble(rubric) for name, rubric in rubrics.items()}
    for response in responses:
        if response.text is None:
            continue
        item = questions[response.item]
        dimension = item.dimension or ""
        yield Exhibit(
            lead=leads[dimension],
            task=response.task,
            item=response.item,
            persona_id=response.persona,
            sample=response.sample,
            dimension=dimension,
            persona=personas[response.persona],
            question=item.prompt,
            response=response.text,
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


def judge_run(panel: Panel, exhibits: Iterable[Exhibit], folder: Path, ledger: Ledger, display: Display) -> Hearing:
    """Have the panel score a run's exhibits, and write judgements.parquet."""
    ordered = in_order(list(exhibits))
    sitting = panel.judge(ordered, ledger, display)
    with judgement_writer(folder) as writer:

        def kept() -> Iterator[JudgementRow]:
            for row in judgement_rows(panel, ordered, sitting):
                writer.add(row)
                yield row

        return Hearing(collect(kept()), sitting.benches)
