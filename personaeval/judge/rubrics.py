"""Rubrics: a dimension's question, what counts as given, and an anchor for every score. YAML files, like tasks."""

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
    """Content of a rubric file, which is named after its dimension."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str = Field(min_length=1)
    asks: str = Field(min_length=1, description="The question that the score answers.")
    given: str = Field(min_length=1, description="What counts as stated about the persona, and what does not.")
    anchors: dict[int, str] = Field(description="What each score from 1 to 5 means.")
    notes: tuple[str, ...] = ()

    @field_validator("anchors")
    @classmethod
    def _all_scores(cls, anchors: dict[int, str]) -> dict[int, str]:
        if tuple(sorted(anchors)) != SCORES or not all(text.strip() for text in anchors.values()):
            raise ValueError("must say what each of the scores 1, 2, 3, 4 and 5 means, and nothing else")
        return dict(sorted(anchors.items()))


Rubrics = Mapping[str, Rubric]
"""Dimension -> rubric, sorted by name."""


def load_rubrics(folder: Path, dimensions: Iterable[str]) -> dict[str, Rubric]:
    """Read the rubrics of dimensions from a folder, one file each.

    Raises:
        UsageError: a rubric is missing or broken, or its name differs from its file's.
    """
    found = {}
    for name in sorted(set(dimensions)):
        path = folder / f"{name}.yaml"
        if not path.is_file():
            raise UsageError(f"{path}: no such file; every dimension of the questions needs a rubric file of its name.")
        rubric = read_document(path, Rubric)
        if rubric.name != name:
            raise UsageError(f"{path}: its name is {rubric.name!r}, but must be that of the file.")
        found[name] = rubric
    return found


def rubrics_of(items: ItemSet, task_file: Path) -> dict[str, Rubric]:
    """Read the rubrics that a task's items need; none unless judges score it."""
    scorer = items.task.scorer
    if not isinstance(scorer, JudgedScorer):
        return {}
    return load_rubrics(task_file.parent / scorer.rubrics, (item.dimension or "" for item in items.items))


def rubrics_hash(rubrics: Rubrics) -> str:
    """16 hexadecimal digits that identify the text of all rubrics."""
    return digest([rubric.model_dump(mode="json") for _, rubric in sorted(rubrics.items())])
