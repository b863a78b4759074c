"""The files in data/format1, written before files had another format; its README.md says how."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import filelock

from tests.scripted_server import Answer, Script, ScriptedServer

DATA = Path(__file__).parent / "data" / "format1"
TINY = "results/tiny-dd16eca2/9660161f"
TINY_JUDGED = "results/tiny-dd16eca2/eda4cb39"
ACTOR = "results/actor-abbc6803/56af8860"
UNDERSTUDY = "results/understudy-d047a59b/41987748"
UNJUDGED = "results/understudy-d047a59b/87b0703b"
RUNS = (TINY, TINY_JUDGED, ACTOR, UNDERSTUDY, UNJUDGED)
PORTS = {"actor": 18733, "ann": 18734, "bob": 18735, "understudy": 18736}


def copy_data(folder: Path) -> Path:
    """Copy the files to a folder of their own, where they may be written."""
    return Path(shutil.copytree(DATA, folder / "format1", ignore=shutil.ignore_patterns("README.md")))


@contextmanager
def serving(answer: Answer, ports: dict[str, int] = PORTS) -> Iterator[dict[str, ScriptedServer]]:
    """Run scripted servers at fixed ports, because an endpoint's address is part of its fingerprint.

    Tests that run at the same time on one machine take turns.
    """
    lock = filelock.FileLock(Path(tempfile.gettempdir()) / "personaeval-tests-ports.lock", timeout=300)
    with lock, ExitStack() as stack:
        yield {
            name: stack.enter_context(ScriptedServer(Script(model=name), answer=answer, port=port))
            for name, port in ports.items()
        }


def ledger_keys(results: Path, table: str) -> set[str]:
    """The keys in a ledger's table, as hexadecimal digits."""
    connection = sqlite3.connect(results / "ledger.sqlite")
    with connection:
        found = {key.hex() for (key,) in connection.execute(f"SELECT key FROM {table}")}
    connection.close()
    return found
