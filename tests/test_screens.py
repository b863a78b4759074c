"""Tables on terminals: docs/screens.md is current, no line is too long, nothing is lost, and a real terminal agrees."""

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from personaeval.report.estimates import FormattedEstimate
from personaeval.report.folding import fold, hanging, width_of
from personaeval.report.table import Table
from personaeval.report.terminal import to_terminal

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs"))


@pytest.fixture(scope="module")
def shown():
    """(checkpoints, command) -> its tables, and the folder of the runs of two checkpoints."""
    import screens

    found = {}
    for count in screens.COUNTS:
        with screens.example_folder(count):
            found |= {(count, command): tables for command, tables in screens.screens(count).items()}
    return found


@pytest.mark.slow
def test_the_page_of_screens_is_current(shown):
    import screens

    page = (ROOT / "docs" / "screens.md").read_text(encoding="utf-8")
    assert len(shown) == 14
    for (_, command), tables in shown.items():
        for width in screens.WIDTHS:
            assert f"$ {command}\n{tables.for_terminal(width)}\n" in page, "run `make docs`"


def test_no_line_is_wider_than_the_terminal(shown):
    for (_, command), tables in shown.items():
        for width in (60, 80, 100, 120):
            for line in tables.for_terminal(width).splitlines():
                assert width_of(line) <= width, f"{command}: {line}"


def test_every_figure_is_on_the_screen(shown):
    for (_, command), tables in shown.items():
        screen = tables.for_terminal(80)
        for table in tables:
            for row in table.rows:
                for cell in row:
                    if isinstance(cell, FormattedEstimate) and cell.value is not None:
                        assert (cell.figure if cell.plain else f"{cell.figure}{cell.interval}") in screen, (
                            command,
                            cell,
                        )


def test_names_of_any_script_and_length_are_folded_and_not_cut():
    names = ("a-very-long-name-of-a-checkpoint-that-nobody-would-type-twice", "名前の長いモデル" * 8, "x" * 150)
    table = Table("t", ("checkpoint", "accuracy"), tuple((name, FormattedEstimate(0.5, 0.4, 0.6)) for name in names))
    screen = to_terminal([table], 60)
    assert all(width_of(line) <= 60 for line in screen.splitlines())
    joined = re.sub(r"\s|0\.500±0\.100", "", re.sub(r"0\.500 ±0\.100", "", screen))
    assert all(name in joined for name in names)


def test_nothing_in_a_name_obeys_the_terminal():
    table = Table("\x1b[31mred", ("name",), (("\x1b]0;title\x07[bold]x[/bold]",),), ("\x1b[2J",))
    for styled in (False, True):
        screen = to_terminal([table], 80, styled)
        assert "\x1b]" not in screen and "\x1b[2J" not in screen and "[bold]x[/bold]" in screen


def test_text_is_folded_at_words_and_names_after_hyphens():
    assert fold("checkpoint-of-a-long-name", 14) == "checkpoint-of-\na-long-name"
    assert fold("to be or not", 5) == "to be\nor\nnot"
    assert fold("abcdefgh", 3) == "abc\ndef\ngh"
    assert hanging("one two three four", 10) == "one two\n  three\n  four"


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed: apt-get install tmux")
@pytest.mark.parametrize("width", [80, 120])
def test_a_real_terminal_shows_the_same(shown, width, tmp_path):
    import screens

    with screens.example_folder(2) as folder:
        command = f"PYTHONPATH={ROOT} {sys.executable} -m personaeval leaderboard; echo done-$((6 * 7))"
        server = ["tmux", "-L", f"personaeval-{tmp_path.name}"]
        size = ["-x", str(width), "-y", "80"]
        subprocess.run(
            [*server, "-f", "/dev/null", "new-session", "-d", *size, "bash", "--norc"], cwd=folder, check=True
        )
        try:
            subprocess.run([*server, "send-keys", f"clear; {command}", "Enter"], check=True)
            for _ in range(600):
                seen = subprocess.run(
                    [*server, "capture-pane", "-p"], capture_output=True, text=True, check=True
                ).stdout
                if "done-42" in seen:
                    break
                time.sleep(0.2)
        finally:
            subprocess.run([*server, "kill-server"], check=False)
        wanted = shown[2, "personaeval leaderboard"].for_terminal(width)
        assert wanted in "\n".join(line.rstrip() for line in seen.splitlines())
