"""The sessions in which a run was generated: one holds its folder, and says when, with what and on what it worked.

A run may take several: it is interrupted and resumed, or fails in part and is run again. sessions.json is written
as soon as one begins, so that one that was killed is in the record too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from personaeval.environment import hardware, versions
from personaeval.judge.usage import JudgeUsage
from personaeval.progress import Counts
from personaeval.results.files import SESSIONS, read_json, write_json
from personaeval.results.records import RunRecord, SessionRecord
from personaeval.results.runs import finished_runs


class Sessions:
    """The sessions of one run, oldest first."""

    def __init__(self, folder: Path, run: RunRecord) -> None:
        """Read the sessions so far.

        Args:
            folder: the run's, locked.
            run: its manifest, kept beside the sessions so that an unfinished run can be listed with its settings.
        """
        self._path = folder / SESSIONS
        self._run = run
        self.entries: list[dict[str, Any]] = read_json(self._path)["sessions"] if self._path.exists() else []

    def records(self) -> list[SessionRecord]:
        """The sessions as run.json lists them."""
        return [SessionRecord(**entry) for entry in self.entries]

    def begin(self) -> None:
        """Record that generation begins."""
        self.entries.append({"began": time.time(), "versions": versions(), "hardware": hardware()})
        self._write()

    def end(self, counts: Counts, failed: int, engine_error: str | None, seconds: float) -> None:
        """Record the session's result.

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

    def judged(self, usages: Sequence[JudgeUsage]) -> None:
        """Record the judges' part, if any judge was asked."""
        if any(usage.calls or usage.failed for usage in usages):
            judges = [asdict(usage) for usage in usages]
            self.entries.append(
                {"judged": time.time(), "versions": versions(), "hardware": hardware(), "judges": judges}
            )
            self._write()

    def _write(self) -> None:
        run = self._run.model_copy(update={"sessions": []})
        write_json(self._path, {"run": run.to_json(), "sessions": self.entries})


def past_speed(output: Path, engine: str) -> float | None:
    """New tokens per second of the newest session of this engine in a results folder; None without one."""
    speeds = {
        session.began: session.tokens["output"] / max(session.seconds or 0.0, 1e-9)
        for run in finished_runs(output)
        if run.record.model.engine == engine
        for session in run.record.sessions
        if session.began is not None and session.generated and "output" in session.tokens
    }
    return speeds[max(speeds)] if speeds else None
