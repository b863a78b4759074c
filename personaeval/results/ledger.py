"""The ledger: completions and verdicts in SQLite, durable as they arrive, keyed by what identifies them.

Resume is nothing special: what the ledger holds is not asked for again. A background thread writes in batches, so
the engine never waits for the disk; ``kill -9`` loses at most what arrived since the last commit, a fraction of a
second. Several runs may share one ledger.
"""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import zstandard

from personaeval.errors import StorageError, UsageError
from personaeval.types import Completion, Status, Verdict

LEDGER = "ledger.sqlite"

KEY_BYTES = 16

_VERSION = 1

_COMMIT_SECONDS = 0.25

_PATIENCE_SECONDS = 60

_MOST_TOKENS = 2**31 - 1  # what a table's column holds; a broken server may say anything

_FORMER = "*"  # the origin that marks a ledger of an earlier version

_LOOKUP = 900  # SQLite's oldest limit on the number of ? in one statement is 999

_SCHEMA = """
CREATE TABLE IF NOT EXISTS completions (
    key BLOB PRIMARY KEY, text BLOB NOT NULL, reasoning BLOB, finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS verdicts (
    key BLOB PRIMARY KEY, status TEXT NOT NULL, score REAL, answer TEXT, reason TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS readings (
    key BLOB PRIMARY KEY, evidence TEXT, suspect INTEGER NOT NULL, chance REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS weights (key BLOB PRIMARY KEY, weights TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS endpoints (origin TEXT PRIMARY KEY, fingerprint TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS probes (
    endpoint TEXT NOT NULL, round INTEGER NOT NULL, answers TEXT NOT NULL, PRIMARY KEY (endpoint, round)
) WITHOUT ROWID;
"""


_BLANK = """completions.finish_reason = 'stop' AND completions.completion_tokens = 0 AND length(completions.text) < 64
    AND no_text(completions.text) AND (completions.reasoning IS NULL OR no_text(completions.reasoning))"""
"""A reply without text and tokens, which earlier versions took for an answer; it counts as absent."""

_INSERT = f"""
INSERT INTO completions VALUES (?,?,?,?,?,?) ON CONFLICT (key) DO UPDATE SET
    text = excluded.text, reasoning = excluded.reasoning, finish_reason = excluded.finish_reason,
    prompt_tokens = excluded.prompt_tokens, completion_tokens = excluded.completion_tokens
WHERE {_BLANK}
"""  # noqa: S608
"""The first answer counts."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A completion as the ledger keeps it; ``weights`` only where they are asked for."""

    text: str
    reasoning: str | None
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    weights: Mapping[str, float] | None = None


class _Flush:
    """Asks the writer to commit and say so."""

    def __init__(self) -> None:
        self.done = threading.Event()


_CompletionRow = tuple[bytes, bytes, bytes | None, str, int, int]

_VerdictRow = tuple[bytes, bytes, Verdict]


class Ledger:
    """One ledger file. Use as a context manager; leaving it commits everything.

    Raises:
        StorageError: the file cannot be opened or written (also from :meth:`add` and :meth:`flush`, when the
            writer has met the problem in the background).
        UsageError: the file is not a ledger, or one of a newer version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = self._connect()
        self._queue: queue.SimpleQueue[Completion | _VerdictRow | _Flush | None] = queue.SimpleQueue()
        self._failure: Exception | None = None
        self._foreign: set[bytes] = set()
        self._unpack = zstandard.ZstdDecompressor()
        self._writer = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._writer.start()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Commit what is queued and close the file."""
        if self._writer.is_alive():
            self._queue.put(None)
            self._writer.join()
        self._reader.close()

    def add(self, completion: Completion) -> None:
        """Queue a completion; one with an error is no answer of the model's and is not kept."""
        self._raise_failure()
        if completion.error is None:
            self._queue.put(completion)

    def add_verdict(self, key: bytes, request_key: bytes, verdict: Verdict) -> None:
        """Queue the verdict on the completion of ``request_key``; an unscored one is not kept, to be tried again."""
        if verdict.status is not Status.UNSCORED:
            self._queue.put((key, request_key, verdict))

    def flush(self) -> None:
        """Wait until everything queued so far is committed."""
        request = _Flush()
        self._queue.put(request)
        while not request.done.wait(0.05):
            if not self._writer.is_alive():
                break
        self._raise_failure()

    def present(self, keys: Sequence[bytes]) -> set[bytes]:
        """The request keys that have a completion."""
        return {row[0] for row in self._select("key", "completions", keys, f"NOT ({_BLANK})")}

    def blank(self, keys: Sequence[bytes]) -> set[bytes]:
        """The request keys whose completion has neither text nor tokens and was never asked for again."""
        return {row[0] for row in self._select("key", "completions", keys, _BLANK)}

    def completions(self, keys: Sequence[bytes]) -> dict[bytes, Stored]:
        """Completions by request key; keys without one are absent."""
        columns = "key, text, reasoning, finish_reason, prompt_tokens, completion_tokens"
        return {
            key: Stored(
                self._text(text),
                self._text(reasoning) if reasoning is not None else None,
                reason,
                prompt,
                new,
            )
            for key, text, reasoning, reason, prompt, new in self._select(
                columns, "completions", keys, f"NOT ({_BLANK})"
            )
        }

    @property
    def is_empty(self) -> bool:
        """Whether it holds no completion at all."""
        return not self._at_once("SELECT 1 FROM completions LIMIT 1")

    def fingerprint_of(self, origin: str) -> str | None:
        """The fingerprint under which an endpoint's answers are kept here; None if it has not been settled."""
        found = self._at_once("SELECT fingerprint FROM endpoints WHERE origin = ?", origin)
        return found[0][0] if found else None

    def settle_fingerprint(self, origin: str, fingerprint: str) -> str:
        """Keep an endpoint's answers under a fingerprint from now on; the one that counts, if it was settled before."""
        self._at_once("INSERT OR IGNORE INTO endpoints VALUES (?,?)", origin, fingerprint)
        return self.fingerprint_of(origin) or fingerprint

    @property
    def had_former_endpoints(self) -> bool:
        """Whether an earlier version wrote it, which had other fingerprints for endpoints."""
        return self.fingerprint_of(_FORMER) is not None

    def probes(self, endpoint: str) -> list[list[str | None]]:
        """What an endpoint has answered to the fixed prompts, round by round; None: nothing usable."""
        rows = self._at_once("SELECT answers FROM probes WHERE endpoint = ? ORDER BY round", endpoint)
        return [json.loads(answers) for (answers,) in rows]

    def add_probes(self, endpoint: str, number: int, answers: Sequence[str | None]) -> None:
        """Keep one round of answers to the fixed prompts; the first writer's count."""
        self._at_once("INSERT OR IGNORE INTO probes VALUES (?,?,?)", endpoint, number, json.dumps(answers))

    def _at_once(self, statement: str, *values: str | int) -> list[tuple[Any, ...]]:
        """Rows of a statement on the small tables, which are written without the queue.

        On a connection of its own: one that is reading cannot write what others have changed since.
        """
        try:
            with closing(sqlite3.connect(self._path, timeout=_PATIENCE_SECONDS, isolation_level=None)) as connection:
                return connection.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._storage_error(error) from error

    def weights(self, keys: Sequence[bytes]) -> dict[bytes, dict[str, float]]:
        """Token probabilities stored with completions, by request key."""
        return {key: json.loads(text) for key, text in self._select("key, weights", "weights", keys)}

    def verdicts(self, keys: Sequence[bytes]) -> dict[bytes, Verdict]:
        """Verdicts by verdict key; keys without one are absent."""
        columns = "key, status, score, answer, reason, evidence, suspect, chance"
        rows = self._select(columns, "verdicts LEFT JOIN readings USING (key)", keys)
        return {
            key: Verdict(score, answer, Status(status), reason, evidence, bool(suspect), chance or 0.0)
            for key, status, score, answer, reason, evidence, suspect, chance in rows
        }

    def _text(self, packed: bytes) -> str:
        return self._unpack.decompress(packed).decode()

    def _select(self, columns: str, table: str, keys: Sequence[bytes], condition: str = "TRUE") -> Iterator[tuple]:  # type: ignore[type-arg]
        for start in range(0, len(keys), _LOOKUP):
            chunk = keys[start : start + _LOOKUP]
            marks = ",".join("?" * len(chunk))
            statement = f"SELECT {columns} FROM {table} WHERE key IN ({marks}) AND {condition}"  # noqa: S608
            yield from self._reader.execute(statement, chunk)

    def _connect(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self._path, timeout=_PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.create_function("no_text", 1, _has_no_text, deterministic=True)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > _VERSION:
                raise UsageError(f"{self._path}: written by a newer personaeval (ledger version {version}); upgrade.")
            _use_wal(connection)
            # NORMAL survives kill -9; only a power cut can lose the last commits, and resume does them again.
            connection.execute("PRAGMA synchronous=NORMAL")
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            connection.executescript(_SCHEMA)
            if "completions" in tables and "endpoints" not in tables:
                connection.execute("INSERT OR IGNORE INTO endpoints VALUES (?, '')", [_FORMER])
            connection.execute(f"PRAGMA user_version={_VERSION}")
            # Nothing but a write shows that a folder is writable.
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):
                raise UsageError(f"{self._path}: not a ledger (not an SQLite file); move it away.") from error
            raise self._storage_error(error) from error
        except OSError as error:
            raise self._storage_error(error) from error
        return connection

    def _storage_error(self, error: Exception) -> StorageError:
        return StorageError(
            f"{self._path}: cannot be written ({error}). Check free space and permissions, or choose another folder "
            "with -o; what was committed before is kept, and the same command resumes from there."
        )

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._storage_error(self._failure) from self._failure

    def _write(self) -> None:
        """The writer thread: a batch is what arrives in a quarter of a second, one transaction each."""
        connection: sqlite3.Connection | None = None
        pack = zstandard.ZstdCompressor(level=3)
        running = True
        while running:
            batch = [self._queue.get()]
            deadline = time.monotonic() + _COMMIT_SECONDS
            while not isinstance(batch[-1], _Flush) and batch[-1] is not None:
                try:
                    batch.append(self._queue.get(timeout=max(0.0, deadline - time.monotonic())))
                except queue.Empty:
                    break
            try:
                if self._failure is None:
                    connection = connection or self._connect()
                    self._commit(connection, batch, pack)
            except Exception as error:
                # Whatever the error, the run must stop: nothing more would be stored.
                self._failure = error
            for entry in batch:
                if isinstance(entry, _Flush):
                    entry.done.set()
            running = batch[-1] is not None
        if connection is not None:
            connection.close()

    def _commit(
        self,
        connection: sqlite3.Connection,
        batch: Sequence[Completion | _VerdictRow | _Flush | None],
        pack: zstandard.ZstdCompressor,
    ) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            for entry in batch:
                if isinstance(entry, Completion):
                    added = connection.execute(_INSERT, _pack(entry, pack)).rowcount
                    if not added:
                        # Another run answered the same request first: its text counts, our verdict is on another.
                        self._foreign.add(entry.key)
                    elif entry.weights is not None:
                        weighed = (entry.key, json.dumps(dict(entry.weights)))
                        connection.execute("INSERT OR REPLACE INTO weights VALUES (?,?)", weighed)
                elif isinstance(entry, tuple) and entry[1] not in self._foreign:
                    key, _, verdict = entry
                    connection.execute(
                        "INSERT OR REPLACE INTO verdicts VALUES (?,?,?,?,?)",
                        (
                            key,
                            verdict.status.value,
                            verdict.score,
                            _storable(verdict.answer),
                            _storable(verdict.reason),
                        ),
                    )
                    connection.execute(
                        "INSERT OR REPLACE INTO readings VALUES (?,?,?,?)",
                        (key, verdict.evidence, verdict.suspect, verdict.chance),
                    )
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log; of processes that do so at once all but one are refused without waiting."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _has_no_text(packed: bytes) -> bool:
    return not zstandard.ZstdDecompressor().decompress(packed).strip()


def _storable(text: str | None) -> str | None:
    return None if text is None else text.encode("utf-8", "replace").decode()


def _pack(completion: Completion, pack: zstandard.ZstdCompressor) -> _CompletionRow:
    # A lone surrogate cannot be stored as UTF-8; models and broken servers do write them.
    text = pack.compress(completion.text.encode("utf-8", "replace"))
    reasoning = None if completion.reasoning is None else pack.compress(completion.reasoning.encode("utf-8", "replace"))
    return (
        completion.key,
        text,
        reasoning,
        completion.finish_reason,
        min(completion.prompt_tokens, _MOST_TOKENS),
        min(completion.completion_tokens, _MOST_TOKENS),
    )
