"""From a run's cells to summary.json: every number a table shows, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from personaeval.metrics.stability import Cells, summarise
from personaeval.metrics.wording import decompose
from personaeval.personas import Persona
from personaeval.record import hash_json
from personaeval.results import FORMAT, CellTable

UNSCORED_LIMIT = 0.01
TRUNCATED_LIMIT = 0.05


def summarise_run(record: dict[str, Any], tables: Sequence[CellTable], personas: Sequence[Persona]) -> dict[str, Any]:
    """Return the content of summary.json.

    ``group`` of a task says what it may be ranked with: the same prompts, sampling, gold answers and scorer.
    ``tasks`` holds, per task, the stability metrics, persona against wording where there are paraphrases, the counts
    and the warnings that every table repeats.
    """
    return {
        "format": FORMAT,
        "label": record["label"],
        "fingerprint": record["model"]["fingerprint"],
        "fingerprint_verifiable": record["model"]["fingerprint_verifiable"],
        "engine": record["model"]["engine"],
        "dtype": record["model"].get("dtype"),
        "plan": record["plan"],
        "persona_role": record["placement"]["role"],
        "placement_verified": record["placement"]["verified"],
        "tasks": {table.task: _summarise_task(record, table, personas) for table in tables},
    }


def _summarise_task(record: dict[str, Any], table: CellTable, personas: Sequence[Persona]) -> dict[str, Any]:
    task = record["tasks"][table.task]
    counts = {name: int(values.sum()) for name, values in table.counts.items()}
    total = counts["scored"] + counts["unscored"]
    cells = Cells(
        persona_ids=tuple(persona.id for persona in personas),
        categories=tuple(persona.category.value for persona in personas),
        domains=tuple(persona.domain for persona in personas),
        score_sum=table.score_sum,
        **table.counts,
    )
    return {
        "title": task["title"],
        "group": hash_json([task["work"], task["revision"], task["gold_hash"], task["scorer"], task["correct_at"]]),
        "items": task["items"],
        "personas": len(personas) - 1,
        "samples": task["samples"],
        "template": task["template"],
        "sampling": task["sampling"],
        "counts": counts | {"total": total},
        "warnings": _warnings(counts, total, record["placement"]["verified"]),
        "stability": summarise(cells, domain=task["domain"]).to_json(),
        "wording": _wording(cells, personas),
    }


def _wording(cells: Cells, personas: Sequence[Persona]) -> dict[str, Any] | None:
    """Return what of the variance is the personas' and what their wording's; None without paraphrases."""
    if all(persona.paraphrase_of is None for persona in personas):
        return None
    groups = [None if persona.is_baseline else persona.paraphrase_of or persona.id for persona in personas]
    return decompose(cells.correct, cells.scored, groups)


def _warnings(counts: dict[str, int], total: int, verified: bool) -> list[str]:
    found = []
    if counts["unscored"] > UNSCORED_LIMIT * total:
        found.append(f"{counts['unscored'] / total:.1%} of the completions are unscored")
    if counts["truncated"] > TRUNCATED_LIMIT * total:
        found.append(f"{counts['truncated'] / total:.1%} of the completions were cut off at max_tokens")
    if not verified:
        found.append("that the personas reach the model's prompt is not verified")
    return found
