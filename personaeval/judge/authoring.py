"""New fidelity questions for any personas, written by any model: settings first, then a question in each.

The result is a folder for ``--data personagym=FOLDER``; ``origin.json`` records the generator. The model's replies are
kept in a ledger beside it, so the same command resumes after an interruption.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import field_validator

from personaeval.config import ModelOptions
from personaeval.environment import versions
from personaeval.errors import EngineError, InvalidRunError, UsageError
from personaeval.generation.sameness import check_sameness, open_known_model
from personaeval.generation.structured_query import StructuredQuery
from personaeval.generation.structured_reply import AskedLength, StructuredReply, UnreadableError
from personaeval.judge.rubrics import Rubric, load_rubrics, rubrics_hash
from personaeval.judge.validation import controls_folder
from personaeval.library.personas import Persona
from personaeval.models.checkpoints import parse_model
from personaeval.models.model import EndpointModel, Model
from personaeval.models.suitability import opens_thinking
from personaeval.progress import Progress
from personaeval.results.files import write_json, write_text
from personaeval.results.ledger import LEDGER, Ledger, Stored
from personaeval.results.lock import run_lock
from personaeval.types import Sampling

VERSION = 1
"""Version of the prompts below, for ``origin.json``."""

_SAMPLING = Sampling(temperature=0.8, top_p=0.95, max_tokens=1024)

_ALIKE = 0.7
"""Two questions to one persona are near-duplicates if they share at least this part of their words."""

_REMINDER = "\n\nYour last reply could not be read. Write one JSON object with this key and nothing else."

_WORD = re.compile(r"\w+")


T = TypeVar("T")

R = TypeVar("R", bound=StructuredReply)


class SettingList(StructuredReply):
    """Places and occasions in which a persona could be met."""

    settings: list[Annotated[str, AskedLength(80)]]

    @field_validator("settings", mode="before")
    @classmethod
    def _distinct_texts(cls, value: object) -> list[str]:
        given = value if isinstance(value, list) else []
        texts = (" ".join(one.split()) for one in given if isinstance(one, str))
        return list(dict.fromkeys(text for text in texts if text))


class AuthoredQuestion(StructuredReply):
    """One question to a persona."""

    question: Annotated[str, AskedLength(800)]

    @field_validator("question", mode="before")
    @classmethod
    def _asks_something(cls, value: object) -> str:
        question = " ".join(value.split()) if isinstance(value, str) else ""
        if len(question) < 20 or "?" not in question:
            raise UnreadableError("the reply holds no question")
        return question


@dataclass(frozen=True)
class Authored:
    """Number of questions kept, of near-duplicates dropped, and of questions never written."""

    questions: int
    duplicates: int
    missing: int


def write_questions(
    generator: str,
    options: ModelOptions,
    personas: Sequence[Persona],
    questions_per_dimension: int,
    folder: Path,
    progress: Progress,
    seed: int = 0,
) -> Authored:
    """Write questions for personas into a folder.

    Args:
        generator: the model that writes them, ``engine:NAME[@URL]``.
        options: how its engine is opened.
        personas: who the questions are for.
        questions_per_dimension: questions of each persona for each dimension.
        folder: output folder.
        progress: shows what is done.
        seed: another seed gives other questions.

    Raises:
        UsageError: there is no persona, or the generator cannot be found.
        EngineError: the engine failed; replies are kept, and the same command resumes.
        InvalidRunError: no question could be read.
    """
    personas = [persona for persona in personas if not persona.is_baseline]
    if not personas:
        raise UsageError("--personas: names nobody to write questions for; the baseline gets none.")
    rubrics_folder = controls_folder() / "rubrics"
    rubrics = load_rubrics(rubrics_folder, [path.stem for path in rubrics_folder.glob("*.yaml")])
    model = open_known_model(parse_model(generator), options, folder)
    if isinstance(model, EndpointModel):
        model.negotiate([replace(_SAMPLING, schema=SettingList.schema_text())], has_system=False, say=progress.message)
    with run_lock(folder), Ledger(folder / LEDGER) as ledger:
        author = _Author(model, seed, ledger, progress)
        settings = author.write_settings(personas, questions_per_dimension)
        wanted = [
            (persona, rubric, settings[persona.id][number])
            for persona in personas
            for rubric in rubrics.values()
            for number in range(min(questions_per_dimension, len(settings.get(persona.id, ()))))
        ]
        written = author.write_questions(wanted)
        rows, duplicates = _distinct(wanted, written)
        if not rows:
            raise InvalidRunError(
                f"{model.spec.short_name}: none of its replies holds a readable question, so nothing is written. "
                "Choose a model that follows instructions."
            )
        _write(folder, personas, rows)
        origin = {
            "generator": model.record(),
            "sampling": _SAMPLING.record(),
            "wording": VERSION,
            "rubrics": rubrics_hash(rubrics),
            "per_task": questions_per_dimension,
            "versions": versions(),
        }
        write_json(folder / "origin.json", origin)
    missing = len(personas) * len(rubrics) * questions_per_dimension - len(rows) - duplicates
    return Authored(len(rows), duplicates, missing)


class _Author:
    """Asks one model for settings and questions."""

    def __init__(self, model: Model, seed: int, ledger: Ledger, progress: Progress) -> None:
        self._model = model
        self._opened = opens_thinking(model)
        self._ledger = ledger
        self._progress = progress
        self._seed = seed

    def write_settings(self, personas: Sequence[Persona], count: int) -> dict[str, list[str]]:
        """Persona id -> ``count`` settings; personas whose reply could not be read are left out."""

        def text(number: int, again: bool) -> str:
            return (
                f"A person is described so: {personas[number].text}.\n\nName {count} different places or occasions in "
                "which this person could be met, some of them usual for this person and some far from it. Each is two "
                f'to six words. Reply with one JSON object whose key "settings" holds a list of {count} texts.'
            ) + (_REMINDER if again else "")

        def read(stored: Stored) -> list[str]:
            settings = self._read(SettingList, stored).settings
            if len(settings) < count:
                raise UnreadableError(f"the reply names {len(settings)} settings, not {count}")
            return settings[:count]

        replies = self._ask("settings", SettingList, len(personas), text, read)
        return {persona.id: found for persona, found in zip(personas, replies, strict=True) if found is not None}

    def write_questions(self, wanted: Sequence[tuple[Persona, Rubric, str]]) -> list[str | None]:
        """A question for each (persona, rubric, setting); None if no reply could be read."""

        def text(number: int, again: bool) -> str:
            persona, rubric, setting = wanted[number]
            return (
                f"A person is described so: {persona.text}.\n\nWrite one question to this person, saying you, "
                f"set in: {setting}. Its answer will be scored for one quality: {rubric.title}. {rubric.asks.strip()} "
                "Make it hard: say what is happening, put the person on the spot, and let the answer depend on who the "
                "person is, without naming what they are. Two to four sentences that end in a question. Reply with "
                'one JSON object whose key "question" holds the text.'
            ) + (_REMINDER if again else "")

        def read(stored: Stored) -> str:
            return self._read(AuthoredQuestion, stored).question

        return self._ask("question", AuthoredQuestion, len(wanted), text, read)

    def _ask(
        self,
        title: str,
        form: type[StructuredReply],
        count: int,
        text: Callable[[int, bool], str],
        read: Callable[[Stored], T],
    ) -> list[T | None]:
        sampling = replace(_SAMPLING, schema=form.schema_text())
        if isinstance(self._model, EndpointModel) and self._model.dialect.refused_temperature is not None:
            sampling = replace(sampling, temperature=None)
        identity = {**self._model.identity(), "seed": self._seed}
        query = StructuredQuery(self._model, identity, sampling, count, text, read, self._ledger, seed=self._seed)
        check_sameness(self._model, self._ledger, self._progress, is_reused=query.reused)
        failure = query.ask(self._progress, f"writing {title}")
        if failure is not None:
            raise EngineError(f"{failure} The same command resumes from there.")
        return [parsed.reply for parsed in query.replies(range(count))]

    def _read(self, form: type[R], stored: Stored) -> R:
        answer, _ = self._model.thinking.split(stored.text, self._opened and stored.reasoning is None)
        return form.read(answer or "")


def _distinct(
    wanted: Sequence[tuple[Persona, Rubric, str]], written: Sequence[str | None]
) -> tuple[list[dict[str, str]], int]:
    """Rows of the questions that differ from all before them, and the number of near-duplicates."""
    rows: list[dict[str, str]] = []
    seen: dict[str, list[set[str]]] = {}
    counts: dict[tuple[str, str], int] = {}
    duplicates = 0
    for (persona, rubric, setting), question in zip(wanted, written, strict=True):
        if question is None:
            continue
        words = set(_WORD.findall(question.lower()))
        before = seen.setdefault(persona.id, [])
        if any(len(words & others) >= _ALIKE * len(words | others) for others in before):
            duplicates += 1
            continue
        before.append(words)
        number = counts[persona.id, rubric.name] = counts.get((persona.id, rubric.name), 0) + 1
        rows.append(
            {
                "id": f"{persona.id}/{rubric.name}/{number}",
                "persona": persona.id,
                "dimension": rubric.name,
                "environment": setting,
                "question": question,
            }
        )
    return rows, duplicates


def _write(folder: Path, personas: Sequence[Persona], rows: Sequence[Mapping[str, str]]) -> None:
    own = {row["persona"] for row in rows}
    content = {
        "name": "questions",
        "description": "Personas of generated fidelity questions; origin.json says who wrote those.",
        "personas": [
            persona.model_dump(mode="json", exclude_defaults=True) for persona in personas if persona.id in own
        ],
    }
    write_text(folder / "personas.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10_000))
    write_text(folder / "questions.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
