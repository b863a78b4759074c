"""The ledger: durable, shared, and never holding what did not come from the model."""

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from personaeval.errors import StorageError, UsageError
from personaeval.results.ledger import Ledger
from personaeval.types import Completion, Status, Verdict

ROOT = Path(__file__).resolve().parent.parent


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def completion(number: int, text: str = "4", **more) -> Completion:
    return Completion(row=number, key=key(number), text=text, finish_reason="stop", prompt_tokens=7, **more)


RIGHT = Verdict(score=1.0, answer="4", status=Status.CORRECT, reason=None)


def test_what_goes_in_comes_out(tmp_path):
    hostile = "ä \0 \x1b[31m 漢 \ud800 " + "x" * 100_000
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.add(completion(1, hostile, reasoning="because"))
        ledger.add(completion(2, "", completion_tokens=1))
        ledger.add_verdict(key(101), key(1), RIGHT)
        ledger.flush()
        assert ledger.present([key(1), key(2), key(3)]) == {key(1), key(2)}
        stored = ledger.completions([key(1), key(2)])
        assert stored[key(1)].text == hostile.replace("\ud800", "?")
        assert (stored[key(1)].reasoning, stored[key(2)].reasoning, stored[key(2)].text) == ("because", None, "")
        assert ledger.verdicts([key(101), key(102)]) == {key(101): RIGHT}
    with Ledger(tmp_path / "ledger.sqlite") as again:
        assert again.present([key(1)]) == {key(1)}


def test_the_fixed_prompts_are_kept_while_answers_are_read_and_written(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        for number in range(200):
            ledger.add(completion(number))
        ledger.flush()
        reading = ledger._select("key", "completions", [key(number) for number in range(200)])
        next(reading)
        ledger.add(completion(500))
        ledger.flush()
        ledger.add_probes("endpoint", 1, ["a", None])
        assert ledger.probes("endpoint") == [["a", None]]
        assert len(list(reading)) == 199


def test_failures_are_not_kept(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.add(completion(1, error="HTTP 500"))
        ledger.add(completion(2))
        ledger.add_verdict(
            key(102), key(2), Verdict(score=None, answer=None, status=Status.UNSCORED, reason="time-out")
        )
        ledger.flush()
        assert ledger.present([key(1), key(2)]) == {key(2)}
        assert ledger.verdicts([key(102)]) == {}


def test_a_server_that_counts_to_absurdity_and_text_that_is_none_are_kept_all_the_same(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.add(completion(1, completion_tokens=10**20))
        ledger.add_verdict(key(101), key(1), Verdict(score=0.0, answer="\ud800", status=Status.WRONG, reason=None))
        ledger.flush()
        assert ledger.completions([key(1)])[key(1)].completion_tokens == 2**31 - 1
        assert ledger.verdicts([key(101)])[key(101)].answer == "?"


def test_a_writer_that_cannot_go_on_stops_the_run(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        broken = Completion(row=0, key=key(1), text=None, finish_reason="stop")  # type: ignore[arg-type]
        ledger.add(broken)
        with pytest.raises(StorageError):
            ledger.flush()
        with pytest.raises(StorageError):
            ledger.add(completion(2))


def test_many_keys_at_once(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        for number in range(5000):
            ledger.add(completion(number))
        ledger.flush()
        assert len(ledger.present([key(number) for number in range(6000)])) == 5000


def test_the_first_of_two_runs_counts_and_the_seconds_verdict_is_dropped(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as one, Ledger(path) as two:
        one.add(completion(1, "first"))
        one.flush()
        two.add(completion(1, "second"))
        two.add_verdict(key(101), key(1), RIGHT)
        two.flush()
        assert one.completions([key(1)])[key(1)].text == "first"
        assert one.verdicts([key(101)]) == {}


WRITE_FOR_EVER = """
import itertools, sys
from pathlib import Path
from personaeval.types import Completion
from personaeval.results.ledger import Ledger
import time
ledger = Ledger(Path(sys.argv[1]))
for number in itertools.count():
    ledger.add(Completion(row=number, key=number.to_bytes(16, "big"), text="x", finish_reason="stop"))
    print(number, time.time(), flush=True)
    time.sleep(0.001)
"""


OPEN_AT = """
import sys, time
from pathlib import Path
from personaeval.results.ledger import Ledger
folder, start = Path(sys.argv[1]), float(sys.argv[2])
for number in range(20):
    time.sleep(max(0, start + number * 0.2 - time.time()))
    Ledger(folder / f"{number}.sqlite").close()
"""


def test_a_ledger_that_several_processes_make_at_once(tmp_path):
    start = str(time.time() + 3)
    command = [sys.executable, "-c", OPEN_AT, tmp_path, start]
    children = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}) for _ in range(4)
    ]
    for child in children:
        _, stderr = child.communicate(timeout=120)
        assert child.returncode == 0, stderr


def test_kill_loses_at_most_the_last_second(tmp_path):
    path = tmp_path / "ledger.sqlite"
    child = subprocess.Popen(
        [sys.executable, "-c", WRITE_FOR_EVER, path], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    time.sleep(4)
    killed = time.time()
    child.send_signal(signal.SIGKILL)
    written = [line.split() for line in child.communicate()[0].splitlines()]
    safe = [int(number) for number, at in (pair for pair in written if len(pair) == 2) if float(at) < killed - 1]
    assert len(safe) > 500
    with Ledger(path) as ledger:
        assert ledger.present([key(number) for number in safe]) == {key(number) for number in safe}


def test_not_a_ledger(tmp_path):
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(UsageError, match="not a ledger"):
        Ledger(path)


def test_a_newer_ledger_is_not_touched(tmp_path):
    path = tmp_path / "ledger.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(UsageError, match="newer personaeval"):
        Ledger(path)


FILL = """
import resource, sys
from pathlib import Path
from personaeval.types import Completion
from personaeval.errors import StorageError
from personaeval.results.ledger import Ledger
import os
ledger = Ledger(Path(sys.argv[1]))
ledger.add(Completion(row=0, key=bytes(16), text="kept", finish_reason="stop"))
ledger.flush()
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    for number in range(1, 2000):
        ledger.add(Completion(row=number, key=number.to_bytes(16, "big"), text=os.urandom(4000).hex(), finish_reason="stop"))
        if number % 50 == 0:
            ledger.flush()
except StorageError as error:
    print("STORAGE", error.exit_code, error)
ledger.close()
"""


def test_a_full_disk_is_said_and_what_was_there_is_kept(tmp_path):
    path = tmp_path / "ledger.sqlite"
    shown = subprocess.run(
        [sys.executable, "-c", FILL, path], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert "STORAGE 2" in shown.stdout
    assert "cannot be written" in shown.stdout
    with Ledger(path) as ledger:
        assert ledger.completions([bytes(16)])[bytes(16)].text == "kept"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        Ledger(tmp_path / "file" / "ledger.sqlite")
