"""The columns of the DataFrames that :class:`personaeval.results.frames.Results` makes, with their types."""

from __future__ import annotations

import pyarrow as pa

from personaeval.results.cells import COUNTS, EMPTY, READINGS

LIST = pa.list_(pa.string())

IDENTITY = {"checkpoint": pa.string(), "fingerprint": pa.string(), "run": pa.string(), "step": pa.int64()}

METRICS = IDENTITY | {
    "task": pa.string(),
    "kind": pa.string(),
    "group": pa.string(),
    "level": pa.string(),
    "persona": pa.string(),
    "category": pa.string(),
    "metric": pa.string(),
    "value": pa.float64(),
    "low": pa.float64(),
    "high": pa.float64(),
}

CELLS = IDENTITY | {
    "task": pa.string(),
    "item": pa.string(),
    "persona": pa.string(),
    "category": pa.string(),
    "dimension": pa.string(),
    **dict.fromkeys(COUNTS, pa.int64()),
    "score_sum": pa.float64(),
    **{name: pa.float64() if name == "suspect_chance" else pa.int64() for name in READINGS},
    **dict.fromkeys(EMPTY, pa.int64()),
}

RESPONSES = IDENTITY | {
    "task": pa.string(),
    "persona": pa.string(),
    "category": pa.string(),
    "item": pa.string(),
    "sample": pa.int64(),
    "question": pa.string(),
    "text": pa.string(),
    "thinking": pa.string(),
    "answer": pa.string(),
    "gold": pa.string(),
    "status": pa.string(),
    "score": pa.float64(),
    "truncated": pa.bool_(),
    "prompt_tokens": pa.int64(),
    "completion_tokens": pa.int64(),
    "reason": pa.string(),
    "evidence": pa.string(),
    "suspect": pa.bool_(),
    "suspect_chance": pa.float64(),
}

TEXTS = ("question", "text", "thinking")

JUDGEMENTS = IDENTITY | {
    "task": pa.string(),
    "item": pa.string(),
    "persona": pa.string(),
    "category": pa.string(),
    "sample": pa.int64(),
    "dimension": pa.string(),
    "judge": pa.string(),
    "judge_fingerprint": pa.string(),
    "repeat": pa.int64(),
    "score": pa.float64(),
    "expected": pa.float64(),
    "refusal": pa.bool_(),
    "ai_admission": pa.bool_(),
    "explanation": pa.string(),
    "reply": pa.string(),
    "reason": pa.string(),
    "prompt_tokens": pa.int64(),
    "completion_tokens": pa.int64(),
}

RUNS = IDENTITY | {
    "folder": pa.string(),
    "engine": pa.string(),
    "dtype": pa.string(),
    "persona_role": pa.string(),
    "tasks": pa.string(),
    "requests": pa.int64(),
    "failed": pa.int64(),
    "generated": pa.int64(),
    "output_tokens": pa.int64(),
    "seconds": pa.float64(),
}

ITEMS = IDENTITY | {
    "task": pa.string(),
    "item": pa.string(),
    "prompt": pa.string(),
    "gold": pa.string(),
    "choices": LIST,
    "persona": pa.string(),
    "dimension": pa.string(),
}

PERSONAS = IDENTITY | {
    "task": pa.string(),
    "persona": pa.string(),
    "name": pa.string(),
    "text": pa.string(),
    "category": pa.string(),
    "tags": LIST,
    "domain": pa.string(),
    "expect": pa.string(),
    "paraphrase_of": pa.string(),
    "sentence": pa.string(),
    "role": pa.string(),
    "example": pa.string(),
}
