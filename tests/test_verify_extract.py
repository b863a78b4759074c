"""What is read as the answer, and in what time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from personaeval.library.tasks import ChoiceScorer, ExactScorer, MathScorer, NumericScorer
from personaeval.types import Status
from personaeval.verify import Verifier, extract, patterns

OPTIONS = ("a cat", "a dog", "a horse", "a cow")


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
    assert extract.boxed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The sum of 3 and 4 is 7.", "7"),
        ("The answer is 7. To check: 7 - 4 = 3.", "7"),
        ("The answer is 7 because 3 + 4 = 7 and 2 < 9", "7"),
        ("The answer is 3 + 4 = 7.", "7"),
        ("The answer is 3 + 4.", "3 + 4"),
        ("**Answer:** 7 apples in 2 baskets", "7"),
        ("the final answer to the problem is: $1,234.50 exactly", "$1,234.50"),
        ("She needs 5 + 2.\n#### 7", "7"),
        ("It is 12 - 5 = 7", "7"),
        ("8-3", "3"),
        ("Temperature: -7", "-7"),
        ("It is −7 degrees.", "−7"),
        ("a third, or 1/3", "1/3"),
        ("so 45%", "45%"),
        ("about 6.02 \\times 10^{23}", "6.02 \\times 10^{23}"),
        ("the values are 1,2,3", "3"),
        ("1,000,000 grains", "1,000,000"),
        ("R2D2 has no number", None),
        ("I would rather not say.", None),
    ],
)
def test_numbers_in_running_text(text: str, expected: str | None):
    assert extract.fallback("numeric", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The answer is $\\frac{1}{2}$.", "\\frac{1}{2}"),
        ("The answer is x + 1. That is all.", "x + 1"),
        ("Thus $x = 2$ and so $y = \\sqrt{3}$ holds.", "\\sqrt{3}"),
        ("We find\n\\[ z = 4\\pi \\]", "4\\pi"),
        ("Area = 2 * 3 = 6", "6"),
        ("There are 12 of them", "12"),
        ("#### 2k", "2k"),
        ("Nobody knows.", None),
        ("Put it in \\boxed{}.", None),
    ],
)
def test_formulas_in_running_text(text: str, expected: str | None):
    assert extract.fallback("math", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("B", "B"),
        ("(b)", "B"),
        ("The answer is (B).", "B"),
        ("The answer is B because dogs bark.", "B"),
        ("Answer: **C**", "C"),
        ("The answer is B. Option A is wrong.", "B"),
        ("It cannot be (A) nor (B).\nSo it is (D).", "D"),
        ("B) a dog", "B"),
        ("**B.** a dog", "B"),
        ("a dog", "B"),
        ("I think so.\n\nD.", "D"),
        ("It is option C, surely", "C"),
        ("The answer is A dog", None),
        ("I like cats", None),
        ("It is (A) or (B).", None),
        ("The answer is Z.", None),
    ],
)
def test_letters_of_options(text: str, expected: str | None):
    assert extract.fallback("choice", text, OPTIONS) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Paris", "Paris"), ("Let me think.\nAnswer: Paris", "Paris"), ("Hm.\n\n Paris \n", "Paris"), (" \n ", None)],
)
def test_strings_in_running_text(text: str, expected: str | None):
    assert extract.fallback("exact", text) == expected


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
        (ExactScorer(kind="exact"), "Paris", "The capital is Paris.", (), "wrong"),
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


BODY = st.recursive(
    st.text(alphabet="ab1 +,", min_size=1).filter(str.strip),
    lambda inner: st.builds(lambda a, b: f"{a}{{{b}}}", inner, inner),
)


@given(before=st.text(alphabet="ab {}\\$,", max_size=30), body=BODY, after=st.text(alphabet="xyz .,{$", max_size=20))
def test_a_balanced_box_is_found_whatever_stands_around_it(before: str, body: str, after: str):
    assert extract.boxed(f"{before} x \\boxed{{{body}}} {after}") == body.strip()


@given(st.text(max_size=300))
def test_any_text_gives_an_answer_or_none(text: str):
    for kind in ("math", "numeric", "choice", "exact"):
        answer = extract.fallback(kind, text, OPTIONS)
        assert answer is None or answer.strip()


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
