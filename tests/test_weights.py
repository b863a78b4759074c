"""The weights are those of the checkpoint: what does not fit is refused by name, what is harmless is not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from personaeval.config import ModelOptions, make_config
from personaeval.errors import UsageError
from personaeval.models.checkpoints import parse_model
from personaeval.models.embedding_rows import refuse_rowless_tokens
from personaeval.models.model import LocalModel, open_model
from personaeval.models.weights import all_finite
from personaeval.pipeline.run import run
from personaeval.progress import open_progress
from personaeval.results.responses import read_responses
from personaeval.types import Request, Sampling

Edit = Callable[[dict[str, Any]], dict[str, Any]]


def edited(sound: Path, folder: Path, edit: Edit) -> Path:
    """A copy whose tensors went through ``edit``."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(sound, folder)
    save_file(edit(load_file(folder / "model.safetensors")), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def with_nan(tensors: dict[str, Any]) -> dict[str, Any]:
    tensors["model.norm.weight"][3] = float("nan")
    return tensors


def extra(**more: tuple[int, ...]) -> Edit:
    import torch

    return lambda tensors: tensors | {name.replace("__", "."): torch.ones(shape) for name, shape in more.items()}


def reshaped(tensors: dict[str, Any]) -> dict[str, Any]:
    return tensors | {"model.norm.weight": tensors["model.norm.weight"][:7].clone()}


UNFIT: dict[str, tuple[Edit, str]] = {
    "names with a wrapper's prefix": (
        lambda tensors: {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()},
        r"missing lm_head\.weight.*'_orig_mod\.' before \(torch\.compile's\)",
    ),
    "another prefix": (
        lambda tensors: {f"policy.{name}": tensor for name, tensor in tensors.items()},
        r"missing .*'policy\.' before",
    ),
    "a layer is missing": (
        lambda tensors: {name: tensor for name, tensor in tensors.items() if ".layers.1." not in name},
        r"missing model\.layers\.1\.\S+, .* and 6 more\.",
    ),
    "no head": (
        lambda tensors: {name: tensor for name, tensor in tensors.items() if name != "lm_head.weight"},
        r"missing lm_head\.weight\. .*tie_word_embeddings",
    ),
    "another shape": (reshaped, r"model\.norm\.weight is \(7,\), config\.json asks for \(16,\)"),
    "a foreign tensor": (extra(model__adapter__weight=(3, 3)), r"not expected model\.adapter\.weight"),
    "NaN": (with_nan, r"tensor model\.norm\.weight holds NaN"),
}


@pytest.mark.parametrize("name", UNFIT)
@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_weights_that_do_not_fit_are_refused_by_name(tiny_checkpoint, tmp_path, name, engine):
    """Before any engine is opened: so that it is the same for all of them, and needs none."""
    edit, message = UNFIT[name]
    folder = edited(tiny_checkpoint, tmp_path / "checkpoint", edit)
    with pytest.raises(UsageError, match=message):
        open_model(parse_model(f"{engine}:{folder}"), ModelOptions())


HARMLESS: dict[str, Edit] = {
    "as it is": lambda tensors: tensors,
    "a value head": extra(v_head__summary__weight=(1, 16), v_head__summary__bias=(1,)),
    "layers for several tokens at once": extra(model__layers__2__eh_proj__weight=(3, 3), mtp__fc__weight=(3,)),
    "a buffer": extra(model__layers__0__self_attn__rotary_emb__inv_freq=(4,)),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_sound_weights_are_taken_and_what_they_hold_besides_is_recorded(tiny_checkpoint, tmp_path, name):
    folder = edited(tiny_checkpoint, tmp_path / "checkpoint", HARMLESS[name])
    record = open_model(parse_model(f"transformers:{folder}"), ModelOptions()).record()
    unused = record["unused_weights"]
    assert unused is not None
    # transformers itself passes over rotary buffers without a word.
    assert len(unused) == (2 if "head" in name or "several" in name else 0)


def test_a_full_hash_looks_at_every_number(tiny_checkpoint, tmp_path):
    def hide(tensors: dict[str, Any]) -> dict[str, Any]:
        # Between the sampled blocks, which are the start, the middle and the end of a tensor.
        tensors["model.embed_tokens.weight"].view(-1)[100_003] = float("inf")
        return tensors

    folder = edited(tiny_checkpoint, tmp_path / "checkpoint", hide)
    open_model(parse_model(f"transformers:{folder}"), ModelOptions())
    with pytest.raises(UsageError, match=r"tensor model\.embed_tokens\.weight holds NaN or infinity"):
        open_model(parse_model(f"transformers:{folder}"), ModelOptions(full_hash=True))


def test_weights_beside_an_adapter_are_refused_whether_or_not_peft_is_there(tiny_checkpoint, tmp_path):
    folder = edited(tiny_checkpoint, tmp_path / "checkpoint", lambda tensors: tensors)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "x"}))
    with pytest.raises(UsageError, match=r"model\.safetensors.*and a LoRA adapter.*which is meant"):
        open_model(parse_model(f"transformers:{folder}"), ModelOptions())


def with_one_token_more(sound: Path, folder: Path) -> Path:
    """A copy whose tokenizer has one token more than the embedding has rows, as after adding one for padding."""
    from transformers import AutoTokenizer

    shutil.copytree(sound, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.add_tokens(["<extra>"], special_tokens=True) == 1
    tokenizer.save_pretrained(folder)
    return folder


def ask(engine: str, folder: Path, library: Path, output: Path, template: str) -> Any:
    chat_template = output.with_suffix(".jinja")
    chat_template.write_text(template)
    settings = {
        "model": (f"{engine}:{folder}",),
        "tasks": ("sums",),
        "personas": ("few",),
        "include": (library,),
        "output": output,
        "chat_template": chat_template,
        "limit": 2,
        "max_tokens": 2,
    }
    [result] = run(make_config(None, settings), open_progress(quiet=True))
    return result


TURNS = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


def test_a_token_without_a_row_is_harmless_where_no_prompt_holds_it(tiny_checkpoint, tmp_path, library):
    folder = with_one_token_more(tiny_checkpoint, tmp_path / "checkpoint")
    assert ask("transformers", folder, library, tmp_path / "results", TURNS).failed == 0


@pytest.mark.slow
@pytest.mark.vllm
def test_a_sound_checkpoint_with_all_that_is_harmless_is_taken_by_vllm_too(thinker, tmp_path, library):
    """vLLM itself refuses a value head and layers that its model does not know."""
    folder = with_one_token_more(thinker, tmp_path / "checkpoint")
    bare = ask("transformers", folder, library, tmp_path / "bare", TURNS)
    for name, edit in HARMLESS.items():
        folder = edited(folder, tmp_path / name, edit)
    result = ask("vllm", folder, library, tmp_path / "results", TURNS)
    assert result.failed == 0
    rows = {(row.item, row.persona): row.text for row in read_responses(result.folder)}
    assert rows.keys() == {(row.item, row.persona) for row in read_responses(bare.folder)}


@pytest.mark.parametrize("engine", ["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_a_token_without_a_row_is_named_before_the_weights_are_loaded(
    tiny_checkpoint, tmp_path, library, engine, monkeypatch
):
    folder = with_one_token_more(tiny_checkpoint, tmp_path / "checkpoint")
    # An engine that starts at all is one too many.
    monkeypatch.setattr(LocalModel, "_load", None)
    with pytest.raises(UsageError, match=r"token '<extra>' \(id 49152\) occurs in the prompts.* only 49152 rows"):
        ask(engine, folder, library, tmp_path / "results", TURNS + "<extra>")


def test_a_plain_token_without_a_row_is_found_in_the_question_too(tiny_checkpoint, tmp_path):
    """Of a tokenizer that belongs to another model, any token may be without a row."""
    opened = open_model(parse_model(f"transformers:{tiny_checkpoint}"), ModelOptions())
    requests = [Request(0, b"", text, Sampling(0.0, 1.0, 1), 0) for text in ("What is 1", "Whatever she paid")]
    ids = opened.tokenise(requests)
    rows = max(map(max, ids))
    with pytest.raises(UsageError, match=rf"\(id {rows}\) occurs in the prompts"):
        refuse_rowless_tokens("m", opened._tokenizer, rows, requests)
    refuse_rowless_tokens("m", opened._tokenizer, rows + 1, requests)
    refuse_rowless_tokens("m", opened._tokenizer, None, requests)


@pytest.mark.parametrize(("dtype", "width"), [("BF16", 2), ("F16", 2), ("F32", 4), ("F64", 8)])
@pytest.mark.parametrize("offset", range(8))
def test_a_block_may_begin_within_a_number(dtype, width, offset):
    import numpy as np

    exponent = {"BF16": 0x7F80, "F16": 0x7C00, "F32": 0x7F800000, "F64": 0x7FF << 52}[dtype]
    numbers = np.arange(1, 65, dtype=f"uint{8 * width}")
    assert all_finite(numbers.tobytes()[offset:], dtype, offset)
    numbers[40] = exponent + 1
    assert not all_finite(numbers.tobytes()[offset:], dtype, offset)


def test_numbers_without_exponent_are_not_looked_at():
    assert all_finite(b"\xff" * 64, "I64")
    assert all_finite(b"\xff" * 64, "F8_E4M3")
