"""Whole prompts are sent as they are, and what no sentence of a template can take is refused with the remedies."""

import pytest

from personaeval.errors import UsageError
from personaeval.library.external_personas import Reading, read_personas
from personaeval.library.personas import Persona
from personaeval.library.registry import Registry
from personaeval.library.wording import Fit, Wording, macros, refuse_misfits, wording
from personaeval.models.sentences import TEMPLATES, drops_full_stop, fit_of, persona_sentence

PROMPTS = [
    "You are Ada, an engineer. You never guess.",
    "  **You are** a plumber.",
    "# Role\nYou are a plumber.",
    "System: You are Ada.",
    "Hello! You're now a judge",
    "I want you to act as a judge.",
    "Please act as a judge.",
    "Assume the role of a judge",
    "From now on, answer as a judge would",
    "As a judge, answer briefly",
    "Tu es un juge sévère.",
    "Du bist ein strenger Richter.",
    "Eres una jueza.",
    "Você é um juiz.",
    "Sei un giudice.",
    "Jesteś sędzią.",
    "Ты — судья.",
    "Ти суддя.",
    "Είσαι δικαστής.",
    "Sen bir yargıçsın.",
    "Bir yargıç gibi davran.",
    "אתה שופט",
    "أنتَ قاضٍ",
    "شما یک قاضی هستید.",
    "आप एक न्यायाधीश हैं।",
    "তুমি একজন বিচারক।",
    "நீங்கள் ஒரு நீதிபதி.",
    "మీరు న్యాయమూర్తి.",
    "คุณคือผู้พิพากษา",
    "Bạn là một thẩm phán.",
    "Kamu adalah seorang hakim.",
    "Wewe ni hakimu.",
    "당신은 판사입니다.",
    "판사처럼 행동해",
    "你是一位法官。",
    "請扮演一位法官",
    "あなたは裁判官です。",
    "裁判官を演じてください。",
]

DESCRIPTIONS = [
    "a judge who is told that you are late",
    "Zara, a model",
    "Kai the surfer",
    "Ben Carson fan",
    "Victorian era gentleman",
    "Vietnam war veteran",
    "SOC analyst at a bank",
    "TA on campus",
    "a sailor of the Mediterranean basin",
    "Ambassador to France",
    "Imagine Dragons fan",
    "play therapist",
    "Youssef, a plumber",
    "من سكان القاهرة",
    "معلّم رياضيات متقاعد من القاهرة",
    "我妻善逸",
    "角色扮演爱好者",
    "전 국회의원",
    "एक किसान",
    "👩🏽‍🔬🧪✨",
    "someone who always asks why?",
]


@pytest.mark.parametrize("text", PROMPTS)
def test_a_whole_prompt_is_told_in_many_languages(text):
    assert wording(text) is Wording.PROMPT


@pytest.mark.parametrize("text", DESCRIPTIONS)
def test_a_description_is_taken_for_none(text):
    assert wording(text) is None


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("I am Mira, a healer.", Wording.FIRST),
        ("My name is Mira", Wording.FIRST),
        ("我是一名船长。", Wording.FIRST),
        ("Je suis une guérisseuse.", Wording.FIRST),
        ("Меня зовут Мира.", Wording.FIRST),
        ("私はミラです。", Wording.FIRST),
        ("Mira is a healer who hums.", Wording.THIRD),
        ("Ada Example, M.D. was a doctor", Wording.THIRD),
        ("She is kind", Wording.THIRD),
        ("Mira est une guérisseuse", Wording.THIRD),
        ("- brave\n- kind", Wording.LIST),
    ],
)
def test_first_and_third_person_and_lists_are_told(text, kind):
    assert wording(text) is kind


def test_no_text_of_the_library_is_taken_for_a_prompt():
    registry = Registry()
    for name in registry.persona_files():
        assert [p.text for p in registry.persona_set(name).personas if wording(p.text) or macros(p.text)] == []


@pytest.mark.parametrize(
    ("template", "fit"),
    [
        ("you-are", Fit.COMPLETION),
        ("imagine", Fit.COMPLETION),
        ("Du bist {{ persona }}.", Fit.COMPLETION),
        ("आप हैं {{ persona }}।", Fit.COMPLETION),
        ("adopt", Fit.DESCRIPTION),
        ("described", Fit.DESCRIPTION),
        ("third-person", Fit.DESCRIPTION),
        ("{{ persona }}\n\nAnswer briefly.", Fit.ANYTHING),
        ("Your task:\n{{persona}}", Fit.ANYTHING),
        ("verbatim", Fit.VERBATIM),
        (" {{persona}} ", Fit.VERBATIM),
    ],
)
def test_what_a_template_takes_is_told_by_what_precedes_the_persona(template, fit):
    assert fit_of(template) is fit


def test_a_description_in_sentences_fits_after_a_colon_and_a_prompt_only_in_lines_of_its_own():
    assert [fit.takes(Wording.THIRD) for fit in Fit] == [True, True, True, False]
    assert [fit.takes(Wording.PROMPT) for fit in Fit] == [True, True, False, False]


def persona(text: str, **more) -> Persona:
    return Persona.model_validate({"id": "p", "text": text, "category": "style"} | more)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('Mira, who shouts "Hello!"', 'You are Mira, who shouts "Hello!"'),
        ("someone who always asks why?", "You are someone who always asks why?"),
        ("a poet who trails off...", "You are a poet who trails off..."),
        ("a historian with a Ph.D", "You are a historian with a Ph.D."),
        ("一名退休的船长，喜欢下棋。", "You are 一名退休的船长，喜欢下棋。"),
        ("老师。。", "You are 老师。。"),
        ("एक किसान।", "You are एक किसान।"),
        ('a man called "X"', 'You are a man called "X".'),
        ("a poet (retired!)", "You are a poet (retired!)."),
        ("a cook", "You are a cook."),
    ],
)
def test_a_sentence_ends_in_one_full_stop(text, sentence):
    assert persona_sentence("you-are", persona(text)) == sentence
    assert drops_full_stop("you-are", persona(text)) is (sentence != f"You are {text}.")


def test_a_persona_with_a_prompt_of_its_own_takes_no_template():
    own = Persona.model_validate({"id": "p", "category": "style", "prompt": "  You are Ada.\r\n\r\n- never guess\n"})
    assert own.prompt == own.text == "You are Ada.\r\n\r\n- never guess"
    described = persona("an engineer", prompt="You are Ada.\nBe brief.")
    for template in TEMPLATES:
        assert persona_sentence(template, own) == "You are Ada.\r\n\r\n- never guess"
        assert persona_sentence(template, described) == "You are Ada.\nBe brief."


def test_a_set_names_the_persona_and_both_remedies(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\ndescription: x\npersonas:\n  - {id: ada, text: You are Ada. You never lie., category: fiction}\n"
    )
    with pytest.raises(UsageError, match=r"(?s)1 of 1 texts.*persona 'ada'.*--template verbatim.*key `prompt`"):
        Registry().select([str(path)], Reading(Fit.COMPLETION))
    [_, ada] = Registry().select([str(path)], Reading(Fit.VERBATIM)).personas
    assert persona_sentence("verbatim", ada) == "You are Ada. You never lie."
    path.write_text(path.read_text().replace("text:", "prompt:"))
    [_, ada] = Registry().select([str(path)], Reading(Fit.COMPLETION)).personas
    assert persona_sentence("you-are", ada) == "You are Ada. You never lie."


def test_rows_of_a_file_are_named_and_verbatim_leaves_every_sign_where_it_is(tmp_path):
    path = tmp_path / "people.jsonl"
    path.write_text('{"id": "a", "text": "You are Ada.\\n\\n* Be brief. "}\n{"id": "b", "text": "A judge."}')
    message = r"(?s)people.jsonl: 1 of 2 texts speak to the model.*row 1 \(a\)\..*--template verbatim.*column `prompt`"
    with pytest.raises(UsageError, match=message):
        read_personas(str(path), Reading(Fit.COMPLETION))
    personas, _ = read_personas(str(path), Reading(Fit.VERBATIM))
    assert [persona_sentence("verbatim", own) for own in personas] == ["You are Ada.\n\n* Be brief.", "A judge."]
    path.write_text('{"id": "a", "prompt": "You are Ada.\\nBe brief.", "text": ""}\n{"id": "b", "text": "A judge."}')
    personas, origin = read_personas(str(path), Reading(Fit.COMPLETION))
    assert [persona_sentence("you-are", own) for own in personas] == ["You are Ada.\nBe brief.", "You are a judge."]
    assert origin["prompts"] == 1


def test_texts_in_sentences_are_told_of_the_template_that_fits(tmp_path):
    path = tmp_path / "people.jsonl"
    path.write_text('{"persona": "Ada Example is a plumber who jogs."}\n{"persona": "I am a cook."}')
    with pytest.raises(UsageError, match=r"(?s)first person.*third person.*--template described.*--template verbatim"):
        read_personas(str(path), Reading(Fit.COMPLETION))
    personas, _ = read_personas(str(path), Reading(Fit.DESCRIPTION))
    assert "person: Ada Example is a plumber who jogs." in str(persona_sentence("described", personas[0]))


@pytest.mark.parametrize("text", ["{{char}} is a healer", "You are <BOT>, friend of <user>", "a {{random:a,b}} fool"])
def test_macros_of_cards_are_refused_whatever_the_template(text):
    with pytest.raises(UsageError, match=r"1 of 1 texts hold macros .*row 1\. Replace them"):
        refuse_misfits("cards.json", [("row 1", text)], Fit.VERBATIM)


def test_other_braces_are_no_macros():
    assert macros("a coder who writes {% for x in y %}, {{ 7*7 }}, }} and {answer}") == []
