"""What identifies work must never change by itself: every hash here was computed by the code as of commit b2bce29.

A test that fails says that results of earlier versions would be generated, judged or scored again, or ranked apart.
"""

import json
import shutil
import sqlite3
import struct
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from personaeval import verify
from personaeval.models.checkpoints import fingerprint
from tests.format1 import DATA, ledger_keys, serving

RUN = ("run", "-q", "--include", "library", "--limit", 1, "--limit-personas", 1)


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    """A folder with tasks, personas and two checkpoints, one with a chat template and one without."""
    for name in ("library", "checkpoints"):
        shutil.copytree(DATA / name, tmp_path / name)
    plain = Path(shutil.copytree(DATA / "checkpoints" / "tiny", tmp_path / "checkpoints" / "plain"))
    settings = json.loads((plain / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    (plain / "tokenizer_config.json").write_text(json.dumps(settings))
    # A better reader of answers raises this number in order to score again: that is no accident.
    monkeypatch.setattr(verify, "VERSION", 2)
    return tmp_path


def read_run(results: Path) -> tuple[dict, dict, dict]:
    """The one run's run.json and summary.json, and its request keys by task, persona and item."""
    [file] = results.glob("*/*/run.json")
    rows = pq.read_table(file.parent / "responses.parquet").to_pylist()
    keys = {(row["task"], row["persona"], row["item"]): row["key"].hex() for row in rows}
    return json.loads(file.read_text()), json.loads((file.parent / "summary.json").read_text()), keys


def task_hashes(record: dict, name: str) -> list[str]:
    return [record["tasks"][name][key] for key in ("work", "prompts_hash", "gold_hash")]


LOCAL = {
    "tiny": {
        "fingerprint": "dd16eca2e7d8a95973289edfeb8a5bdf",
        "plan": "5289a802fc4a7e0b",
        "work": "9030205258a033c6",
        "group": "26df28917a0ffa0b",
        "requests": {
            ("sums", "none", "s0"): "f876057d69cc95b94582b749b168373c",
            ("sums", "professor-again", "s0"): "146a51a628cc750b42426370f5421604",
        },
        "verdicts": {"840f39db683a28b684d72f276717699d", "c2174b8082bce0a4de66025683514b9a"},
    },
    "plain": {
        "fingerprint": "f2352f279b6094d0435af005ab069946",
        "plan": "ae610d61ddcba86a",
        "work": "111380991b0da021",
        "group": "f8ee2b22e8232a4a",
        "requests": {
            ("sums", "none", "s0"): "ea1e30f194aab12fdd2cd05728a522b6",
            ("sums", "professor-again", "s0"): "65285172ce3990d800b50d8c3b74d2ab",
        },
        "verdicts": {"0ff119ed5e1961b45217dd5366442c2c", "e48af4c23288cc997f2e97a23e8ca5a4"},
    },
}


@pytest.mark.parametrize("name", LOCAL)
def test_the_keys_of_a_local_checkpoint(work, personaeval, name):
    asked = ("-m", f"transformers:checkpoints/{name}", "-t", "sums", "-p", "cast", "--seed", 5)
    done = personaeval(*RUN, *asked, "-o", "results", cwd=work)
    assert done.returncode == 0, done.stderr
    record, summary, keys = read_run(work / "results")
    expected = LOCAL[name]
    assert record["model"]["fingerprint"] == expected["fingerprint"]
    assert keys == expected["requests"]
    assert ledger_keys(work / "results", "completions") == set(expected["requests"].values())
    assert ledger_keys(work / "results", "verdicts") == expected["verdicts"]
    assert record["plan"] == expected["plan"]
    assert task_hashes(record, "sums") == [expected["work"], "d726a15730434560", "9b0fda5ec628c8cb"]
    assert summary["tasks"]["sums"]["group"] == expected["group"]
    [cells] = work.glob("results/*/*/cells.parquet")
    digests = [digest.hex() for digest in pq.read_table(cells)["digest"].to_pylist()]
    assert digests == ["c8df040575cdfc78"] * 2


def answer(messages: list[dict[str, str]], seed: int) -> str:
    """Answer as author of exemplars, as judge, or as the model under test."""
    text = messages[-1]["content"]
    if "Write five short answers" in text:
        return json.dumps({str(score): f"Answer {score}." for score in range(1, 6)})
    if "[response" in text:
        return json.dumps({"reasoning": "So it is.", "refusal": False, "ai_admission": False, "score": 4})
    return "Well met."


def test_the_keys_of_an_endpoint_and_of_its_judges_in_a_ledger_of_an_earlier_version(work, personaeval):
    (work / "results").mkdir()
    connection = sqlite3.connect(work / "results" / "ledger.sqlite")
    columns = "text BLOB NOT NULL, reasoning BLOB, finish_reason TEXT NOT NULL, prompt_tokens INTEGER NOT NULL"
    connection.execute(
        f"CREATE TABLE completions (key BLOB PRIMARY KEY, {columns}, completion_tokens INTEGER NOT NULL)"
    )
    connection.close()
    with serving(answer, {"actor": 18743, "ann": 18744}) as servers:
        done = personaeval(
            *(*RUN, "-m", f"openai:actor@{servers['actor'].url}", "-t", "play,sums", "-p", "stage"),
            *("--questions-per-dimension", 1, "--temperature", 0, "--engine-arg", "top_k=3", "-o", "results"),
            *("-j", f"openai:ann@{servers['ann'].url}", "--exemplars", "--judge-repeats", 2),
            cwd=work,
        )
    assert done.returncode == 0, done.stderr
    record, summary, keys = read_run(work / "results")
    assert record["model"]["fingerprint"] == "3a6aece77d171a5ec91a4501fd9ad8a4"
    assert keys == {
        ("play", "actor-2", "actor-2/manners/2"): "ddc6e79cd45e8aa5939c898d56d38794",
        ("sums", "none", "s5"): "6b9764d43856ca7a76b639040cdb8c85",
        ("sums", "poet", "s5"): "621a3f495a500a99ac2e4b51d0cc63d6",
    }
    exemplars = {"77abb89f9f9ed04b1160ac22da14a738"}
    judgements = {"817d42e318edfa6d12441ab1d1662d5f", "8bc197afcfc5020379027b7b49e80f6d"}
    assert ledger_keys(work / "results", "completions") - set(keys.values()) == exemplars | judgements
    assert ledger_keys(work / "results", "verdicts") == {
        "1433f029346a3e043ccf70517933006b",
        "3805de1008d2f219aae76e667e0ee683",
    }
    assert (record["plan"], record["panel"]["hash"]) == ("892e588abedd1b96", "ae295d817ec06f56")
    assert task_hashes(record, "play") == ["5437f621164300a1", "b45d5161ca22e59a", "0af1340833c6a189"]
    assert task_hashes(record, "sums") == ["fe510a5831200b50", "c70af475c01a6165", "92c71617a2e3b38e"]
    assert record["tasks"]["play"]["scorer"]["rubrics"] == "da96e9cc6f3661dd"
    groups = {name: part["group"] for name, part in summary["tasks"].items()}
    assert groups == {"play": "a885d0b3e5f64f54", "sums": "989c19dc57a2ecd6"}


def test_the_keys_of_an_endpoint(work, personaeval):
    with serving(answer, {"actor": 18743}) as servers:
        asked = ("-m", f"openai:actor@{servers['actor'].url}", "-t", "sums", "-p", "stage", "-o", "results")
        done = personaeval(*RUN, *asked, "--temperature", 0, cwd=work)
    assert done.returncode == 0, done.stderr
    record, _, keys = read_run(work / "results")
    assert record["model"]["fingerprint"] == "fdcb510d4a8fb8ffeb2ca714bd3fad20"
    assert keys == {
        ("sums", "none", "s5"): "7ee8763101d46955c127a22e872c6209",
        ("sums", "poet", "s5"): "5120235bffc74f54b6b8a5b475ce5a89",
    }
    assert record["plan"] == "fda8e642d6ab0cd0"


def write_checkpoint(folder: Path) -> None:
    """Weights with a tensor that is read in samples and one that is read whole, another weight file, and strangers."""
    big, small = bytes(range(256)) * 128, bytes(16)
    header = {
        "a": {"dtype": "U8", "shape": [len(big)], "data_offsets": [0, len(big)]},
        "b": {"dtype": "U8", "shape": [16], "data_offsets": [len(big), len(big) + 16]},
        "__metadata__": {"format": "pt"},
    }
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + big + small)
    (folder / "pytorch_model.bin").write_bytes(bytes(range(256)) * 64)
    (folder / "config.json").write_text('{"model_type": "llama"}\n')
    (folder / "tokenizer.json").write_text("{}\n")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "optimizer.pt").write_bytes(b"left out")
    (folder / "README.md").write_text("left out")


@pytest.mark.parametrize(
    ("full", "expected"), [(False, "63419d6ff98c9e839606c2e5d1657a72"), (True, "80aa70824c99e91bbb534af194de2216")]
)
def test_the_fingerprint_of_a_checkpoint(tmp_path, full, expected):
    write_checkpoint(tmp_path)
    assert fingerprint(tmp_path, full) == expected
