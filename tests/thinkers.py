"""A tiny checkpoint that thinks before it answers, by the marks of whichever family its persona is named after.

Every piece of what it writes is a token; any other word is one and the same unknown token. So a model of a few
thousand weights learns all of it in seconds.
"""

import json
from pathlib import Path
from typing import Any

THOUGHT = "2 and 3 make 5; no, I take that back. "
ANSWER = "The answer is 7."

FAMILIES: dict[str, list[str]] = {
    "harmony": [
        *("<|channel|>", "analysis", "<|message|>", THOUGHT, "<|end|>", "<|start|>", "assistant"),
        *("<|channel|>", "final", "<|message|>", ANSWER),
    ],
    "magistral": ["[THINK]", THOUGHT, "[/THINK]", ANSWER],
    "command": ["<|START_THINKING|>", THOUGHT, "<|END_THINKING|>", "<|START_RESPONSE|>", ANSWER, "<|END_RESPONSE|>"],
    "seed": ["<seed:think>", THOUGHT, "</seed:think>", ANSWER],
    "opened": [THOUGHT, "</think>", ANSWER],
}
"""What is written by each; of the last, the prompt opens the thinking."""

SPECIAL = [
    *("<|channel|>", "<|message|>", "<|start|>", "<|end|>", "[THINK]", "[/THINK]"),
    *("<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    *("<seed:think>", "</seed:think>", "<think>", "</think>", "<other>", "<eos>"),
]

TEMPLATE = """\
{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}{% set who = messages[0]['content'] %}\
{% if 'harmony' in who %}<|start|>assistant{% elif 'magistral' in who %}[magistral]{% elif 'command' in who %}\
[command]{% elif 'seed' in who %}[seed]{% else %}[opened]<think>{% endif %}{# Marks: <|channel|> [THINK] \
<|START_THINKING|> <seed:think> #}"""

OPENINGS = {
    "harmony": ["<|start|>", "assistant"],
    "magistral": ["[magistral]"],
    "command": ["[command]"],
    "seed": ["[seed]"],
    "opened": ["[opened]", "<think>"],
}


def make_thinker(folder: Path) -> Path:
    """Train the checkpoint and save it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer()
    ids = tokenizer.convert_tokens_to_ids
    end = ids("<eos>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=end,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    loss = torch.tensor(9.0)
    for step in range(400):
        rows, targets = [], []
        # As long as prompts are, and not always the same.
        lead = [0] * (4 + step * 7 % 40)
        for name, written in FAMILIES.items():
            opening = [ids(token) for token in OPENINGS[name]]
            answer = [*map(ids, written), end]
            row = lead + opening + answer
            target = [-100] * (len(lead) + len(opening)) + answer
            padding = len(lead) + 16 - len(row)
            rows.append(row + [end] * padding)
            targets.append(target + [-100] * padding)
        loss = model(input_ids=torch.tensor(rows), labels=torch.tensor(targets)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.02:
            break
    assert loss.item() < 0.05, f"it has not learned its lines: {loss.item()}"
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _keep_special_in(folder)
    return folder


def _tokenizer() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.decoder = decoders.Fuse()
    written = {piece for pieces in FAMILIES.values() for piece in pieces} | {t for o in OPENINGS.values() for t in o}
    plain = sorted(written - set(SPECIAL))
    inner.add_tokens([AddedToken(piece, normalized=False) for piece in plain])
    inner.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="[UNK]",
        eos_token="<eos>",
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _keep_special_in(folder: Path) -> None:
    """Fail at once if saving lost that the marks are special tokens, which is what is tested."""
    saved = json.loads((folder / "tokenizer.json").read_text())
    special = {token["content"] for token in saved["added_tokens"] if token["special"]}
    assert set(SPECIAL) <= special, set(SPECIAL) - special
