"""docs/first-table.md: its figures follow from the answers in its picture, and its code prints what it says."""

import io
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest

from personaeval.metrics.sums import pss, repeat_sums

DOCS = Path(__file__).resolve().parent.parent / "docs"
TEXT = (DOCS / "first-table.md").read_text(encoding="utf-8")


def test_the_code_prints_what_it_says():
    [code] = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    shown = io.StringIO()
    with redirect_stdout(shown):
        exec(compile(code, "first-table.md", "exec"), {})
    assert shown.getvalue().split() == re.findall(r"# ([\d.]+)$", code, re.MULTILINE) == ["1.0", "0.5"]


def test_the_table_of_two_samples_is_right():
    right = np.array([[2, 2], [2, 1], [0, 1]], dtype=np.int32)
    scored = np.full_like(right, 2)
    assert pss(right / scored) == 0.75
    pairs, shares = repeat_sums(right, scored, scored > 0)
    assert (pairs.sum(), shares.sum()) == (3, 4)
    assert "PSS **0.75**" in TEXT
    assert "repeatability **0.75**" in TEXT


def test_the_pictures_show_the_page_s_figures(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib", reason="pip install 'personaeval[dev]'")
    monkeypatch.syspath_prepend(str(DOCS))
    sys.modules.pop("pictures", None)
    import pictures

    accuracies = {name: np.mean(answers) for name, answers in pictures.EXAMPLES.items()}
    assert set(accuracies.values()) == {4 / 6}
    assert [pss(np.array(answers, float)) for answers in pictures.EXAMPLES.values()] == [1.0, 0.5]
    pictures.draw_examples(tmp_path / "first-table.svg")
    assert (tmp_path / "first-table.svg").stat().st_size > 1000
    for name in re.findall(r"\]\((?:docs/)?(pictures/[\w.-]+)\)", TEXT + (DOCS.parent / "README.md").read_text()):
        assert (DOCS / name).is_file(), name


def test_the_demo_s_table_is_that_of_readme():
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    [table] = re.findall(r"<!-- demo -->\n\n(.*?)\n\n<!-- end -->", TEXT, re.DOTALL)
    assert table in readme
