"""What a run shows while it works: signs of life, and a time left that a stall does not spoil."""

import io
import re

import pytest

from personaeval import progress as progress_module
from personaeval.progress import Activity, Counts, Speedometer, describe, duration, naming, open_progress
from tests.asking import NOW, ask, requests
from tests.scripted_server import Rule, Script, ScriptedServer


class Clock:
    """A series of requests at a speed of one's choice, looked at four times a second."""

    def __init__(self, wanted: int = 1000):
        self.now = 100.0
        self.counts = Counts(wanted=wanted, activity=Activity(under_way=6))
        self.speed = Speedometer(self.counts, self.now)

    def run(self, seconds: float, every: float, answers: int = 1) -> None:
        """So many answers at a time, one time in ``every`` seconds."""
        due = self.now + every
        end = self.now + seconds
        while self.now < end:
            self.now += 0.25
            while due <= self.now:
                self.counts.completed += answers
                self.counts.output_tokens += 50 * answers
                due += every
            self.speed.look(self.now)

    @property
    def left(self) -> float | None:
        return self.speed.left(self.now)

    @property
    def text(self) -> str:
        return describe(self.counts, self.speed, self.now)


def test_a_time_left_is_that_of_recent_speed():
    clock = Clock()
    assert clock.left is None
    clock.run(300, 1.0)
    assert clock.left == pytest.approx(700, rel=0.02)
    clock.run(200, 0.5)
    assert clock.left == pytest.approx(300 / 2, rel=0.05), "the slower beginning has left the window"
    assert "100 tokens/s" in clock.text
    assert "2 min left" in clock.text


def test_a_stall_is_named_and_leaves_no_trace_in_the_time_left():
    clock = Clock()
    clock.run(300, 1.0)
    clock.run(59, 1e9)
    assert "no answer" not in clock.text
    clock.run(41, 1e9)
    assert "no answer for 2 min, 6 requests under way" in clock.text
    assert clock.left is None
    assert "left" not in clock.text
    clock.run(600, 1e9)
    clock.run(10, 1.0)
    assert "no answer" not in clock.text
    assert clock.left == pytest.approx(690, rel=0.05)


def test_bursts_are_no_stalls():
    """An engine that answers a batch at a time, every 100 seconds."""
    clock = Clock()
    clock.run(500, 100.0, answers=50)
    assert clock.left == pytest.approx(1500, rel=0.05)
    clock.run(99, 1e9)
    assert clock.left is not None


def test_decoded_tokens_are_a_sign_of_life():
    clock = Clock()
    for _ in range(400):
        clock.counts.activity.decoded += 30
        clock.run(0.25, 1e9)
    assert "no answer for 2 min" in clock.text
    assert "12,000 tokens decoded" in clock.text
    assert "120 tokens/s" in clock.text


def test_what_is_shown_before_the_first_answer():
    clock = Clock()
    clock.counts.activity = None
    clock.run(20, 1e9)
    assert clock.text == "starting the engine"


def test_a_narrow_line_keeps_the_signs_of_life():
    clock = Clock()
    clock.run(300, 1.0)
    clock.counts.scored, clock.counts.correct = 300, 150.0
    clock.counts.activity.retried, clock.counts.activity.reason = 37, "HTTP 429"
    whole = "50 tokens/s · accuracy so far 0.500 · 37 retried, last: HTTP 429 · 12 min left"
    assert clock.text == whole
    shown = [describe(clock.counts, clock.speed, clock.now, room) for room in (80, 70, 40)]
    assert shown == [whole, whole.replace("accuracy so far 0.500 · ", ""), "37 retried, last: HTTP 429 · 12 min left"]


@pytest.mark.parametrize("width", [80, 120])
def test_no_number_is_cut_on_a_terminal(width):
    """As rich draws it."""
    from rich.console import Console

    counts = Counts(wanted=1200, completed=400, scored=400, correct=200.0)
    counts.activity = Activity(under_way=6, retried=37, reason="HTTP 429")
    console = Console(file=io.StringIO(), width=width, force_terminal=True)
    shown = progress_module._Bars(console)
    shown.start("checkpoint-500", counts)
    shown.refresh()
    console.print(shown._bar.get_renderable())
    shown.stop()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())
    assert re.search(r" 400/1200 .*37 retried, last: HTTP 429\n", text), text


HOSTILE = "\x1b[31mred\x07 \x9b2J\udc9b"


@pytest.mark.parametrize("on_terminal", [False, True])
def test_nothing_from_outside_reaches_the_terminal_unescaped(monkeypatch, on_terminal):
    from rich.console import Console

    err = io.StringIO()
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setattr(progress_module, "_PLAIN_SECONDS", 0.0)
    console = Console(file=err, width=120, force_terminal=True, color_system=None)
    shown = progress_module._Bars(console) if on_terminal else open_progress()
    shown.message(f"It said: {HOSTILE}\n  and more")
    counts = Counts(wanted=9, activity=Activity(retried=1, reason=HOSTILE))
    shown.start(f"model {HOSTILE}", counts)
    shown.refresh()
    if on_terminal:
        console.print(shown._bar.get_renderable())
    shown.stop()
    text = err.getvalue()
    assert "It said:  [31mred   2J \n  and more\n" in text
    assert "last:  [31mred   2J" in text
    assert "model  [31mred   2J" in text
    assert not set(text) & {"\x07", "\x9b", "\udc9b"}
    assert "\x1b[31m" not in text


def test_times_in_words():
    assert [duration(s) for s in (4, 89, 125, 1500, 11400)] == ["4 s", "89 s", "2 min", "25 min", "3 h 10 min"]


def test_a_slow_step_is_named_and_a_quick_one_is_not(monkeypatch):
    monkeypatch.setattr("sys.stderr", io.StringIO())
    shown = open_progress()
    lines = []
    shown.message = lines.append
    with naming(shown, "quick"):
        pass
    monkeypatch.setattr(progress_module, "_PATIENCE_SECONDS", 0.01)
    import threading

    said = threading.Event()
    shown.message = lambda line: (lines.append(line), said.set())
    with naming(shown, "reading a checkpoint"):
        assert said.wait(5)
    assert lines == ["reading a checkpoint …"]


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (Rule("status", status=429, first=1, headers=NOW), "HTTP 429"),
        (Rule("status", status=503, first=1, headers=NOW), "HTTP 503"),
        (Rule("close", first=1), "Connection error"),
        (Rule("reply", text='{"choices": []}', first=1), "answered without"),
    ],
    ids=lambda value: str(getattr(value, "fault", value)),
)
def test_tries_that_failed_are_counted_with_their_reason(rule, reason):
    """Through the line that a user sees, with the client's own retries and ours."""
    from personaeval.models.engines import openai as engine_module

    seen = []
    original = engine_module.OpenAIEngine.close

    async def close(self):
        seen.append(self.activity)
        await original(self)

    with ScriptedServer(Script(rules=(rule,))) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_module.OpenAIEngine, "close", close)
        completions = ask(server, requests(5))
    assert all(completion.error is None for completion in completions)
    activity = seen[0]
    assert (activity.retried, activity.under_way) == (5, 0)
    counts = Counts(wanted=5, activity=activity)
    text = describe(counts, Speedometer(counts, 0.0), 1.0)
    assert text.startswith("5 retried, last: ")
    assert reason in text or reason == "answered without"
