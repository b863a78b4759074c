"""What ``init`` writes: a commented run.yaml and gate.yaml that work as they stand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from personaeval.analysis.policy import write_starting_policy
from personaeval.config import InitOptions, make_options
from personaeval.config.keywords import given
from personaeval.config.starting_file import starting_config
from personaeval.errors import StorageError, UsageError
from personaeval.results.files import write_text


def write_starting_files(
    folder: str | Path = ".", model: str | Sequence[str] = (), tasks: str | Sequence[str] = "mini-arith"
) -> tuple[Path, Path]:
    """Write run.yaml, the settings of a first run, and gate.yaml, a policy for ``check``; their paths.

    Args:
        folder: where to write them.
        model: checkpoints to name in run.yaml; without one, the command that uses the file names it.
        tasks: task names.

    Raises:
        UsageError: a file exists already.
        StorageError: the folder cannot be written.
    """
    asked = make_options(InitOptions, given(InitOptions, {"model": model, "tasks": tasks, "output": Path(folder)}))
    settings, policy = (asked.output / name for name in ("run.yaml", "gate.yaml"))
    for path in (settings, policy):
        if path.exists():
            raise UsageError(f"{path}: exists already; remove it, or choose another folder with -o.")
    try:
        asked.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{asked.output}: cannot be written ({error.strerror}). Choose another folder.") from error
    write_text(settings, starting_config(asked.model, asked.tasks, str(settings)))
    write_starting_policy(policy)
    return settings, policy
