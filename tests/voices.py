"""A scripted model that is always right, or always wrong, and says so in many voices.

Voices are templates, ``tests/data/voices/*.yaml``: a careful human grader reads each as the answer that was put into
it. Items have the shape of each built-in task, made by the task's own templates from a row of its dataset::

    for case in cases("gsm8k"):
        for voice in voices(case.kind):
            text = voice.say(case, right=True)
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import reasoning_gym
import yaml

from personaeval.library.registry import Registry
from personaeval.library.sources import load_items
from personaeval.library.tasks import Item, Task
from personaeval.types import Verdict
from personaeval.verify import Verifier

FOLDER = Path(__file__).parent / "data" / "voices"
KINDS = ("choice", "numeric", "math", "exact")
GYM = ("reasoning_gym:chain_sum?size=6", "reasoning_gym:spell_backward?size=6")
SHAPES = (*yaml.safe_load((FOLDER / "items.yaml").read_text(encoding="utf-8")), *GYM)
"""Built-in tasks (bbh: several of its variants), and two of the tasks that Reasoning Gym scores itself."""

_LETTERS = "ABCDEFGHIJ"
_NATO = ["Alfa", "Bravo", "Charlie", "Delta", "Echo", "Foxtrot", "Golf", "Hotel", "India", "Juliett"]
_ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
_FRACTIONS = {"2.5": "2½", "3.5": "3½", "10.50": "10½", "11.25": "11¼", "0.125": "1/8", "0.75": "¾"}
_ZEROS = {
    "latin": "0",
    "arabic-indic": "٠",
    "extended arabic-indic": "۰",
    "devanagari": "०",
    "bengali": "০",
    "thai": "๐",
    "gujarati": "૦",
    "khmer": "០",
    "burmese": "၀",
    "fullwidth": "０",
    "mathematical": "𝟎",
}
_ROMAN = ((1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"))
_ROMAN += ((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))


@cache
def read(name: str) -> dict[str, Any]:
    """A file of voices, as it stands."""
    content: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


@dataclass(frozen=True)
class Case:
    """An item, both answers to it, and what else ``items.yaml`` knows about it."""

    task: Task
    item: Item
    gold: str
    wrong: str
    more: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The kind of its voices; what Reasoning Gym scores is a string."""
        kind = self.task.scorer.kind
        return kind if kind in KINDS else "exact"

    def answer(self, right: bool) -> str:
        """What the model answers: of a choice, the option's text."""
        return self.gold if right else self.wrong

    def other_form(self, name: str, right: bool) -> str | None:
        """``plain``, ``alt``, ``bare`` or ``parts`` of the answer, where there is one."""
        both = self.more.get(name)
        return both[not right] if both else None


@cache
def cases(shape: str) -> tuple[Case, ...]:
    """The items of a shape."""
    return _generated(shape) if shape in GYM else _written(shape)


def rows(shape: str, task: str) -> list[dict[str, Any]]:
    """The rows of a task, in the columns of its dataset."""
    return [entry["row"] for entry in read("items")[shape] if entry.get("task", shape) == task]


def write_rows(shape: str, task: str, folder: Path) -> Path:
    """A file for ``--data``."""
    file = folder / f"{task}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows(shape, task)), encoding="utf-8")
    return file


def _written(shape: str) -> tuple[Case, ...]:
    entries = read("items")[shape]
    found: list[Case] = []
    for name in dict.fromkeys(entry.get("task", shape) for entry in entries):
        [(task, task_file)] = Registry(()).tasks(name)
        own = [entry for entry in entries if entry.get("task", shape) == name]
        with tempfile.TemporaryDirectory() as folder:
            # Reasoning Gym's rows are generated; in this test they are written, under the same templates.
            source = task if task.source.kind == "hub" else task.model_copy(update={"source": _FILE})
            items = load_items(source, task_file, write_rows(shape, name, Path(folder)), None, 0).items
        for entry, item in zip(own, items, strict=True):
            gold = item.choices[_LETTERS.index(item.gold)] if item.choices else item.gold
            more = {key: value for key, value in entry.items() if key not in ("row", "wrong", "task")}
            found.append(Case(task, item, gold, entry["wrong"], more))
    return tuple(found)


_FILE = Registry(()).tasks("gsm8k")[0][0].source


def _generated(shape: str) -> tuple[Case, ...]:
    [(task, task_file)] = Registry(()).tasks(shape)
    scorer = task.scorer
    dataset = reasoning_gym.create_dataset(scorer.dataset, seed=scorer.seed, size=scorer.size, **scorer.parameters)
    found = []
    for item in load_items(task, task_file, None, None, 0).items:
        [gold] = [entry["answer"] for entry in dataset if entry["question"] in item.prompt]
        wrong = str(int(gold) + 47) if re.fullmatch(r"-?\d+", gold) else gold[1:] + "q"
        found.append(Case(task, item, gold, wrong, {}))
    return tuple(found)


# What a voice can put into its template.


def fields(case: Case, right: bool) -> dict[str, str]:
    """The names of a template, and what stands in their places."""
    made = _FIELDS[case.kind](case, right)
    made.setdefault("raw", made["x"])
    made.setdefault("boxed", made["raw"])
    made["json"] = json.dumps(made["raw"], ensure_ascii=False)[1:-1]
    made["caps"] = made["x"] if case.kind == "math" else made["x"].upper()
    return made


def _choice_fields(case: Case, right: bool) -> dict[str, str]:
    choices = case.item.choices
    place = choices.index(case.answer(right))
    gold = choices.index(case.gold)
    other = next(number for number in range(len(choices)) if number not in (place, gold))
    letter, option = _LETTERS[place], choices[place]
    listed = [number for number in range(len(choices)) if number in (place,) or number != gold]
    return {
        "x": letter,
        "lower": letter.lower(),
        "circled": chr(ord("Ⓐ") + place),
        "circled_lower": chr(ord("ⓐ") + place),
        "parenthesised": chr(ord("⒜") + place),
        "fullwidth": chr(ord("Ａ") + place),
        "bold": chr(ord("𝐀") + place),
        "nato": _NATO[place],
        "ordinal": _ORDINALS[place],
        "option": option,
        "option_tex": re.sub(r"([$%])", r"\\\1", option),
        "other": _LETTERS[other],
        "other_option": choices[other],
        "analysis": "\n".join(
            f"- {_LETTERS[number]}: {'this fits the question.' if number == place else 'this does not fit.'}"
            for number in listed
        ),
    }


def _numeric_fields(case: Case, right: bool) -> dict[str, str]:
    number = case.answer(right)
    value = Decimal(number)
    us = localise(number, ",", ".")
    tex_grouped, tex_thin = us.replace(",", "{,}"), us.replace(",", r"\,")
    words = in_words(number, "en") or number
    amount = _amount(us, case.more.get("unit", ""), number)
    made = {"x": us, "n": number, "us": us, "amount": amount, "words": words, "Words": words[0].upper() + words[1:]}
    made |= {
        "tex_grouped": tex_grouped,
        "tex_thin": tex_thin,
        "tex_amount": _tex_amount(tex_grouped, case.more.get("unit", "")),
        "minus": number.replace("-", "−"),
        "fr": localise(number, "\u202f", ","),
        "narrow": localise(number, "\u202f", ","),
        "swiss": localise(number, "’", "."),
        "de": localise(number, ".", ","),
        "lakh": localise(number, "lakh", "."),
        "scientific": _scientific(value) if abs(value) >= 10 else number,
        "fraction": _FRACTIONS.get(number, number),
        "roman": roman(number) or number,
        "short": f"{number[:-3]}k" if number.endswith("000") else number,
        "slip": us_slip(case),
        "working": case.more.get("working", "Let me count it on my fingers, slowly and carefully."),
        "says": case.more.get("says", "So the result is [].").replace("[]", amount),
        "boxed": number,
        "arabic": localise(number, "", "٫", "arabic-indic"),
        "persian": localise(number, "", "٫", "extended arabic-indic"),
    }
    plain = ("devanagari", "bengali", "thai", "gujarati", "khmer", "burmese", "fullwidth", "mathematical")
    return made | {name: localise(number, "", ".", name) for name in plain}


def us_slip(case: Case) -> str:
    """A third number, which is neither answer."""
    return localise(str(int(abs(Decimal(case.gold))) + 300), ",", ".")


def _amount(us: str, unit: str, number: str) -> str:
    if unit == "$":
        return f"${us}"
    if unit == "%":
        return f"{us}%"
    return f"{us} {unit.removesuffix('s') if number == '1' else unit}".strip()


def _tex_amount(tex: str, unit: str) -> str:
    if unit in ("$", "%"):
        return rf"\${tex}" if unit == "$" else rf"{tex}\%"
    return rf"{tex} \text{{ {unit}}}" if unit else tex


def _scientific(value: Decimal) -> str:
    exponent = value.adjusted()
    return rf"{(value.scaleb(-exponent)).normalize():f} \times 10^{{{exponent}}}"


def _math_fields(case: Case, right: bool) -> dict[str, str]:
    raw = case.answer(right)
    parts = case.other_form("parts", right) or [raw]
    return {
        "x": f"${raw}$",
        "raw": raw,
        "unicode": case.other_form("plain", right) or (raw if case.more.get("is_number") else f"${raw}$"),
        "alt": case.other_form("alt", right) or raw,
        "boxes": " and ".join(rf"$\boxed{{{part}}}$" for part in parts),
        "flavoured": rf"{raw} \text{{ doubloons}}" if case.more.get("is_number") else raw,
        "double": raw.replace("\\", "\\\\"),
    }


def _exact_fields(case: Case, right: bool) -> dict[str, str]:
    word = case.answer(right)
    return {
        "x": word,
        "bare": case.other_form("bare", right) or word,
        "boxed": re.sub(r"([{}])", r"\\\1", word),
    }


_FIELDS = {"choice": _choice_fields, "numeric": _numeric_fields, "math": _math_fields, "exact": _exact_fields}


# Numbers as they are written elsewhere.


def localise(number: str, thousands: str, decimal: str, digits: str = "latin") -> str:
    """A number in the manner of a language: thousands apart (``lakh``: as in India), decimals, digits."""
    sign, whole, fraction = re.fullmatch(r"(-?)(\d+)(?:\.(\d+))?", number).groups()
    if thousands == "lakh":
        head, last = whole[:-3], whole[-3:]
        whole = ",".join(filter(None, [*re.findall(r"\d{1,2}(?=(?:\d\d)*$)", head), last]))
    else:
        separator = "\u00a0" if thousands == "_" else thousands
        whole = re.sub(r"(?<=\d)(?=(?:\d{3})+$)", separator, whole)
    zero = ord(_ZEROS[digits])
    text = sign + whole + (decimal + fraction if fraction else "")
    return "".join(chr(zero + int(c)) if c in "0123456789" else c for c in text)


def in_words(number: str, language: str) -> str | None:
    """A number in words, where ``numbers.yaml`` has it."""
    words: str | None = read("numbers").get(number, {}).get(language)
    return words


def roman(number: str) -> str | None:
    """Roman numerals, of whole numbers below four thousand; there is none for zero."""
    if not re.fullmatch(r"-?\d+", number) or not 0 < abs(int(number)) < 4000:
        return None
    rest, made = abs(int(number)), ""
    for value, sign in _ROMAN:
        made += sign * (rest // value)
        rest %= value
    return ("minus " if int(number) < 0 else "") + made


# Voices.


@dataclass(frozen=True)
class Voice:
    """A way to say any answer of one kind.

    language: whose numbers it writes, of ``languages.yaml``, or ``roman``; empty: the template says it.
    words: numbers in words.
    converts_formulas: in mathematics, too, and where a string is asked for that is a number.
    """

    name: str
    template: str
    language: str = ""
    words: bool = False
    converts_formulas: bool = False

    def say(self, case: Case, right: bool) -> str:
        """What the model says in this voice."""
        made = fields(case, right)
        if self.language and self._writes_numbers(case):
            x, boxed = self._number(case.answer(right))
            made |= {"x": x, "boxed": boxed, "caps": x}
        missing = set(re.findall(r"\{\{(\w+)\}\}", self.template)) - set(made)
        assert not missing, f"voice {self.name}: {missing}"
        return re.sub(r"\{\{(\w+)\}\}", lambda match: made[match[1]], self.template)

    def _writes_numbers(self, case: Case) -> bool:
        if case.kind == "numeric":
            return True
        in_formula = case.kind == "math" and self.words and in_words(case.gold, self.language) is not None
        return self.converts_formulas and (bool(case.more.get("is_number")) or in_formula)

    def _number(self, number: str) -> tuple[str, str]:
        """The number in a sentence, and in a box."""
        if self.words and (words := in_words(number, self.language)):
            return words, rf"\text{{{words}}}"
        if self.language == "roman":
            numeral = roman(number) or ("zero" if number == "0" else number)
            return numeral, numeral if numeral != "zero" else r"\text{zero}"
        thousands, decimal, *digits = read("languages").get(self.language, {}).get("numbers", [",", "."])
        text = localise(number, thousands, decimal, *digits)
        return text, text


@cache
def voices(kind: str) -> tuple[Voice, ...]:
    """All voices of a kind; the first is plain."""
    found = [Voice(name, text) for name, text in read("common").items()]
    found += [Voice(f"{kind}-{name}", text) for name, text in read(kind).items()]
    for code, entry in read("languages").items():
        sentence = entry["choice" if kind == "choice" else "value"]
        spoken = {
            "marker": f"{entry['before']}\n\n{entry['marker']}{{{{x}}}}",
            "sentence": f"{sentence} {entry['after']}",
            "box": f"{entry['before']}\n\n$\\boxed{{{{{{boxed}}}}}}$\n\n{entry['after']}",
        }
        found += [Voice(f"{code}-{name}", text, code) for name, text in spoken.items()]
    for name, entry in read("personas").items():
        found += _persona_voices(name, entry, kind)
    return tuple(found)


def _persona_voices(name: str, entry: Mapping[str, Any], kind: str) -> list[Voice]:
    text, language = entry["choice" if kind == "choice" else "value"], entry["language"]
    always = entry.get("words", False)
    made = [
        Voice(name, text, language, always, converts_formulas=True),
        Voice(f"{name}-boxed", entry["boxed"], language, always, converts_formulas=True),
    ]
    if kind in ("numeric", "math") and not always and language in read("numbers")["8"]:
        made.append(Voice(f"{name}-in-words", text, language, words=True, converts_formulas=True))
    return made


# What the reader makes of them.


@dataclass(frozen=True)
class Reading:
    """What was said, and the verdict on it."""

    voice: str
    case: Case
    text: str
    verdict: Verdict

    @property
    def is_right(self) -> bool:
        """Whether it counts as a right answer."""
        return self.verdict.score is not None and self.verdict.score >= self.case.task.pass_threshold

    def __str__(self) -> str:
        options = f" of {self.case.item.choices}" if self.case.item.choices else ""
        read = f"{self.verdict.status.value}, answer {self.verdict.answer!r}"
        return f"{self.case.task.name} {self.case.item.id} [{self.voice}] gold {self.case.item.gold!r}{options}: {self.text!r} -> {read}"


def listen(shape: str, right: bool, verifier: Verifier) -> list[list[Reading]]:
    """Everything that the model says on a shape's items, as the product reads it: item by item, voice by voice."""
    asked = [[(voice.name, case, voice.say(case, right)) for voice in voices(case.kind)] for case in cases(shape)]
    futures = [
        [verifier.submit(case.task.scorer, case.item.gold, text, choices=case.item.choices) for _, case, text in row]
        for row in asked
    ]
    return [
        [Reading(*said, future.result()) for said, future in zip(row, read, strict=True)]
        for row, read in zip(asked, futures, strict=True)
    ]


def main() -> None:
    """Print, per kind and shape, the share of the answers that are read as what they say; then those that are not."""
    shares: dict[str, list[tuple[bool, bool]]] = {}
    misread = []
    with Verifier() as verifier:
        for shape in SHAPES:
            for right in (True, False):
                for reading in (reading for row in listen(shape, right, verifier) for reading in row):
                    kind = reading.case.task.scorer.kind
                    for name in (f"kind {kind}", shape):
                        shares.setdefault(name, []).append((right, reading.is_right))
                    if reading.is_right != right:
                        misread.append(("right" if right else "wrong", reading))
    for name, answers in shares.items():
        read = [is_right for right, is_right in answers if right]
        false = [is_right for right, is_right in answers if not right]
        print(f"{name}: right {sum(read) / len(read):.3f} of {len(read)}; wrong taken for right {sum(false)}")
    for said, reading in misread:
        print(f"{said}: {reading}")


if __name__ == "__main__":
    main()
