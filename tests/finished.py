"""Folders of finished runs, written from arrays: what a comparison reads, without a model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from personaeval.library.tasks import Item
from personaeval.results.cells import CellTable, JudgedCells, write_cells
from personaeval.results.files import write_json
from personaeval.results.responses import response_writer
from personaeval.types import Response

SAMPLING = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 32}


def persona(name: str) -> dict:
    return {"id": name, "text": f"a {name}", "category": "baseline" if name == "none" else "style", "domain": None}


def counted(correct, *, samples: int = 1, unscored=None, score_sum=None, task: str = "sums", items=None) -> CellTable:
    """A task's cells from numbers of right answers [items, 1 + personas]."""
    correct = np.asarray(correct, dtype=np.int32)
    n, width = correct.shape
    names = ["none", *(f"p{number}" for number in range(1, width))]
    ids = items or [f"i{number}" for number in range(n)]
    made = [name if isinstance(name, Item) else Item(id=name, prompt=f"{name}?", gold="0") for name in ids]
    table = CellTable(task, made, names, 1.0)
    table.counts["correct"][:] = correct
    table.counts["unscored"][:] = 0 if unscored is None else unscored
    table.counts["scored"][:] = samples - table.counts["unscored"]
    table.score_sum[:] = correct if score_sum is None else score_sum
    return table


def judged(scores, *, task: str = "acting") -> JudgedCells:
    """A judged task's cells from scores [personas, 5 dimensions, questions]."""
    scores = np.asarray(scores, dtype=np.float64)
    places = list(np.ndindex(scores.shape))
    items = [
        Item(id=f"q{p}-{d}-{k}", prompt="?", gold="", persona=f"p{p}", dimension=f"dimension-{d}") for p, d, k in places
    ]
    table = JudgedCells(task, items)
    table.score_sum[:] = [scores[place] for place in places]
    table.counts["scored"][:] = 1
    return table


def write_run(
    folder: Path, tables: Sequence, *, label: str = "model", fingerprint: str = "a" * 32, placement=None, **settings
) -> Path:
    """A run's folder; ``settings`` change entries of every task in run.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tasks, names = {}, ["none"]
    for table in tables:
        is_judged = isinstance(table, JudgedCells)
        tasks[table.task] = {
            "title": table.task.title(),
            "domain": "mathematics",
            "revision": "1",
            "items": len(table.items),
            "samples": 1,
            "template": "You are {{ persona }}.",
            "sampling": SAMPLING,
            "scorer": {"kind": "numeric"},
            "correct_at": 1.0,
            "withhold_text": False,
        } | settings
        if is_judged:
            ids = sorted({item.persona for item in table.items})
            tasks[table.task]["personas"] = [persona(name) for name in ids]
        else:
            names = list(table.personas)
    record = {
        "format": 1,
        "label": label,
        "plan": "0" * 16,
        "model": {"fingerprint": fingerprint, "fingerprint_verifiable": True},
        "config": {"persona_role": "auto", "seed": 0},
        "panel": {"hash": "h"},
        "placement": placement or {"role": "system"},
        "tasks": tasks,
        "personas": [persona(name) for name in names],
    }
    write_json(folder / "run.json", record)
    write_json(folder / "summary.json", {"format": 1, "label": label, "tasks": {}})
    write_cells(folder, tables)
    return folder


def write_responses(folder: Path, right: dict[tuple[str, str], list[int]], task: str = "sums") -> None:
    """A run's answers by item and persona: whether each sample is right; the answer says so, and its number."""
    with response_writer(folder) as writer:
        for (item, name), samples in right.items():
            for sample, is_right in enumerate(samples):
                answer = f"{'right' if is_right else 'wrong'} {sample}"
                writer.add(
                    Response(
                        task, name, item, sample, bytes(16), "0", answer, None, answer,
                        "correct" if is_right else "wrong", float(is_right), False, 1, 1, None,
                    )
                )  # fmt: skip
