"""A baseline: what comparisons read of a run, and no text of a model."""

from __future__ import annotations

import shutil
from pathlib import Path

from personaeval.errors import StorageError, UsageError
from personaeval.results.files import CELLS, RUN, SUMMARY
from personaeval.results.runs import open_runs


def write_baseline(run: str, output: Path) -> list[Path]:
    """Copy run.json, summary.json and cells.parquet; return the folders written.

    A checkpoint with several runs gets a folder for each below ``output``.

    Raises:
        UsageError: no such run, or something else is in the folder.
        StorageError: it cannot be written.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: is a file; name a folder with -o.")
    folders = list(dict.fromkeys(open_runs(run).folders.values()))
    targets = [output] if len(folders) == 1 else [output / folder.name for folder in folders]
    _refuse_older(output, targets)
    written = []
    for folder, target in zip(folders, targets, strict=True):
        if target.exists() and any(entry.name not in (RUN, CELLS, SUMMARY) for entry in target.iterdir()):
            raise UsageError(f"{target}: holds other files; name a folder of its own with -o.")
        try:
            target.mkdir(parents=True, exist_ok=True)
            for name in (CELLS, SUMMARY, RUN):
                shutil.copyfile(folder / name, target / name)
        except OSError as error:
            raise StorageError(f"{target}: cannot be written ({error.strerror or error}).") from error
        written.append(target)
    return written


def _refuse_older(output: Path, targets: list[Path]) -> None:
    """Refuse a folder where an older baseline would stay beside the new one, and might be taken for it."""
    older = [path.parent for path in (output / RUN, *output.glob(f"*/{RUN}")) if path.is_file()]
    if left := [folder for folder in older if folder not in targets]:
        raise UsageError(f"{output}: holds another baseline ({left[0]}); remove it, or name another folder with -o.")
