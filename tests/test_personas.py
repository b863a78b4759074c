"""The persona library: what is shipped, how sets are made of others, templates, and the checks of a file."""

import itertools
import sys
from collections import Counter
from pathlib import Path

import pytest

from personaeval.documents import read_document
from personaeval.errors import UsageError
from personaeval.library.duplicates import near_duplicates
from personaeval.library.lint import likenesses, problems
from personaeval.library.personas import BASELINE, Category, Persona, PersonaSet
from personaeval.library.registry import Registry, builtin_folder
from personaeval.models.sentences import TEMPLATES, persona_sentence, template_text

ROOT = Path(__file__).resolve().parent.parent
REGISTRY = Registry()
SETS = tuple(REGISTRY.persona_files())
WRITTEN = [category for category in Category if category not in {Category.BASELINE, Category.IMPORTED}]


def personas_of(name: str) -> tuple[Persona, ...]:
    return REGISTRY.persona_set(name).personas


@pytest.mark.parametrize("name", SETS)
def test_every_shipped_set_passes_the_lint(name):
    found = REGISTRY.persona_set(name)
    assert found.name == name
    assert problems(found.personas) == []
    assert likenesses(found.personas) == []
    assert all(persona.expect for persona in found.personas)


def test_sizes():
    assert len(personas_of("core")) == 16
    assert len(personas_of("standard")) == 48
    assert len(personas_of("full")) == 272
    assert len(personas_of("core-paraphrased")) == 20 * 6


def test_full_holds_every_persona_but_crossed_ones_and_paraphrases():
    everything = {persona.id: persona for name in SETS for persona in personas_of(name)}
    full = {persona.id for persona in personas_of("full")}
    left_out = [persona for name, persona in everything.items() if name not in full]
    assert all(p.category is Category.DEMOGRAPHIC or p.paraphrase_of for p in left_out)
    assert {persona.id for persona in personas_of("standard")} < full


@pytest.mark.parametrize("category", WRITTEN)
def test_there_is_a_set_for_every_category_and_it_holds_all_of_it(category):
    own = personas_of(category.value)
    assert {persona.category for persona in own} == {category}
    everywhere = {p.id for name in SETS for p in personas_of(name) if p.category is category and not p.paraphrase_of}
    assert {persona.id for persona in own} == everywhere


def test_twenty_fields_have_experts_of_three_levels():
    levels: dict[str | None, set[str]] = {}
    for persona in personas_of("expert"):
        levels.setdefault(persona.domain, set()).update(persona.tags)
    complete = [field for field, tags in levels.items() if {"trainee", "practitioner", "authority"} <= tags]
    assert len(complete) >= 20


def test_no_text_stands_in_two_files():
    texts: Counter[str] = Counter()
    for file in (builtin_folder() / "personas").glob("*.yaml"):
        document = read_document(file, PersonaSet)
        texts.update(persona.text for persona in document.personas)
        texts.update(itertools.chain.from_iterable(document.paraphrases.values()))
    assert len(texts) == 272 + 100
    assert max(texts.values()) == 1
    assert near_duplicates(list(texts)) == {}


def test_twenty_personas_stand_in_six_wordings_that_share_all_but_the_text():
    personas = {persona.id: persona for persona in personas_of("core-paraphrased")}
    wordings = Counter(persona.paraphrase_of for persona in personas.values() if persona.paraphrase_of)
    assert len(wordings) == 20
    assert set(wordings.values()) == {5}
    for persona in personas.values():
        if persona.paraphrase_of:
            original = personas[persona.paraphrase_of]
            own = {"id": "", "text": "", "paraphrase_of": None}
            assert persona.model_copy(update=own) == original.model_copy(update=own)


def test_demographic_levels_are_balanced():
    personas = personas_of("demographic")
    tags = Counter(tag for persona in personas for tag in persona.tags)
    assert len(personas) == len({persona.tags for persona in personas}) == 3 * 3 * 5 * 2
    assert {tags[f"age-{level}"] for level in ("young", "middle", "old")} == {30}
    assert {tags[f"schooling-{level}"] for level in ("left-school", "degree")} == {45}
    assert min(tags.values()) == 18


@pytest.fixture
def write(tmp_path):
    """Write a persona set into a folder for --include; return the registry that knows it."""

    def write_set(name: str, **content: str) -> Registry:
        folder = tmp_path / "personas"
        folder.mkdir(exist_ok=True)
        lines = [f"{key}: {value}" for key, value in ({"name": name, "description": "x"} | content).items()]
        (folder / f"{name}.yaml").write_text("\n".join(lines))
        return Registry([tmp_path])

    return write_set


def test_a_set_is_made_of_others(write):
    write("crew", personas="[{id: cook, text: a cook, category: role}, {id: mate, text: a mate, category: role}]")
    registry = write("ship", include="[crew, core/pirate]", personas="[{id: rat, text: a rat, category: fiction}]")
    assert [persona.id for persona in registry.persona_set("ship").personas] == ["cook", "mate", "pirate", "rat"]
    assert [persona.id for persona in registry.personas(["ship/pirate"])] == ["none", "pirate"]


def test_an_include_may_meet_a_persona_twice_but_not_two_of_one_name(write):
    write("crew", personas="[{id: cook, text: a cook, category: role}]")
    registry = write("twice", include="[crew, crew/cook]")
    assert [persona.id for persona in registry.persona_set("twice").personas] == ["cook"]
    write("other", personas="[{id: cook, text: a chef, category: role}]")
    with pytest.raises(UsageError, match=r"clash.yaml: `include` gives the id 'cook' to two different personas"):
        write("clash", include="[crew, other]").persona_set("clash")
    with pytest.raises(UsageError, match=r"again.yaml: the persona id 'cook' is taken"):
        write("again", include="[crew]", personas="[{id: cook, text: a chef, category: role}]").persona_set("again")
    with pytest.raises(UsageError, match=r"same.yaml: personas 'cook' and 'kok' have the same text"):
        write("same", include="[crew]", personas="[{id: kok, text: a cook, category: role}]").persona_set("same")


def test_a_set_that_includes_itself_is_refused(write):
    write("a", include="[b]")
    write("b", include="[c]")
    with pytest.raises(UsageError, match="includes itself: b -> c -> b"):
        write("c", include="[b]").persona_set("a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds no personas"),
        ({"include": "[cor]"}, "unknown persona set 'cor'. Did you mean 'core'"),
        ({"include": "[core/pirat]"}, "no persona 'pirat'. Did you mean 'pirate'"),
        ({"include": "[core]", "paraphrases": "{pirat: [a man of the sea]}"}, "'pirat', which the set lacks. Did you"),
        ({"include": "[core]", "paraphrases": "{pirate: [' x']}"}, "bad.yaml:4: paraphrases.pirate.0: .*one line"),
        ({"cross": "{text: 'a {age}', category: role, attributes: {size: {big: big}}}"}, "`text` names .*age"),
        ({"cross": "{text: 'a {age', category: role, attributes: {age: {old: old}}}"}, "cannot be read"),
        ({"cross": "{text: 'a {age}', category: role, attributes: {age: {}}}"}, "every attribute needs a level"),
        (
            {"cross": "{text: 'a {age}', category: role, attributes: {age: {Old: old}}}"},
            "bad.yaml:3: cross.attributes.age.Old",
        ),
    ],
)
def test_a_wrong_set_is_named(write, content, message):
    with pytest.raises(UsageError, match=message):
        write("bad", **content).persona_set("bad")


def test_a_cross_makes_every_combination(write):
    attributes = "{age: {old: an old, new: a new}, what: {car: car, ship: 'ship, at sea'}}"
    registry = write("things", cross=f"{{text: '{{age}} {{what}}', category: fiction, attributes: {attributes}}}")
    made = registry.persona_set("things").personas
    assert [(persona.id, persona.text) for persona in made] == [
        ("old-car", "an old car"),
        ("old-ship", "an old ship, at sea"),
        ("new-car", "a new car"),
        ("new-ship", "a new ship, at sea"),
    ]
    assert made[1].tags == ("age-old", "what-ship")


GOOD = {"id": "p", "text": "a cook who sails the northern seas", "category": "role", "tags": ("work",)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "a cook"}, "5 to 80 words long: p"),
        ({"text": "cook " * 80 + "cook"}, "5 to 80 words long: p"),
        ({"text": "a cook who sails the seas."}, "full stop"),
        ({"tags": ()}, "no tags, or an empty one: p"),
        ({"tags": ("work", " ")}, "no tags, or an empty one: p"),
        ({"category": "expert"}, "experts without a domain: p"),
        ({"paraphrase_of": "q"}, "paraphrases of a persona that is missing: p"),
    ],
)
def test_the_lint_names_what_is_wrong(change, message):
    assert problems([Persona.model_validate(GOOD)]) == []
    [line] = problems([Persona.model_validate(GOOD | change)])
    assert message in line


def test_the_lint_names_texts_that_are_nearly_the_same():
    twin = GOOD | {"id": "q", "text": "a cook who, the seas, sails northern"}
    assert likenesses([Persona.model_validate(GOOD), Persona.model_validate(twin)]) == [
        "nearly the same text: q repeats p"
    ]
    assert likenesses([Persona.model_validate(GOOD), Persona.model_validate(twin | {"paraphrase_of": "p"})]) == []


def test_commands(personaeval, write, tmp_path):
    listed = personaeval("personas", "list").stdout
    assert all(name in listed for name in SETS)
    assert "272" in listed
    write("thin", personas="[{id: a, text: thin, category: role}, {id: b, text: b, category: role}]")
    checked = personaeval("personas", "check", "thin", "--include", tmp_path)
    assert checked.returncode == 2
    assert "words long: a, b" in checked.stderr
    assert "no tags, or an empty one: a, b" in checked.stderr
    people = tmp_path / "people.jsonl"
    people.write_text('{"persona": "A cook who sails northern seas."}\n{"persona": "a cook who sails northern seas"}')
    assert "1 personas, left out 1 repeats" in personaeval("personas", "check", people).stdout
    shown = personaeval("personas", "show", people, "--template", "third-person").stdout
    assert "This is known of the one who writes the answers here: a cook who sails northern seas." in shown


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_holds_the_whole_text_of_every_persona_once(name):
    for persona in personas_of("full"):
        sentence = persona_sentence(name, persona)
        assert sentence is not None
        assert sentence.count(persona.text) == 1
        assert sentence == sentence.strip()
    assert persona_sentence(name, BASELINE) is None


def test_templates_differ_and_unknown_ones_are_refused():
    assert len(TEMPLATES) == len(set(TEMPLATES.values())) >= 4
    assert template_text("Be {{ persona }}!") == "Be {{ persona }}!"
    with pytest.raises(UsageError, match="be a name. Did you mean 'adopt'"):
        template_text("adopted")


def test_the_page_of_personas_is_current():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import generate
    finally:
        sys.path.pop(0)
    page = ROOT / "docs" / "personas.md"
    assert generate.fill(page, generate.persona_tables()) == page.read_text(encoding="utf-8")
