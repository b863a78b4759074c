"""Persona files as people have them: encodings, separators, shapes of JSON, folders, selectors and names."""

import gzip
import json
import random
import uuid

import pandas as pd
import pytest

from personaeval.errors import UsageError
from personaeval.library.duplicates import alike_share
from personaeval.library.external_personas import Reading, describe_import, read_personas
from personaeval.library.registry import Registry
from personaeval.library.selectors import join_columns, parse
from personaeval.library.wording import Fit

BAKER, SMITH = "a baker who sings", "a smith who whistles"


@pytest.fixture
def read(tmp_path):
    """Write a file of some bytes or JSON, and read its personas: (id, name, text or prompt)."""

    def read_file(name: str, content: object, more: str = "", **reading):
        path = tmp_path / name
        text = content if isinstance(content, str | bytes) else json.dumps(content, ensure_ascii=False)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        personas, _ = read_personas(f"{path}{more}", Reading(**reading))
        return [(persona.id, persona.name, persona.prompt or persona.text) for persona in personas]

    return read_file


def texts(found):
    return [text for _, _, text in found]


TABLE = f"text,category\n{BAKER},biography\n{SMITH},biography\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bom.csv", "\ufeff" + TABLE),
        ("utf16.csv", TABLE.encode("utf-16")),
        ("utf16be.csv", TABLE.encode("utf-16-be")),
        ("utf16le.csv", TABLE.encode("utf-16-le")),
        ("utf32.csv", TABLE.encode("utf-32")),
        ("crlf.csv", TABLE.replace("\n", "\r\n")),
        ("semicolon.csv", TABLE.replace(",", ";")),
        ("tab.csv", TABLE.replace(",", "\t")),
        ("table.tsv", TABLE.replace(",", "\t")),
        ("excel.csv", "sep=;\r\n" + TABLE.replace(",", ";")),
        ("UPPER.CSV", TABLE),
        ("zipped.csv.gz", gzip.compress(TABLE.encode(), mtime=0)),
        ("header.csv", TABLE.replace("text,", " Text ,")),
        ("blank.csv", TABLE + '"",\n'),
        ("lines.txt", f"{BAKER}\n\n{SMITH}\n"),
        ("LINES.JSONL", f'\ufeff"{BAKER}"\n"{SMITH}"\n'),
        ("people.ndjson", f'{{"persona": "{BAKER}"}}\n{{"persona": "{SMITH}"}}\n'),
        ("lines.json", f'{{"persona": "{BAKER}"}}\n{{"persona": "{SMITH}"}}\n'),
        ("list.json", [BAKER, SMITH]),
        (
            "objects.json",
            {"meta": {"version": 1}, "description": "two people", "personas": [{"bio": BAKER}, {"bio": SMITH}]},
        ),
        ("wrapped.json", {"personas": {"b": BAKER, "s": SMITH}}),
        ("translated.csv", f"имя;описание\nА;{BAKER}\nБ;{SMITH}\n"),
        ("list.yaml", f"- {BAKER}\n- {SMITH}\n"),
        ("map.yaml", f"b: {BAKER}\ns: {SMITH}\n"),
        ("columns.json", {"text": [BAKER, SMITH], "n": [1, 2]}),
        ("pandas.json", {"text": {"0": BAKER, "1": SMITH}}),
        (
            "viewer.json",
            {"rows": [{"row_idx": 0, "row": {"persona": BAKER}}, {"row_idx": 1, "row": {"persona": SMITH}}]},
        ),
    ],
)
def test_encodings_separators_and_shapes_make_no_difference(read, name, content):
    assert texts(read(name, content)) == [BAKER, SMITH]


def test_parquet_shards_saved_datasets_and_splits(tmp_path):
    import datasets

    rows = {"train": [{"persona": BAKER, "n": 1}], "test": [{"persona": SMITH, "n": 2}]}
    shards = tmp_path / "shards" / "data"
    shards.mkdir(parents=True)
    for split, own in rows.items():
        pd.DataFrame(own).to_parquet(shards / f"{split}-00000-of-00001.parquet")
    saved = {split: datasets.Dataset.from_list(own) for split, own in rows.items()}
    datasets.DatasetDict(saved).save_to_disk(tmp_path / "saved")
    saved["train"].save_to_disk(tmp_path / "one")
    for folder in ("shards", "saved"):
        assert [p.text for p in read_personas(str(tmp_path / folder))[0]] == [BAKER]
        assert [p.text for p in read_personas(f"{tmp_path / folder}:persona@test")[0]] == [SMITH]
        with pytest.raises(UsageError, match="no .*split '?'?tset.*Did you mean 'test'"):
            read_personas(f"{tmp_path / folder}@tset")
    assert [p.text for p in read_personas(str(tmp_path / "one"))[0]] == [BAKER]
    with pytest.raises(UsageError, match="without splits; leave out @test"):
        read_personas(f"{tmp_path / 'one'}@test")
    datasets.DatasetDict({"a": saved["train"], "b": saved["test"]}).save_to_disk(tmp_path / "ab")
    with pytest.raises(UsageError, match="it has the splits a, b; name one"):
        read_personas(str(tmp_path / "ab"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="it holds nothing; wanted are Parquet"):
        read_personas(str(tmp_path / "empty"))


def test_a_split_of_a_hub_dataset(tmp_path):
    folder = tmp_path / f"hub-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    for split, text in (("train", BAKER), ("test", SMITH)):
        (folder / f"{split}.jsonl").write_text(json.dumps({"who": text}))
    assert [p.text for p in read_personas(f"hf:{folder}:who@test")[0]] == [SMITH]
    with pytest.raises(UsageError, match="no split 'dev'"):
        read_personas(f"hf:{folder}:who@dev")


def test_names_make_ids_and_are_shown(read):
    found = read("cast.json", {"Ada Lovelace": "a baker", "José": "a smith", "甲": "a cook", "None": "a nun"})
    assert [(identifier, name) for identifier, name, _ in found[:2]] == [
        ("ada-lovelace", "Ada Lovelace"),
        ("jose", "José"),
    ]
    assert found[2][0].startswith("x")
    assert found[2][1] == "甲"
    assert found[3][0].startswith("none-")
    found = read("twins.csv", f"name,persona\nAda,{BAKER}\nAda,{SMITH}\n")
    assert len({identifier for identifier, _, _ in found}) == 2
    assert {name for _, name, _ in found} == {"Ada"}
    found = read("slugs.csv", f"id,text\nDr. Who,{BAKER}\nDr Who,{SMITH}\n")
    assert found[0][0] == "dr-who"
    assert found[1][0].startswith("dr-who-")


def test_prompts_come_from_their_columns_conversations_and_cards(read):
    prompt = "I want you to act as a pilot.\nReply only with a course."
    assert read("acts.csv", f'act,prompt\nHarbour Pilot,"{prompt}"\n') == [("harbour-pilot", "Harbour Pilot", prompt)]
    nested = {"en": {"characters": [{"char_name": "Ada", "system_prompt": "Genius.\nI am Ada."}]}}
    assert read("nested.json", nested) == [("ada", "Ada", "Genius.\nI am Ada.")]
    turns = [{"role": "system", "content": "You are Ada."}, {"role": "user", "content": "hi"}]
    assert texts(read("chats.jsonl", {"messages": turns})) == ["You are Ada."]
    shared = [{"from": "system", "value": "You are Ada."}, {"from": "human", "value": "hi"}]
    assert texts(read("chats.json", [{"conversations": shared}])) == ["You are Ada."]
    card = {"name": "Mira", "description": "a healer", "personality": "wry", "scenario": "", "first_mes": "*smiles*"}
    wanted = "a healer. Personality: wry"
    assert read("v1.json", card) == [("mira", "Mira", wanted)]
    assert read("v2.json", {"spec": "chara_card_v2", "data": card | {"tags": ["forest"]}}) == [("mira", "Mira", wanted)]
    own = card | {"system_prompt": "Write as Mira."}
    assert texts(read("v3.json", {"spec": "chara_card_v3", "data": own})) == [
        "Write as Mira.\na healer.\nPersonality: wry."
    ]


def test_lists_are_joined_and_an_empty_known_column_gives_way(read):
    assert texts(read("traits.json", [{"name": "Ada", "traits": ["brave", "kind"]}])) == ["brave, kind"]
    assert texts(read("sentences.jsonl", {"personality": ["likes skis.", "has a cat."]})) == ["likes skis. has a cat"]
    assert texts(read("coser.json", [{"character": "Fool", "profile": "A jester.", "persona": ""}])) == ["a jester"]


def test_columns_named_by_the_user(read, tmp_path):
    table = f"who,bio,note\nb,{BAKER},x\ns,{SMITH},y\n"
    assert read("people.csv", table, ":bio,who") == [("b", None, BAKER), ("s", None, SMITH)]
    assert texts(read("people.csv", table, ":NOTE")) == ["x", "y"]
    with pytest.raises(UsageError, match="no column 'boi'. Did you mean 'bio'"):
        read("people.csv", table, ":boi")
    path = tmp_path / "people.csv"
    chosen = Registry().select([f"{path}:bio", "who", "core/pirate"]).personas
    assert [persona.id for persona in chosen] == ["none", "b", "s", "pirate"]


def test_selectors_survive_the_commas_of_the_command_line():
    known = {"core", "standard"}.__contains__
    assert join_columns(["a.csv:bio", "name", "core", "b.csv:bio", "name"], known) == [
        "a.csv:bio,name",
        "core",
        "b.csv:bio,name",
    ]
    assert join_columns(["a.csv:bio", "core"], known) == ["a.csv:bio", "core"]
    assert join_columns(["hf:org/x:bio", "name@test"], known) == ["hf:org/x:bio,name@test"]
    found = parse("hf:org/x:bio,name@test")
    assert found is not None
    assert (found.name, found.text, found.id, found.split) == ("org/x", "bio", "name", "test")
    assert parse("core") is None
    assert parse("core/pirate") is None


def test_exact_repeats_are_left_out_and_near_repeats_kept(tmp_path):
    path = tmp_path / "people.csv"
    lines = [
        f"a person of {age} years who votes for the {party} party" for age in (20, 40) for party in ("red", "blue")
    ]
    path.write_text("\n".join(["text", *lines, lines[0].upper(), lines[1] + "."]))
    personas, origin = read_personas(str(path), Reading(Fit.COMPLETION))
    assert (len(personas), origin["repeats"], origin["near_duplicates"]) == (5, 1, 0)
    personas, origin = read_personas(str(path), Reading(Fit.COMPLETION, drop_near_duplicates=True))
    assert len(personas) + origin["near_duplicates"] == 5
    assert origin["near_duplicates"] > 0
    assert "near-duplicates" in describe_import(origin)


def test_the_share_of_pairs_that_look_alike_is_that_of_comparing_all_pairs():
    generator = random.Random(0)
    words = [f"w{n}" for n in range(12)]
    texts = [" ".join(generator.sample(words, 8)) for _ in range(300)]
    sets = [set(text.split()) for text in texts]
    pairs = [len(a & b) / len(a | b) >= 0.8 for place, a in enumerate(sets) for b in sets[:place]]
    assert sum(pairs) > 20
    assert alike_share(texts).share == pytest.approx(sum(pairs) / len(pairs))
    assert alike_share(["一名二十岁的男性渔民，住在海边", "一名二十岁的女性渔民，住在海边"]).share == 1
    assert alike_share(["a cook"]).share == 0
    many = alike_share([f"{text} {n}" for n in range(8) for text in texts])
    assert str(many).startswith("about ")


def test_a_check_tells_the_share_that_looks_alike_and_cautions_above_a_tenth(personaeval, tmp_path):
    path = tmp_path / "survey.csv"
    ages, parties = ("18-29", "30-44", "45-64"), ("red", "blue", "green")
    told = "Sex: male. Education: college. Region: South. Answer as this respondent of the survey would."
    path.write_text("text\n" + "\n".join(f"Age: {age}. Party: {party}. {told}" for age in ages for party in parties))
    checked = personaeval("personas", "check", path)
    assert checked.returncode == 0
    assert "9 personas" in checked.stdout
    assert "9 texts are several sentences or fields: --template described" in checked.stdout
    assert "look alike, which raises PSS by itself" in checked.stdout
    dropped = personaeval("personas", "check", path, "--drop-near-duplicates").stdout
    assert "left out" in dropped
    assert "which raises PSS" not in dropped
    assert (
        "0% of the pairs of personas that PSS compares look alike." in personaeval("personas", "check", "core").stdout
    )


def test_the_demographic_set_comes_back_whole(tmp_path):
    path = tmp_path / "exported.jsonl"
    own = Registry().persona_set("demographic").personas
    path.write_text("\n".join(json.dumps({"id": one.id, "text": one.text}) for one in own))
    personas, origin = read_personas(str(path), Reading(Fit.COMPLETION))
    assert [(one.id, one.text) for one in personas] == [(one.id, one.text) for one in own]
    assert (len(personas), origin["near_duplicates"]) == (90, 0)


def test_what_looks_like_a_blank_is_taken_and_said(tmp_path):
    path = tmp_path / "people.jsonl"
    path.write_text(json.dumps({"text": "{character} from {series}, in every detail"}))
    _, origin = read_personas(str(path), Reading(Fit.COMPLETION))
    assert "1 texts hold what looks like a blank to fill in ({character}, {series})" in describe_import(origin)


def test_a_foreign_category_becomes_a_tag(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text(f"text,category\n{BAKER},Occupation\n{SMITH},Hobby\n")
    personas, origin = read_personas(str(path))
    assert [(p.category.value, p.tags) for p in personas] == [
        ("imported", ("imported", "Occupation")),
        ("imported", ("imported", "Hobby")),
    ]
    assert "kept as tags" in describe_import(origin)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("latin1.csv", "text\na café owner".encode("latin-1"), "line 2: the byte 0xe9 is not UTF-8.*iconv"),
        ("half.csv.gz", gzip.compress(b"text\na cook", mtime=0)[:-5], "not a whole gzip file"),
        (
            "both.jsonl",
            {"persona": "a cook", "prompt": "What is 2 + 2?"},
            "row 1: both 'persona' and 'prompt' are filled",
        ),
        ("people.xlsx", b"PK", "its ending must be one of .jsonl"),
        ("empty.json", {"personas": []}, "no personas|holds no rows|found an object"),
        ("void.csv", "text\n\n", "no rows, so no personas"),
        ("blank.csv", 'text,n\n"",\n', "empty in every row"),
        ("number.json", 7, "found numbers.*wanted is a list"),
        ("deep.json", {"a": {"b": [1]}, "c": {"d": [2]}}, "known to hold personas: name, b, d"),
        ("mixed.json", [BAKER, 7], "entry 2: found numbers"),
        ("attributes.json", {"甲": {"工作": "x"}, "乙": {"工作": "y"}}, "known to hold personas: name, 工作"),
        ("twice.csv", "text,text\na,b\n", "column 'text' occurs twice"),
        ("comma.csv", "text\na cook, who sings\n", "row 1: it has 2 fields, the header 1"),
        ("none.csv", "id,text\nnone,a cook\n", "id 'none' is reserved"),
        ("chat.json", [{"messages": [{"role": "user", "content": "hi"}]}], "no system turn"),
        ("number.jsonl", {"text": 7}, "column 'text' holds int"),
        ("half.jsonl", '{"text": "a \\ud800 cook"}', "half a surrogate pair"),
    ],
)
def test_what_cannot_be_taken_says_what_was_found(read, name, content, message):
    with pytest.raises(UsageError, match=f"(?s){message}"):
        read(name, content)
