"""The hand-made table and the gold answers of real datasets: every verdict must be right."""

import json
from pathlib import Path

import pytest
import yaml

from personaeval.library.tasks import MathScorer, NumericScorer
from personaeval.types import Status
from personaeval.verify import Verifier

HERE = Path(__file__).parent
DATA = HERE.parent.parent / "shared" / "data"
TABLE = [
    (group, gold, answer, expected)
    for group, rows in yaml.safe_load((HERE / "data" / "answers.yaml").read_text()).items()
    for gold, answer, expected in rows
]
MATH = MathScorer(kind="math")


@pytest.fixture(scope="module")
def verifier():
    with Verifier(timeout=60) as opened:
        yield opened


def test_the_hand_made_table_has_no_wrong_verdict(verifier: Verifier):
    assert len(TABLE) >= 150
    assert len({row[1:3] for row in TABLE}) == len(TABLE), "a pair stands there twice"
    futures = [verifier.submit(MATH, gold, f"So it is $\\boxed{{{answer}}}$.") for _, gold, answer, _ in TABLE]
    wrong = [
        (group, gold, answer, expected, future.result().status.value)
        for (group, gold, answer, expected), future in zip(TABLE, futures, strict=True)
        if future.result().status != Status(expected)
    ]
    assert not wrong


def rows(name: str) -> list[dict[str, str]]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not in {DATA}: these gold answers are not checked")
    return [json.loads(line) for line in path.read_text().splitlines()]


def failures(verifier: Verifier, scorer: MathScorer | NumericScorer, cases: list[tuple[str, str]]) -> list[tuple]:
    futures = [verifier.submit(scorer, gold, text) for gold, text in cases]
    verdicts = [future.result() for future in futures]
    return [(gold, v) for (gold, _), v in zip(cases, verdicts, strict=True) if v.status != Status.CORRECT]


def test_every_math500_gold_answer_verifies(verifier: Verifier):
    """Against itself and against the last box of its own solution; there are no exceptions."""
    data = rows("math500.jsonl")
    assert len(data) == 500
    assert failures(verifier, MATH, [(row["answer"], f"\\boxed{{{row['answer']}}}") for row in data]) == []
    assert failures(verifier, MATH, [(row["answer"], row["solution"]) for row in data]) == []


@pytest.mark.slow
def test_every_gsm8k_gold_answer_verifies(verifier: Verifier):
    """Against itself, against its own solution, and in sentences; there are no exceptions."""
    scorer = NumericScorer(kind="numeric")
    data = [(row["answer"].split("####")[1].strip(), row["answer"]) for row in rows("gsm8k_test.jsonl")]
    for wrap in ("{}", "\\boxed{{{}}}", "It took 3 steps. The answer is ${}.", "**Answer:** {} apples in 2 boxes"):
        assert failures(verifier, scorer, [(gold, wrap.format(gold)) for gold, _ in data]) == []
    assert failures(verifier, scorer, data) == []
