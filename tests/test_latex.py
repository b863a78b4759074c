"""LaTeX that compiles and fits: the real pdflatex, on the tables that people make."""

import os
import re
import shutil
import subprocess

import numpy as np
import pytest

import personaeval as package
from personaeval.report.formats import render
from personaeval.report.leaderboard import leaderboard, persona_tables
from personaeval.report.table import Table
from tests.finished import counted, write_run
from tests.test_report_against import finished

WIDE = ("W" * 24, "checkpoint_of-24-letters", "名前の長いモデル", "été-modèle & 100 % #1", "x" * 24)
"""Names up to 24 characters: the widest there are, with signs that LaTeX obeys, in other scripts."""


@pytest.fixture(scope="module")
def pdflatex() -> str:
    found = shutil.which("pdflatex")
    if found is None and os.environ.get("PERSONAEVAL_NEEDS_TEX"):
        pytest.fail("pdflatex is not installed, and this machine is to have it (.ci/run installs it)")
    if found is None:
        pytest.skip("pdflatex is not installed: apt-get install texlive-latex-recommended")
    return found


def compiled(pdflatex: str, folder, text: str) -> str:
    """The log of a document with the tables, which ask for what the preamble must have."""
    packages = re.findall(r"^% needs (\\usepackage\{\w+\})$", text, re.MULTILINE)
    document = "\n".join(
        [r"\documentclass[10pt,letterpaper]{article}", *packages, r"\begin{document}", text, r"\end{document}"]
    )
    (folder / "t.tex").write_text(document)
    done = subprocess.run(
        [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "t.tex"], cwd=folder, capture_output=True, timeout=120
    )
    log = (folder / "t.log").read_text(errors="replace")
    assert done.returncode == 0, log[-2000:]
    return log


def assert_fits(log: str) -> None:
    assert "Overfull" not in log, re.findall(r"Overfull.*", log)
    assert "Missing character" not in log


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Five checkpoints with lopsided intervals and a negative κ."""
    folder, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(0)
    return [
        finished(folder, name, (rng.random((60, 4)) < share).astype(int), f"{place}abcdef0" * 4)
        for place, (name, share) in enumerate(zip(WIDE, (0.5, 0.97, 0.03, 0.9, 0.6), strict=True))
    ]


def test_a_leaderboard_fits(pdflatex, tmp_path, runs):
    for count in (2, 5):
        text = render(leaderboard(runs[:count]), "latex")
        assert_fits(compiled(pdflatex, tmp_path, text))
        assert r"\caption{" in text and r"\label{tab:leaderboard-sums}" in text
    assert "2abcdef0: 名前の長いモデル" in text
    assert "名前" not in re.sub(r"^%.*$", "", text, flags=re.MULTILINE)
    assert "$-$0." in text
    assert all(heading in text for heading in ("accuracy", "PSS", r"$\kappa$"))


def test_changes_against_a_baseline_and_personas_fit(pdflatex, tmp_path, runs):
    text = render([*leaderboard(runs, baseline=WIDE[0]), *persona_tables(runs), *persona_tables(runs[:1])], "latex")
    assert_fits(compiled(pdflatex, tmp_path, text))
    assert "PSS change" in text


def test_a_comparison_fits(pdflatex, tmp_path):
    rng = np.random.default_rng(1)
    for number, name in enumerate(WIDE):
        right = (rng.random((80, 5)) < 0.9 - number / 10).astype(int)
        write_run(tmp_path / str(number), [counted(right)], label=name, fingerprint=f"{number}abcdef0" * 4)
    for pair in (("0", "4"), ("1", "3"), ("2", "0")):
        found = package.compare(*(tmp_path / name for name in pair))
        assert_fits(compiled(pdflatex, tmp_path, found.render("latex")))


def test_a_long_table_breaks_over_pages(pdflatex, tmp_path):
    table = Table("t", ("persona", "accuracy"), tuple((f"persona-{n}", 0) for n in range(150)))
    log = compiled(pdflatex, tmp_path, render([table], "latex"))
    assert_fits(log)
    assert "[3]" in log


def test_what_does_not_fit_is_said(runs):
    text = render(leaderboard(runs, baseline=WIDE[0]), "latex")
    assert re.search(r"^% Left out, as they do not fit: .*--columns chooses others\.$", text, re.MULTILINE)


def test_columns_are_chosen_by_heading_or_metric(runs):
    found = package.Tables(tuple(leaderboard(runs[:2])))
    assert [table.columns for table in found.choose(["κ", "unscored"])] == [("checkpoint", "κ", "unscored")]
    assert set(found.choose(["kappa"]).frame().metric) == {"kappa"}
    with pytest.raises(package.UsageError, match="Did you mean 'accuracy'"):
        found.choose(["acuracy"])
