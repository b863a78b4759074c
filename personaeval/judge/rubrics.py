"""Rubrics: what a dimension asks, what counts as given, and an anchor for every score. YAML data, as tasks are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from personaeval.documents import read_document
from personaeval.errors import UsageError
from personaeval.library.sources import ItemSet, digest
from personaeval.library.tasks import JudgedScorer

Score = Literal[1, 2, 3, 4, 5]

SCORES: tuple[int, ...] = get_args(Score)


class Rubric(BaseModel):
    """The content of a rubric file; its name is that of the file and of the dimension."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str = Field(min_length=1)
    asks: str = Field(min_length=1, description="The question that the score answers.")
    given: str = Field(min_length=1, description="What counts as stated of the persona, and what does not.")
    anchors: dict[int, str] = Field(description="What each score from 1 to 5 means.")
    notes: tuple[str, ...] = ()

    @field_validator("anchors")
    @classmethod
    def _all_scores(cls, anchors: dict[int, str]) -> dict[int, str]:
        if tuple(sorted(anchors)) != SCORES or not all(text.strip() for text in anchors.values()):
            raise ValueError("must say what each of the scores 1, 2, 3, 4 and 5 means, and nothing else")
        return dict(sorted(anchors.items()))


Rubrics = Mapping[str, Rubric]
"""Dimension -> its rubric, in the order of their names."""


def load_rubrics(folder: Path, dimensions: Iterable[str]) -> dict[str, Rubric]:
    """Read the rubrics of dimensions from a folder, a file each.

    Raises:
        UsageError: a rubric is missing or broken, or is named otherwise than its file.
    """
    found = {}
    for name in sorted(set(dimensions)):
        path = folder / f"{name}.yaml"
        if not path.is_file():
            raise UsageError(f"{path}: no such file; every dimension of the questions needs a rubric of its name.")
        rubric = read_document(path, Rubric)
        if rubric.name != name:
            raise UsageError(f"{path}: its name is {rubric.name!r}; it must be that of the file.")
        found[name] = rubric
    return found


def rubrics_of(items: ItemSet, task_file: Path) -> dict[str, Rubric]:
    """Read the rubrics that a judged task's items need; a task without judges needs none."""
    scorer = items.task.scorer
    if not isinstance(scorer, JudgedScorer):
        return {}
    return load_rubrics(task_file.parent / scorer.rubrics, (item.dimension or "" for item in items.items))


def rubrics_hash(rubrics: Rubrics) -> str:
    """Return 16 digits that identify the wording of all rubrics."""
    return digest([rubric.model_dump(mode="json") for _, rubric in sorted(rubrics.items())])
