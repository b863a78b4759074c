"""Progress display: bars on a terminal, otherwise a plain line every 15 seconds.

Both show signs of life: requests that are tried again and why, tokens of answers that are not finished, and how long
nothing has come. The time left is that of recent work; an ordinary pause or a stall does not enter it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich import progress as bars
from rich.console import Console
from rich.table import Column

from personaeval.errors import printable, printable_lines

_PLAIN_SECONDS = 15.0

_SILENT_SECONDS = 60.0
"""After so long without an answer, the line says so."""

_STALL = 3.0
"""A pause so many times the longest ordinary one is a stall, and does not enter the time left."""

_RECENT_SECONDS = 120.0
"""Speeds are those of the last so many seconds."""

_SETTLED_SECONDS = 3.0
"""So much work must have been seen before a time is estimated from it."""

_BAR_WIDTH, _LEAST_BAR = 20, 4

_PATIENCE_SECONDS = 5.0
"""A step that takes longer than this is named."""


@dataclass
class Activity:
    """What an engine is doing now, which it keeps up to date.

    Attributes:
        under_way: requests that wait for their answers.
        decoded: tokens of answers that are not finished.
        retried: requests sent again so far.
        reason: why the last one was.
    """

    under_way: int = 0
    decoded: int = 0
    retried: int = 0
    reason: str = ""


@dataclass
class Counts:
    """Running totals, as plain numbers to keep counting cheap; ``activity`` is the engine's once it runs."""

    wanted: int = 0
    completed: int = 0
    failed: int = 0
    output_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    scored: int = 0
    correct: float = 0.0
    activity: Activity | None = field(default=None, compare=False)

    def tokens(self) -> dict[str, int]:
        """Token counts for run.json."""
        return {"prompt": self.prompt_tokens, "cached": self.cached_tokens, "output": self.output_tokens}


class Progress(Protocol):
    """Shows the counts; called a few times a second at most."""

    def message(self, line: str) -> None:
        """Print a line for the user, without characters that a terminal would obey."""
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


@contextmanager
def naming(progress: Progress, step: str) -> Iterator[None]:
    """Name a step that takes more than five seconds, such as "reading the checkpoint"."""
    timer = threading.Timer(_PATIENCE_SECONDS, progress.message, [f"{step} …"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def duration(seconds: float) -> str:
    """A time in words: 40 s, 25 min, 3 h 10 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class Speedometer:
    """Recent speed of a series of requests, and how long nothing has moved.

    Args:
        counts: of the series.
        now: the time when it began.
    """

    def __init__(self, counts: Counts, now: float) -> None:
        self._counts = counts
        self._began = self._moved = self._answered = now
        self._longest = 0.0
        self._marks: deque[tuple[float, int, int]] = deque([(now, *self._state())])

    def _state(self) -> tuple[int, int]:
        """Answers, and tokens with those of unfinished answers."""
        counts = self._counts
        decoded = counts.activity.decoded if counts.activity else 0
        return counts.completed + counts.failed, counts.output_tokens + decoded

    def look(self, now: float) -> None:
        """Note the counts of now."""
        done, tokens = self._state()
        _, last_done, last_tokens = self._marks[-1]
        if done == last_done and tokens <= last_tokens:
            return
        pause = now - self._moved
        if self._is_stall(pause):
            # Work begins anew: the stall is no part of its speed.
            self._marks.clear()
        else:
            self._longest = max(self._longest, pause)
        self._moved = now
        if done != last_done:
            self._answered = now
        self._marks.append((now, done, tokens))
        window = max(_RECENT_SECONDS, 4 * self._longest)
        while len(self._marks) > 2 and self._marks[1][0] < now - window:
            self._marks.popleft()

    def _is_stall(self, pause: float) -> bool:
        return pause >= _SILENT_SECONDS and 0 < _STALL * self._longest < pause

    def silence(self, now: float) -> float:
        """Seconds since the last answer, or since the beginning."""
        return now - self._answered

    def tokens_per_second(self) -> float:
        """Over the recent work."""
        return self._speed(2)

    def left(self, now: float) -> float | None:
        """Seconds left at the recent speed; None while it is unknown, or nothing moves."""
        wanted = self._counts.wanted - self._marks[-1][1]
        speed = self._speed(1)
        return None if speed <= 0 or self._is_stall(now - self._moved) else wanted / speed

    def _speed(self, column: int) -> float:
        first, last = self._marks[0], self._marks[-1]
        seconds = last[0] - first[0]
        return (last[column] - first[column]) / seconds if seconds >= _SETTLED_SECONDS else 0.0


def describe(counts: Counts, speed: Speedometer, now: float, room: int | None = None) -> str:
    """What follows the numbers of a progress line; where ``room`` is short, accuracy and speed are left out first."""
    vital = " · ".join(_signs_of_life(counts, speed, now))
    for parts in ([_accuracy(counts), _rate(speed)], [_rate(speed)], []):
        text = " · ".join(filter(None, (*reversed(parts), vital)))
        if room is None or len(text) <= room:
            break
    return text


def _rate(speed: Speedometer) -> str:
    rate = speed.tokens_per_second()
    return f"{rate:,.0f} tokens/s" if rate else ""


def _accuracy(counts: Counts) -> str:
    return f"accuracy so far {counts.correct / counts.scored:.3f}" if counts.scored else ""


def _signs_of_life(counts: Counts, speed: Speedometer, now: float) -> list[str]:
    parts = []
    if counts.failed:
        parts.append(f"{counts.failed:,} failed")
    activity = counts.activity
    if activity is None:
        parts.append("starting the engine")
    else:
        if activity.retried:
            parts.append(f"{activity.retried:,} retried, last: {printable(activity.reason)}")
        silent = speed.silence(now)
        done = counts.completed + counts.failed
        if silent >= _SILENT_SECONDS and done < counts.wanted:
            still = f", {activity.under_way:,} request{'s' if activity.under_way != 1 else ''} under way"
            tokens = f", {activity.decoded:,} tokens decoded" if activity.decoded else ""
            parts.append(f"no answer for {duration(silent)}{still if activity.under_way else ''}{tokens}")
        elif activity.decoded and not done:
            parts.append(f"{activity.decoded:,} tokens decoded")
    if (left := speed.left(now)) is not None and left >= 1:
        parts.append(f"{duration(left)} left")
    return parts


class _Bars:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: bars.Progress | None = None
        self._taken = 0
        self._counts = Counts()
        self._speed = Speedometer(self._counts, 0.0)

    def message(self, line: str) -> None:
        self._console.print(printable_lines(line), markup=False, highlight=False)

    def start(self, title: str, counts: Counts) -> None:
        self._counts, self._speed = counts, Speedometer(counts, time.monotonic())
        title = printable(title)
        self._bar = bars.Progress(
            bars.SpinnerColumn(),
            bars.TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            # In a narrow terminal the bar alone gives way.
            bars.BarColumn(bar_width=None, table_column=Column(max_width=_BAR_WIDTH)),
            bars.MofNCompleteColumn(table_column=Column(no_wrap=True)),
            bars.TextColumn("{task.fields[rate]}", markup=False, table_column=Column(no_wrap=True)),
            console=self._console,
        )
        self._task = self._bar.add_task(title, total=counts.wanted, rate="")
        # The title, the numbers, the spinner, and a blank between each two.
        self._taken = len(title) + 2 * len(str(counts.wanted)) + 1 + 1 + 4
        self._bar.start()

    def refresh(self) -> None:
        if self._bar is not None:
            now = time.monotonic()
            self._speed.look(now)
            done = self._counts.completed + self._counts.failed
            room = self._console.width - self._taken - _LEAST_BAR
            self._bar.update(self._task, completed=done, rate=describe(self._counts, self._speed, now, room))

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
        self._last = 0.0
        self._speed = Speedometer(self._counts, 0.0)

    def message(self, line: str) -> None:
        if not self._quiet:
            print(printable_lines(line), file=sys.stderr, flush=True)  # noqa: T201

    def start(self, title: str, counts: Counts) -> None:
        self._title, self._counts = title, counts
        self._last = time.monotonic()
        self._speed = Speedometer(counts, self._last)

    def refresh(self) -> None:
        now = time.monotonic()
        self._speed.look(now)
        if now - self._last >= _PLAIN_SECONDS:
            self._line(now)

    def stop(self) -> None:
        if self._counts.completed + self._counts.failed:
            self._speed.look(time.monotonic())
            self._line(time.monotonic())
        self._counts = Counts()

    def _line(self, now: float) -> None:
        self._last = now
        done = self._counts.completed + self._counts.failed
        told = describe(self._counts, self._speed, now)
        self.message(f"{self._title}: {done:,}/{self._counts.wanted:,}" + (f" · {told}" if told else ""))
