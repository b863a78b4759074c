"""Does every table of answers, however small or full of holes, give a summary that can be written and read::

    python benchmarks/random_tables.py [--tables 20000] [--seed 0]

1 to 12 items, 1 to 6 personas, 1 to 4 samples, 0 to 80 % of the answers unscored; experts, wordings of one persona and
scores with fractions among them. Each table's summary is written, read again and shown; two tables of one shape are
compared. A number that is not finite, an interval that leaves out its estimate, or a metric without a value that is
defined, is an error. Seeded; one process.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from personaeval.library.personas import BASELINE, Category, Persona
from personaeval.library.tasks import Item
from personaeval.metrics.paired import changes, shared
from personaeval.metrics.stability import Cells
from personaeval.metrics.sums import item_sums
from personaeval.pipeline.summary import summarise_run
from personaeval.report.formats import render
from personaeval.report.leaderboard import leaderboard, persona_tables
from personaeval.results.cells import CellTable
from personaeval.results.records import RunRecord
from personaeval.results.summaries import read_summary

DOMAIN = "mathematics"


def random_personas(rng: np.random.Generator, m: int) -> list[Persona]:
    """The baseline and m personas: experts of the domain, wordings of the first, others."""
    found = [BASELINE]
    for number in range(m):
        kind = rng.choice([Category.EXPERT, Category.STYLE, Category.NOVICE])
        wording = found[1 + rng.integers(number)].id if number and rng.random() < 0.4 else None
        found.append(
            Persona(
                id=f"p{number}",
                text=f"persona {number}",
                category=kind,
                domain=DOMAIN if kind is Category.EXPERT else None,
                paraphrase_of=wording,
            )
        )
    return found


def random_table(rng: np.random.Generator, n: int, m: int, samples: int) -> CellTable:
    """Random counts; rates of right answers that are often 0 or 1."""
    table = CellTable("sums", [Item(f"i{k}", "?", "0") for k in range(n)], ["none", *(f"p{k}" for k in range(m))], 1.0)
    shape = (n, 1 + m, samples)
    rate = np.clip(rng.normal(rng.choice([0.0, 0.5, 1.0]), rng.choice([0.0, 0.3, 1.0]), (n, 1 + m, 1)), 0, 1)
    scored = rng.random(shape) >= rng.uniform(0, 0.8)
    right = (rng.random(shape) < rate) & scored
    scores = right + np.where(scored & ~right, rng.choice([0.0, 0.5]), 0.0)
    table.counts["scored"][:], table.counts["correct"][:] = scored.sum(axis=2), right.sum(axis=2)
    table.counts["unscored"][:] = (~scored).sum(axis=2)
    table.counts["truncated"][:] = rng.binomial(table.counts["scored"], 0.2)
    wrong = table.counts["scored"] - table.counts["correct"]
    table.counts["no_answer"][:] = rng.binomial(wrong, 0.3)
    table.readings["suspect"][:] = rng.binomial(wrong, rng.choice([0.0, 0.4]))
    table.readings["suspect_chance"][:] = wrong * rng.choice([0.0, 0.1])
    table.score_sum[:] = scores.sum(axis=2)
    return table


def record_of(table: CellTable, samples: int) -> RunRecord:
    """The record of a run with one task."""
    task = {
        "kind": "stability",
        "title": "Sums",
        "domain": DOMAIN,
        "items": len(table.items),
        "samples": samples,
        "template": "You are {{ persona }}.",
        "sampling": {"temperature": 0.7, "top_p": 1.0, "max_tokens": 32},
        "scorer": {"kind": "numeric"},
    }
    personas = {"count": len(table.personas), "hash": "h"}
    return RunRecord.model_validate(
        {
            "plan": "0" * 16,
            "short_name": "model",
            "config": {},
            "model": {"fingerprint": "a" * 32, "engine": "transformers"},
            "placement": {"role": "system", "verified": True},
            "tasks": {table.task: task},
            "personas": personas,
        }
    )


def cells_of(table: CellTable, personas: list[Persona]) -> Cells:
    """The table as the metrics take it."""
    return Cells(
        persona_ids=tuple(one.id for one in personas),
        categories=tuple(one.category.value for one in personas),
        domains=tuple(one.domain for one in personas),
        score_sum=table.score_sum,
        **table.counts,
    )


def problems(content: Any, where: str = "") -> Iterator[str]:
    """Yield numbers that are not finite, and intervals that leave out their estimate."""
    if isinstance(content, float) and not math.isfinite(content):
        yield f"{where}: {content}"
    elif isinstance(content, list):
        for place, value in enumerate(content):
            yield from problems(value, f"{where}[{place}]")
    elif isinstance(content, dict):
        low, value, high = (content.get(name) for name in ("low", "value", "high"))
        if low is not None and value is not None and high is not None and not low <= value <= high:
            yield f"{where}: {value} is outside {low} to {high}"
        for name, part in content.items():
            yield from problems(part, f"{where}.{name}")


def check_table(rng: np.random.Generator, folder: Path) -> list[str]:
    """What is wrong with the summary of a random table, and with its comparison with another."""
    n, m, samples = (int(rng.integers(1, most + 1)) for most in (12, 6, 4))
    personas, tables = random_personas(rng, m), [random_table(rng, n, m, samples) for _ in range(2)]
    summary = summarise_run(record_of(tables[0], samples), tables[:1], {"sums": personas})
    summary.write(folder)
    again = read_summary(folder)
    found = list(problems(again.to_json()))
    if again.to_json() != json.loads(json.dumps(summary.to_json())):
        found.append("what is read is not what was written")
    parts = [again.to_json()]
    format = str(rng.choice(["markdown", "csv", "json", "html", "latex"]))
    text = render([*leaderboard(parts), *persona_tables(parts)], format).lower()
    found += [f"{format}: {word} in a table" for word in ("nan", "inf ") if word in text]
    both = shared([cells_of(table, personas) for table in tables])
    sums = [item_sums(own, DOMAIN, both[0].category_names) for own in both]
    for place, change in enumerate(changes(*sums)):
        figures = {"base": change.base, "candidate": change.candidate, "p": change.p}
        content = {"absolute": change.absolute.to_json(), "relative": change.relative.to_json(), **figures}
        found += problems(content, f"change {place}")
    return [f"n {n}, m {m}, S {samples}: {one}" for one in found]


def main() -> None:
    """Run all; print what is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--tables", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began, rng, kinds = time.perf_counter(), np.random.default_rng(given.seed), Counter[str]()
    first: list[str] = []
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        for number in range(given.tables):
            try:
                found = check_table(rng, Path(name))
            except Exception as error:  # a table that stops the program is what is looked for
                found = [f"{type(error).__name__}: {error}"]
            failed += bool(found)
            kinds.update(" ".join(one.split(": ")[1:2]).split("[")[0] for one in found)
            first += [f"table {number}: {one}" for one in found][: max(0, 20 - len(first))]
    print(f"{given.tables - failed} of {given.tables} tables are written, read and shown.", *first, sep="\n- ")
    print(*(f"{count} × {kind}" for kind, count in kinds.most_common()), sep="\n")
    print(f"\n{time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    main()
