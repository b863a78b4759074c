"""Finished runs of invented checkpoints, from seeded draws: what the screens in docs/screens.md show."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from personaeval.judge.judgements import JudgementRow, collect
from personaeval.library.personas import BASELINE, Persona
from personaeval.library.registry import Registry
from personaeval.library.tasks import Item
from personaeval.metrics.population import Population
from personaeval.pipeline.summary import summarise_run
from personaeval.results.cells import CellTable, JudgedCells, write_cells
from personaeval.results.files import RUN, SESSIONS, write_json
from personaeval.results.persona_table import PersonaRow, write_personas
from personaeval.results.records import (
    JudgeRecord,
    ModelRecord,
    PanelRecord,
    PersonasRecord,
    PlacementRecord,
    RunRecord,
    TaskRecord,
    describe_personas,
)

STEPS = (500, 1000, 1500, 2000, 2500)
ACCURACIES = (0.71, 0.74, 0.69, 0.78, 0.80)
DIMENSIONS = ("expected-action", "linguistic-habits", "persona-consistency", "toxicity-control", "action-justification")
PEOPLE = 41


def write_runs(output: Path, checkpoints: int) -> list[Path]:
    """Runs of a stability task and a judged task, one per checkpoint, and an unfinished one; the folders."""
    personas = [BASELINE, *Registry().persona_set("core").personas]
    populations = [Population(accuracy, item=0.6, cell=0.2, persona=0.01) for accuracy in ACCURACIES]
    drawn = populations[0].draw_runs(populations[1:], np.random.default_rng(7), 500, len(personas) - 1, 1)
    folders = [
        _write_run(output, step, drawn[place], place, personas) for place, step in enumerate(STEPS[:checkpoints])
    ]
    unfinished = output / "checkpoint-3000-9f3e5a17" / "3c0d9e21"
    unfinished.mkdir(parents=True)
    write_json(unfinished / SESSIONS, {"sessions": [], "run": _record(3000, 9, personas).to_json()})
    return folders


def _write_run(output: Path, step: int, right: np.ndarray, place: int, personas: list[Persona]) -> Path:
    record = _record(step, place, personas)
    folder = output / record.checkpoint / record.plan[:8]
    folder.mkdir(parents=True)
    items = [Item(id=f"test-{number}", prompt=f"Question {number}?", gold="0") for number in range(len(right))]
    cells = CellTable("math500", items, [persona.id for persona in personas], 1.0)
    cells.counts["correct"][:] = right
    cells.counts["scored"][:] = 1
    cells.score_sum[:] = right
    people = [Persona(id=f"person-{n}", text="a person", category="biography") for n in range(PEOPLE)]
    judged, rows = _judged(place)
    write_cells(folder, [cells, judged])
    rows_of_personas = [PersonaRow.of(persona, None) for persona in personas]
    write_personas(folder, [*rows_of_personas, *(PersonaRow.of(person, "personagym") for person in people)])
    record.write(folder / RUN)
    ratings = collect(rows)
    summarise_run(record, [cells, judged], {"math500": personas, "personagym": people}, ratings).write(folder)
    return folder


def _judged(place: int) -> tuple[JudgedCells, list[JudgementRow]]:
    """A judged task's cells and judgements: later checkpoints solve more and act a little less well."""
    rng = np.random.default_rng(100 + place)
    items, rows = [], []
    for person in range(PEOPLE):
        for dimension in DIMENSIONS:
            for question in range(2):
                items.append(
                    Item(
                        id=f"person-{person}/{dimension}/{question}",
                        prompt="?",
                        gold="",
                        persona=f"person-{person}",
                        dimension=dimension,
                    )
                )
                score = int(np.clip(np.round(rng.normal(4.1 - 0.12 * place, 0.8)), 1, 5))
                rows.append(
                    JudgementRow(
                        "personagym", items[-1].id, items[-1].persona or "", 0, dimension, "judge-8b", "c0ffee12" * 4,
                        0, score, False, bool(rng.random() < 0.02), "", None, 300, 40,
                    )
                )  # fmt: skip
    cells = JudgedCells("personagym", items)
    cells.counts["scored"][:] = 1
    cells.score_sum[:] = [row.score for row in rows]
    return cells, rows


def _record(step: int, place: int, personas: list[Persona]) -> RunRecord:
    shared = {
        "revision": 1,
        "samples": 1,
        "template": "You are {{ persona }}.",
        "correct_at": 1.0,
    }
    described = describe_personas([{"id": persona.id, "text": persona.text} for persona in personas])
    return RunRecord(
        plan=f"{place + 3}b7e19c{place}" * 2,
        short_name=f"checkpoint-{step}",
        config={"seed": 0, "template": "you-are"},
        model=ModelRecord(
            fingerprint=f"{place + 1}f3e5a1{(place + 7) % 10}" * 4,
            fingerprint_verifiable=True,
            engine="vllm",
            dtype="bfloat16",
        ),
        placement=PlacementRecord(role="system", verified=True),
        tasks={
            "math500": TaskRecord(
                kind="stability",
                title="MATH-500",
                domain="mathematics",
                items=500,
                sampling={"temperature": 0.0, "top_p": 1.0, "max_tokens": 2048},
                scorer={"kind": "math", "version": 3},
                **shared,
            ),
            "personagym": TaskRecord(
                kind="fidelity",
                title="PersonaGym",
                domain="acting",
                items=PEOPLE * len(DIMENSIONS) * 2,
                sampling={"temperature": 0.9, "top_p": 0.9, "max_tokens": 512},
                scorer={"kind": "judged"},
                personas=PersonasRecord(count=PEOPLE, hash="0" * 16),
                **shared,
            ),
        },
        personas=PersonasRecord(**described),
        panel=PanelRecord(
            hash="1" * 16,
            judges=[
                JudgeRecord(
                    short_name="judge-8b",
                    fingerprint="c0ffee12" * 4,
                    check={"passed": True, "verdict": "passes.", "date": "2026-01-01"},
                )
            ],
        ),
    )
