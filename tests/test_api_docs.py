"""docs/python.md: its code runs from top to bottom, and its tables name every column that there is."""

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from personaeval.library.registry import Registry
from personaeval.library.sources import load_items
from personaeval.results import frame_columns
from personaeval.results.frames import Results
from tests.judging import judge_named
from tests.scripted_server import Script, ScriptedServer, share_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "python.md"
TEXT = PAGE.read_text()
FRAMES = ("metrics", "cells", "responses", "judgements", "items", "personas", "runs")


def rows_after(mark: str) -> dict[str, str]:
    """Column -> type, of the first table after a text."""
    table = re.search(r"((?:^\|.*\n)+)", TEXT[TEXT.index(mark) :], re.MULTILINE)
    cells = [[cell.strip() for cell in line.split("|")[1:3]] for line in table[1].splitlines()[2:]]
    return {name.strip("`"): kind for name, kind in cells}


def arithmetician():
    """Answer the sums of mini-arith, as a pirate less often right, and play along with anything else."""
    [(task, file)] = Registry().tasks("mini-arith")
    gold = {item.prompt: item.gold for item in load_items(task, file, None, None, 0).items}

    def answer(messages, seed) -> str:
        question = messages[-1]["content"]
        threshold = 0.3 if "pirate" in messages[0]["content"] else 0.9
        right = question in gold and share_of(messages, seed) < threshold
        return f"The answer is \\boxed{{{gold[question] if right else -1}}}."

    return answer


@pytest.fixture(scope="module")
def made(tmp_path_factory, smollm2) -> dict:
    """What the page's code leaves behind, run as it stands against servers of known answers."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    matplotlib = pytest.importorskip("matplotlib", reason="pip install 'personaeval[dev]'")
    matplotlib.use("Agg")
    blocks = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 10
    space: dict = {}
    with (
        pytest.MonkeyPatch.context() as patch,
        ScriptedServer(Script(model=None), answer=arithmetician()) as model,
        ScriptedServer(Script(model="judge"), answer=judge_named("judge")) as judge,
    ):
        patch.chdir(tmp_path_factory.mktemp("page"))
        for number, block in enumerate(blocks):
            code = block.replace("http://localhost:8000/v1", model.url).replace("http://localhost:8001/v1", judge.url)
            exec(compile(code, f"{PAGE.name}, block {number + 1}", "exec"), space)
        space["picture"] = Path("pss.png").read_bytes()
        space["files"] = {path.name: path.resolve() for path in sorted(Path("results").glob("*/*/*"))}
        tokenizer = AutoTokenizer.from_pretrained(smollm2)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1
        )
        space["live"] = space["evaluate"](LlamaForCausalLM(config).train(), tokenizer, 7)
    return space


@pytest.mark.model
def test_the_code_does_what_the_page_says(made):
    assert made["picture"].startswith(b"\x89PNG")
    assert len(made["points"]) == 3
    assert made["points"]["low", "pss"].notna().all()
    assert (made["evaluation"].failed, len(made["results"])) == (0, 4)
    assert len(made["lost"]) > 0
    assert made["lost"].question_none.notna().all()
    assert made["worst"].score == made["judgements"].score.min()
    assert [made["live"].runs()[name][0] for name in ("checkpoint", "step")] == ["policy-step7", 7]


@pytest.mark.model
def test_every_column_of_every_frame_and_file_is_documented(made):
    common = rows_after("Every frame begins with these columns")
    for name in FRAMES:
        frame = getattr(made["results"], name)()
        documented = common | rows_after(f"**`{name}()`**")
        known = getattr(frame_columns, name.upper())
        assert list(documented) == list(known), name
        kinds = {column: str(frame[column].dtype) for column in known}
        assert kinds == {
            column: kind.replace("list of string", "list<item: string>[pyarrow]") for column, kind in documented.items()
        }
    own = {"responses": {"key"}, "judgements": {"fingerprint"}, "cells": {"digest"}, "items": set()}
    own |= {"personas": {"prompt"}}
    for name, more in own.items():
        columns = pq.read_schema(made["files"][f"{name}.parquet"]).names
        assert set(columns) <= set(rows_after(f"**`{name}()`**")) | more, name
        assert more <= set(columns)
    listed = set(re.findall(r"^\| `(\w+\.(?:parquet|json))`", TEXT, re.MULTILINE))
    assert {name for name in made["files"] if not name.startswith(".")} <= listed | {"sessions.json"}
    assert {name for name in vars(Results) if not name.startswith("_")} == set(FRAMES)
