"""How worker processes start: from the fork server, and without the program that uses them.

A started process imports the ``__main__`` of its parent. For a script that calls the package at its top level, without
``if __name__ == "__main__":``, that would be the whole script once more in every worker. Workers need nothing of it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext, ForkServerProcess
from types import ModuleType
from typing import Any

_SWAPPING = threading.Lock()


@contextmanager
def _without_main() -> Iterator[None]:
    with _SWAPPING:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


class _WorkerProcess(ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802  # the name that multiprocessing calls
        from multiprocessing.popen_forkserver import Popen

        with _without_main():
            return Popen(process_obj)


class WorkerContext(ForkServerContext):
    """The fork server's context, with processes that leave their parent's ``__main__`` alone."""

    Process = _WorkerProcess
