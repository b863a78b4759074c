"""Models in memory: what identifies them, and that nothing of them is changed."""

import copy

import pytest

from personaeval.config import ModelOptions
from personaeval.errors import UsageError
from personaeval.models.live import LiveModel, fingerprint, main_dtype, weights_hash

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def loaded_tokenizer(smollm2):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(smollm2)


@pytest.fixture
def tokenizer(loaded_tokenizer):
    return copy.deepcopy(loaded_tokenizer)


@pytest.fixture
def model(tokenizer):
    """Two layers with random weights, the embeddings tied to the output."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config).to(torch.bfloat16)


@pytest.mark.parametrize("full", [False, True])
def test_any_one_weight_changes_the_fingerprint_and_back_again(model, full):
    before = weights_hash(model, full)
    seen = {before}
    tensors = list(model.parameters())
    assert len(tensors) > 15
    for tensor in tensors:
        for place in (0, tensor.numel() // 3, tensor.numel() - 1):
            flat = tensor.detach().view(-1)
            kept = flat[place].clone()
            flat[place] = kept + 1
            seen.add(weights_hash(model, full))
            flat[place] = kept
    assert len(seen) == 1 + 3 * len(tensors)
    assert weights_hash(model, full) == before


def test_two_weights_in_each_other_s_place_are_another_model(model):
    before = weights_hash(model)
    flat = model.lm_head.weight.detach().view(-1)
    flat[[4, 8]] = flat[[8, 4]]
    assert weights_hash(model) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda model, tokenizer: model.config.rope_parameters.update(rope_theta=5e5),
        lambda model, tokenizer: setattr(model.config, "rms_norm_eps", 1e-3),
        lambda model, tokenizer: setattr(model.generation_config, "eos_token_id", [0, 2]),
        lambda model, tokenizer: setattr(tokenizer, "chat_template", "{{ messages[0].content }}"),
        lambda model, tokenizer: tokenizer.add_tokens(["<new>"]),
        lambda model, tokenizer: tokenizer.add_special_tokens({"eos_token": "<|im_start|>"}),
        lambda model, tokenizer: model.float(),
        lambda model, tokenizer: model.register_buffer("bias_correction", torch.zeros(3)),
    ],
    ids=["rope", "norm", "eos", "template", "token", "eos token", "dtype", "buffer"],
)
def test_what_changes_answers_changes_the_fingerprint(model, tokenizer, change):
    before = fingerprint(model, tokenizer)
    change(model, tokenizer)
    assert fingerprint(model, tokenizer) != before


def test_what_training_sets_does_not(model, tokenizer):
    before = fingerprint(model, tokenizer)
    model.train()
    model.gradient_checkpointing_enable()
    model.config.use_cache = False
    model.set_attn_implementation("eager")
    model.config._name_or_path = "/somewhere/else"
    model.register_buffer("scratch", torch.zeros(3), persistent=False)
    model(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    tokenizer(["one", "two words"], padding=True, truncation=True, max_length=1)
    assert fingerprint(model, tokenizer) == before
    assert fingerprint(torch.compile(model)._orig_mod, tokenizer) == before


def test_the_dtype_is_that_of_the_weights_and_not_of_the_configuration(model, tokenizer):
    model.config.dtype = torch.bfloat16
    live = LiveModel(model.float(), tokenizer, ModelOptions(), name="policy", step=300)
    assert live.identity()["dtype"] == main_dtype(model) == "float32"
    assert live.spec.short_name == "policy-step300"
    record = live.record()
    assert (record["live"], record["step"], record["fingerprint_verifiable"]) == (True, 300, True)


def test_wrappers_are_seen_through(model, tokenizer):
    plain = LiveModel(model, tokenizer, ModelOptions())
    wrapped = LiveModel(torch.compile(torch.nn.DataParallel(model)), tokenizer, ModelOptions())
    assert wrapped.fingerprint == plain.fingerprint


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dtype": "float16"}, "dtype: not for a model in memory: it keeps its own dtype"),
        ({"device": "cpu"}, "device: not for a model in memory"),
        ({"engine_args": {"max_model_len": 8}}, "engine_args: not for a model in memory"),
        ({"tokenizer": "gpt2"}, "tokenizer: not for a model in memory"),
    ],
)
def test_options_of_checkpoints_on_disk_are_refused(model, tokenizer, options, said):
    with pytest.raises(UsageError, match=said):
        LiveModel(model, tokenizer, ModelOptions(**options))


def test_what_is_no_model_in_this_process_is_refused(model, tokenizer):
    with pytest.raises(UsageError, match="model: Linear is neither a checkpoint's name nor a causal language model"):
        LiveModel(torch.nn.Linear(2, 2), tokenizer, ModelOptions())
    with pytest.raises(UsageError, match="needs its tokenizer"):
        LiveModel(model, None, ModelOptions())
    with pytest.raises(UsageError, match=r"embed_tokens\.weight has no data"):
        LiveModel(model.to("meta"), tokenizer, ModelOptions())


def test_sharded_weights_are_refused(model, tokenizer):
    model.model.norm.weight.ds_id = 3  # as ZeRO-3 marks what it has partitioned
    with pytest.raises(UsageError, match=r"model\.norm\.weight is sharded over processes"):
        LiveModel(model, tokenizer, ModelOptions())
