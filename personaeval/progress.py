"""Progress display: bars on a terminal, otherwise a plain line every 15 seconds."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Protocol

from rich import progress as bars
from rich.console import Console

_PLAIN_SECONDS = 15.0


@dataclass
class Counts:
    """Running totals, as plain numbers to keep counting cheap."""

    wanted: int = 0
    completed: int = 0
    failed: int = 0
    output_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    scored: int = 0
    correct: float = 0.0

    def tokens(self) -> dict[str, int]:
        """Token counts for run.json."""
        return {"prompt": self.prompt_tokens, "cached": self.cached_tokens, "output": self.output_tokens}


class Progress(Protocol):
    """Shows the counts; called a few times a second at most."""

    def message(self, line: str) -> None:
        """Print a line for the user."""
        ...

    def start(self, title: str, counts: Counts) -> None:
        """Begin showing a series of requests."""
        ...

    def refresh(self) -> None:
        """Show the current counts."""
        ...

    def stop(self) -> None:
        """Stop showing them."""
        ...


def open_progress(quiet: bool = False) -> Progress:
    """Bars for a terminal, plain lines for a log file; everything goes to standard error."""
    if sys.stderr.isatty() and not quiet:
        return _Bars(Console(stderr=True))
    return _Lines(quiet)


def _rate(counts: Counts, began: float) -> str:
    speed = counts.output_tokens / max(time.monotonic() - began, 1e-9)
    accuracy = f"{counts.correct / counts.scored:.3f}" if counts.scored else "–"
    failed = f" · {counts.failed} failed" if counts.failed else ""
    return f"{speed:,.0f} tokens/s · accuracy so far {accuracy}{failed}"


class _Bars:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: bars.Progress | None = None
        self._counts = Counts()
        self._began = 0.0

    def message(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)

    def start(self, title: str, counts: Counts) -> None:
        self._counts, self._began = counts, time.monotonic()
        self._bar = bars.Progress(
            bars.SpinnerColumn(),
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeRemainingColumn(),
            bars.TextColumn("{task.fields[rate]}"),
            console=self._console,
        )
        self._task = self._bar.add_task(title, total=counts.wanted, rate="")
        self._bar.start()

    def refresh(self) -> None:
        if self._bar is not None:
            done = self._counts.completed + self._counts.failed
            self._bar.update(self._task, completed=done, rate=_rate(self._counts, self._began))

    def stop(self) -> None:
        if self._bar is not None:
            self.refresh()
            self._bar.stop()
            self._bar = None


class _Lines:
    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._counts = Counts()
        self._title = ""
        self._began = self._last = 0.0

    def message(self, line: str) -> None:
        if not self._quiet:
            print(line, file=sys.stderr, flush=True)  # noqa: T201

    def start(self, title: str, counts: Counts) -> None:
        self._title, self._counts = title, counts
        self._began = self._last = time.monotonic()

    def refresh(self) -> None:
        if time.monotonic() - self._last >= _PLAIN_SECONDS:
            self._line()

    def stop(self) -> None:
        if self._counts.completed + self._counts.failed:
            self._line()
        self._counts = Counts()

    def _line(self) -> None:
        self._last = time.monotonic()
        done = self._counts.completed + self._counts.failed
        left = (self._counts.wanted - done) * (self._last - self._began) / max(done, 1)
        eta = f" · {left:,.0f} s left" if done and left > 0 else ""
        self.message(f"{self._title}: {done}/{self._counts.wanted} · {_rate(self._counts, self._began)}{eta}")
