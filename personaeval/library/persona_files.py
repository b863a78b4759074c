"""Rows of persona files in every form that people have them: tables, lists, objects, cards, folders, hub datasets.

::

    source = read_source(Path("people.csv"), split=None, wanted=("bio",))
    source.rows, source.origin, source.named
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from personaeval.errors import UsageError, first_line, suggest
from personaeval.library.data_files import hub_revision, without_hub_bars
from personaeval.library.items import Row
from personaeval.library.persona_columns import KNOWN, MESSAGES, PROMPT, TEXT, plain_name
from personaeval.library.persona_json import rows_of_json
from personaeval.library.personas import PersonaSet
from personaeval.library.text_files import decode, kind_of, read_bytes, read_csv

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".yaml", ".yml", ".parquet", ".arrow")

_IN_FOLDERS = tuple(kind for kind in SUFFIXES if kind not in (".yaml", ".yml", ".txt"))
"""A folder's README and settings hold no personas."""

_DEFAULT_SPLIT = "train"


@dataclass(frozen=True, slots=True)
class Source:
    """Rows, the record of where they come from, and the name for messages.

    ``is_lenient``: rows without a text are left out, since a user cannot mend them.
    """

    rows: list[Row]
    origin: dict[str, Any]
    named: str
    is_lenient: bool = False


def read_source(path: Path, split: str | None, wanted: Collection[str]) -> Source:
    """Rows of a file or a folder.

    Args:
        path: a file of one of :data:`SUFFIXES`, or a folder of such files or of ``save_to_disk``.
        split: of a folder with several.
        wanted: columns that the user named, besides the known ones.

    Raises:
        UsageError: it cannot be read; says what was found and what is wanted.
    """
    if path.is_dir():
        return _read_folder(path, split, wanted)
    if not path.is_file():
        raise UsageError(f"persona file {path}: no such file (looked for {path.absolute()}).")
    if split is not None:
        raise UsageError(f"persona file {path}: only folders and hub datasets have splits; leave out @{split}.")
    rows = _read_file(path, wanted)
    return Source(rows, {"kind": "file", "file": path.name, "sha256": _sha256([path])}, str(path))


def read_hub(name: str, split: str | None, column: str | None, wanted: Collection[str]) -> Source:
    """Known and wanted columns of a dataset of the Hugging Face hub.

    If the dataset has no default configuration, the one named like the column is read, as in PersonaHub.

    Raises:
        UsageError: it cannot be loaded, or has no such split.
    """
    import datasets

    named = f"hub dataset {name}"
    config = None
    try:
        with without_hub_bars():
            try:
                loaded = datasets.load_dataset(name)
            except ValueError as error:
                if "config" not in str(error).lower():
                    raise
                config = column or "persona"
                loaded = datasets.load_dataset(name, config)
    except Exception as error:
        # The library raises a dozen unrelated types for "not there", "no network" and "no such split".
        raise UsageError(
            f"{named}: cannot be loaded ({first_line(error)}). Without network, pass a local copy: "
            "--personas FILE.jsonl"
        ) from error
    dataset, chosen = _choose_split(loaded, split, named)
    origin = {
        "kind": "hub",
        "dataset": name,
        "config": config,
        **({"split": chosen} if chosen != _DEFAULT_SPLIT else {}),
        "revision": hub_revision(dataset, name),
        "data_fingerprint": dataset._fingerprint,
    }
    return Source(_rows_of_dataset(dataset, wanted, named), origin, named, is_lenient=True)


def useful(columns: Iterable[str], wanted: Collection[str], named: str) -> list[str]:
    """The columns to read of a large table: those named by the user and the known ones; all if it has none of them.

    Raises:
        UsageError: it lacks one that the user named.
    """
    columns = list(columns)
    absent = [name for name in wanted if plain_name(name) not in map(plain_name, columns)]
    if absent:
        raise UsageError(f"{named}: it has no column {absent[0]!r}.{suggest(absent[0], columns)}")
    known = {plain_name(name) for _, names, _ in KNOWN for name in names} | {plain_name(name) for name in wanted}
    found = [name for name in columns if plain_name(name) in known]
    makes_personas = {plain_name(name) for names in (TEXT, PROMPT, MESSAGES, wanted) for name in names}
    return found if any(plain_name(name) in makes_personas for name in found) else columns


def _read_file(path: Path, wanted: Collection[str]) -> list[Row]:
    kind = kind_of(path)
    if kind not in SUFFIXES:
        raise UsageError(f"persona file {path}: its ending must be one of {', '.join(SUFFIXES)}, or one of them + .gz.")
    if kind == ".parquet":
        return _parquet(path, wanted)
    if kind == ".arrow":
        return _arrow(path, wanted)
    text = decode(read_bytes(path), path)
    if kind in (".csv", ".tsv"):
        return read_csv(text, path)
    if kind == ".txt":
        return [{"text": line.strip()} for line in text.split("\n") if line.strip()]
    if kind == ".json":
        try:
            return rows_of_json(json.loads(text), str(path))
        except (ValueError, RecursionError) as error:
            rows = _as_lines(text, path)
            if rows is None:
                raise UsageError(f"{path}: broken JSON ({error}).") from error
            return rows
    if kind in _YAML:
        return rows_of_json(_yaml(text), str(path))
    return _jsonl(text, path)


def is_data(path: Path) -> bool:
    """Whether a YAML file holds personas as data, and not a persona set: a list, or an object with none of its keys."""
    if kind_of(path) not in _YAML or not path.is_file():
        return False
    try:
        content = _yaml(decode(read_bytes(path), path))
    except (UsageError, yaml.YAMLError):
        return False
    keys = set(content) if isinstance(content, dict) else set()
    return isinstance(content, list) or (bool(keys) and not keys & set(PersonaSet.model_fields))


def _yaml(text: str) -> Any:
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506


_YAML = (".yaml", ".yml")


def _as_lines(text: str, path: Path) -> list[Row] | None:
    """The rows of a .json file that holds an object a line; None if it does not."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2 or not all(line.lstrip().startswith("{") and line.rstrip().endswith("}") for line in lines):
        return None
    return _jsonl(text, path)


def _jsonl(text: str, path: Path) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, row {len(rows) + 1}" + (f" (line {number})" if number != len(rows) + 1 else "")
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{where}: broken JSON ({error}).") from error
        rows += rows_of_json([value], where)
    return rows


def _parquet(path: Path, wanted: Collection[str]) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = useful(pq.read_schema(path).names, wanted, str(path))
        rows: list[Row] = pq.read_table(path, columns=columns).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path}: not a readable Parquet file ({error}).") from error
    return rows


def _arrow(path: Path, wanted: Collection[str]) -> list[Row]:
    import datasets

    try:
        dataset = datasets.Dataset.from_file(str(path))
    except Exception as error:
        # pyarrow's and the library's own errors share no type.
        raise UsageError(f"{path}: not a readable Arrow file ({first_line(error)}).") from error
    return _rows_of_dataset(dataset, wanted, str(path))


def _rows_of_dataset(dataset: Any, wanted: Collection[str], named: str) -> list[Row]:
    return list(dataset.select_columns(useful(dataset.column_names, wanted, named)))


def _choose_split(loaded: Any, split: str | None, named: str) -> tuple[Any, str]:
    """A dataset and the name of its split: the wanted one, else ``train``, else the only one."""
    splits = {str(name): dataset for name, dataset in loaded.items()}
    chosen = split or (_DEFAULT_SPLIT if _DEFAULT_SPLIT in splits else next(iter(splits)) if len(splits) == 1 else None)
    if chosen is None:
        raise UsageError(f"{named}: it has the splits {', '.join(splits)}; name one: …@{next(iter(splits), 'SPLIT')}")
    if chosen not in splits:
        raise UsageError(f"{named}: it has no split {chosen!r}.{suggest(chosen, splits)}")
    return splits[chosen], chosen


def _read_folder(folder: Path, split: str | None, wanted: Collection[str]) -> Source:
    named = str(folder)
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return _saved_dataset(folder, split, wanted)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and kind_of(path) in _IN_FOLDERS)
    parquet = [path for path in files if kind_of(path) in (".parquet", ".arrow")]
    files = _of_split(parquet or files, folder, split, named)
    if not files:
        held = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise UsageError(
            f"persona folder {folder}: it holds {held}; wanted are Parquet, JSON, JSONL or CSV files, or what "
            "datasets' save_to_disk writes."
        )
    rows = [row for path in files for row in _read_file(path, wanted)]
    origin = {"kind": "folder", "folder": folder.name, "files": len(files), "sha256": _sha256(files)}
    return Source(rows, origin, named)


def _of_split(files: Sequence[Path], folder: Path, split: str | None, named: str) -> list[Path]:
    """Files of the wanted split, whose name stands at the beginning of the file's or its folder's name."""

    def split_of(path: Path) -> str | None:
        parts = path.relative_to(folder).parts
        return next((name for name in _SPLITS if any(_begins(part, name) for part in parts)), None)

    by_split: dict[str | None, list[Path]] = {}
    for path in files:
        by_split.setdefault(split_of(path), []).append(path)
    named_splits = {name: paths for name, paths in by_split.items() if name is not None}
    if split is not None:
        chosen = named_splits.get(split) or [path for path in files if any(_begins(p, split) for p in path.parts)]
        if not chosen:
            raise UsageError(f"persona folder {named}: no file of a split {split!r}.{suggest(split, named_splits)}")
        return chosen
    if len(named_splits) > 1 and None not in by_split:
        if _DEFAULT_SPLIT not in named_splits:
            raise UsageError(
                f"persona folder {named}: it has the splits {', '.join(named_splits)}; name one: "
                f"{named}@{next(iter(named_splits))}"
            )
        return named_splits[_DEFAULT_SPLIT]
    return list(files)


_SPLITS = ("train", "test", "validation", "valid", "dev")


def _begins(name: str, split: str) -> bool:
    return name == split or name.startswith((f"{split}-", f"{split}_", f"{split}."))


def _saved_dataset(folder: Path, split: str | None, wanted: Collection[str]) -> Source:
    import datasets

    named = str(folder)
    try:
        loaded = datasets.load_from_disk(named)
    except Exception as error:
        # pyarrow's and the library's own errors share no type.
        raise UsageError(f"persona folder {folder}: not what save_to_disk writes ({first_line(error)}).") from error
    if isinstance(loaded, datasets.DatasetDict):
        dataset, chosen = _choose_split(loaded, split, f"persona folder {folder}")
        origin = {"kind": "saved dataset", "folder": folder.name, "split": chosen}
    elif split is not None:
        raise UsageError(f"persona folder {folder}: it holds one dataset without splits; leave out @{split}.")
    else:
        dataset, origin = loaded, {"kind": "saved dataset", "folder": folder.name}
    return Source(_rows_of_dataset(dataset, wanted, named), {**origin, "data_fingerprint": dataset._fingerprint}, named)


def _sha256(paths: Sequence[Path]) -> str:
    state = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        if len(paths) == 1:
            return digest.hexdigest()
        state.update(f"{path.name}\0".encode() + digest.digest())
    return state.hexdigest()


def columns_in_words(rows: Sequence[Row]) -> str:
    """The columns of some rows, for messages."""
    found = list(dict.fromkeys(str(column) for row in rows[:100] for column in row))
    return ", ".join(found[:20]) + (", …" if len(found) > 20 else "")
