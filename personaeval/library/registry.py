"""Finds tasks and persona sets by name: built in, in ``--include`` folders, and from installed packages.

A package offers its own by an entry point in the group ``personaeval.data`` that names a Python package with ``tasks/``
and ``personas/`` folders.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from personaeval.documents import read_document
from personaeval.errors import UsageError, suggest
from personaeval.library import external_personas as imports
from personaeval.library.external_personas import Reading
from personaeval.library.lm_eval import harness_tasks, is_harness
from personaeval.library.personas import BASELINE, Persona, PersonaSet, Selection, paraphrase
from personaeval.library.reasoning_gym import gym_task, is_gym
from personaeval.library.selectors import join_columns
from personaeval.library.tasks import Task, TaskGroup
from personaeval.library.wording import refuse_misfit_personas

ENTRY_POINT_GROUP = "personaeval.data"


def builtin_folder() -> Path:
    """Folder with the built-in ``tasks/`` and ``personas/``: inside a wheel, or the repository's top level."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "data"
    return shipped if shipped.is_dir() else package.parent


class Registry:
    """Tasks and persona sets by name.

    Raises:
        UsageError: an ``--include`` folder is missing, or one name is used twice.
    """

    def __init__(self, include: Sequence[Path] = ()) -> None:
        folders = [builtin_folder(), *_entry_point_folders(), *include]
        for folder in include:
            if not folder.is_dir():
                raise UsageError(f"--include {folder}: no such folder (looked for {folder.absolute()}).")
            if not (folder / "tasks").is_dir() and not (folder / "personas").is_dir():
                raise UsageError(f"--include {folder}: it holds neither a tasks/ nor a personas/ folder.")
        self._tasks = _index(folders, "tasks")
        self._groups = _index(folders, "tasks/groups")
        self._personas = _index(folders, "personas")
        self._sets: dict[Path, PersonaSet] = {}

    def task_files(self) -> dict[str, Path]:
        """Task name -> YAML file, sorted by name."""
        return dict(self._tasks)

    def persona_files(self) -> dict[str, Path]:
        """Persona set name -> YAML file, sorted by name."""
        return dict(self._personas)

    def groups(self) -> dict[str, TaskGroup]:
        """Group name -> group, sorted by name."""
        return {name: read_document(path, TaskGroup) for name, path in self._groups.items()}

    def tasks(self, selector: str) -> list[tuple[Task, Path]]:
        """Tasks of a selector, each with its file.

        A selector is a task's name or YAML file (with variants: all of them), ``NAME-VARIANT``, a group,
        ``reasoning_gym:DATASET`` or ``lm_eval:NAME``.
        """
        if is_gym(selector):
            return [(gym_task(selector), Path())]
        if is_harness(selector):
            return [(task, Path()) for task in harness_tasks(selector)]
        if selector in self._groups:
            group = read_document(self._groups[selector], TaskGroup)
            return [task for name in group.tasks for task in self.tasks(name)]
        stems = [stem for stem in self._tasks if selector.startswith(f"{stem}-")]
        if selector not in self._tasks and stems:
            stem = max(stems, key=len)
            task, path = self.task(stem)
            variant = selector.removeprefix(f"{stem}-")
            if variant in task.variants:
                return [(task.variant(variant), path)]
            if task.variants:
                raise UsageError(f"unknown variant {variant!r} of task {stem!r}.{suggest(variant, task.variants)}")
        task, path = self.task(selector)
        return [(task.variant(name), path) for name in task.variants] or [(task, path)]

    def task(self, name: str) -> tuple[Task, Path]:
        """Task by name or from a YAML file, with its file; variants are not split."""
        if name not in self._tasks and not name.endswith((".yaml", ".yml")):
            known = suggest(name, {**self._tasks, **self._groups})
            raise UsageError(f"unknown task {name!r}.{known} `personaeval tasks list` shows all.")
        path = _named_or_file(name, self._tasks, "task", "personaeval tasks list")
        return read_document(path, Task), path

    def persona_set(self, name: str) -> PersonaSet:
        """Persona set by name or from a YAML file, with all its personas in ``personas``.

        Raises:
            UsageError: two personas have one id or one text, or a set includes itself.
        """
        return self._open_set(name, ())

    def _open_set(self, name: str, opened: tuple[Path, ...]) -> PersonaSet:
        path = _named_or_file(name, self._personas, "persona set", "personaeval personas list")
        if path in opened:
            trail = " -> ".join(place.stem for place in (*opened[opened.index(path) :], path))
            raise UsageError(f"{path}: the persona set includes itself: {trail}.")
        if path not in self._sets:
            document = read_document(path, PersonaSet)
            personas = self._gather(path, document, (*opened, path))
            self._sets[path] = PersonaSet(name=document.name, description=document.description, personas=personas)
        return self._sets[path]

    def _gather(self, path: Path, document: PersonaSet, opened: tuple[Path, ...]) -> tuple[Persona, ...]:
        """Personas that a file includes, crosses, lists and paraphrases."""
        included: dict[str, Persona] = {}
        for selector in document.include:
            for persona in self._pick(selector, opened):
                if included.setdefault(persona.id, persona) != persona:
                    raise UsageError(f"{path}: `include` gives the id {persona.id!r} to two different personas.")
        own = [*included.values(), *document.personas, *(document.cross.expand() if document.cross else ())]
        by_id = {persona.id: persona for persona in own}
        for name, texts in document.paraphrases.items():
            if name not in by_id:
                raise UsageError(f"{path}: `paraphrases` names {name!r}, which the set lacks.{suggest(name, by_id)}")
            own += paraphrase(by_id[name], texts)
        _refuse_repeats(path, own)
        return tuple(own)

    def personas(self, selectors: Iterable[str], reading: Reading | None = None) -> tuple[Persona, ...]:
        """Personas of ``selectors``; see :meth:`select`."""
        return self.select(selectors, reading).personas

    def select(self, selectors: Iterable[str], reading: Reading | None = None) -> Selection:
        """Personas of ``selectors`` without repetition, the baseline first, and a record of their sources.

        A selector is a set's name, a YAML file, ``SET/ID`` for one persona of a set, a data file or folder
        (``FILE[:TEXT[,ID]]``), ``hf:DATASET[:TEXT[,ID]][@SPLIT]``, or ``none``, which adds nobody to the baseline.

        Args:
            selectors: any number; a column of ids may be a part of its own, as after a split at commas.
            reading: the template that the texts must fit, and whether near-duplicates are left out.

        Raises:
            UsageError: unknown names, broken files, texts that the template cannot take, two meanings of one id.
        """
        reading = reading or Reading()
        chosen: dict[str, Persona] = {BASELINE.id: BASELINE}
        origins = []
        for selector in join_columns(selectors, self._is_named):
            found, origin = self._read(selector, reading)
            origins.append(origin)
            for persona in found:
                known = chosen.setdefault(persona.id, persona)
                if known != persona:
                    raise UsageError(
                        f"persona {persona.id!r} has two meanings: {known.text!r} and {persona.text!r}; rename one."
                    )
        return Selection(tuple(chosen.values()), tuple(origins))

    def _is_named(self, selector: str) -> bool:
        """Whether a selector is a set, or looks like one in a file."""
        return selector in self._personas or "/" in selector or selector.endswith((".yaml", ".yml"))

    def _read(self, selector: str, reading: Reading) -> tuple[Sequence[Persona], dict[str, Any]]:
        if selector == BASELINE.id and selector not in self._personas:
            return (), {"selector": selector, "kind": "set", "personas": 0}
        if selector not in self._personas and imports.is_import(selector):
            return imports.read_personas(selector, reading)
        found = self._pick(selector, ())
        refuse_misfit_personas(selector, found, reading.fit)
        return found, {"selector": selector, "kind": "set", "personas": len(found)}

    def _pick(self, selector: str, opened: tuple[Path, ...]) -> Sequence[Persona]:
        set_name, slash, persona_id = selector.rpartition("/")
        if not slash or set_name not in self._personas:
            return self._open_set(selector, opened).personas
        personas = self._open_set(set_name, opened).personas
        found = [persona for persona in personas if persona.id == persona_id]
        if not found:
            known = suggest(persona_id, (persona.id for persona in personas))
            raise UsageError(f"the persona set {set_name!r} has no persona {persona_id!r}.{known}")
        return found


def _entry_point_folders() -> list[Path]:
    folders = []
    for point in entry_points(group=ENTRY_POINT_GROUP):
        module_file = point.load().__file__
        if module_file is not None:
            folders.append(Path(module_file).parent)
    return folders


def _index(folders: Iterable[Path], kind: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted((folder / kind).glob("*.yaml")):
            if path.stem in found:
                raise UsageError(f"two files are named {path.stem!r}: {found[path.stem]} and {path}; rename one.")
            found[path.stem] = path
    return dict(sorted(found.items()))


def _named_or_file(name: str, index: dict[str, Path], what: str, listing: str) -> Path:
    if name in index:
        return index[name]
    if name.endswith((".yaml", ".yml")):
        if Path(name).is_file():
            return Path(name)
        raise UsageError(f"{what} file {name}: no such file.")
    raise UsageError(f"unknown {what} {name!r}.{suggest(name, index)} `{listing}` shows all.")


def _refuse_repeats(path: Path, personas: Iterable[Persona]) -> None:
    ids: set[str] = {BASELINE.id}
    texts: dict[str, str] = {}
    for persona in personas:
        if persona.id in ids:
            raise UsageError(f"{path}: the persona id {persona.id!r} is taken; ids must differ.")
        if persona.text in texts:
            raise UsageError(f"{path}: personas {texts[persona.text]!r} and {persona.id!r} have the same text.")
        ids.add(persona.id)
        texts[persona.text] = persona.id
