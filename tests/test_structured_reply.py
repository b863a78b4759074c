"""Schema and reader of a structured reply: the schema's bytes enter keys, so they are pinned; the reader is strict."""

import json
import re
from typing import Annotated, Literal

import pytest
from pydantic import Field

from personaeval.generation.structured_reply import AskedLength, StructuredReply, UnreadableError
from personaeval.judge.authoring import AuthoredQuestion, SettingList
from personaeval.judge.exemplars import SAMPLING, ExemplarSet
from personaeval.judge.reply import Reply, read_reply, schema_for

JUDGE = (
    '{"type": "object", "properties": {"reasoning": {"type": "string", "maxLength": %d}, "refusal": {"type": '
    '"boolean"}, "ai_admission": {"type": "boolean"}, "score": {"type": "integer", "enum": [1, 2, 3, 4, 5]}}, '
    '"required": ["reasoning", "refusal", "ai_admission", "score"], "additionalProperties": false}'
)

EXEMPLARS = (
    '{"type": "object", "properties": {"1": {"type": "string", "maxLength": 800}, "2": {"type": "string", "maxLength": '
    '800}, "3": {"type": "string", "maxLength": 800}, "4": {"type": "string", "maxLength": 800}, "5": {"type": '
    '"string", "maxLength": 800}}, "required": ["1", "2", "3", "4", "5"], "additionalProperties": false}'
)

SETTINGS = (
    '{"type": "object", "properties": {"settings": {"type": "array", "items": {"type": "string", "maxLength": 80}}}, '
    '"required": ["settings"], "additionalProperties": false}'
)

QUESTION = (
    '{"type": "object", "properties": {"question": {"type": "string", "maxLength": 800}}, "required": ["question"], '
    '"additionalProperties": false}'
)


def test_the_schemas_are_byte_for_byte_those_of_the_stored_keys():
    assert schema_for(2048) == schema_for(1024) == JUDGE % 1200
    assert schema_for(1000) == JUDGE % 936
    assert schema_for(100) == JUDGE % 64
    assert ExemplarSet.schema_text() == SAMPLING.schema == EXEMPLARS
    assert SettingList.schema_text() == SETTINGS
    assert AuthoredQuestion.schema_text() == QUESTION


class Mood(StructuredReply):
    reason: Annotated[str, AskedLength(5)] = ""
    mood: Literal[1, 2]
    weight: float = Field(default=0.0, exclude=True)


def test_length_is_asked_for_and_not_enforced_and_unknown_or_derived_keys_are_ignored():
    read = Mood.read('```json\n{"reason": "longer than five", "mood": 2, "weight": 3.0, "more": []}\n```')
    assert read == Mood(reason="longer than five", mood=2)
    assert Mood.read('{"mood": 1}').reason == ""
    assert "weight" not in Mood.schema_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"reason": "x"}', "the reply has no mood"),
        ('{"mood": 3}', "the mood is "),
        ('{"mood": 1.0}', "the mood is 1.0, not one of 1, 2"),
        ('{"mood": true}', "the mood is "),
        ('{"mood": "1"}', "the mood is "),
        ('{"mood": 1, "reason": 5}', "reason: "),
        ('{"mood": 1, "mood": 1}', "a key twice"),
        ('it wrote {"mood": 1} there', "in the middle of prose"),
    ],
)
def test_anything_else_is_unreadable_and_says_why(text, said):
    with pytest.raises(UnreadableError, match=re.escape(said)):
        Mood.read(text)


def test_a_field_without_a_schema_is_an_error_of_the_program():
    class Unfit(StructuredReply):
        score: dict[str, int]

    with pytest.raises(TypeError, match="no schema for a field"):
        Unfit.schema_text()


def test_what_a_judge_leaves_out_or_says_in_another_type_counts_as_not_said():
    assert read_reply('{"score": 4}') == Reply(score=4)
    said = '{"score": 4, "reasoning": 7, "refusal": "no", "ai_admission": 2, "expected": 2.5}'
    assert read_reply(said) == Reply(score=4)
    flags = '{"score": 4, "refusal": "True", "ai_admission": 0}'
    assert read_reply(flags) == Reply(score=4, refusal=True, ai_admission=False)
    assert read_reply('{"refusal": true, "score": 4}', {"4": 0.5, "5": 0.5}).expected == 4.5
    whole = '{"reasoning": "", "refusal": false, "ai_admission": false, "score": 4}'
    for text in ('{"score": 4, "refusal": true}', '{"score": 3}', '{"score": "4/5"}', f"{whole}\n5 stars!"):
        with pytest.raises(UnreadableError, match="probabilities of the score"):
            read_reply(text, {"4": 1.0})


def test_exemplars_are_one_answer_for_each_score():
    whole = {str(score): f"answer  {score}\n" for score in range(1, 6)} | {"3": "x" * 900}
    lines = ExemplarSet.read(json.dumps(whole)).as_text().splitlines()
    assert lines == [
        "Worth 1: answer 1",
        "Worth 2: answer 2",
        f"Worth 3: {'x' * 800}",
        "Worth 4: answer 4",
        "Worth 5: answer 5",
    ]
    for change in ({"2": " "}, {"2": None}, {"2": 5}):
        with pytest.raises(UnreadableError, match="lacks an answer for one of the scores"):
            ExemplarSet.read(json.dumps(whole | change))
    with pytest.raises(UnreadableError, match="no answer for the score 2"):
        ExemplarSet.read(json.dumps({key: text for key, text in whole.items() if key != "2"}))


def test_settings_and_questions_are_cleaned_and_refused():
    assert SettingList.read('{"settings": [" a  bus", 5, "a bus", "", "home"]}').settings == ["a bus", "home"]
    assert SettingList.read('{"settings": "a bus"}').settings == []
    assert (
        AuthoredQuestion.read('{"question": " You are on\\na bus; what now? "}').question
        == "You are on a bus; what now?"
    )
    for value in ("Why?", "You are on a bus and it stops.", 5):
        with pytest.raises(UnreadableError, match="holds no question"):
            AuthoredQuestion.read(json.dumps({"question": value}))
