"""The main path: a checkpoint in, a stability table out. One test asks the real model, the others a tiny one."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from personaeval.config import make_config
from personaeval.errors import EngineError, InvalidRunError, UsageError
from personaeval.pipeline.run import run
from personaeval.pipeline.score import rescore
from personaeval.progress import open_progress
from personaeval.results.files import read_json
from personaeval.results.lock import run_lock
from personaeval.results.responses import read_responses

pytestmark = pytest.mark.model


@pytest.fixture
def evaluate(library: Path, tmp_path: Path, tiny_checkpoint: Path):
    """Run the sums task under two personas; keyword arguments are the configuration's."""

    def evaluate_with(**more):
        settings = {
            "model": (f"transformers:{tiny_checkpoint}",),
            "tasks": ("sums",),
            "personas": ("few",),
            "include": (library,),
            "output": tmp_path / "results",
            "limit": 4,
            "samples": 2,
            "max_tokens": 12,
        }
        return run(make_config(None, settings | more), open_progress(quiet=True))

    return evaluate_with


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def test_a_run_leaves_everything_needed_to_believe_and_repeat_it(evaluate, smollm2, library):
    # Many processors multiply bfloat16 in software, seven times as slowly.
    [result] = evaluate(model=(f"transformers:{smollm2}",), dtype="float32")
    assert (result.generated, result.failed, result.engine_error) == (4 * 3 * 2, 0, None)
    record = read_json(result.folder / "run.json")
    assert result.folder.parent.name == f"{smollm2.name}-{record['model']['fingerprint'][:8]}"
    assert record["placement"]["role"] == "system"
    assert "SmolLM" in record["placement"]["no_persona_prompt"]
    assert record["tasks"]["sums"]["origin"]["sha256"]
    assert record["tasks"]["sums"]["sampling"]["max_tokens"] == 12
    [session] = record["sessions"]
    assert session["versions"]["transformers"]
    assert session["generated"] == 24
    assert session["tokens"]["output"] > 0
    rows = list(read_responses(result.folder))
    order = [(row.persona, row.item, row.sample) for row in rows]
    items = [row.item for row in rows[::2]][:4]
    assert order == [(p, i, s) for p in ("none", "pirate", "professor") for i in items for s in (0, 1)]
    assert all(row.text and row.status in {"correct", "wrong", "no_answer"} for row in rows)
    assert all(row.prompt_tokens > 10 and row.completion_tokens > 0 for row in rows)
    cells = pq.read_table(result.folder / "cells.parquet").to_pylist()
    assert len(cells) == 4 * 3
    for cell in cells:
        mine = [row for row in rows if (row.item, row.persona) == (cell["item"], cell["persona"])]
        assert cell["scored"] == 2
        assert cell["correct"] == sum(row.status == "correct" for row in mine)
        assert cell["truncated"] == sum(row.truncated for row in mine)
    summary = read_json(result.folder / "summary.json")
    assert summary["tasks"]["sums"]["counts"]["total"] == 24
    assert not any(str(library) in name for name in files(result.folder))


def overwrite(checkpoint: Path) -> None:
    """Train a checkpoint a little further, in place."""
    from safetensors.torch import load_file, save_file

    file = checkpoint / "model.safetensors"
    save_file({name: tensor * 1.5 for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})


def test_the_same_command_again_generates_nothing_and_writes_the_same(evaluate):
    [first] = evaluate()
    before = files(first.folder)
    record = read_json(first.folder / "run.json")
    [second] = evaluate()
    assert (second.folder, second.generated) == (first.folder, 0)
    assert files(second.folder) == before
    assert read_json(first.folder / "run.json") == record


def test_a_lost_folder_comes_back_from_the_ledger(evaluate):
    [first] = evaluate()
    before = files(first.folder)
    shutil.rmtree(first.folder)
    [second] = evaluate()
    assert second.generated == 0
    assert files(second.folder) == before


def test_one_more_persona_pays_for_its_own_cells_only(evaluate, library):
    evaluate()
    path = library / "personas" / "few.yaml"
    path.write_text(path.read_text() + "  - {id: poet, text: a lovesick poet, category: style}\n")
    [more] = evaluate()
    assert more.generated == 4 * 2
    assert len(list(read_responses(more.folder))) == 4 * 4 * 2


def test_more_samples_and_items_pay_for_the_new_ones_only(evaluate):
    evaluate()
    assert evaluate(samples=3)[0].generated == 4 * 3
    assert evaluate(limit=6)[0].generated == 2 * 3 * 2


def test_weights_overwritten_in_place_take_nothing_from_the_ledger(evaluate, tiny_checkpoint, tmp_path):
    checkpoint = tmp_path / "checkpoint-100"
    shutil.copytree(tiny_checkpoint, checkpoint)
    [before] = evaluate(model=(f"transformers:{checkpoint}",))
    overwrite(checkpoint)
    [after] = evaluate(model=(f"transformers:{checkpoint}",))
    assert after.generated == before.generated == 24
    assert after.folder != before.folder


def test_weights_overwritten_while_they_are_loaded_are_refused(evaluate, tiny_checkpoint, tmp_path, monkeypatch):
    from personaeval.models.engines import transformers

    checkpoint = tmp_path / "checkpoint-100"
    shutil.copytree(tiny_checkpoint, checkpoint)
    opened = transformers.open_engine

    async def open_and_overwrite(*arguments):
        engine = await opened(*arguments)
        overwrite(checkpoint)
        return engine

    monkeypatch.setattr(transformers, "open_engine", open_and_overwrite)
    with pytest.raises(EngineError, match="changed while it was being loaded"):
        evaluate(model=(f"transformers:{checkpoint}",))


def test_a_corrected_gold_answer_scores_again_and_generates_nothing(evaluate, library):
    [result] = evaluate()
    rows = list(read_responses(result.folder))
    item = rows[0].item
    number = int(item[1:])
    data = library / "tasks" / "sums.jsonl"
    data.write_text(data.read_text().replace(f'"answer": "{2 * number + 1}"', '"answer": "123456"'))
    changed = rescore(result.folder, {}, ()).changed
    right_before = sum(row.status == "correct" for row in rows if row.item == item)
    assert changed == right_before
    after = [row for row in read_responses(result.folder) if row.item == item]
    assert {row.gold for row in after} == {"123456"}
    assert not any(row.status == "correct" for row in after)
    scored = files(result.folder)
    [again] = evaluate()
    assert (again.folder, again.generated) == (result.folder, 0)
    assert files(again.folder) == scored


def test_changed_prompts_are_not_scored_with_old_answers(evaluate, library):
    [result] = evaluate()
    data = library / "tasks" / "sums.jsonl"
    data.write_text(data.read_text().replace("What is", "How much is"))
    with pytest.raises(InvalidRunError, match="its prompts have changed"):
        rescore(result.folder, {}, ())


def test_tasks_that_ask_the_same_are_asked_once_and_scored_each_in_its_way(evaluate, library):
    text = (library / "tasks" / "sums.yaml").read_text().replace("name: sums", "name: literal-sums")
    (library / "tasks" / "literal-sums.yaml").write_text(text.replace("kind: numeric", "kind: exact"))
    [result] = evaluate(tasks=("sums", "literal-sums"))
    assert (result.generated, result.failed) == (24, 0)
    rows = list(read_responses(result.folder))
    assert [row.text for row in rows[:24]] == [row.text for row in rows[24:]]
    assert [row.key for row in rows[:24]] == [row.key for row in rows[24:]]
    assert "unscored" not in {row.status for row in rows}
    before = files(result.folder)
    assert evaluate(tasks=("sums", "literal-sums"))[0].generated == 0
    assert files(result.folder) == before


def test_a_raised_revision_is_recorded_by_scoring_again_and_shares_a_table_with_new_runs(evaluate, library, tmp_path):
    [result] = evaluate()
    path = library / "tasks" / "sums.yaml"
    path.write_text(path.read_text() + "revision: 2\n")
    rescore(result.folder, {}, ())
    record = read_json(result.folder / "run.json")
    assert record["tasks"]["sums"]["revision"] == 2
    scored = read_json(result.folder / "summary.json")["tasks"]["sums"]["group"]
    [again] = evaluate()
    assert (again.folder, again.generated) == (result.folder, 0)
    assert read_json(again.folder / "summary.json")["tasks"]["sums"]["group"] == scored


def test_all_checkpoints_are_placed_before_the_first_is_asked(evaluate, tiny_checkpoint, tmp_path):
    mute = tmp_path / "mute"
    shutil.copytree(tiny_checkpoint, mute)
    (mute / "chat_template.jinja").write_text("{{ messages[-1].content }}")
    with pytest.raises(UsageError, match="do not reach the model's prompt"):
        evaluate(model=(f"transformers:{tiny_checkpoint}", f"transformers:{mute}"), persona_role="system")
    assert not (tmp_path / "results").exists()


def test_a_base_models_examples_are_part_of_the_work_without_stop_strings_too(
    evaluate, library, tiny_checkpoint, tmp_path
):
    base = tmp_path / "base"
    shutil.copytree(tiny_checkpoint, base)
    (base / "chat_template.jinja").unlink()
    path = library / "tasks" / "sums.yaml"
    path.write_text(path.read_text() + "plain: {stop: []}\n")
    [bare] = evaluate(model=(f"transformers:{base}",))
    path.write_text(path.read_text().replace("stop: []", "stop: [], question: 'Sum:'"))
    [other] = evaluate(model=(f"transformers:{base}",))
    assert bare.folder != other.folder
    groups = [read_json(one.folder / "summary.json")["tasks"]["sums"]["group"] for one in (bare, other)]
    assert groups[0] != groups[1]


def test_a_folder_in_use_is_not_scored_again(evaluate):
    [result] = evaluate()
    with run_lock(result.folder), pytest.raises(UsageError, match="already in progress, held by process"):
        rescore(result.folder, {}, ())


def test_what_a_killed_process_left_half_written_is_cleared_away(evaluate):
    [result] = evaluate()
    leftover = result.folder / ".responses.parquet.x1y2z3"
    leftover.write_bytes(b"half")
    evaluate()
    assert not leftover.exists()


def test_options_that_change_the_prompt_are_another_run(evaluate):
    [plain] = evaluate()
    [prefixed] = evaluate(persona_role="user_prefix")
    [worded] = evaluate(template="Answer as {{ persona }} would.")
    assert len({plain.folder, prefixed.folder, worded.folder}) == 3
    assert read_json(prefixed.folder / "run.json")["placement"]["role"] == "user_prefix"
    # The baseline's prompts are the same ones: they come from the ledger.
    assert prefixed.generated == worded.generated == 4 * 2 * 2


def test_a_base_model_is_asked_plainly_and_stops_at_the_next_question(evaluate, tiny_checkpoint, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(tiny_checkpoint, base)
    (base / "chat_template.jinja").unlink()
    [result] = evaluate(model=(f"transformers:{base}",), max_tokens=40)
    record = read_json(result.folder / "run.json")
    assert record["model"]["rendering"] == {"kind": "plain"}
    assert record["tasks"]["sums"]["sampling"]["stop"] == ["\nQuestion:"]
    assert all("Question:" not in row.text for row in read_responses(result.folder))


def test_a_chat_template_from_a_file(evaluate, tmp_path):
    template = tmp_path / "template.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
    )
    [result] = evaluate(chat_template=template)
    assert "SmolLM" not in read_json(result.folder / "run.json")["placement"]["no_persona_prompt"]
    template.write_text("{{ messages[-1].content }}")
    [prefixed] = evaluate(chat_template=template)
    assert read_json(prefixed.folder / "run.json")["placement"]["role"] == "user_prefix"


def test_a_prompt_longer_than_the_context_is_unscored_and_the_rest_goes_on(evaluate, library):
    data = library / "tasks" / "sums.jsonl"
    long = json.dumps({"id": "long", "question": "1 + 1 " * 6000, "answer": "6000"})
    data.write_text(data.read_text() + long + "\n")
    [result] = evaluate(limit=None, samples=1)
    assert result.failed == 3
    rows = [row for row in read_responses(result.folder) if row.item == "long"]
    assert {(row.status, row.text, row.score) for row in rows} == {("unscored", None, None)}
    assert "2048" in rows[0].reason
    summary = read_json(result.folder / "summary.json")
    assert summary["tasks"]["sums"]["counts"]["unscored"] == 3
    assert any("unscored" in warning for warning in summary["tasks"]["sums"]["warnings"])


def test_data_for_a_task_that_is_not_run_is_refused(evaluate, tmp_path):
    with pytest.raises(UsageError, match="--data names gsm8k"):
        evaluate(data={"gsm8k": tmp_path / "x.jsonl"})


def test_answers_cut_off_at_max_tokens_are_warned_of(evaluate, personaeval):
    [result] = evaluate(max_tokens=2, samples=1)
    task = read_json(result.folder / "summary.json")["tasks"]["sums"]
    assert task["counts"]["truncated"] == task["counts"]["total"] == 12
    [warning] = [line for line in task["warnings"] if "cut off" in line]
    assert warning == "all answers were cut off at 2 tokens: raise --max-tokens"
    shown = personaeval("leaderboard", result.folder.parent.parent)
    assert warning in shown.stdout + shown.stderr
