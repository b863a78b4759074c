"""What identifies a model: specs, directories, fingerprints."""

import json
import shutil
from pathlib import Path

import pytest

from personaeval.errors import UsageError
from personaeval.models.checkpoints import ModelSpec, check_folder, fingerprint, parse_model, resolve, resolve_dtype


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vllm:./ckpt", ModelSpec("vllm", "./ckpt")),
        ("transformers:org/name@step-100", ModelSpec("transformers", "org/name", None, "step-100")),
        ("openai:gpt-x@https://host/v1/", ModelSpec("openai", "gpt-x", "https://host/v1")),
        ("openai:a@b:c@http://127.0.0.1:8000/v1", ModelSpec("openai", "a@b:c", "http://127.0.0.1:8000/v1")),
        ("name@http://127.0.0.1:8000/v1", ModelSpec("openai", "name", "http://127.0.0.1:8000/v1")),
    ],
)
def test_model_specs(text, expected):
    assert parse_model(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vlm:./ckpt", "unknown engine 'vlm'.* Did you mean 'vllm'"),
        ("openai:gpt-x", "needs its URL"),
        ("vllm:./ckpt@http://host/v1", "only openai: takes a URL"),
        ("vllm:", "name is missing"),
    ],
)
def test_wrong_model_specs(text, message):
    with pytest.raises(UsageError, match=message):
        parse_model(text)


def test_labels_are_fit_for_folders():
    assert parse_model("vllm:/data/runs/my run/checkpoint-500/").short_name == "checkpoint-500"
    assert parse_model("transformers:org/name@step-100").short_name == "name@step-100"


@pytest.fixture
def copy(smollm2: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(smollm2, tmp_path / "ckpt"))


def tensor_extents(weights: Path) -> tuple[int, dict]:
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        return 8 + length, json.loads(file.read(length))


def test_fingerprint_is_the_contents_not_the_path(smollm2, copy):
    assert fingerprint(copy) == fingerprint(smollm2)
    assert fingerprint(copy, full=True) != fingerprint(copy)


def test_an_edit_of_any_one_layer_changes_the_fingerprint(copy):
    before = fingerprint(copy)
    weights = copy / "model.safetensors"
    base, header = tensor_extents(weights)
    names = [name for name in header if ".layers.17." in name]
    assert len(names) > 5
    for name in names:
        begin, end = header[name]["data_offsets"]
        with weights.open("rb+") as file:
            file.seek(base + begin)
            original = file.read(end - begin)
            file.seek(base + begin)
            file.write(bytes(byte ^ 1 for byte in original))
        assert fingerprint(copy) != before, name
        with weights.open("rb+") as file:
            file.seek(base + begin)
            file.write(original)
    assert fingerprint(copy) == before


def test_full_hash_sees_a_single_changed_byte(copy):
    weights = copy / "model.safetensors"
    before = fingerprint(copy, full=True)
    with weights.open("rb+") as file:
        file.seek(100_000_001)
        byte = file.read(1)
        file.seek(100_000_001)
        file.write(bytes([byte[0] ^ 1]))
    assert fingerprint(copy, full=True) != before


@pytest.mark.parametrize(
    "name", ["config.json", "generation_config.json", "chat_template.jinja", "tokenizer_config.json"]
)
def test_texts_count_in_full(copy, name):
    before = fingerprint(copy)
    path = copy / name
    path.write_text(path.read_text() + " ")
    assert fingerprint(copy) != before


def test_a_trainers_state_does_not_count(copy):
    before = fingerprint(copy)
    (copy / "trainer_state.json").write_text("{}")
    (copy / "optimizer.pt").write_bytes(b"x" * 100)
    assert fingerprint(copy) == before


def test_not_a_checkpoint(tmp_path, copy):
    with pytest.raises(UsageError, match="no such directory"):
        resolve(ModelSpec("vllm", str(tmp_path / "nowhere")))
    with pytest.raises(UsageError, match=r"config.json is missing. Did you mean .*ckpt"):
        check_folder(tmp_path)
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer_config.json").unlink()
    with pytest.raises(UsageError, match="no tokenizer"):
        check_folder(copy)
    (copy / "model.safetensors").rename(copy / "weights")
    with pytest.raises(UsageError, match="no weights"):
        check_folder(copy)
    (copy / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match="LoRA adapter"):
        check_folder(copy)


def test_files_that_cannot_be_read_are_named(copy):
    (copy / "notes.json").mkdir()
    assert fingerprint(copy)
    (copy / "model.safetensors").unlink()
    (copy / "model.safetensors").symlink_to("/nowhere/blob")
    with pytest.raises(UsageError, match=r"model.safetensors: cannot be read \(No such file"):
        fingerprint(copy)


def test_a_missing_shard_is_named(copy):
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match=r"model-2.safetensors .* is missing \(1 in all\)"):
        check_folder(copy)


def test_an_index_still_being_written_is_refused(copy):
    for text in ('{"weight_map": {"a"', "[1]"):
        (copy / "model.safetensors.index.json").write_text(text)
        with pytest.raises(UsageError, match="still being written"):
            check_folder(copy)


def test_weights_cut_short_are_refused(copy):
    weights = copy / "model.safetensors"
    with weights.open("rb+") as file:
        file.truncate(1_000_000)
    with pytest.raises(UsageError, match="cut short"):
        fingerprint(copy)


def test_a_hub_id_is_its_commit(smollm2, tmp_path, monkeypatch):
    """The hub's cache layout, made by hand: what a node without network has."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--org--tiny"
    shutil.copytree(smollm2, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    found = resolve(ModelSpec("vllm", "org/tiny"))
    assert found.revision == commit
    assert found.folder.name == commit
    assert resolve(ModelSpec("vllm", "org/tiny")).fingerprint == found.fingerprint
    with pytest.raises(UsageError, match="the hub does not provide it"):
        resolve(ModelSpec("vllm", "org/absent"))


@pytest.mark.parametrize(
    ("requested", "config", "expected"),
    [
        ("auto", {"dtype": "float16"}, "float16"),
        ("auto", {"torch_dtype": "float32"}, "bfloat16"),
        ("auto", {"text_config": {"dtype": "bfloat16"}}, "bfloat16"),
        ("auto", {}, "bfloat16"),
        ("float32", {"dtype": "float16"}, "float32"),
    ],
)
def test_dtype(requested, config, expected):
    assert resolve_dtype(requested, config) == expected


def test_unknown_dtype():
    with pytest.raises(UsageError, match="Did you mean 'bfloat16'"):
        resolve_dtype("bfloat61", {})
