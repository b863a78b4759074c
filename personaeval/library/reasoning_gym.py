"""Any reasoning-gym dataset as a task: ``reasoning_gym:NAME?PARAMETER=VALUE&…``."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
from collections.abc import Collection, Sequence
from importlib.util import find_spec
from typing import Any

import yaml

from personaeval.errors import UsageError, suggest
from personaeval.library.tasks import Task

PREFIX = "reasoning_gym:"

SIZE = 100

OVERSAMPLING = 20
"""Problems drawn per wanted one: small pools repeat themselves."""


def is_gym(selector: str) -> bool:
    """Whether a task selector names a reasoning-gym dataset."""
    return selector.startswith(PREFIX)


def gym_task(selector: str) -> Task:
    """Task of ``reasoning_gym:NAME?PARAMETER=VALUE&…``; ``size`` and ``seed`` are the source's, the rest the dataset's.

    Raises:
        UsageError: there is no such dataset, or a parameter cannot be read.
    """
    refuse_missing(selector)
    from reasoning_gym.factory import DATASETS

    name, _, given = selector.removeprefix(PREFIX).partition("?")
    if name not in DATASETS:
        raise UsageError(f"{selector}: reasoning-gym has no dataset {name!r}.{suggest(name, DATASETS)}")
    parameters = _read_parameters(selector, given)
    refuse_unknown(selector, name, set(parameters) - {"size", "seed"}, ("size", "seed"))
    size, seed = parameters.pop("size", SIZE), parameters.pop("seed", 0)
    if not isinstance(size, int) or size < 1 or not isinstance(seed, int):
        raise UsageError(f"{selector}: size and seed must be whole numbers, size above 0.")
    title = name.replace("_", " ").capitalize()
    return Task.model_validate(
        {
            "name": f"gym-{name}" + (f"-{hashlib.blake2b(given.encode(), digest_size=3).hexdigest()}" if given else ""),
            "title": title + (f" ({given.replace('&', ', ')})" if given else ""),
            "description": f"The dataset {name} of reasoning-gym, scored by its own scorer.",
            "domain": "reasoning",
            "license": "Apache-2.0",
            "citation": "Stojanovski et al. 2025, Reasoning Gym, arXiv 2505.24760.",
            "source": {
                "kind": "reasoning_gym",
                "size": size,
                "seed": seed,
                "parts": [{"name": name, "parameters": parameters}],
            },
            "item": {
                "prompt": "{{ question }}\n\nGive your final answer between <answer> and </answer>.",
                "gold": "{{ {'index': index, 'answer': answer} | tojson }}",
            },
            "scorer": {
                "kind": "reasoning_gym",
                "dataset": name,
                "seed": seed,
                "size": size * OVERSAMPLING,
                "parameters": parameters,
                "patterns": [r"(?s)<answer>(.{0,4000}?)</answer>"],
            },
            "sampling": {"temperature": 0, "max_tokens": 8192},
        }
    )


def refuse_missing(named: str) -> None:
    """Refuse a task that needs reasoning-gym where it is not installed."""
    if find_spec("reasoning_gym") is None:
        raise UsageError(f"{named}: reasoning-gym is not installed; pip install 'personaeval[reasoning-gym]'.")


def refuse_unknown(named: str, dataset: str, parameters: Collection[str], others: Sequence[str] = ()) -> None:
    """Refuse parameters that a dataset does not have.

    Args:
        named: the selector or task, for messages.
        dataset: of reasoning-gym.
        parameters: their names.
        others: names that the selector takes besides the dataset's own.

    Raises:
        UsageError: names the parameter and those that there are.
    """
    from reasoning_gym.factory import DATASETS

    _, configuration = DATASETS[dataset]
    own = [field.name for field in dataclasses.fields(configuration) if field.name not in ("size", "seed")]
    known = [*own, *others]
    for name in parameters:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise UsageError(f"{named}: {dataset} has no parameter {name!r}.{hint} Its parameters: {', '.join(known)}.")


def _read_parameters(selector: str, given: str) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for part in filter(None, given.split("&")):
        key, equals, value = part.partition("=")
        if not equals or key in parameters:
            raise UsageError(f"{selector}: {part!r} is not PARAMETER=VALUE, or repeats a parameter.")
        try:
            parameters[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"{selector}: the value of {key} cannot be read.") from error
    return parameters
