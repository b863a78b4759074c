"""Comparisons: what is aligned, what is refused, what the tables say."""

import json
import re

import numpy as np
import pytest

from personaeval.analysis.compare import align
from personaeval.analysis.flips import find_flips
from personaeval.errors import InvalidRunError, UsageError
from personaeval.metrics.population import Population
from personaeval.results.runs import open_checkpoints, open_runs, step_of
from tests.finished import counted, judged, write_responses, write_run


def drawn(n: int = 200):
    return Population(accuracy=0.7).draw_pair(Population(accuracy=0.6), np.random.default_rng(0), n, 4, 1)


def test_only_common_items_are_compared_wherever_they_stand(tmp_path):
    before, after = drawn()
    names = [f"i{number}" for number in range(200)]
    order = np.random.default_rng(1).permutation(200)[:150]
    base = write_run(tmp_path / "base", [counted(before, items=names)], label="base")
    other = write_run(
        tmp_path / "other", [counted(after[order], items=[names[k] for k in order])], fingerprint="b" * 32
    )
    first, second = open_checkpoints([str(base), str(other)])
    pair = align(first, second, "sums")
    chosen = np.sort(order)
    assert pair.items == tuple(names[k] for k in chosen)
    assert np.array_equal(pair.cells[0].correct, before[chosen])
    assert np.array_equal(pair.cells[1].correct, after[chosen])
    assert "Left out: 50 items of base" in pair.notes[0]
    change = pair.changes()["accuracy"]
    assert change.absolute.value == pytest.approx(after[chosen, 1:].mean() - before[chosen, 1:].mean())


def test_other_settings_are_refused_by_name(tmp_path):
    before, after = drawn()
    base = write_run(tmp_path / "base", [counted(before)])
    sampling = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 32}
    other = write_run(tmp_path / "other", [counted(after)], fingerprint="b" * 32, sampling=sampling)
    first, second = open_checkpoints([str(base), str(other)])
    with pytest.raises(InvalidRunError, match=r"sampling temperature 0\.0 against 1\.0"):
        align(first, second, "sums")
    assert "temperature" in align(first, second, "sums", allow_different_settings=True).notes[0]


def test_a_checkpoint_is_found_by_name(tmp_path):
    before, after = drawn()
    write_run(tmp_path / "model-aaaaaaaa" / "1", [counted(before)])
    write_run(tmp_path / "model-aaaaaaaa" / "2", [judged(np.full((3, 5, 1), 4.0))])
    for text in ("model", "model-aaaaaaaa"):
        assert set(open_runs(str(tmp_path / text)).records) == {"sums", "acting"}
    with pytest.raises(UsageError, match="Did you mean 'model'"):
        open_runs(str(tmp_path / "modle"))
    write_run(tmp_path / "model-bbbbbbbb" / "1", [counted(before)], fingerprint="b" * 32)
    with pytest.raises(UsageError, match="several checkpoints have this name: model-aaaaaaaa, model-bbbbbbbb"):
        open_runs(str(tmp_path / "model"))
    (tmp_path / "model-bbbbbbbb" / "1" / "run.json").unlink()
    write_run(tmp_path / "model-aaaaaaaa" / "3", [counted(after)])
    with pytest.raises(UsageError, match="more than once"):
        open_runs(str(tmp_path / "model"))
    write_run(tmp_path / "model-bbbbbbbb" / "1", [counted(after, task="other")], fingerprint="b" * 32)
    with pytest.raises(UsageError, match="several checkpoints|more than once"):
        open_runs(str(tmp_path / "model"))


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_the_trend_of_models_that_solve_nothing_has_no_pss(tmp_path, personaeval):
    folders = [
        write_run(tmp_path / str(step), [counted(np.zeros((50, 3)))], label=f"ckpt-{step}", fingerprint=f"{step:032d}")
        for step in (500, 1000, 1500)
    ]
    shown = personaeval("compare", *folders, "-f", "json")
    assert shown.returncode == 0, shown.stderr
    slopes = {row["metric"]: row["value"] for row in json.loads(shown.stdout) if row["metric"].endswith("_slope")}
    assert slopes["accuracy_slope"] == 0 and slopes["pss_slope"] is None


def test_the_trend_by_step(tmp_path, personaeval):
    folders = []
    for step, right in ((500, 100), (1000, 140), (1500, 180)):
        correct = np.zeros((200, 3))
        correct[:right] = 1
        folder = write_run(tmp_path / str(step), [counted(correct)], label=f"ckpt-{step}", fingerprint=f"{step:032d}")
        folders.append(folder)
    shown = personaeval("compare", *folders, "-f", "json")
    assert shown.returncode == 0, shown.stderr
    [slope] = [row for row in json.loads(shown.stdout) if row["metric"] == "accuracy_slope"]
    assert slope["view"] == "trend"
    assert slope["value"] == pytest.approx(0.4)
    names = (
        "checkpoint-500",
        "checkpoint-500-aaaa1234",
        "global_step_70",
        "final",
        "model-aaaa1234",
        "qwen-7",
        "epoch-3",
    )
    assert [step_of(name) for name in names] == [500, 500, 70, None, None, None, None]
    fewer = write_run(tmp_path / "fewer", [counted(np.ones((200, 4)))], label="ckpt-1500", fingerprint="f" * 32)
    shown = personaeval("compare", *folders[:2], fewer)
    assert shown.returncode == 0, shown.stderr
    alike = write_run(tmp_path / "alike", [counted(np.ones((200, 4)))], label="ckpt-100", fingerprint="e" * 32)
    shown = personaeval("compare", alike, folders[0], fewer)
    assert shown.returncode == 0, shown.stderr
    assert "No trend: these checkpoints were not all asked the same items" in shown.stdout


def test_the_answers_shown_for_a_flip_have_flipped(tmp_path):
    # Under p1 the second of three samples became right; under none all did, which is no persona.
    before, after = np.array([[0, 1, 1], [3, 3, 3]]), np.array([[3, 2, 1], [3, 1, 3]])
    folders = []
    for name, correct, texts in (
        ("base", before, {("i0", "p1"): [1, 0, 0], ("i1", "p1"): [1, 1, 1]}),
        ("other", after, {("i0", "p1"): [1, 1, 0], ("i1", "p1"): [0, 0, 1]}),
    ):
        folder = write_run(tmp_path / name, [counted(correct, samples=3)], fingerprint=name[0] * 32, samples=3)
        write_responses(folder, texts)
        folders.append(str(folder))
    first, second = open_checkpoints(folders)
    [gained], [lost] = find_flips(align(first, second, "sums"), first, second)
    assert (gained.item, gained.persona, gained.gained) == ("i0", "p1", pytest.approx(1 / 3))
    assert gained.answers == ("wrong 1", "right 1")
    assert (lost.item, lost.answers) == ("i1", ("right 0", "wrong 0"))


def test_what_is_not_defined_any_more_is_shown_and_said(tmp_path, personaeval):
    right = np.ones((60, 5))
    right[:6] = 0
    base = write_run(tmp_path / "base", [counted(right)], label="base")
    other = write_run(tmp_path / "zero", [counted(0 * right), judged(np.full((3, 5, 1), 4.0))], label="ze\x1b[31mro")
    shown = personaeval("compare", base, other)
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"\| PSS .*\| +1\.000 \| +– \|", shown.stdout)
    assert "sums: PSS is undefined for ze [31mro." in shown.stdout
    assert "acting: left out, base did not run it." in shown.stdout
    assert "\x1b" not in shown.stdout


def test_broken_files_beside_are_passed_over(tmp_path, personaeval):
    before, after = drawn()
    base = write_run(tmp_path / "r" / "base-aaaaaaaa" / "1", [counted(before)], label="base")
    other = write_run(tmp_path / "r" / "other-bbbbbbbb" / "1", [counted(after)], label="other", fingerprint="b" * 32)
    (tmp_path / "r" / "torn-cccccccc" / "1").mkdir(parents=True)
    (tmp_path / "r" / "torn-cccccccc" / "1" / "run.json").write_text("{")
    (other / "responses.parquet").write_bytes(b"PAR1 torn")
    shown = personaeval("compare", tmp_path / "r" / "base", tmp_path / "r" / "other")
    assert shown.returncode == 0, shown.stderr
    file = tmp_path / "gate.yaml"
    file.write_text("")
    assert personaeval("baseline", base, "-o", file).returncode == 2
    acting = write_run(tmp_path / "acting", [judged(np.full((3, 5, 1), 4.0), task="sums")], label="acting")
    for pair in ((acting, base), (base, acting)):
        assert personaeval("compare", *pair, "--allow-different-settings").returncode == 4


def test_a_relative_change_is_shown_of_what_has_a_zero(tmp_path):
    first, second = open_checkpoints(
        [
            str(write_run(tmp_path / name, [counted(correct)], fingerprint=name[0] * 32))
            for name, correct in zip(("b", "c"), drawn(), strict=True)
        ]
    )
    for wide in (False, True):
        found = align(first, second, "sums").changes(wide)
        known = {name for name, change in found.items() if change.relative.value is not None}
        assert known & {"accuracy", "pss", "kappa", "persona_effect"} == {"accuracy", "pss"}


def test_a_baseline_compares_like_the_run(tmp_path, personaeval):
    before, after = drawn()
    base = write_run(tmp_path / "base", [counted(before)], label="base")
    other = write_run(tmp_path / "other", [counted(after)], label="other", fingerprint="b" * 32)
    kept = tmp_path / "kept"
    assert personaeval("baseline", base, "-o", kept).returncode == 0
    tables = [personaeval("compare", one, other, "-f", "json").stdout for one in (base, kept)]
    assert json.loads(tables[0]) == json.loads(tables[1])
    assert {row["view"] for row in json.loads(tables[0])} == {
        "metrics",
        "by_persona",
        "by_category",
        "gained",
        "lost",
    }
    assert personaeval("baseline", base, "-o", tmp_path).returncode == 2
    assert personaeval("baseline", other, "-o", kept).returncode == 0
    several = tmp_path / "several-bbbbbbbb"
    for plan, table in (("1", counted(before)), ("2", judged(np.full((3, 5, 1), 4.0)))):
        write_run(several / plan, [table], label="several", fingerprint="b" * 32)
    refused = personaeval("baseline", several, "-o", kept)
    assert refused.returncode == 2 and "another baseline" in refused.stderr
    wide = personaeval("compare", base, other, "--generalise-to-personas")
    assert "items and personas resampled" in wide.stdout
