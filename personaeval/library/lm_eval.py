"""Any task of lm-evaluation-harness: ``lm_eval:NAME?num_fewshot=5&metric=…&filter=…``.

Prompts, few-shot examples, filters and metrics are the harness's; personas, engines, ledger and statistics are ours.
Tasks that do not fit are refused with the reason. NAME is a task, a group or a tag of the harness, or a YAML file in
its format.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import re
import sys
from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from personaeval.errors import UsageError, first_line, suggest
from personaeval.library.tasks import HarnessScorer, HarnessSource, Item, Task

PREFIX = "lm_eval:"

_FEWSHOT_SEED = 1234
"""The default of the harness's command."""

_SCORING = ("output_type", "doc_to_target", "doc_to_choice", "filter_list", "metric_list", "process_results")

_NEW_TOKENS = 256
"""The harness's limit for tasks that set none."""


def is_harness(selector: str) -> bool:
    """Whether a task selector names tasks of lm-evaluation-harness."""
    return selector.startswith(PREFIX)


def harness_tasks(selector: str) -> list[Task]:
    """Tasks of ``lm_eval:NAME?OPTION=VALUE&…``, before their data is read.

    Raises:
        UsageError: the harness is not installed, has no such task, or an option cannot be read.
    """
    if find_spec("lm_eval") is None:
        raise UsageError(f"{selector}: lm-evaluation-harness is not installed; pip install 'personaeval[lm-eval]'.")
    name, _, given = selector.removeprefix(PREFIX).partition("?")
    query = _read_query(selector, given)
    return [_task(member, query, given) for member in _members(name, selector)]


def _task(name: str, query: Mapping[str, Any], given: str) -> Task:
    stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    own = re.sub(r"[^a-z0-9_.-]", "-", f"lm_eval-{stem.lower()}")
    return Task.model_validate(
        {
            "name": own + (f"-{hashlib.blake2b(given.encode(), digest_size=3).hexdigest()}" if given else ""),
            "title": f"lm-eval {stem}" + (f" ({given.replace('&', ', ')})" if given else ""),
            "description": f"The task {stem} of lm-evaluation-harness: its prompts, its filters, its scores.",
            "domain": "general",
            "license": "that of its dataset",
            "citation": "that of its dataset; the harness: Gao et al., doi:10.5281/zenodo.10256836.",
            "source": {"kind": "lm_eval", "task": name, "num_fewshot": query.get("num_fewshot")},
            "item": {"prompt": "{{ prompt }}", "gold": "{{ doc }}"},
            "scorer": {"kind": "lm_eval", "task": name, **{k: v for k, v in query.items() if k != "num_fewshot"}},
        }
    )


def _read_query(selector: str, given: str) -> dict[str, Any]:
    query: dict[str, Any] = {}
    for part in filter(None, given.split("&")):
        key, equals, value = part.partition("=")
        if not equals or key in query or key not in ("num_fewshot", "metric", "filter"):
            raise UsageError(f"{selector}: {part!r} is not num_fewshot=N, metric=NAME or filter=NAME, or is repeated.")
        if key == "num_fewshot" and not value.isdecimal():
            raise UsageError(f"{selector}: num_fewshot must be a whole number.")
        query[key] = int(value) if key == "num_fewshot" else value
    return query


@functools.lru_cache(maxsize=1)
def _index() -> dict[str, Any]:
    """The harness's index of names; reading its thousands of files takes seconds."""
    from lm_eval.tasks import TaskManager

    index: dict[str, Any] = TaskManager().task_index
    return index


def _members(name: str, selector: str) -> list[str]:
    """Names of the tasks in a task, group or tag."""
    if name.endswith((".yaml", ".yml")):
        return [name]
    if name not in _index():
        raise UsageError(f"{selector}: lm-evaluation-harness has no task {name!r}.{suggest(name, _index())}")
    entry = _index()[name]
    if entry.kind.name == "TAG":
        return sorted(entry.tags)
    if entry.kind.name == "TASK":
        return [name]
    if entry.kind.name == "GROUP":
        return [found for member in _listed(entry.cfg.get("task", [])) for found in _members(member, selector)]
    raise UsageError(f"{selector}: {name} is written in Python; only tasks that are YAML files can be run.")


def _listed(member: Any) -> list[str]:
    match member:
        case str():
            return [member]
        case list():
            return [name for one in member for name in _listed(one)]
        case {"task": inner, "group": str()} | {"task": str() | list() as inner}:
            return _listed(inner)
        case {"group": str(inner)}:
            return [inner]
    raise UsageError(f"lm-evaluation-harness: {member!r} in a group cannot be read; name its tasks instead.")


def config_file(name: str) -> Path:
    """YAML file of a task.

    Raises:
        UsageError: there is none.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
    else:
        entry = _index().get(name)
        path = Path(entry.yaml_path) if entry is not None and entry.yaml_path else Path(name)
    if not path.is_file():
        raise UsageError(f"lm_eval:{name}: {path} is not a file.")
    return path.resolve()


def build(file: Path, overrides: Mapping[str, Any]) -> Any:
    """The harness's task object with its data.

    Args:
        file: its YAML file.
        overrides: entries of its configuration.
    """
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    # Tasks may print, but our standard output is read by programs.
    with contextlib.redirect_stdout(sys.stderr):
        return _build(ConfigurableTask, {**load_yaml(file, resolve_func=True), **overrides})


def _build(configurable: Any, content: dict[str, Any]) -> Any:
    for structural in ("tag", "group", "task_list"):
        content.pop(structural, None)
    if "class" in content:
        raise UsageError(f"lm_eval:{content.get('task')}: it is written in Python; only YAML tasks can be run.")
    metadata = content.get("metadata")
    content["metadata"] = metadata if isinstance(metadata, dict) else {"version": metadata}
    return configurable(config=content)


def load_harness(task: Task, data: Path | None) -> tuple[Task, list[Item], dict[str, Any]]:
    """The task completed from its data, its items, and the record of what was read.

    An item's gold answer is the harness's document as JSON: all that scoring needs.

    Args:
        task: of :func:`harness_tasks`.
        data: a local file with the dataset's columns that replaces it.

    Raises:
        UsageError: the data cannot be read, or the task cannot be run here; the reason is named.
    """
    source, scorer = task.source, task.scorer
    assert isinstance(source, HarnessSource), "this task is the harness's"
    assert isinstance(scorer, HarnessScorer), "this task is the harness's"
    named = f"lm_eval:{source.task}"
    overrides, origin = _overrides(source, data, named)
    try:
        found = build(config_file(source.task), overrides)
        found.set_fewshot_seed(_FEWSHOT_SEED)
        docs = list(found.eval_docs)
    except UsageError:
        raise
    except Exception as error:
        # Datasets, templates and functions of thousands of tasks can raise anything.
        raise UsageError(
            f"{named}: cannot be loaded ({type(error).__name__}: {first_line(error)}). Without network, "
            f"pass a local copy of its data: --data {task.name}=FILE.jsonl"
        ) from error
    _refuse(found, named)
    prompts, system = _prompts(found, docs, named)
    items = [
        Item(str(number), prompt, _as_json(doc, named))
        for number, (prompt, doc) in enumerate(zip(prompts, docs, strict=True))
    ]
    answers = _answer_tokens(found, docs, named) if found.OUTPUT_TYPE == "multiple_choice" else ()
    ready = scorer.model_copy(
        update={
            "metric": _metric(found, scorer.metric, named),
            "filter": _filter(found, scorer.filter, named),
            "answer_tokens": answers,
            "targets": int(found.multiple_target),
            "revision": _scoring_hash(found),
        }
    )
    refined = {
        "scorer": ready,
        "sampling": _sampling(task, found, answers),
        "item": task.item.model_copy(update={"system": system}),
        "chance": 1 / len(answers) if answers else None,
    }
    origin |= {"lm_eval": version("lm-eval"), "version": str(found.VERSION)}
    return task.model_copy(update=refined), items, origin | _revision(found)


def _overrides(source: HarnessSource, data: Path | None, named: str) -> tuple[dict[str, Any], dict[str, Any]]:
    overrides: dict[str, Any] = {} if source.num_fewshot is None else {"num_fewshot": source.num_fewshot}
    if data is None:
        return overrides, {"kind": "lm_eval", "task": source.task}
    import datasets
    from lm_eval.tasks._yaml_loader import load_yaml

    from personaeval.library.data_files import read_file

    config = load_yaml(config_file(source.task), resolve_func=False)
    shots = source.num_fewshot if source.num_fewshot is not None else config.get("num_fewshot") or 0
    if shots:
        raise UsageError(f"{named}: --data holds no examples for {shots} shots; ask without: {named}?num_fewshot=0.")
    rows, origin, _ = read_file(data)
    splits = [config[key] for key in ("test_split", "validation_split") if config.get(key)]
    overrides |= {
        "num_fewshot": 0,
        "fewshot_split": None,
        "fewshot_config": None,
        "training_split": None,
        "custom_dataset": lambda **_: datasets.DatasetDict(
            {split: datasets.Dataset.from_list([dict(row) for row in rows]) for split in splits}
        ),
    }
    return overrides, {**origin, "kind": "lm_eval", "task": source.task}


def _refuse(found: Any, named: str) -> None:
    """Refuse tasks that need more than one prompt and one answer."""
    reasons = {
        f"its answers are of kind {found.OUTPUT_TYPE}; generate_until and multiple_choice can be run": (
            found.OUTPUT_TYPE not in ("generate_until", "multiple_choice")
        ),
        "it needs images or sound": getattr(found, "MULTIMODAL", False),
        "it runs code that a model wrote": getattr(found, "UNSAFE_CODE", False),
        "its choices are whole prompts": bool(found.multiple_input),
        "it begins the model's answer itself (gen_prefix)": bool(found.config.gen_prefix),
    }
    for reason, holds in reasons.items():
        if holds:
            raise UsageError(f"{named}: it cannot be run here: {reason}.")


def _prompts(found: Any, docs: list[Any], named: str) -> tuple[list[str], str | None]:
    """User turn of every document, and the harness's system text, which must be the same for all."""
    shots = found.config.num_fewshot or 0
    prompts, systems = [], set()

    def capture(messages: list[dict[str, str]], **_: Any) -> str:
        return json.dumps(messages)

    for doc in docs:
        text = found.fewshot_context(doc, shots, apply_chat_template=True, chat_template=capture)
        messages = json.loads(text)
        prompts.append(messages[-1]["content"])
        systems.add(messages[0]["content"] if len(messages) > 1 else None)
    if len(systems) > 1:
        raise UsageError(f"{named}: it cannot be run here: its description differs from item to item.")
    return prompts, systems.pop() if systems else None


def _as_json(doc: Any, named: str) -> str:
    try:
        return json.dumps(doc, ensure_ascii=False, sort_keys=True)
    except TypeError as error:
        raise UsageError(
            f"{named}: it cannot be run here: its data is more than text and numbers ({error})."
        ) from error


def _answer_tokens(found: Any, docs: list[Any], named: str) -> tuple[str, ...]:
    choices = {tuple(found.doc_to_choice(doc)) for doc in docs}
    if len(choices) != 1:
        raise UsageError(
            f"{named}: it cannot be run here: its choices differ from item to item. One prompt gives the likeliest of "
            "single tokens such as A to D, not of whole texts."
        )
    [answers] = choices
    return tuple(str(answer) for answer in answers)


def _metric(found: Any, wanted: str | None, named: str) -> str:
    known = list(found.higher_is_better())
    if wanted is not None and wanted not in known:
        raise UsageError(f"{named}: it has no metric {wanted!r}.{suggest(wanted, known)}")
    metric = wanted or known[0]
    if found.OUTPUT_TYPE == "multiple_choice" and metric not in ("acc", "acc_norm", "acc_bytes"):
        raise UsageError(f"{named}: {metric} needs the likelihoods of all choices; acc does not.")
    if not found.higher_is_better()[metric]:
        others = ", ".join(name for name in known if name != metric)
        raise UsageError(f"{named}: lower is better in {metric}; choose another with ?metric=NAME ({others}).")
    return str(metric)


def _filter(found: Any, wanted: str | None, named: str) -> str | None:
    known = [one["name"] for one in found.config.filter_list or ()]
    if wanted is not None and wanted not in known:
        raise UsageError(f"{named}: it has no filter {wanted!r}.{suggest(wanted, known)}")
    return wanted or (known[0] if known else None)


def _scoring_hash(found: Any) -> str:
    """Hash of the scoring configuration: answers are scored again after any change of it."""
    content = found.dump_config()
    scoring = [version("lm-eval"), *(content.get(key) for key in _SCORING)]
    return hashlib.blake2b(json.dumps(scoring, default=str).encode(), digest_size=8).hexdigest()


def _sampling(task: Task, found: Any, answers: tuple[str, ...]) -> Any:
    if answers:
        return task.sampling.model_copy(update={"max_tokens": 1})
    own = found.config.generation_kwargs or {}
    until = own.get("until") or []
    sampled = own.get("do_sample", False)
    return task.sampling.model_copy(
        update={
            "temperature": float(own.get("temperature", 1.0)) if sampled else 0.0,
            "top_p": float(own.get("top_p", 1.0)) if sampled else 1.0,
            "max_tokens": next(
                (int(own[key]) for key in ("max_gen_toks", "max_new_tokens", "max_tokens") if key in own), _NEW_TOKENS
            ),
            "stop": tuple(text for text in ([until] if isinstance(until, str) else until) if text),
        }
    )


def _revision(found: Any) -> dict[str, Any]:
    from personaeval.library.data_files import hub_revision

    if callable(found.config.custom_dataset):
        return {}
    dataset = found.eval_docs
    return {
        "dataset": found.DATASET_PATH,
        "config": found.DATASET_NAME,
        "revision": hub_revision(dataset, str(found.DATASET_PATH)) if hasattr(dataset, "info") else None,
    }
