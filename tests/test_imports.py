"""Personas from files and hub datasets, near-duplicates, and samples."""

import json
import random
import re
import uuid

import pandas as pd
import pytest

from personaeval.errors import UsageError
from personaeval.library.duplicates import near_duplicates
from personaeval.library.external_personas import clean, describe_import, read_personas
from personaeval.library.personas import Category
from personaeval.library.registry import Registry

PEOPLE = [
    {
        "id": "Baker 1",
        "text": "A baker who sells rye bread at the market.",
        "category": "biography",
        "tags": "work;food",
    },
    {"id": "pilot", "text": "a pilot who flies mail to the islands", "category": "", "tags": ""},
    {"id": "chemist", "text": "a chemist who tastes nothing at work", "category": "expert", "tags": "expert"},
]

NEMOTRON = [
    "uuid",
    "professional_persona",
    "sports_persona",
    "arts_persona",
    "travel_persona",
    "culinary_persona",
    "persona",
    "cultural_background",
    "skills_and_expertise",
    "skills_and_expertise_list",
    "hobbies_and_interests",
    "hobbies_and_interests_list",
    "career_goals_and_ambitions",
    "sex",
    "age",
    "marital_status",
    "education_level",
    "bachelors_field",
    "occupation",
    "city",
    "state",
    "zipcode",
    "country",
]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_every_file_format_gives_the_same_personas(tmp_path, suffix):
    prompt_template, path = pd.DataFrame(PEOPLE), tmp_path / f"people{suffix}"
    {
        ".jsonl": lambda: prompt_template.to_json(path, orient="records", lines=True),
        ".json": lambda: prompt_template.to_json(path, orient="records"),
        ".csv": lambda: prompt_template.to_csv(path, index=False),
        ".parquet": lambda: prompt_template.to_parquet(path),
    }[suffix]()
    (baker, pilot, chemist), origin = read_personas(str(path))
    assert (baker.id, baker.text) == ("baker-1", "a baker who sells rye bread at the market")
    assert (baker.category, baker.tags) == (Category.BIOGRAPHY, ("work", "food"))
    assert (pilot.category, pilot.tags) == (Category.IMPORTED, ("imported",))
    assert chemist.category is Category.EXPERT
    assert origin["sha256"]
    assert (origin["column"], origin["rows"], origin["near_duplicates"], origin["personas"]) == ("text", 3, 0, 3)


def persona_hub(folder):
    """A folder in the layout of proj-persona/PersonaHub: several configurations, none of them the default."""
    folder.mkdir()
    configs = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in ("math", "persona"))
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    (folder / "math.jsonl").write_text(json.dumps({"input persona": "x", "synthesized text": "y", "description": "z"}))
    texts = [
        "A political analyst who follows the elections of a small island state",
        "a political analyst who follows the elections of a small island state.",
        "An amateur botanist keen on mosses and on rainy weekends",
        "",
    ]
    (folder / "persona.jsonl").write_text("\n".join(json.dumps({"persona": text}) for text in texts))
    return folder


def test_persona_hub_is_read_by_its_column(tmp_path):
    """A local folder takes the place of the hub: the library's call is the same."""
    # The library caches a local folder by its name: one of an earlier version of this test must not be found.
    folder = persona_hub(tmp_path / f"PersonaHub-{uuid.uuid4().hex[:8]}")
    personas, origin = read_personas(f"hf:{folder}")
    assert [persona.text for persona in personas] == [
        "a political analyst who follows the elections of a small island state",
        "an amateur botanist keen on mosses and on rainy weekends",
    ]
    assert all(re.fullmatch("x[0-9a-f]{12}", persona.id) for persona in personas)
    assert (origin["kind"], origin["config"], origin["column"]) == ("hub", "persona", "persona")
    assert (origin["rows"], origin["empty"], origin["repeats"], origin["personas"]) == (4, 1, 1, 2)
    assert origin["data_fingerprint"]
    assert "2 personas, left out 1 repeats and 1 empty rows" in describe_import(origin)


def nemotron(folder):
    """A folder in the layout and with the columns of nvidia/Nemotron-Personas-USA."""
    (folder / "data").mkdir(parents=True)
    rows = [
        {name: f"{name} of {person}." for name in NEMOTRON} | {"age": 40 + number, "uuid": f"0{number}ab"}
        for number, person in enumerate(["Ada Example, who repairs clocks", "Bo Sample, who keeps goats on a hill"])
    ]
    pd.DataFrame(rows).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    return folder


def test_nemotron_personas_are_read_by_any_of_their_columns(tmp_path):
    folder = nemotron(tmp_path / "Nemotron-Personas-USA")
    personas, origin = read_personas(f"hf:{folder}")
    assert [persona.id for persona in personas] == ["00ab", "01ab"]
    assert personas[0].text == "persona of Ada Example, who repairs clocks"
    assert (origin["config"], origin["column"]) == (None, "persona")
    personas, origin = read_personas(f"hf:{folder}:sports_persona")
    assert personas[1].text == "sports_persona of Bo Sample, who keeps goats on a hill"
    with pytest.raises(UsageError, match="no column 'sport_persona'. Did you mean 'sports_persona'"):
        read_personas(f"hf:{folder}:sport_persona")


def test_an_offline_node_is_told_how_to_pass_a_local_copy():
    with pytest.raises(
        UsageError, match=r"hub dataset proj-persona/PersonaHub: cannot be loaded.*--personas FILE.jsonl"
    ):
        read_personas("hf:proj-persona/PersonaHub")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"persona": "a cook"}', '{"persona": '], "row 2: broken JSON"),
        (['{"persona": "a cook"}', '{"persona": " ", "n": 1}'], "row 2: the column 'persona' is empty"),
        (['{"persona": "a cook"}', '{"persona": null, "n": 1}'], "row 2: the column 'persona' is empty"),
        (['{"who": "a cook"}'], "none of its columns is known to hold personas: who. .*people.jsonl:COLUMN"),
        (['{"text": "a cook", "category": "rolle"}'], "row 1: category: .*'rolle'"),
        (
            ['{"text": "a cook", "category": "role"}', '{"text": "a nun", "category": "chef"}'],
            "row 2: category: .*'chef'",
        ),
        (['{"text": "a cook", "expect": "maybe"}'], "row 1: expect: .*'maybe'"),
        (
            ['{"id": 1, "text": "a cook at sea"}', '{"id": 1, "text": "two nuns in a boat"}'],
            "the id '1' is given to both",
        ),
        ([], "holds no rows"),
    ],
)
def test_a_broken_file_names_file_and_row(tmp_path, lines, message):
    path = tmp_path / "people.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match=rf"people.jsonl.*{message}"):
        read_personas(str(path))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("A cook.", "a cook"),
        ("An  old\ncook ", "an old cook"),
        ("The cook...", "the cook..."),
        ("Ada Example is a cook.", "Ada Example is a cook"),
        ("A. Cook", "A. Cook"),
        ("Andrea, a cook", "Andrea, a cook"),
    ],
)
def test_texts_are_made_to_complete_you_are(text, cleaned):
    assert clean(text) == cleaned


def test_near_duplicates_are_those_that_comparing_all_pairs_finds():
    generator = random.Random(0)
    words = [f"w{n}" for n in range(40)]
    texts = [
        " ".join(generator.sample(words[: generator.choice([8, 40])], generator.randint(3, 8))) for _ in range(300)
    ]
    expected, kept = {}, []
    for index, text in enumerate(texts):
        own = set(text.split())
        found = next(
            (o for o in kept if len(own & set(texts[o].split())) / len(own | set(texts[o].split())) >= 0.8), None
        )
        if found is None:
            kept.append(index)
        else:
            expected[index] = found
    assert len(expected) > 20
    assert near_duplicates(texts) == expected


def test_near_duplicates_ignore_case_punctuation_and_order():
    texts = ["A cook, at sea!", "at sea a COOK", "a cook at home", "🎉", "🎉", "🙂"]
    assert near_duplicates(texts) == {1: 0, 4: 3}


def test_samples_are_nested_keep_the_order_and_depend_on_the_seed():
    whole = Registry().select(["full"])
    hundred, ten = whole.sample(100, 0), whole.sample(10, 0)
    assert len(hundred.personas) == 101
    assert hundred.personas[0].is_baseline
    ids = [persona.id for persona in hundred.personas]
    assert ids == [persona.id for persona in whole.personas if persona.id in set(ids)]
    assert {persona.id for persona in ten.personas} < set(ids)
    assert whole.sample(10, 1).personas != ten.personas
    assert whole.sample(9999, 0).personas == whole.personas


def test_imports_and_sets_together(tmp_path):
    path = tmp_path / "people.jsonl"
    path.write_text(json.dumps({"persona": "A cook who sails."}))
    selection = Registry().select(["core/pirate", str(path)])
    assert [persona.text for persona in selection.personas][2] == "a cook who sails"
    assert [origin["kind"] for origin in selection.origins] == ["set", "file"]
