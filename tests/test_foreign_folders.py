"""Folders that trainers write and that are no checkpoint: each gets the right word and the command that helps."""

import json

import pytest

from personaeval.errors import UsageError
from personaeval.models.checkpoints import check_folder, resolve_dtype
from personaeval.models.prompts import ChatRenderer, chat

ADAPTER = json.dumps({"peft_type": "LORA", "base_model_name_or_path": "org/base"})

FOLDERS = {
    "an adapter alone": (
        {"adapter_config.json": ADAPTER, "adapter_model.safetensors": "", "tokenizer.json": "{}"},
        r"LoRA adapter of org/base.*AutoPeftModelForCausalLM.*folder-merged",
    ),
    "an adapter beside the base's configuration": (
        {"adapter_config.json": ADAPTER, "config.json": json.dumps({"model_type": "llama"})},
        "LoRA adapter of org/base",
    ),
    "an adapter of mlx-lm": (
        {"adapter_config.json": json.dumps({"fine_tune_type": "lora", "model": "b"}), "adapters.safetensors": ""},
        r"mlx_lm.fuse --model b --adapter-path .*folder --save-path",
    ),
    "DeepSpeed": (
        {
            "config.json": json.dumps({"model_type": "llama"}),
            "zero_to_fp32.py": "",
            "latest": "global_step5",
            "global_step5/zero_pp_rank_0_mp_rank_00_model_states.pt": "",
            "tokenizer.json": "{}",
        },
        r"DeepSpeed.*python .*folder/zero_to_fp32.py .*folder .*folder-merged",
    ),
    "DeepSpeed's inner folder": (
        {"mp_rank_00_model_states.pt": "", "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt": ""},
        "training state of DeepSpeed",
    ),
    "FSDP of accelerate": (
        {"pytorch_model_fsdp_0/__0_0.distcp": "", "pytorch_model_fsdp_0/.metadata": "", "optimizer_0/__0_0.distcp": ""},
        r"FSDP.*accelerate merge-weights .*pytorch_model_fsdp_0 ",
    ),
    "torch's distributed checkpoint": (
        {".metadata": "", "__0_0.distcp": "", "__1_0.distcp": ""},
        "dcp_to_torch",
    ),
    "verl": (
        {"actor/model_world_size_2_rank_0.pt": "", "actor/huggingface/config.json": '{"model_type": "llama"}'},
        r"verl.model_merger merge --backend fsdp --local_dir .*folder/actor ",
    ),
    "verl's actor with its configuration": (
        {
            "config.json": '{"model_type": "llama"}',
            "model_world_size_1_rank_0.pt": "",
            "optim_world_size_1_rank_0.pt": "",
        },
        r"training state of verl",
    ),
    "Megatron-LM": (
        {"latest_checkpointed_iteration.txt": "5", "iter_0000005/mp_rank_00/model_optim_rng.pt": ""},
        "Megatron",
    ),
    "NeMo": ({"context/model.yaml": "", "weights/__0_0.distcp": ""}, "nemo llm export"),
    "Llama's original format": ({"params.json": "{}", "consolidated.00.pth": ""}, "convert_llama_weights_to_hf"),
    "llama.cpp": ({"model-q4.gguf": ""}, r"llama-server -m .*model-q4.gguf"),
    "Lightning": ({"epoch=1.ckpt": ""}, "epoch=1.ckpt, a checkpoint of Lightning"),
    "Flax": ({"config.json": '{"model_type": "gpt2"}', "flax_model.msgpack": ""}, "weights for Flax"),
    "a trainer's state alone": (
        {"trainer_state.json": "{}", "optimizer.pt": "", "scheduler.pt": ""},
        "trainer's state",
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_is_no_checkpoint_is_told_by_what_it_is(tmp_path, name):
    files, message = FOLDERS[name]
    folder = tmp_path / "folder"
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    with pytest.raises(UsageError, match=rf"folder: not a checkpoint\. .*(?:{message})"):
        check_folder(folder)


def test_checkpoints_inside_are_named_before_a_trainers_state(tmp_path):
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "config.json").write_text("{}")
    (tmp_path / "trainer_state.json").write_text("{}")
    with pytest.raises(UsageError, match="config.json is missing.*checkpoint-5"):
        check_folder(tmp_path)


@pytest.mark.parametrize(
    ("written", "dtype"),
    [
        ("torch.bfloat16", "bfloat16"),
        ("bf16", "bfloat16"),
        ("fp16", "float16"),
        ("half", "float16"),
        ("torch.float32", "bfloat16"),
        ({"": "float16", "vision_config": "float32"}, "float16"),
        (None, "bfloat16"),
    ],
)
def test_dtypes_are_read_as_trainers_write_them(written, dtype):
    assert resolve_dtype("auto", {"torch_dtype": written}) == dtype


def test_a_dtype_on_the_command_line_may_be_abbreviated_and_one_of_eight_bits_is_named():
    assert resolve_dtype("bf16", {}) == "bfloat16"
    assert resolve_dtype("torch.float16", {"dtype": "float8_e4m3fn"}) == "float16"
    with pytest.raises(UsageError, match="its dtype is float8_e4m3fn.*--dtype bfloat16"):
        resolve_dtype("auto", {"dtype": "float8_e4m3fn"})
    with pytest.raises(UsageError, match="--dtype int4: unknown"):
        resolve_dtype("int4", {})


class Tokenizer:
    """Renders as transformers does: ``tools`` is None unless given."""

    def apply_chat_template(self, conversation, chat_template, tools=None, **variables):
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def refuse(message):
            raise ValueError(message)

        template = ImmutableSandboxedEnvironment().from_string(chat_template)
        return template.render(messages=conversation, tools=tools, raise_exception=refuse, **variables)


@pytest.mark.parametrize(
    ("template", "tools"),
    [
        ("{% for t in tools %}{{ t }}{% endfor %}{{ messages[0].content }}", r"tools=\[\]"),
        ("{{ tools[0].function.name }}{{ messages[0].content }}", r"tools=\[{"),
    ],
)
def test_a_template_that_needs_tools_says_so(template, tools):
    renderer = ChatRenderer(Tokenizer(), template, {}, "2026-01-01")
    with pytest.raises(ValueError, match=f"needs tools.*--chat-template-kwarg '{tools}"):
        renderer.render(chat(None, "system", "2 + 2?"))
    given = ChatRenderer(Tokenizer(), template, {"tools": [{"function": {"name": ""}}]}, "2026-01-01")
    assert given.render(chat(None, "system", "2 + 2?")).endswith("2 + 2?")
