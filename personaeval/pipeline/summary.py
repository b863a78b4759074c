"""From a run's cells to summary.json: every number a table shows, with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from personaeval.documents import hash_json
from personaeval.judge.fidelity_summary import summarise_fidelity
from personaeval.judge.judgements import Ratings
from personaeval.judge.usage import total_usage
from personaeval.library.duplicates import alike_share
from personaeval.library.personas import Persona, prompted_texts
from personaeval.metrics import stability
from personaeval.metrics.coverage_warnings import (
    TRUNCATED_LIMIT,
    UNSCORED_LIMIT,
    coverage_warnings,
    empty_warnings,
    unscored_warning,
)
from personaeval.metrics.inference import Estimate
from personaeval.metrics.suspect import excess_by_persona, overall_excess, suspect_cautions
from personaeval.metrics.variance_components import decompose
from personaeval.results.cells import EMPTY, EVIDENCE, Cells, CellTable, JudgedCells
from personaeval.results.files import FORMAT
from personaeval.results.records import RunRecord
from personaeval.results.summaries import RunSummary


def summarise_run(
    record: RunRecord,
    tables: Sequence[Cells],
    personas: Mapping[str, Sequence[Persona]],
    ratings: Mapping[str, Ratings] | None = None,
    people: Mapping[str, Any] | None = None,
) -> RunSummary:
    """The summary of a run.

    ``group`` of a task says what it may be ranked with: the same prompts, sampling, gold answers and scorer; of a
    judged task, the same rubrics and panel. ``tasks`` holds, per task, the stability metrics (with persona against
    wording where there are paraphrases) or the fidelity metrics, the counts and the warnings that every table repeats;
    ``people``, what human labels say of a judged task's scores, where there are any.
    """
    parts: dict[str, Any] = {}
    for table in tables:
        if isinstance(table, JudgedCells):
            own = personas[table.task]
            parts[table.task] = _summarise_fidelity(record, table, own, (ratings or {}).get(table.task))
            if people and table.task in people:
                parts[table.task]["people"] = people[table.task]
        else:
            parts[table.task] = _summarise_stability(record, table, personas[table.task])
        if names := {one.id: one.name for one in personas[table.task] if one.name is not None}:
            parts[table.task]["persona_names"] = names
    return RunSummary(
        format=FORMAT,
        short_name=record.short_name,
        fingerprint=record.model.fingerprint,
        fingerprint_verifiable=record.model.fingerprint_verifiable,
        engine=record.model.engine,
        dtype=record.model.dtype,
        plan=record.plan,
        persona_role=record.placement.role,
        placement_verified=record.placement.verified,
        tasks=parts,
    )


def _summarise_stability(record: RunRecord, table: CellTable, personas: Sequence[Persona]) -> dict[str, Any]:
    task = record.tasks[table.task]
    counts = {name: int(values.sum()) for name, values in table.counts.items()}
    total = counts["scored"] + counts["unscored"]
    cells = stability.Cells(
        persona_ids=tuple(persona.id for persona in personas),
        categories=tuple(persona.category.value for persona in personas),
        domains=tuple(persona.domain for persona in personas),
        score_sum=table.score_sum,
        **table.counts,
    )
    numbers = stability.summarise(cells, domain=task.domain).to_json()
    warnings = _warnings(record, table, counts, total)
    suspects, suspect_warnings = _readings(table, [persona.id for persona in personas])
    return {
        "kind": "stability",
        "title": task.title,
        "group": hash_json([task.work, task.revision, task.gold_hash, task.scorer, task.correct_at]),
        "items": task.items,
        "personas": len(personas) - 1,
        "samples": task.samples,
        "template": task.template,
        "sampling": task.sampling,
        "counts": counts | {"total": total},
        "warnings": [
            *warnings,
            *suspect_warnings,
            *_coverage(task.items, cells, numbers, counts["unscored"] / total),
            *_look_alikes(personas),
        ],
        "stability": numbers,
        "wording": _wording(cells, personas),
        "reader": task.scorer.get("version"),
        "readings": suspects,
    }


def _readings(table: CellTable, personas: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """How answers were recognised and how many may be misread, overall and per persona; and the cautions."""
    suspect, chance, scored = table.readings["suspect"], table.readings["suspect_chance"], table.counts["scored"]
    overall = overall_excess(suspect, chance, scored)
    own = excess_by_persona(suspect, chance, scored)
    evidence = {kind: table.readings[f"read_by_{kind}"].sum(axis=0) for kind in EVIDENCE}
    by_persona = [
        {
            "persona": name,
            "suspect": entry.suspect,
            "expected": entry.expected,
            "excess": entry.share.to_json(),
            "evidence": {kind: int(counts[place]) for kind, counts in evidence.items() if counts[place]},
        }
        for place, (name, entry) in enumerate(zip(personas, own, strict=True))
    ]
    whole = {"suspect": overall.suspect, "expected": overall.expected, "excess": overall.share.to_json()}
    return whole | {"by_persona": by_persona}, suspect_cautions(overall, own, personas)


def _look_alikes(personas: Sequence[Persona]) -> list[str]:
    caution = alike_share(prompted_texts(personas)).caution
    return [] if caution is None else [caution]


def _coverage(items: int, cells: stability.Cells, numbers: dict[str, Any], unscored: float) -> list[str]:
    found = coverage_warnings(items, numbers["accuracy"]["value"], numbers["pss_bias"], cells.solved)
    few = unscored_warning(unscored, Estimate(**numbers["accuracy"]))
    return found if few is None else [*found, few]


def _summarise_fidelity(
    record: RunRecord, table: JudgedCells, personas: Sequence[Persona], ratings: Ratings | None
) -> dict[str, Any]:
    """Summary of a judged task; counts alone if it has not been judged."""
    task, panel = record.tasks[table.task], record.panel
    counts = {name: int(values.sum()) for name, values in table.counts.items()}
    total = task.items * task.samples
    part: dict[str, Any] = {
        "kind": "fidelity",
        "title": task.title,
        "group": hash_json([task.work, task.gold_hash, task.scorer, panel.hash if panel else None]),
        "items": task.items,
        "personas": len(personas),
        "samples": task.samples,
        "template": task.template,
        "sampling": task.sampling,
        "counts": counts | {"total": total},
        "judged": ratings is not None,
    }
    if ratings is None:
        return part | {"warnings": _warnings(record, table, counts | {"unscored": 0}, total)}
    assert panel is not None, "ratings are a panel's"
    part["exemplars_by"] = panel.exemplars_by
    part["judging"] = total_usage(session.judges for session in record.sessions)
    part["expected_score"] = any(judge.sampling.get("options") for judge in panel.judges)
    part |= summarise_fidelity(ratings, panel, record.model, personas)
    silent = [judge for judge in part["judges"] if judge["unscored"] > UNSCORED_LIMIT * judge["judgements"]]
    # A mean over fewer judges than the panel has is not ranked with those over all of it.
    heard = [judge["short_name"] for judge in part["judges"] if judge["unscored"] < judge["judgements"] / 2]
    if len(heard) < len(part["judges"]):
        part["group"] = hash_json([part["group"], heard])
    warnings = _warnings(record, table, counts, total)
    warnings += [
        f"{judge['short_name']} scored {judge['judgements'] - judge['unscored']} of {judge['judgements']} times; the "
        "other responses have only the other judges' scores"
        for judge in silent
        if len(part["judges"]) > 1
    ]
    reasons = list(part["judgements"]["reasons"]) if silent else []
    warnings += [f"judgements are unscored most often because: {reason}" for reason in reasons[:1]]
    return part | {"warnings": warnings}


def _wording(cells: stability.Cells, personas: Sequence[Persona]) -> dict[str, Any] | None:
    """Variance between personas and between their wordings; None without paraphrases."""
    if all(persona.paraphrase_of is None for persona in personas):
        return None
    groups = [None if persona.is_baseline else persona.paraphrase_of or persona.id for persona in personas]
    return decompose(cells.correct, cells.scored, groups)


def _warnings(record: RunRecord, table: Cells, counts: dict[str, int], total: int) -> list[str]:
    found = []
    if counts["unscored"] > UNSCORED_LIMIT * total:
        found.append(f"{counts['unscored'] / total:.1%} of the completions are unscored")
    if counts["truncated"] > TRUNCATED_LIMIT * total:
        share = "all" if counts["truncated"] == total else f"{counts['truncated'] / total:.1%} of the"
        limit = record.tasks[table.task].sampling["max_tokens"]
        found.append(f"{share} answers were cut off at {limit:,} tokens: raise --max-tokens")
    empty, with_reasoning = (int(table.empty[name].sum()) for name in EMPTY)
    found += empty_warnings(empty, with_reasoning, total, is_endpoint=record.model.engine == "openai")
    if not record.placement.verified:
        found.append("that the personas reach the model's prompt is not verified")
    return found + record.placement.cautions
