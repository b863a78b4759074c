"""The lock that keeps two processes from writing one run."""

from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from personaeval.errors import StorageError, UsageError
from personaeval.results.files import remove_leftovers


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Keep a second process from writing the same run; clear away what a killed one left half written.

    Raises:
        UsageError: another process holds it; says which.
        StorageError: the folder cannot be written.
    """
    import filelock

    note = folder / ".holder.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / ".lock", timeout=0)
        lock.acquire()
        note.write_text(_this_process(), encoding="utf-8")
        remove_leftovers(folder)
    except filelock.Timeout:
        holder = note.read_text(encoding="utf-8").strip() if note.exists() else "another process"
        raise UsageError(
            f"{folder}: this run is already in progress, held by {holder}. Wait for it, or stop it."
        ) from None
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror}). Choose another folder with -o.") from error
    try:
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _this_process() -> str:
    """Process, host and time, shown to another process that finds the lock."""
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()} since {now}"
