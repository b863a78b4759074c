"""The plan: rows, keys, and the order in which requests are sent."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personaeval.generation.plan import Plan, lay_out
from personaeval.library.personas import BASELINE, Category, Persona
from personaeval.library.registry import Registry
from personaeval.library.sources import ItemSet
from personaeval.library.tasks import Item
from personaeval.models.prompts import MessageFrame, TextFrame
from personaeval.types import Sampling

TASK, _ = Registry().task("mini-arith")
PIRATE = Persona(id="pirate", text="a pirate", category=Category.STYLE)


def item_set(count: int) -> ItemSet:
    return ItemSet(TASK, tuple(Item(f"i{n}", f"What is {n} + 1?", str(n + 1)) for n in range(count)), {}, "", "")


def make_plan(count=5, samples=3, personas=(BASELINE, PIRATE), sampling=Sampling(), identity=None, seed=0) -> Plan:
    prompt_templates = tuple(TextFrame(f"<s>{persona.text}</s>", "<a>") for persona in personas)
    plan = Plan(
        lay_out([(item_set(count), prompt_templates, sampling)], personas, samples, seed),
        identity or {"fingerprint": "f"},
    )
    plan.compute_keys()
    return plan


def all_keys(plan: Plan) -> list[bytes]:
    return plan.keys(0, plan.size)


def test_rows_are_numbered_by_persona_item_sample():
    plan = make_plan()
    assert plan.size == 2 * 5 * 3
    row = plan.row(5 * 3 + 2 * 3 + 1)
    assert (row.persona.id, row.item.id, row.sample) == ("pirate", "i2", 1)


@given(count=st.integers(1, 600), samples=st.integers(1, 3))
@pytest.mark.slow
def test_every_row_is_sent_once_and_is_what_the_row_says(count, samples):
    plan = make_plan(count, samples)
    sent = list(plan.requests(lambda row: True))
    assert sorted(request.row for request in sent) == list(range(plan.size))
    for request in sent[:: max(1, len(sent) // 50)]:
        row = plan.row(request.row)
        assert request.prompt == row.prompt_template.fill(row.item.prompt)
        assert request.seed == row.sample
        assert request.key == plan.key(request.row)


SAMPLED = Sampling(temperature=0.8)


def test_every_sampled_row_has_random_numbers_of_its_own_in_the_range_of_every_server():
    sent = list(make_plan(400, 4, sampling=SAMPLED).requests(lambda row: True))
    seeds = [request.seed for request in sent]
    assert all(0 <= seed < 2**31 for seed in seeds)
    # 3 200 of 2³¹: two alike once in 400 such plans; this one has none.
    assert len(set(seeds)) == len(seeds) == 2 * 400 * 4


def test_a_sampled_row_alone_draws_what_it_draws_among_others():
    whole = {request.row: request for request in make_plan(sampling=SAMPLED).requests(lambda row: True)}
    [alone] = make_plan(sampling=SAMPLED).requests(lambda row: row == 17)
    assert alone == whole[17]


def test_two_checkpoints_share_the_random_numbers_of_a_prompt():
    one, other = (
        [request.seed for request in make_plan(sampling=SAMPLED, identity=identity).requests(lambda row: True)]
        for identity in ({"fingerprint": "f"}, {"fingerprint": "g"})
    )
    assert one == other
    assert not set(one) & {request.seed for request in make_plan(sampling=SAMPLED, seed=1).requests(lambda row: True)}


def test_the_seed_and_the_sample_are_not_added_up():
    """Sample 1 of seed 0 is not sample 0 of seed 1."""
    shifted = make_plan(sampling=SAMPLED, samples=1, seed=1)
    assert not set(all_keys(make_plan(sampling=SAMPLED, samples=2))) & set(all_keys(shifted))


def test_samples_of_a_prompt_are_sent_a_block_apart():
    sent = [request.row for request in make_plan(300, 2).requests(lambda row: True)]
    assert sent.index(1) - sent.index(0) == 256


def test_only_wanted_rows_are_sent():
    assert [request.row for request in make_plan().requests(lambda row: row in {4, 17})] == [4, 17]


def test_keys_are_distinct():
    keys = all_keys(make_plan(50, 4))
    assert len(set(keys)) == len(keys) == 2 * 50 * 4


@pytest.mark.parametrize(
    "change",
    [
        {"identity": {"fingerprint": "g"}},
        {"identity": {"fingerprint": "f", "dtype": "float16"}},
        {"sampling": Sampling(temperature=0.7)},
        {"sampling": Sampling(top_p=0.9)},
        {"sampling": Sampling(max_tokens=7)},
        {"sampling": Sampling(stop=("\n",))},
        {"seed": 100},
    ],
)
def test_whatever_can_change_an_answer_changes_every_key(change):
    assert not set(all_keys(make_plan())) & set(all_keys(make_plan(**change)))


def test_another_persona_sample_or_item_leaves_the_other_keys_as_they_were():
    few = set(all_keys(make_plan()))
    assert few < set(all_keys(make_plan(count=6)))
    assert few < set(all_keys(make_plan(samples=4)))
    poet = Persona(id="poet", text="a poet", category=Category.STYLE)
    assert few < set(all_keys(make_plan(personas=(BASELINE, PIRATE, poet))))


def test_a_prompt_that_ends_in_digits_is_not_taken_for_another_with_a_seed():
    items = ItemSet(TASK, (Item("a", "2+3", "5"), Item("b", "2+31", "33")), {}, "", "")
    plan = Plan(lay_out([(items, (TextFrame("", ""),), Sampling())], (BASELINE,), 20, 0), {})
    plan.compute_keys()
    assert len(set(all_keys(plan))) == plan.size == 40


def test_a_personas_name_is_no_part_of_the_key():
    renamed = PIRATE.model_copy(update={"id": "corsair"})
    assert all_keys(make_plan()) == all_keys(make_plan(personas=(BASELINE, renamed)))


@given(st.lists(st.text(), min_size=2, max_size=2, unique=True), st.text())
def test_messages_that_differ_have_identities_that_differ(sentences, question):
    one, two = (MessageFrame(sentence, "system") for sentence in sentences)
    assert one.identity(question) != two.identity(question)
    assert one.identity(question) != replace(one, role="user_prefix").identity(question)
