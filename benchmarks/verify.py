r"""Verification of a persona sweep against Math-Verify called row by row::

    python benchmarks/verify.py [--rows 100000] [--sample 2000] [--data ../shared/data/math500.jsonl]

The sweep: every MATH-500 problem answered under 200 personas. About half of the answers are the gold answer in some
typesetting; the others are drawn, some often and some seldom, from 12 wrong ones made for each problem (a number in
the gold answer changed, its sign flipped, the answers to other problems; never another base, where Math-Verify is
corrected, see docs/verification.md). Each stands in ``\boxed{}`` at the end of a
response of 100 to 800 characters. All is seeded.

Four figures: rows a second of the whole sweep when all of it was seen before (warm); worker start-up and an empty memo
included; of the distinct (gold, answer) pairs alone, workers up and memo empty; and of ``math_verify.parse`` and
``verify`` as they come, on the responses of a seeded sample. On the sample every verdict must be the same, else the
exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import re
import sys
import time
from concurrent.futures import Future
from pathlib import Path

from tabulate import tabulate

from personaeval.library.tasks import MathScorer
from personaeval.types import Verdict
from personaeval.verify import Verifier

Row = tuple[str, str, str]
"""Gold, answer, response."""

PERSONAS = 200
WRONG_ANSWERS = 12
SCORER = MathScorer(kind="math")
STEPS = (
    "Let me think about what the question asks before I compute anything.",
    "We first rewrite the expression so that every term has the same denominator.",
    "Substituting $x = 3$ gives $2x + 1 = 7$, which we keep for later.",
    "By symmetry the two cases contribute equally, so it is enough to count one of them.",
    "Arr, the treasure lies where the two lines cross, and so we set them equal.",
    "Expanding, $(a+b)^2 = a^2 + 2ab + b^2$, and the mixed term is the one that matters.",
    "The sum of the angles is $180^\\circ$, hence the third one follows at once.",
    "Next, divide both sides by the common factor and simplify.",
    "I am only a child, but my teacher says to check each step twice.",
    "This leaves a quadratic whose discriminant is positive, so there are two real roots.",
)
ENDINGS = (
    "Therefore the result is $\\boxed{%s}$.",
    "So we get \\boxed{%s}",
    "The final answer is $\\boxed{%s}$.",
    "\\[\\boxed{%s}\\]",
)


def main() -> int:
    """Make the sweep, time the three ways, compare, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("::", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--sample", type=int, default=2_000)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/math500.jsonl"))
    options = parser.parse_args()
    if not options.data.exists():
        parser.error(f"{options.data} is not there: name a JSONL file of MATH-500 with --data.")
    golds = [json.loads(line)["answer"] for line in options.data.read_text().splitlines()]
    rows = sweep(golds, options.rows)
    pairs = list({row[:2]: row for row in rows}.values())

    whole, verdicts, _ = time_verifier(rows, warm=False)
    with Verifier() as verifier:
        time_submissions(verifier, rows)
        again, _, _ = time_submissions(verifier, rows)
    cold, _, symbolic = time_verifier(pairs, warm=True)
    picked = random.Random(1).sample(range(len(rows)), min(options.sample, len(rows)))
    plain, expected = time_math_verify([rows[number] for number in picked])
    differing = [n for n, right in zip(picked, expected, strict=True) if (verdicts[n].score == 1.0) is not right]

    table = [
        ["whole sweep, warm", len(rows), again, len(rows) / again, (len(rows) / again) / (len(picked) / plain)],
        ["whole sweep", len(rows), whole, len(rows) / whole, (len(rows) / whole) / (len(picked) / plain)],
        [
            "distinct pairs, memo empty",
            len(pairs),
            cold,
            len(pairs) / cold,
            (len(pairs) / cold) / (len(picked) / plain),
        ],
        ["Math-Verify row by row", len(picked), plain, len(picked) / plain, 1.0],
    ]
    print(tabulate(table, headers=["", "rows", "seconds", "rows/s", "times"], floatfmt=("", "", ".1f", ".0f", ".1f")))
    print(f"{symbolic} of the {len(pairs)} pairs needed a worker; {sum(expected)} of the sample are correct;", end=" ")
    print(f"verdicts that differ on it: {len(differing)}")
    for number in differing[:10]:
        print(f"  gold {rows[number][0]!r}, answer {rows[number][1]!r}: here {verdicts[number].status}")
    return 1 if differing else 0


def sweep(golds: list[str], count: int) -> list[Row]:
    """Rows by persona, in a run's order."""
    source = random.Random(0)
    wrong = [wrong_answers(gold, golds, source) for gold in golds]
    rows: list[Row] = []
    for number in range(count):
        item = number % len(golds)
        gold = golds[item]
        persona = number // len(golds) % PERSONAS
        if source.random() < 0.65 - 0.3 * persona / PERSONAS:
            answer = restyle(gold, source)
        else:
            answer = source.choices(wrong[item], weights=[1 / (1 + rank) for rank in range(WRONG_ANSWERS)])[0]
        rows.append((gold, answer, respond(answer, source)))
    return rows


def wrong_answers(gold: str, golds: list[str], source: random.Random) -> list[str]:
    """Distinct answers spelled differently from the gold answer."""
    found: list[str] = []
    while len(found) < WRONG_ANSWERS:
        kind = source.random()
        numbers = list(re.finditer(r"(?<![_\d])(?<!_\{)\d+", gold))
        if kind < 0.6 and numbers:
            digits = source.choice(numbers)
            changed = abs(int(digits[0]) + source.choice((-10, -2, -1, 1, 2, 3, 10)))
            answer = gold[: digits.start()] + str(changed) + gold[digits.end() :]
        elif kind < 0.7:
            answer = gold[1:] if gold.startswith("-") else f"-{gold}"
        else:
            answer = source.choice(golds)
        if answer != gold and answer not in found:
            found.append(answer)
    return found


def restyle(gold: str, source: random.Random) -> str:
    """The gold answer as another model would typeset it."""
    style = source.randrange(4)
    if style == 0:
        return gold.replace("\\frac", "\\dfrac") if "\\dfrac" not in gold else gold
    if style == 1:
        return re.sub(r"(?<=[+=,-])\s*", " ", gold) if "\\!" not in gold and "," not in gold else gold
    if style == 2:
        return gold.replace("\\left", "").replace("\\right", "")
    return gold


def respond(answer: str, source: random.Random) -> str:
    """A response of 100 to 800 characters that ends in the answer."""
    length = source.randrange(100, 720)
    steps: list[str] = []
    while sum(map(len, steps)) < length - 60:
        steps.append(source.choice(STEPS))
    return " ".join(steps) + "\n\n" + source.choice(ENDINGS).replace("%s", answer)


def time_verifier(rows: list[Row], warm: bool) -> tuple[float, list[Verdict], int]:
    """Seconds, verdicts, and for how many rows a worker was asked."""
    with Verifier() as verifier:
        if warm:
            verifier.submit(SCORER, "x+1", r"\boxed{1+x}").result()
        return time_submissions(verifier, rows)


def time_submissions(verifier: Verifier, rows: list[Row]) -> tuple[float, list[Verdict], int]:
    """Seconds and verdicts of one verifier, and for how many rows a worker was asked."""
    start = time.perf_counter()
    futures: list[Future[Verdict]] = []
    asked = 0
    for gold, _, response in rows:
        futures.append(verifier.submit(SCORER, gold, response))
        asked += not futures[-1].done()
    verdicts = [future.result() for future in futures]
    return time.perf_counter() - start, verdicts, asked


def time_math_verify(rows: list[Row]) -> tuple[float, list[bool]]:
    """Seconds and verdicts of Math-Verify with all its defaults, after a warm-up."""
    from math_verify import parse, verify

    logging.disable(logging.WARNING)
    verify(parse("$x+1$"), parse("$1+x$"))
    start = time.perf_counter()
    verdicts = [verify(parse(f"\\boxed{{{gold}}}"), parse(response)) for gold, _, response in rows]
    return time.perf_counter() - start, verdicts


if __name__ == "__main__":
    sys.exit(main())
