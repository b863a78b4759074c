"""Suspect readings: what is counted, what chance gives, and the two simulations that hold the estimate."""

import random

import numpy as np
import pytest

from personaeval.library.tasks import ChoiceScorer, Item, MathScorer, NumericScorer
from personaeval.metrics.suspect import excess_by_persona, overall_excess, suspect_cautions
from personaeval.types import Status
from personaeval.verify import Verifier
from personaeval.verify.suspicion import DECOYS, decoys_of

CHOICE = ChoiceScorer(kind="choice")
NUMERIC = NumericScorer(kind="numeric")
OPTIONS = ("Berlin", "Paris", "Madrid", "Rome")
ITEMS, PERSONAS = 400, 4


@pytest.fixture(scope="module")
def verifier():
    with Verifier() as opened:
        yield opened


@pytest.mark.parametrize(
    ("scorer", "gold", "text", "choices", "suspect"),
    [
        (CHOICE, "B", "Answer: B\n\nAnswer: C", OPTIONS, True),
        (CHOICE, "B", "Answer: C", OPTIONS, False),
        (CHOICE, "B", "Answer: C, since B is wrong", OPTIONS, False),
        (CHOICE, "B", "A) Berlin\nB) Paris\nC) Madrid\nD) Rome\n\nC", OPTIONS, False),
        (NUMERIC, "18", "The answer is 18. Well, the answer is 19.", (), True),
        (NUMERIC, "18", "She had 18 eggs and 2 hens. The answer is 19.", (), False),
        (NUMERIC, "18", "17 and 18 and 19 gulls", (), True),
        (NUMERIC, "18", "18 gulls. 19 gulls, 20 gulls", (), False),
        (NUMERIC, "18", "The answer is 18.", (), False),
    ],
)
def test_what_is_suspect(scorer, gold: str, text: str, choices: tuple[str, ...], suspect: bool, verifier: Verifier):
    assert verifier.submit(scorer, gold, text, choices=choices).result().suspect is suspect


def test_chance_is_measured_on_the_other_options_and_on_decoys(verifier: Verifier):
    text = "Answer: A. Answer: B. Answer: C. Answer: D."
    assert verifier.submit(CHOICE, "B", text, choices=OPTIONS).result().chance == 1.0
    assert verifier.submit(CHOICE, "B", "Answer: A\nAnswer: D", choices=OPTIONS).result().chance == 0.5
    verdict = verifier.submit(NUMERIC, "18", "The answer is 17. The answer is 19.", decoys=("17", "21", "22", "23"))
    assert verdict.result().chance == 0.25


def test_decoys_look_like_the_gold_answer_and_are_not_in_the_prompt():
    items = [Item(str(n), f"What is {n} + 1? Not {n + 3}.", str(n + 1)) for n in range(10, 60)]
    items.append(Item("long", "What?", "123456"))
    task = type("Task", (), {"scorer": MathScorer(kind="math")})()
    decoys = decoys_of(task, items)
    assert decoys["long"] == ()
    for item in items[:-1]:
        assert len(decoys[item.id]) == 20
        assert item.gold not in decoys[item.id]
        assert str(int(item.id) + 3) not in decoys[item.id]
    task.scorer = CHOICE
    assert decoys_of(task, items) == {}


def counted(answers, verifier: Verifier):
    """Suspect, chance and scored per item and persona, of [item][persona] (scorer, gold, text, choices, decoys)."""
    shape = (len(answers), len(answers[0]))
    suspect, chance = np.zeros(shape), np.zeros(shape)
    for item, row in enumerate(answers):
        for persona, (scorer, gold, text, choices, decoys) in enumerate(row):
            verdict = verifier.submit(scorer, gold, text, choices=choices, decoys=decoys).result()
            assert verdict.status != Status.UNSCORED
            suspect[item, persona], chance[item, persona] = verdict.suspect, verdict.chance
    return suspect, chance, np.ones(shape)


def weigh(source: random.Random, candidates: list[str], chosen: str) -> str:
    """Weigh some candidates aloud, in any order, and settle on one."""
    told = source.sample(candidates, source.randint(1, len(candidates)))
    return "\n".join([*(f"Perhaps the answer is {one}." for one in told), f"No: the answer is {chosen}."])


def weighers(kind: str, source: random.Random):
    """Answers of one who weighs alternatives and picks one at random."""
    rows = []
    for _ in range(ITEMS):
        if kind == "choice":
            gold = source.choice("ABCD")
            row = [
                (CHOICE, gold, weigh(source, list("ABCD"), source.choice("ABCD")), OPTIONS, ()) for _ in range(PERSONAS)
            ]
        else:
            gold = str(source.randint(10, 59))
            others = [str(number) for number in range(10, 60) if str(number) != gold]
            decoys = tuple(source.sample(others, DECOYS))
            row = []
            for _ in range(PERSONAS):
                weighed = [str(source.randint(10, 59)) for _ in range(6)]
                row.append((NUMERIC, gold, weigh(source, weighed, str(source.randint(10, 59))), (), decoys))
        rows.append(row)
    return rows


@pytest.mark.parametrize("kind", ["choice", "numeric"])
@pytest.mark.slow
def test_one_who_weighs_alternatives_has_no_excess(kind: str, verifier: Verifier):
    suspect, chance, scored = counted(weighers(kind, random.Random(1)), verifier)
    overall = overall_excess(suspect, chance, scored)
    assert overall.suspect > 50
    assert overall.share.low is not None
    assert overall.share.high is not None
    assert overall.share.low < 0 < overall.share.high
    own = excess_by_persona(suspect, chance, scored)
    assert suspect_cautions(overall, own, [f"p{n}" for n in range(PERSONAS)]) == []


@pytest.mark.parametrize("kind", ["choice", "numeric"])
@pytest.mark.slow
def test_five_per_cent_true_misreadings_are_found_as_five_per_cent(kind: str, verifier: Verifier):
    """Misread: the right answer stated, and then another, which is a quotation."""
    source = random.Random(2)
    answers = weighers(kind, source)
    for row in answers:
        for persona, (scorer, gold, _, choices, decoys) in enumerate(row):
            if source.random() < 0.05:
                wrong = source.choice([one for one in ("A", "B", "C", "D") if one != gold]) if choices else "99"
                told = f"The answer is {gold}.\n\nMy brother's note reads: the answer is {wrong}."
                row[persona] = (scorer, gold, told, choices, decoys)
    suspect, chance, scored = counted(answers, verifier)
    overall = overall_excess(suspect, chance, scored)
    assert overall.share.low is not None
    assert overall.share.high is not None
    assert overall.share.low < 0.05 < overall.share.high
    assert overall.is_high
    [told] = suspect_cautions(overall, excess_by_persona(suspect, chance, scored), ["a", "b", "c", "d"])[:1]
    assert told.startswith("up to ")


def test_a_persona_that_is_misread_is_named():
    suspect, chance, scored = np.zeros((200, 3)), np.zeros((200, 3)), np.ones((200, 3))
    suspect[:30, 1] = 1
    overall, own = overall_excess(suspect, chance, scored), excess_by_persona(suspect, chance, scored)
    assert [entry.is_high for entry in own] == [False, True, False]
    assert overall.share.value == pytest.approx(0.05)
    assert suspect_cautions(overall, own, ["none", "pirate", "poet"])[1].startswith("pirate: up to 20 % of its answers")


def test_the_interval_covers_and_nothing_scored_has_none():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        rate = generator.beta(1, 19, size=(150, 1))
        suspect = generator.random((150, 5)) < rate
        share = overall_excess(suspect.astype(float), np.zeros((150, 5)), np.ones((150, 5))).share
        covered += bool(share.low <= 0.05 <= share.high)
    assert covered >= 370
    assert overall_excess(np.zeros((3, 2)), np.zeros((3, 2)), np.zeros((3, 2))).share.value is None
