"""Only like is compared with like: what is refused, what is said."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from personaeval.analysis.compare import align
from personaeval.errors import InvalidRunError, UsageError
from personaeval.library.tasks import Item
from personaeval.results.runs import open_checkpoints
from tests.finished import counted, judged, write_run

ITEMS = [Item(id=f"i{number}", prompt=f"{number} + 1?", gold=str(number + 1)) for number in range(40)]
RIGHT = np.random.default_rng(0).integers(0, 2, (40, 4))
ASKED = {
    "persona_role": "auto",
    "plain": None,
    "chat_template": None,
    "request_fields": {},
    "chat_template_kwargs": {},
    "reasoning_end": "</think>",
}


def pair(tmp_path, base=None, candidate=None, before=None, after=None):
    folders = [
        write_run(tmp_path / "base", [before or counted(RIGHT, items=ITEMS)], label="base", **(base or {})),
        write_run(
            tmp_path / "new",
            [after or counted(RIGHT, items=ITEMS)],
            label="new",
            fingerprint="b" * 32,
            **candidate or {},
        ),
    ]
    return open_checkpoints([str(folder) for folder in folders])


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("request_fields", {"top_k": 50}, "request fields top_k None against 50"),
        ("plain", {"question": "Q: "}, "plain None against {'question': 'Q: '}"),
        ("chat_template", "{{ messages }}" * 30, "chat template None against '{{ messages }}{{ messages }}"),
        ("chat_template_kwargs", {"enable_thinking": False}, "chat template kwargs enable_thinking None against False"),
        ("persona_role", "user_prefix", "persona role 'auto' against 'user_prefix'"),
        ("reasoning_end", "</thought>", "reasoning end"),
    ],
)
def test_all_that_was_asked_is_compared(tmp_path, field, value, said):
    first, second = pair(tmp_path, {"asked": ASKED}, {"asked": ASKED | {field: value}})
    with pytest.raises(InvalidRunError, match=said.replace("{", r"\{").replace("}", r"\}")):
        align(first, second, "sums")
    assert said in align(first, second, "sums", allow_different_settings=True).notes[0]


def test_the_same_items_in_another_number_are_comparable_others_under_their_names_are_not(tmp_path):
    fewer = counted(RIGHT[:30], items=ITEMS[:30])
    first, second = pair(tmp_path / "1", after=fewer)
    assert len(align(first, second, "sums").items) == 30
    for number, edited in enumerate((replace(ITEMS[3], prompt="other?"), replace(ITEMS[3], gold="0"))):
        changed = [*ITEMS[:3], edited, *ITEMS[4:30]]
        first, second = pair(tmp_path / f"2{number}", after=counted(RIGHT[:30], items=changed))
        with pytest.raises(InvalidRunError, match=r"prompts or gold answers of 1 items \(i3\)"):
            align(first, second, "sums")


def test_where_templates_put_the_persona_elsewhere_it_is_said(tmp_path):
    first, second = pair(tmp_path, {"placement": {"role": "system"}}, {"placement": {"role": "user_prefix"}})
    [note] = [note for note in align(first, second, "sums").notes if "different places" in note]
    assert "base system, new user_prefix" in note


def test_what_is_cut_off_or_unscored_is_said(tmp_path):
    cut, lost = counted(RIGHT, items=ITEMS), np.zeros(RIGHT.shape, dtype=int)
    cut.counts["truncated"][:3] = 1
    lost[:2] = 1
    first, second = pair(tmp_path, before=cut, after=counted(RIGHT * (1 - lost), items=ITEMS, unscored=lost))
    notes = align(first, second, "sums").warnings
    assert "7.5% of base's answers were cut off at max_tokens." in notes
    assert any(note.startswith("5.0% of new's answers are unscored") for note in notes)


def test_cells_without_some_rows_are_refused(tmp_path):
    first, second = pair(tmp_path)
    path = second.folders["sums"] / "cells.parquet"
    table = pq.read_table(path)
    # Rows only where the candidate was right would flatter it.
    pq.write_table(table.filter(table["correct"].to_numpy() == 1), path)
    with pytest.raises(UsageError, match=r"rows of sums, and 160 belong there; personaeval score"):
        align(first, second, "sums")


def test_cells_of_another_shape_are_refused_with_a_remedy(tmp_path):
    first, second = pair(tmp_path)
    path = second.folders["sums"] / "cells.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["digest"]), path)
    with pytest.raises(UsageError, match="lacks digest; personaeval score"):
        align(first, second, "sums")


def test_other_judges_are_refused(tmp_path):
    scores = np.full((3, 5, 1), 4.0)
    first, second = pair(tmp_path, before=judged(scores), after=judged(scores))
    second.records["acting"].panel.hash = "other"
    with pytest.raises(InvalidRunError, match="judges or rubrics"):
        align(first, second, "acting")
