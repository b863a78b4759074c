"""Selectors of personas in files and datasets: ``FILE[:TEXT[,ID]]``, ``FOLDER[:TEXT[,ID]][@SPLIT]``, ``hf:NAME…``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from personaeval.library.persona_files import SUFFIXES, is_data
from personaeval.library.text_files import kind_of

HUB = "hf:"


@dataclass(frozen=True, slots=True)
class Selector:
    """A selector's parts.

    Attributes:
        name: path of a file or folder, or name of a hub dataset.
        is_hub: whether it is a hub dataset.
        text: column of the texts; None: the first known one.
        id: column of the ids; None: the first known one.
        split: of a dataset.
    """

    name: str
    is_hub: bool
    text: str | None = None
    id: str | None = None
    split: str | None = None


def parse(selector: str) -> Selector | None:
    """The parts of a selector; None if it names neither a data file, nor a folder, nor a hub dataset."""
    if selector.startswith(HUB):
        rest, at, split = selector.removeprefix(HUB).partition("@")
        name, _, columns = rest.partition(":")
        return _with_columns(name, True, columns, split if at else None)
    if _is_source(selector):
        return Selector(selector, False)
    rest, at, split = selector.rpartition("@")
    rest, split = (rest, split) if at else (selector, "")
    places = [place for place, sign in enumerate(rest) if sign == ":"]
    for place in (len(rest), *reversed(places)):
        if _is_source(rest[:place]):
            return _with_columns(rest[:place], False, rest[place + 1 :], split or None)
    return None


def join_columns(selectors: Iterable[str], is_known: Callable[[str], bool]) -> list[str]:
    """Selectors as they were before a command line was split at its commas: ``FILE:TEXT,ID`` is one.

    Args:
        selectors: the parts.
        is_known: whether a part names personas by itself; else it is the id column of the part before.
    """
    joined: list[str] = []
    for part in selectors:
        before = parse(joined[-1]) if joined else None
        takes_id = before is not None and before.text is not None and before.id is None and before.split is None
        if takes_id and not is_known(part.partition("@")[0]) and parse(part) is None:
            joined[-1] += f",{part}"
        else:
            joined.append(part)
    return list(dict.fromkeys(joined))


def _with_columns(name: str, is_hub: bool, columns: str, split: str | None) -> Selector:
    text, _, own_id = columns.partition(",")
    return Selector(name, is_hub, text.strip() or None, own_id.strip() or None, split or None)


def _is_source(name: str) -> bool:
    path = Path(name)
    if kind_of(path) in (".yaml", ".yml"):
        return is_data(path)
    # A file of another kind is named here as well, so that the message can say which kinds are read.
    return bool(name) and (kind_of(path) in SUFFIXES or path.exists())
