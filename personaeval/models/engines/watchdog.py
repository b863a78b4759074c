"""A process that briefly outlives its parent, to end the processes that a killed parent left behind.

vLLM's engine process does not notice that its parent was killed with ``SIGKILL``: it stays and keeps the accelerator's
memory. So the parent runs this file as a script and writes the engine's process ids to its standard input, one a line.
Once the parent is gone, they and their descendants are ended, first with SIGTERM, so that vLLM frees its shared memory,
then with SIGKILL. The script uses only the standard library, so it starts fast.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_POLL_SECONDS = 0.5

_GRACE_SECONDS = 10.0


Identity = tuple[int, str]
"""A process id with its start time: ids are used again, this pair is not."""


class Watchdog:
    """The parent's side: start the watchdog, register processes, dismiss it."""

    def __init__(self) -> None:
        # Its own session: Ctrl-C in the terminal must not end it too early.
        command = [sys.executable, "-I", "-S", __file__, str(os.getpid())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        self._told: set[int] = set()

    def watch(self, pid: int) -> None:
        """Register a process to end if this one dies."""
        if pid in self._told or self._process.stdin is None:
            return
        self._told.add(pid)
        self._process.stdin.write(f"{pid}\n".encode())
        self._process.stdin.flush()

    def dismiss(self) -> None:
        """End the watch; the processes are left alone. Safe to call twice."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()


def _stat(pid: int) -> list[str] | None:
    """Fields of ``/proc/PID/stat`` from the state on; None if there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in brackets, may hold anything.
    return text.rpartition(")")[2].split()


def _identify(pid: int) -> Identity | None:
    fields = _stat(pid)
    return None if fields is None else (pid, fields[19])


def _is_running(identity: Identity) -> bool:
    fields = _stat(identity[0])
    return fields is not None and fields[19] == identity[1] and fields[0] not in "ZX"


def _with_descendants(roots: set[Identity]) -> set[Identity]:
    """The processes and all their current descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = {root for root in roots if _is_running(root)}
    waiting = [pid for pid, _ in found]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if (identity := _identify(child)) is not None:
                found.add(identity)
                waiting.append(child)
    return found


def _send(identities: set[Identity], number: int) -> None:
    for identity in identities:
        if _is_running(identity):
            try:
                os.kill(identity[0], number)
            except ProcessLookupError:
                continue


def _end(roots: set[Identity]) -> None:
    everything = _with_descendants(roots)
    _send(roots, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_SECONDS
    while time.monotonic() < deadline and any(map(_is_running, everything)):
        time.sleep(0.1)
    _send(everything, signal.SIGKILL)


def main(parent: int) -> None:
    """Wait until ``parent`` is gone, then end the processes it registered."""
    roots: set[Identity] = set()
    buffer = b""
    is_open = True
    while os.getppid() == parent:
        if not is_open:
            time.sleep(_POLL_SECONDS)
        elif select.select([0], [], [], _POLL_SECONDS)[0]:
            data = os.read(0, 4096)
            is_open = bool(data)
            *lines, buffer = (buffer + data).split(b"\n")
            roots |= {identity for line in lines if (identity := _identify(int(line))) is not None}
    _end(roots)


if __name__ == "__main__":
    main(int(sys.argv[1]))
