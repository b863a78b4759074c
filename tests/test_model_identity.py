"""What counts for a model's identity: all that can change an answer, and nothing else."""

import pytest

from personaeval.config import ModelOptions
from personaeval.models.checkpoints import parse_model
from personaeval.models.model import PERFORMANCE_ARGS, open_model


def identity(checkpoint, engine="vllm", **options):
    return open_model(parse_model(f"{engine}:{checkpoint}"), ModelOptions(**options)).identity()


@pytest.mark.parametrize(
    "options",
    [
        {"engine_args": {"max_model_len": 2048}},
        {"engine_args": {"quantization": "fp8"}},
        {"engine_args": {"hf_overrides": {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}}},
        {"engine_args": {"kv_cache_dtype": "fp8"}},
        {"engine_args": {"an_argument_of_tomorrow": 1}},
        {"dtype": "float16"},
        {"dtype": "float32"},
        {"engine": "transformers"},
    ],
    ids=str,
)
def test_what_can_change_an_answer_changes_the_identity(tiny_checkpoint, options):
    assert identity(tiny_checkpoint, **options) != identity(tiny_checkpoint)


def test_what_only_changes_speed_does_not():
    assert {"max_num_seqs", "gpu_memory_utilization", "tensor_parallel_size", "enforce_eager"} <= PERFORMANCE_ARGS


@pytest.mark.parametrize("name", sorted(PERFORMANCE_ARGS))
def test_each_performance_argument_leaves_the_identity_as_it_is(tiny_checkpoint, name):
    assert identity(tiny_checkpoint, engine_args={name: 2}) == identity(tiny_checkpoint)
