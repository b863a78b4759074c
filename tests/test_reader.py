"""What is read as the answer, and in what time."""

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from personaeval.library.tasks import ChoiceScorer, ExactScorer, MathScorer, NumericScorer
from personaeval.types import Status
from personaeval.verify import Verifier, patterns
from personaeval.verify.boxes import boxes
from personaeval.verify.latex import canonical, repair

OPTIONS = ("a cat", "a dog", "a horse", "a cow")


READINGS = yaml.safe_load((Path(__file__).parent / "data" / "readings.yaml").read_text(encoding="utf-8"))
SCORERS = {
    "numeric": NumericScorer(kind="numeric"),
    "choice": ChoiceScorer(kind="choice"),
    "math": MathScorer(kind="math"),
    "exact": ExactScorer(kind="exact"),
}


@pytest.fixture(scope="module")
def verifier():
    with Verifier(timeout=60) as opened:
        yield opened


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{7}", "7"),
        (r"first \boxed{3}, then I saw it must be \boxed{7}.", "7"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed {7}", "7"),
        (r"\fbox{7}", "7"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ 1 \right.}", r"\left\{ 1 \right."),
        (r"\boxed{7} and then \boxed{8", "7"),
        (r"\boxed{7} put it in \boxed{}", "7"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"\\boxed{7}", "7"),
        (r"x \\ \boxed{7}", "7"),
        (r"$\boxed{1}$ and $\boxed{-2}$", "1, -2"),
        (r"\boxed{1}, \boxed{1}", "1"),
        (r"\boxed 7.", "7."),
        (r"\boxed{", None),
        ("no box at all", None),
    ],
)
def test_the_last_balanced_box_is_the_answer(text: str, expected: str | None):
    found = boxes(text)
    assert (found[-1].content if found else None) == expected


@pytest.mark.parametrize("text", [r"\boxed{}", r"\boxed{answer}", r"\boxed{\text{your answer}}", r"\boxed{...}"])
def test_an_empty_box_and_a_placeholder_are_none(text: str):
    assert boxes(text) == []


@pytest.mark.parametrize("kind", ["numeric", "choice", "math", "exact"])
def test_texts_are_read_as_a_grader_reads_them(kind: str, verifier: Verifier):
    misread = []
    for text, answer in READINGS[kind]:
        gold = answer if answer not in (None, "?") else {"numeric": "30", "choice": "A"}[kind]
        choices = OPTIONS if kind == "choice" else ()
        verdict = verifier.submit(SCORERS[kind], gold, text, choices=choices).result()
        expected = "no_answer" if answer is None else "wrong" if answer == "?" else "correct"
        if verdict.status != expected:
            misread.append((text, answer, verdict))
    assert not misread


@pytest.mark.parametrize("kind", ["math", "exact"])
def test_nothing_else_is_taken_for_right(kind: str, verifier: Verifier):
    futures = [(row, verifier.submit(SCORERS[kind], row[1], row[0])) for row in READINGS[f"not {kind}"]]
    assert [row for row, future in futures if future.result().status == Status.CORRECT] == []


@pytest.mark.parametrize(
    ("kind", "text", "evidence"),
    [
        ("numeric", r"\boxed{7}", "box"),
        ("numeric", "#### 7", "hashes"),
        ("numeric", "The answer is 7.", "statement"),
        ("numeric", "So it is 7.", "words"),
        ("numeric", "They met 7 sailors there", "last_number"),
        ("choice", "B", "letter"),
        ("choice", "I pick B, my friend.", "words"),
        ("choice", "It barks like a dog", "option_text"),
        ("choice", "Antwort: B", "statement"),
        ("choice", "Nobody knows.", None),
    ],
)
def test_the_evidence_is_recorded(kind: str, text: str, evidence: str | None, verifier: Verifier):
    gold = "B" if kind == "choice" else "7"
    assert verifier.submit(SCORERS[kind], gold, text, choices=OPTIONS).result().evidence == evidence


def test_answers_of_personas_are_read_as_people_read_them(verifier: Verifier):
    """A set of answers from another hand: what is right, the status, and nothing taken for right."""
    path = Path(__file__).parent.parent.parent / "shared" / "cases" / "answers.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not there: these answers are not checked")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["expected"] != "debatable"]
    futures = [
        verifier.submit(SCORERS[row["task_kind"]], row["gold"], row["response"], choices=tuple(row.get("choices", ())))
        for row in rows
    ]
    statuses = [future.result().status.value for future in futures]
    pairs = [(row["expected"], status) for row, status in zip(rows, statuses, strict=True)]
    assert sum((a == "correct") == (b == "correct") for a, b in pairs) >= 0.97 * len(pairs)
    assert sum(a == b for a, b in pairs) >= 0.95 * len(pairs)
    assert [row for row, (a, b) in zip(rows, pairs, strict=True) if b == "correct" != a] == []


def test_a_task_s_own_pattern_is_one_more_source(verifier: Verifier):
    scorer = NumericScorer(kind="numeric", patterns=(r"=>\s*(\d+)", r"\d+"))
    assert verifier.submit(scorer, "7", "=> 7, and 9 sailors").result().evidence == "pattern"
    assert verifier.submit(scorer, "8", "=> 7\nThe answer is 8.").result().evidence == "statement"


@pytest.mark.parametrize(
    ("scorer", "gold", "text", "choices", "status"),
    [
        (NumericScorer(kind="numeric"), "7", "It is 7.", (), "correct"),
        (NumericScorer(kind="numeric"), "7", "\\boxed{7 \\text{ apples}}", (), "correct"),
        (NumericScorer(kind="numeric"), "18", "\\boxed{\\$18.00}", (), "correct"),
        (NumericScorer(kind="numeric"), "18", "\\boxed{x = 18}", (), "correct"),
        (NumericScorer(kind="numeric"), "4", "\\boxed{3 + 4}", (), "wrong"),
        (NumericScorer(kind="numeric"), "7", "\\boxed{3 + 4}", (), "wrong"),
        (NumericScorer(kind="numeric"), "6", "\\boxed{5 or 6}", (), "wrong"),
        (NumericScorer(kind="numeric"), "1,234", "\\boxed{1234}", (), "correct"),
        (NumericScorer(kind="numeric"), "0.5", "\\boxed{\\frac12}", (), "correct"),
        (NumericScorer(kind="numeric"), "50", "\\boxed{50\\%}", (), "correct"),
        (NumericScorer(kind="numeric"), "3.14159", "\\boxed{3.14}", (), "wrong"),
        (NumericScorer(kind="numeric", tolerance=0.01), "3.14159", "\\boxed{3.14}", (), "correct"),
        (NumericScorer(kind="numeric", tolerance=0.01), "3.14159", "\\boxed{3.2}", (), "wrong"),
        (NumericScorer(kind="numeric"), "7", "None.", (), "no_answer"),
        (NumericScorer(kind="numeric"), "7", "", (), "no_answer"),
        (NumericScorer(kind="numeric"), "x + 1", "7", (), "unscored"),
        (NumericScorer(kind="numeric", patterns=(r"=\s*(\d+)",)), "7", "3+4=7, and I am 9", (), "correct"),
        (ChoiceScorer(kind="choice"), "B", "\\boxed{B}", OPTIONS, "correct"),
        (ChoiceScorer(kind="choice"), "B", "\\boxed{\\text{(B)}}", OPTIONS, "correct"),
        (ChoiceScorer(kind="choice"), "B", "\\boxed{a dog}", OPTIONS, "correct"),
        (ChoiceScorer(kind="choice"), "B", "\\boxed{A} or \\boxed{B}", OPTIONS, "wrong"),
        (ChoiceScorer(kind="choice"), "(B)", "the answer is C", OPTIONS, "wrong"),
        (ChoiceScorer(kind="choice"), "no option", "\\boxed{B}", OPTIONS, "unscored"),
        (ExactScorer(kind="exact"), "Paris", "Answer: paris.", (), "correct"),
        (ExactScorer(kind="exact", ignore_case=False), "Paris", "paris", (), "wrong"),
        (ExactScorer(kind="exact"), "Paris", "The capital is Paris.", (), "correct"),
        (ExactScorer(kind="exact"), "Paris", "The capital is Rome.", (), "wrong"),
        (MathScorer(kind="math"), "7", "The sum of 3 and 4 is 7.", (), "correct"),
    ],
)
def test_verdicts_by_kind(scorer, gold: str, text: str, choices: tuple[str, ...], status: str):
    with Verifier() as verifier:
        verdict = verifier.submit(scorer, gold, text, choices=choices).result()
    assert verdict.status == Status(status)
    assert verdict.score == {"correct": 1.0, "wrong": 0.0, "no_answer": 0.0, "unscored": None}[status]
    assert (verdict.answer is None) == (status == "no_answer")
    assert (verdict.reason is not None) == (status == "unscored")


def test_a_pattern_that_is_none_is_an_error():
    with pytest.raises(ValidationError, match="not a regular expression"):
        NumericScorer(kind="numeric", patterns=("(",))


@pytest.mark.parametrize(
    ("pattern", "tame"),
    [
        (r"####\s*\$?\s*(-?\d[\d,]*(?:\.\d+)?)", True),
        (r"[(a+)+]\(b+\)+", True),
        (r"(abc)+", True),
        (r"(?:a+)+$", False),
        (r"(a|ab)*c", False),
        (r"((x?)y){5}", False),
    ],
)
def test_patterns_that_may_run_wild_are_told(pattern: str, tame: bool):
    assert patterns.is_tame((pattern,)) is tame


HOSTILE = [
    "\\boxed{" * 140_000,
    "{" * 1_000_000,
    "}" * 1_000_000,
    "$" * 1_000_000,
    "\\(" * 500_000,
    "answer" * 160_000,
    "answer to " * 100_000,
    "answer is " * 100_000,
    "the answer is" + " " * 1_000_000,
    "1" * 1_000_000,
    "1," * 500_000,
    "1" + "," * 1_000_000,
    "1/" * 500_000,
    "-" * 1_000_000,
    "####" * 250_000,
    "(A" * 500_000,
    "\\text{" * 160_000,
    "\\boxed{" + "\\," * 500_000 + "}",
    "\\boxed{" + "\\text{" * 160_000 + "}" * 160_001,
    "\\boxed{" + "(" * 1_000_000 + "}",
]


@pytest.mark.parametrize("text", HOSTILE, ids=[text[:20] for text in HOSTILE])
def test_hostile_text_of_a_megabyte_comes_to_an_end(text: str):
    """In quadratic time it would take hours."""
    with Verifier() as verifier:
        for scorer in (
            MathScorer(kind="math"),
            NumericScorer(kind="numeric"),
            ChoiceScorer(kind="choice"),
            ExactScorer(kind="exact"),
        ):
            assert verifier.submit(scorer, "B", text).result().status is not Status.CORRECT


@pytest.mark.parametrize("text", ["1" * 1_000_000, "1.1" * 300_000, "1," * 500_000, "1 " * 500_000, "1e" * 500_000])
def test_numbers_of_a_megabyte_are_normalised_in_linear_time(text: str):
    """In quadratic time it would take hours."""
    canonical(text)
    assert repair(text).strip(" ,")


BODY = st.recursive(
    st.text(alphabet="ab1 +,", min_size=1).filter(str.strip),
    lambda inner: st.builds(lambda a, b: f"{a}{{{b}}}", inner, inner),
)


@given(before=st.text(alphabet="ab {}\\$,", max_size=30), body=BODY, after=st.text(alphabet="xyz .,{$", max_size=20))
def test_a_balanced_box_is_found_whatever_stands_around_it(before: str, body: str, after: str):
    assert boxes(f"{before} x \\boxed{{{body}}} {after}")[-1].content == body.strip()


@settings(deadline=None)
@given(text=st.text(max_size=300))
def test_any_text_gets_a_verdict(text: str):
    with Verifier() as verifier:
        for kind, scorer in SCORERS.items():
            choices = OPTIONS if kind == "choice" else ()
            verdict = verifier.submit(scorer, "B" if kind == "choice" else "7", text, choices=choices).result()
            assert verdict.reason is None


@settings(deadline=None)
@given(
    st.integers(-(10**9), 10**9),
    st.sampled_from(["The answer is {}.", "So it is {}", "x = {}", "#### {}", "{} apples"]),
)
def test_a_number_is_found_however_it_is_said(number: int, sentence: str):
    with Verifier() as verifier:
        scorer = NumericScorer(kind="numeric")
        for written in (str(number), f"{number:,}", f"**{number}**"):
            assert verifier.submit(scorer, str(number), sentence.format(written)).result().score == 1.0
        assert verifier.submit(scorer, str(number + 1), sentence.format(number)).result().score == 0.0
