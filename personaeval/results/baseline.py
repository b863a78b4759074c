"""A baseline: what comparisons read of a run, and no text of a model."""

from __future__ import annotations

import shutil
from pathlib import Path

from personaeval.errors import StorageError, UsageError
from personaeval.results.files import CELLS, PERSONAS, RUN, SUMMARY
from personaeval.results.persona_table import without_examples, write_personas
from personaeval.results.runs import open_runs

_FILES = (RUN, CELLS, SUMMARY, PERSONAS)


def write_baseline(run: str, output: Path) -> list[Path]:
    """Copy run.json, summary.json, cells.parquet and personas.parquet (without examples); return the folders written.

    A checkpoint with several runs gets a folder for each below ``output``.

    Raises:
        UsageError: no such run, or something else is in the folder.
        StorageError: it cannot be written.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: is a file; name a folder with -o.")
    runs = list({found.folder: found for found in open_runs(run).runs.values()}.values())
    targets = [output] if len(runs) == 1 else [output / found.folder.name for found in runs]
    _refuse_older(output, targets)
    written = []
    for found, target in zip(runs, targets, strict=True):
        if target.exists() and any(entry.name not in _FILES for entry in target.iterdir()):
            raise UsageError(f"{target}: holds other files; name an empty folder with -o.")
        try:
            target.mkdir(parents=True, exist_ok=True)
            # No example: it shows the text of an item.
            write_personas(target, without_examples(found.persona_rows))
            for name in (CELLS, SUMMARY):
                shutil.copyfile(found.folder / name, target / name)
            found.record.write(target / RUN)
        except OSError as error:
            raise StorageError(f"{target}: cannot be written ({error.strerror or error}).") from error
        written.append(target)
    return written


def _refuse_older(output: Path, targets: list[Path]) -> None:
    """Refuse a folder where an older baseline would stay beside the new one, and might be taken for it."""
    older = [path.parent for path in (output / RUN, *output.glob(f"*/{RUN}")) if path.is_file()]
    if left := [folder for folder in older if folder not in targets]:
        raise UsageError(f"{output}: holds another baseline ({left[0]}); remove it, or name another folder with -o.")
