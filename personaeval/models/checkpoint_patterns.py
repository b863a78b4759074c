"""Several checkpoints of one directory: patterns that name them, and advice where the directory itself was named."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path

from personaeval.errors import UsageError

_PATTERN = re.compile(r"[*?\[]")

_ENGINE = re.compile(r"(?:vllm|transformers):")


def expand_models(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Model specs with patterns such as ``DIR/checkpoint-*`` replaced by the checkpoints they match, in step order.

    Returns:
        The specs without repetition, and a note for each pattern that also matches directories without config.json.

    Raises:
        UsageError: a pattern matches no checkpoint.
    """
    found: list[str] = []
    notes: list[str] = []
    for text in texts:
        engine = _ENGINE.match(text)
        prefix = engine[0] if engine else ""
        pattern = text.removeprefix(prefix)
        if not _PATTERN.search(pattern) or "@http" in text or Path(pattern).exists():
            found.append(text)
            continue
        # Path.glob takes no absolute pattern.
        matches = map(Path, glob.glob(str(Path(pattern).expanduser())))  # noqa: PTH207
        folders = [path for path in matches if path.is_dir()]
        checkpoints = _checkpoints(folders)
        if not checkpoints:
            raise UsageError(f"--model {text}: the pattern matches no checkpoint (a directory with a config.json).")
        found += [f"{prefix}{folder}" for folder in checkpoints]
        if others := sorted(folder.name for folder in set(folders) - set(checkpoints)):
            notes.append(f"--model {text}: left out, since config.json is missing: {', '.join(others)}.")
    return list(dict.fromkeys(found)), notes


def describe_inside(folder: Path, flag: str) -> str:
    """The checkpoints inside a directory that is none, and how to name one or all; empty without any."""
    found = _checkpoints(list(folder.iterdir()))
    if not found:
        return ""
    if len(found) == 1 or flag != "--model":
        return f" Did you mean {' or '.join(map(str, found))}?"
    names = [path.name for path in found]
    pattern = os.path.commonprefix(names).rstrip("0123456789") + "*"  # noqa: RUF071
    return (
        f" It holds {len(found)} checkpoints: {', '.join(names)}. Name one, such as --model {found[-1]}, or all: "
        f"--model '{folder / pattern}' (quoted) runs them in step order."
    )


def _checkpoints(folders: Sequence[Path]) -> list[Path]:
    """Those with a config.json; numbers count as numbers: checkpoint-500 before checkpoint-1000."""
    return sorted((path for path in folders if (path / "config.json").is_file()), key=_in_step_order)


def _in_step_order(path: Path) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", str(path))]
