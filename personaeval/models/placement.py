"""The proof that every persona is in the model's prompt, and what else the chat template puts there.

    >>> placement = place(model.probe, {"none": None, "pirate": "You are a pirate."}, "auto", model.thinking)
    >>> placement.role, placement.verified, placement.cautions
    ('system', True, ())

A template may drop the persona, repeat it or say the same sentence by itself. So a persona's text is counted against
the same prompt with a stand-in for it: it must be there once more.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import jinja2

from personaeval.config import PersonaRole
from personaeval.errors import UsageError
from personaeval.models.prompts import PROBE, STAND_IN, Role, chat
from personaeval.models.thinking import Thinking
from personaeval.types import Message

_CONTROL = r"<<?/?[^<>\s]{1,60}>>?|\[[/|]?[A-Za-z][A-Za-z_|]{1,40}\]|◁[^◁▷\s]{1,40}▷"
"""What templates write around turns: <|im_start|>, <start_of_turn>, [INST], [/INST], <<SYS>>, ◁think▷."""

_WORD = re.compile(rf"{_CONTROL}|[^\s<\[◁]+|[<\[◁]")

_HEADINGS = frozenset(
    ("system", "user", "developer", "assistant", "model", "human")
    + ("custom", "instructions", "instruction", "preamble")
)
"""Words that templates set over a turn: they tell the model nothing."""

_SHOWN = 90


@dataclass(frozen=True, slots=True)
class Placement:
    """Position of the personas in this checkpoint's prompts.

    ``verified`` is False if the rendered prompt cannot be seen (endpoints). ``no_persona_prompt`` is the rendered
    prompt of the baseline with ``{{ item }}`` for the question: "no persona" is not always "no system prompt".
    ``opens_thinking``: the prompt itself begins the model's thinking. ``cautions`` are what a reader of the scores
    should know of the prompts.
    """

    role: Role
    verified: bool
    no_persona_prompt: str | None
    opens_thinking: bool
    cautions: tuple[str, ...] = ()


class Probe(Protocol):
    """Renders messages to the text a model sees, or None if that cannot be known.

    Raises ``ValueError`` or ``jinja2.TemplateError`` if the chat template refuses the messages.
    """

    def __call__(self, messages: Sequence[Message]) -> str | None:
        """The rendered prompt."""
        ...


def place(
    probe: Probe,
    sentences: Mapping[str, str | None],
    requested: PersonaRole,
    thinking: Thinking,
    control_tokens: Collection[str] = (),
) -> Placement:
    """Find the role under which every persona's text occurs exactly once in the rendered prompt.

    Args:
        probe: renders messages as the model will see them.
        sentences: persona id -> its sentence, None for the baseline.
        requested: a role, or ``auto``: the system turn if that works, else the start of the user turn.
        thinking: the marks of the model's thinking, which a prompt may begin.
        control_tokens: the tokenizer's, which no sentence may hold.

    Raises:
        UsageError: no allowed role works; gives the reason for each one tried. Or a persona's text holds a control
            token.
    """
    _refuse_control_tokens(sentences, control_tokens)
    roles: list[Role] = ["system", "user_prefix"] if requested == "auto" else [requested]
    reasons: list[str] = []
    for role in roles:
        reason, stand_in = _check_role(probe, sentences, role)
        if reason is not None:
            reasons.append(f"as {role}: {reason}")
        elif stand_in is None:
            return Placement(role, verified=False, no_persona_prompt=None, opens_thinking=False)
        else:
            return _placement(probe, role, stand_in, thinking)
    remedy = " Try --persona-role user_prefix, or another --chat-template." if requested == "system" else ""
    raise UsageError("the personas do not reach the model's prompt: " + "; ".join(reasons) + "." + remedy)


def _placement(probe: Probe, role: Role, stand_in: str, thinking: Thinking) -> Placement:
    shown = probe(chat(None, role, PROBE)) or ""
    return Placement(
        role=role,
        verified=True,
        no_persona_prompt=shown.replace(PROBE, "{{ item }}"),
        opens_thinking=thinking.is_opened_by(shown.rpartition(PROBE)[2]),
        cautions=tuple(_differences(shown, stand_in)),
    )


def _check_role(probe: Probe, sentences: Mapping[str, str | None], role: Role) -> tuple[str | None, str | None]:
    """Why a role does not work (None if it does); and the prompt with a stand-in for the persona, None if unseen."""
    try:
        stand_in = probe(chat(STAND_IN, role, PROBE))
    except (jinja2.TemplateError, ValueError, TypeError) as error:
        return f"the chat template refuses it ({error})", None
    if stand_in is None:
        return None, None
    own = dict.fromkeys(re.findall(_CONTROL, stand_in))
    _refuse_control_tokens(sentences, own)
    for persona_id, sentence in sentences.items():
        try:
            shown = probe(chat(sentence, role, PROBE)) or ""
        except (jinja2.TemplateError, ValueError, TypeError) as error:
            return f"the chat template refuses it ({error})", stand_in
        if shown.count(PROBE) != 1:
            return f"the question occurs {shown.count(PROBE)} times in the prompt", stand_in
        if sentence is None:
            continue
        # The template may say the same by itself.
        times = shown.count(sentence) - stand_in.count(sentence)
        if times != 1 or stand_in.count(STAND_IN) != 1:
            return f"the text of persona {persona_id!r} occurs {max(times, 0)} times in the prompt", stand_in
    return None, stand_in


def _refuse_control_tokens(sentences: Mapping[str, str | None], tokens: Collection[str]) -> None:
    """Refuse a persona whose text would end its own turn, or begin one of somebody else's."""
    # There may be thousands of tokens and a million personas.
    beginnings = {token[0] for token in tokens}
    for persona_id, sentence in sentences.items():
        if sentence is None or beginnings.isdisjoint(sentence):
            continue
        found = next((token for token in tokens if token in sentence), None)
        if found is not None:
            raise UsageError(
                f"persona {persona_id!r}: its text holds {found}, a control token of this model's chat template, which "
                "would end the persona's turn or begin another. Take it out of the text."
            )


def _differences(bare: str, stand_in: str) -> list[str]:
    """What the template tells the model without a persona alone, or with one alone."""
    without, with_one = _middles(_WORD.findall(bare), _WORD.findall(stand_in.replace(STAND_IN, "")))
    only_without: list[str] = []
    only_with: list[str] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, without, with_one, autojunk=False).get_opcodes():
        if kind != "equal":
            only_without += without[a:b]
            only_with += with_one[c:d]
    found = []
    if told := _told(only_without):
        found.append(f'without a persona, the chat template tells the model "{told}"; with one it does not')
    if told := _told(only_with):
        found.append(f'with a persona, the chat template also tells the model "{told}"; without one it does not')
    return found


def _middles(first: list[str], second: list[str]) -> tuple[list[str], list[str]]:
    """Two texts without the words that both begin and end with: comparing the rest takes time."""
    shorter = min(len(first), len(second))
    begin = next((place for place in range(shorter) if first[place] != second[place]), shorter)
    most = shorter - begin
    end = next((place for place in range(most) if first[-1 - place] != second[-1 - place]), most)
    return first[begin : len(first) - end], second[begin : len(second) - end]


def _told(words: Sequence[str]) -> str:
    """The words as a text, without turn marks around it; empty if they tell the model nothing."""

    def is_mark(word: str) -> bool:
        return bool(re.fullmatch(_CONTROL, word)) or word.strip("#:*-–").casefold() in _HEADINGS | {""}

    telling = [place for place, word in enumerate(words) if not is_mark(word)]
    if not telling:
        return ""
    text = " ".join(words[telling[0] : telling[-1] + 1])
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
