"""The transformers engine, on the real small model and on a tiny random one."""

import asyncio
import copy
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from personaeval.errors import EngineError, UsageError
from personaeval.models.engines import EngineSettings
from personaeval.models.engines.local import SpecialTokenFilter, special_tokens
from personaeval.models.engines.transformers import TransformersEngine, choose_device, open_engine
from personaeval.types import Completion, Request, Sampling

torch = pytest.importorskip(
    "torch", reason="the transformers engine needs torch: pip install 'personaeval[transformers]'"
)
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.model

QUESTIONS = [
    "What is 2 + 3?",
    "Name the capital of France.",
    "Why is the sky blue? Answer in a single short sentence, as if you were speaking to a small child.",
    "Say hello.",
    "What is 7 times 8?",
    "Count from one to five.",
]


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(smollm2)


@pytest.fixture(scope="module")
def model(smollm2: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(smollm2).float().eval()


@pytest.fixture
def tiny(tokenizer: Any) -> Any:
    """A random model of two layers: what it writes is noise, how it is driven is real."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=96,
        eos_token_id=2,
    )
    return transformers.LlamaForCausalLM(config).eval()


def ask(tokenizer: Any, questions: Iterable[str], sampling: Sampling, seed: int = 0) -> list[Request]:
    chats = [[{"role": "user", "content": question}] for question in questions]
    prompts = [tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) for chat in chats]
    return [Request(row, b"key%d" % row, prompt, sampling, seed) for row, prompt in enumerate(prompts)]


def answer(engine: TransformersEngine, requests: Iterable[Request]) -> list[Completion]:
    async def collect() -> list[Completion]:
        return [completion async for completion in engine.generate(iter(requests))]

    return sorted(asyncio.run(collect()), key=lambda completion: completion.row)


def test_each_request_is_answered_once_as_the_library_itself_answers(model: Any, tokenizer: Any) -> None:
    requests = ask(tokenizer, QUESTIONS, Sampling(max_tokens=24))
    completions = answer(TransformersEngine(model, tokenizer), requests)
    assert [(c.row, c.key) for c in completions] == [(r.row, r.key) for r in requests]
    for request, completion in zip(requests, completions, strict=True):
        ids = tokenizer(request.prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        expected = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        written = expected[0, ids.shape[1] :].tolist()
        assert completion.text == tokenizer.decode(written, skip_special_tokens=True)
        assert completion.prompt_tokens == ids.shape[1]
        assert completion.completion_tokens == len(written)
        assert completion.finish_reason == ("stop" if written[-1] == tokenizer.eos_token_id else "length")
    assert {c.finish_reason for c in completions} == {"stop", "length"}


def test_a_sample_drawn_alone_is_the_one_drawn_among_others(model: Any, tokenizer: Any) -> None:
    engine = TransformersEngine(model, tokenizer)
    sampling = Sampling(temperature=0.9, top_p=0.9, max_tokens=12)
    requests = [replace(r, seed=100 + r.row) for r in ask(tokenizer, [QUESTIONS[2]] * 5, sampling)]
    together = answer(engine, requests)
    assert len({c.text for c in together}) > 1
    assert answer(engine, [requests[3]]) == [together[3]]


def test_sampling_follows_the_probabilities_within_the_nucleus(tiny: Any, tokenizer: Any) -> None:
    chosen = {1000: 0.5, 1001: 0.3, 1002: 0.15, 1003: 0.05}

    def fix_logits(_module: Any, _inputs: Any, output: Any) -> Any:
        output.logits = torch.full_like(output.logits, -1e9)
        for token, probability in chosen.items():
            output.logits[..., token] = math.log(probability)
        return output

    tiny.register_forward_hook(fix_logits)
    sampling = Sampling(temperature=1.0, top_p=0.9, max_tokens=1)
    requests = [replace(ask(tokenizer, ["a"], sampling)[0], row=seed, seed=seed) for seed in range(1000)]
    counts = Counter(completion.text for completion in answer(TransformersEngine(tiny, tokenizer), requests))
    # The nucleus of 0.9 is the first three tokens, whose mass is 0.95; 0.06 is four standard errors.
    for token, probability in list(chosen.items())[:3]:
        assert counts.pop(tokenizer.decode([token])) / 1000 == pytest.approx(probability / 0.95, abs=0.06)
    assert not counts


def test_a_stop_string_ends_the_answer_and_is_not_in_it(model: Any, tokenizer: Any) -> None:
    engine = TransformersEngine(model, tokenizer)
    (free,) = answer(engine, ask(tokenizer, QUESTIONS[5:6], Sampling(max_tokens=24)))
    stop = free.text[5:9]
    (stopped,) = answer(engine, ask(tokenizer, QUESTIONS[5:6], Sampling(max_tokens=24, stop=("never written", stop))))
    assert stopped.text == free.text[: free.text.index(stop)]
    assert stopped.finish_reason == "stop"
    assert stopped.completion_tokens < free.completion_tokens


def test_special_tokens_are_added_where_asked(tiny: Any, tokenizer: Any) -> None:
    class Adding:
        """The tokenizer with a token of its own at the beginning (this one has none)."""

        eos_token_id = tokenizer.eos_token_id
        decode = staticmethod(tokenizer.decode)

        def __call__(self, texts: list[str], add_special_tokens: bool, **_: Any) -> dict[str, list[list[int]]]:
            ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
            return {"input_ids": [[1, *tokens] if add_special_tokens else tokens for tokens in ids]}

    plain = Request(0, b"a", "One two three", Sampling(max_tokens=2), 0)
    completions = answer(
        TransformersEngine(tiny, Adding()),
        [plain, replace(plain, row=1, special_tokens=True), replace(plain, row=2)],
    )
    assert [c.prompt_tokens - completions[0].prompt_tokens for c in completions] == [0, 1, 0]


def test_the_context_bounds_prompt_and_answer(tiny: Any, tokenizer: Any) -> None:
    requests = [
        Request(0, b"long", "word " * 200, Sampling(max_tokens=8), 0),
        Request(1, b"near", "word " * 90, Sampling(max_tokens=500), 0),
        Request(2, b"short", "word", Sampling(max_tokens=8), 0),
        Request(3, b"empty", "", Sampling(max_tokens=8), 0),
    ]
    tiny.generation_config.eos_token_id = None
    long, near, short, empty = answer(TransformersEngine(tiny, tokenizer), requests)
    length = len(tokenizer("word " * 200)["input_ids"])
    assert long.error is not None
    assert str(length) in long.error
    assert "96" in long.error
    assert near.finish_reason == "length"
    assert near.prompt_tokens + near.completion_tokens == 96
    assert short.error is None
    assert empty.error is not None


def test_decoded_tokens_are_told_before_an_answer_is_whole(tiny: Any, tokenizer: Any) -> None:
    """What the progress line counts while a batch is under way, and leaves to the answers afterwards."""
    engine = TransformersEngine(tiny, tokenizer)
    seen: list[tuple[int, int]] = []
    forward = engine._forward

    def watched(*arguments: Any) -> Any:
        seen.append((engine.activity.under_way, engine.activity.decoded))
        return forward(*arguments)

    engine._forward = watched  # type: ignore[method-assign]
    completions = answer(engine, ask(tokenizer, QUESTIONS[:2], Sampling(temperature=0.0, max_tokens=5)))
    assert all(completion.completion_tokens == 5 for completion in completions)
    assert (2, 8) in seen, seen
    assert (engine.activity.under_way, engine.activity.decoded) == (0, 0)


def test_a_batch_too_big_for_the_memory_is_halved(tiny: Any, tokenizer: Any) -> None:
    requests = ask(tokenizer, QUESTIONS * 3, Sampling(max_tokens=6))
    expected = answer(TransformersEngine(tiny, tokenizer), requests)
    seen = []

    def fail_above_four(_module: Any, _inputs: Any, arguments: dict[str, Any]) -> None:
        seen.append(len(arguments["input_ids"]))
        if seen[-1] > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    tiny.register_forward_pre_hook(fail_above_four, with_kwargs=True)
    assert answer(TransformersEngine(tiny, tokenizer), requests) == expected
    assert max(seen) == 18
    assert min(seen) <= 4


def test_a_request_too_big_alone_fails_alone(tiny: Any, tokenizer: Any) -> None:
    def fail_on_long(_module: Any, _inputs: Any, arguments: dict[str, Any]) -> None:
        if arguments["attention_mask"].sum(-1).max() > 50:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    tiny.register_forward_pre_hook(fail_on_long, with_kwargs=True)
    prompts = ["word", "word " * 60, "word"]
    requests = [Request(row, b"", prompt, Sampling(max_tokens=4), 0) for row, prompt in enumerate(prompts)]
    first, second, third = answer(TransformersEngine(tiny, tokenizer), requests)
    assert first.error is None
    assert third.error is None
    assert second.error is not None
    assert "memory" in second.error


@pytest.mark.parametrize("kind", [RuntimeError, IndexError])
def test_a_model_that_fails_is_an_engine_error(tiny: Any, tokenizer: Any, kind: type[Exception]) -> None:
    def fail(_module: Any, _inputs: Any) -> None:
        raise kind("a kernel is missing")

    tiny.register_forward_pre_hook(fail)
    with pytest.raises(EngineError, match="a kernel is missing"):
        answer(TransformersEngine(tiny, tokenizer), ask(tokenizer, QUESTIONS, Sampling(max_tokens=4)))


def test_marks_of_thinking_that_are_special_tokens_stay_in_the_text(tokenizer: Any) -> None:
    marked = copy.deepcopy(tokenizer)
    marked.add_special_tokens({"additional_special_tokens": ["[THINK]", "[/THINK]"]})
    assert {"[THINK]", "[/THINK]", "<|im_end|>"} <= special_tokens(marked)
    ids = marked("[THINK]two and two[/THINK]four<|im_end|>", add_special_tokens=False)["input_ids"]
    assert marked.decode(ids, skip_special_tokens=True) == "two and twofour"
    kept = SpecialTokenFilter(marked, ("[THINK]", "[/THINK]"))
    assert kept.any_kept
    assert kept.strip(marked.decode(ids)) == "[THINK]two and two[/THINK]four"


def test_a_model_in_training_goes_on_training(tiny: Any, tokenizer: Any) -> None:
    tiny.train()
    engine = TransformersEngine(tiny, tokenizer)
    answer(engine, ask(tokenizer, QUESTIONS, Sampling(max_tokens=4)))
    asyncio.run(engine.close())
    asyncio.run(engine.close())
    assert tiny.training
    tiny(input_ids=torch.tensor([[5, 6]]), labels=torch.tensor([[5, 6]])).loss.backward()
    assert tiny.lm_head.weight.grad is not None


@pytest.mark.parametrize("how", ["leave", "close"])
def test_requests_are_pulled_as_needed_and_leaving_stops_the_work(tiny: Any, tokenizer: Any, how: str) -> None:
    template = ask(tokenizer, ["a"], Sampling(max_tokens=40))[0]
    pulled = 0
    forwards = 0

    def endless() -> Iterator[Request]:
        nonlocal pulled
        while True:
            yield replace(template, row=pulled)
            pulled += 1

    def count(*_: Any) -> None:
        nonlocal forwards
        forwards += 1

    tiny.register_forward_pre_hook(count)

    async def take_one(how: str) -> int:
        engine = TransformersEngine(tiny, tokenizer)
        completions = engine.generate(endless())
        await anext(completions)
        await (completions.aclose() if how == "leave" else engine.close())
        after = forwards
        await asyncio.sleep(0.3)
        return after

    after = asyncio.run(take_one(how))
    assert 0 < pulled <= 2048
    assert forwards == after


def test_a_checkpoint_is_opened_in_its_dtype(smollm2: Path, tokenizer: Any) -> None:
    async def use() -> Completion:
        engine = await open_engine(str(smollm2), tokenizer, EngineSettings(dtype="bfloat16", device="cpu"))
        try:
            requests = ask(tokenizer, ["Name the capital of France."], Sampling(max_tokens=16))
            return await anext(aiter(engine.generate(iter(requests))))
        finally:
            await engine.close()

    assert "Paris" in asyncio.run(use()).text


def test_what_cannot_be_opened_says_what_and_why(smollm2: Path, tokenizer: Any, tmp_path: Path) -> None:
    def opening(path: Path, **settings: Any) -> None:
        asyncio.run(open_engine(str(path), tokenizer, EngineSettings(**settings)))

    with pytest.raises(UsageError, match="no_such_argument"):
        opening(smollm2, device="cpu", arguments={"no_such_argument": 1})
    (tmp_path / "config.json").write_text((smollm2 / "config.json").read_text())
    with pytest.raises(EngineError, match=str(tmp_path)):
        opening(tmp_path, device="cpu")
    with pytest.raises(UsageError, match="abacus"):
        choose_device("abacus")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="sees no such device"):
            choose_device("cuda")


SCORED = {
    "type": "object",
    "properties": {
        "word": {"type": "string", "maxLength": 6},
        "sure": {"type": "boolean"},
        "score": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
    },
    "required": ["word", "sure", "score"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_even_noise_is_held_to_a_schema(tiny: Any, tokenizer: Any, temperature: float) -> None:
    pytest.importorskip("llguidance", reason="schemas need llguidance: pip install 'personaeval[transformers]'")
    jsonschema = pytest.importorskip("jsonschema")
    engine = TransformersEngine(tiny, tokenizer)
    free = Sampling(temperature=temperature, max_tokens=48)
    held = replace(free, schema=json.dumps(SCORED))
    questions = ["Go.", "Say hello.", "Name it.", "Count!"]
    replies = answer(engine, ask(tokenizer, questions, held))
    assert {reply.finish_reason for reply in replies} == {"stop"}
    for reply in replies:
        content = json.loads(reply.text)
        jsonschema.validate(content, SCORED)
        assert list(content) == ["word", "sure", "score"]
    # A row's reply does not depend on the others of its batch.
    assert answer(engine, ask(tokenizer, questions[:1], held))[0].text == replies[0].text
    for reply in answer(engine, ask(tokenizer, questions, free)):
        with pytest.raises(ValueError):
            json.loads(reply.text)


def test_loading_draws_no_bar_of_its_own(tiny_checkpoint: Path, tokenizer: Any, capfd: pytest.CaptureFixture) -> None:
    from transformers.utils import logging as reports

    asyncio.run(open_engine(str(tiny_checkpoint), tokenizer, EngineSettings(dtype="float32", device="cpu")))
    assert capfd.readouterr().err == ""
    assert reports.is_progress_bar_enabled(), "only while it loads"
