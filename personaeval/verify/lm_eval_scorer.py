"""lm-evaluation-harness's own scoring of one completion. Only worker processes import this."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.instance import Instance
from lm_eval.filters import build_filter_ensemble

from personaeval.library.lm_eval import build
from personaeval.library.tasks import HarnessScorer


def score(file: str, settings: str, gold: str, text: str) -> float:
    """The harness's score of a completion, from 0 to 1; may run forever.

    Args:
        file: the task's YAML file.
        settings: the scorer, as JSON.
        gold: the document, as JSON.
        text: the completion.

    Raises:
        ValueError: the metric is not a number from 0 to 1.
    """
    scorer = HarnessScorer.model_validate_json(settings)
    doc = json.loads(gold)
    task = _task(file, settings, _First(doc))
    results = _likelihoods(scorer, text) if scorer.answer_tokens else [_filtered(task, scorer, doc, text)]
    found = task.process_results(doc, results).get(scorer.metric)
    if not isinstance(found, (bool, int, float)) or not 0 <= found <= 1:
        raise ValueError(f"{scorer.metric} of {scorer.task} returned {found!r}, which is not a number from 0 to 1")
    return float(found)


@dataclass(frozen=True)
class _First:
    """The document a task is built with; any will do, so it does not count in the cache of tasks."""

    document: dict[str, Any] = field(compare=False)


@functools.lru_cache(maxsize=32)
def _task(file: str, settings: str, first: _First) -> Any:
    """The harness's task without its data: one document is enough."""
    scorer = HarnessScorer.model_validate_json(settings)

    def data(**_: Any) -> Any:
        split = datasets.Dataset.from_list([first.document])
        return datasets.DatasetDict({"test": split})

    task = build(
        Path(file),
        {
            "custom_dataset": data,
            "process_docs": None,
            "num_fewshot": 0,
            "fewshot_split": None,
            "fewshot_config": None,
            "training_split": None,
            "validation_split": None,
            "test_split": "test",
        },
    )
    # The harness concludes it from the first document of all.
    task.multiple_target = scorer.targets
    return task


def _filtered(task: Any, scorer: HarnessScorer, doc: Any, text: str) -> Any:
    steps = next((one["filter"] for one in task.config.filter_list or () if one["name"] == scorer.filter), None)
    components: list[tuple[str, dict[str, Any] | None]] = [("take_first", None)]
    if steps is not None:
        components = [(step["function"], {k: v for k, v in step.items() if k != "function"} or None) for step in steps]
    instance = Instance(request_type="generate_until", doc=doc, arguments=("", {}), idx=0, resps=[text])
    build_filter_ensemble("own", components).apply([instance])
    return instance.filtered_resps["own"]


def _likelihoods(scorer: HarnessScorer, text: str) -> list[tuple[float, bool]]:
    """A likelihood for every answer token, as the harness expects: the token that was answered is the likeliest."""
    chosen = [token.strip() for token in scorer.answer_tokens].index(text.strip()) if text.strip() else -1
    return [(-1.0 if place == chosen else -1e6, place == chosen) for place in range(len(scorer.answer_tokens))]
