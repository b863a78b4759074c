"""How a persona and an item become a prompt, and the proof that the persona is in it.

Chat templates drop, merge or refuse the system role, or add a persona of their own or today's date. So nothing is
assumed: before a run starts, one prompt per persona is rendered in full and checked (:func:`place`), and the prompt
without a persona is recorded.

A run renders millions of prompts that differ only in the item. A :class:`TextFrame` holds one persona's text before
and after the item; the plan uses it only if it equals the full rendering on a sample.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Protocol

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from personaeval.config import PersonaRole
from personaeval.errors import UsageError, suggest
from personaeval.library.personas import Persona
from personaeval.library.tasks import PlainPrompt
from personaeval.types import Message, Prompt

Role = Literal["system", "user_prefix"]

TEMPLATES = {
    "you-are": "You are {{ persona }}.",
    "adopt": "Adopt the following persona and keep to it in everything you answer: {{ persona }}.",
    "described": (
        "Answer as the person described below would, in content and in manner.\n\n"
        "Description of the person: {{ persona }}."
    ),
    "third-person": "This is known of the one who writes the answers here: {{ persona }}.",
    "imagine": "For the length of this conversation, imagine that you are {{ persona }}.",
}
"""Persona sentences by name."""

PROBE = "Qx7 probe question of no importance?"


def template_text(template: str) -> str:
    """Text of a template given by name or as text.

    Raises:
        UsageError: it is neither a known name nor a text with ``{{ persona }}``.
    """
    if template in TEMPLATES:
        return TEMPLATES[template]
    if "{{" not in template:
        raise UsageError(
            f"--template {template!r}: it must contain {{{{ persona }}}}, or be a name.{suggest(template, TEMPLATES)}"
        )
    return template


def persona_sentence(template: str, persona: Persona) -> str | None:
    """The persona sentence: ``template`` (text or name) filled in; None for the baseline.

    Raises:
        UsageError: the template is broken or does not use ``persona``.
    """
    if persona.is_baseline:
        return None
    template = template_text(template)
    try:
        sentence = _compiled(template).render(persona=persona.text, id=persona.id).strip()
    except Exception as error:
        # A template is a small program: it can fail in any way.
        raise UsageError(f"--template {template!r}: {error}.") from error
    if persona.text not in sentence:
        raise UsageError(f"--template {template!r}: it must contain {{{{ persona }}}}.")
    return sentence


@lru_cache(maxsize=16)
def _compiled(template: str) -> jinja2.Template:
    """Compiling takes fifty times as long as filling in, and a run has one template for all its personas."""
    return ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined).from_string(template)


def with_system(sentence: str | None, system: str | None) -> str | None:
    """A persona's sentence followed by the task's own system text; None if there is neither."""
    return "\n\n".join(part for part in (sentence, system) if part) or None


def chat(sentence: str | None, role: Role, question: str) -> tuple[Message, ...]:
    """Messages of one prompt: the persona as system turn or before the question, then the question."""
    if sentence is None:
        return ({"role": "user", "content": question},)
    if role == "system":
        return ({"role": "system", "content": sentence}, {"role": "user", "content": question})
    return ({"role": "user", "content": f"{sentence}\n\n{question}"},)


class PromptTemplate(Protocol):
    """Makes one persona's prompts for one task."""

    @property
    def special_tokens(self) -> bool:
        """Whether the tokenizer has to add its special tokens."""
        ...

    def fill(self, question: str) -> Prompt:
        """Prompt for an item."""
        ...

    def identity(self, question: str) -> bytes:
        """Bytes that differ whenever two prompts differ."""
        ...


@dataclass(frozen=True, slots=True)
class TextFrame:
    """Rendered text before and after the item."""

    before: str
    after: str
    special_tokens: bool = False

    def fill(self, question: str) -> str:
        """The rendered prompt."""
        return f"{self.before}{question}{self.after}"

    def identity(self, question: str) -> bytes:
        """Bytes of the rendered prompt."""
        return self.fill(question).encode()


@dataclass(frozen=True, slots=True)
class FullFrame:
    """Renders every prompt in full: slow, for chat templates that depend on the question."""

    renderer: ChatRenderer
    sentence: str | None
    role: Role
    special_tokens: bool = False

    def fill(self, question: str) -> str:
        """The rendered prompt."""
        return self.renderer.render(chat(self.sentence, self.role, question))

    def identity(self, question: str) -> bytes:
        """Bytes of the rendered prompt."""
        return self.fill(question).encode()


@dataclass(frozen=True, slots=True)
class MessageFrame:
    """Messages for an endpoint, whose server renders the chat template; the identity is that of the messages."""

    sentence: str | None
    role: Role
    special_tokens: bool = False

    def fill(self, question: str) -> tuple[Message, ...]:
        """The messages."""
        return chat(self.sentence, self.role, question)

    def identity(self, question: str) -> bytes:
        """The messages as canonical JSON."""
        return json.dumps([[m["role"], m["content"]] for m in self.fill(question)], ensure_ascii=False).encode()


class Renderer(Protocol):
    """Makes the prompts of one checkpoint."""

    def full(self, sentence: str | None, role: Role, plain: PlainPrompt) -> PromptTemplate:
        """Template that renders every prompt in full."""
        ...

    def fast(self, sentence: str | None, role: Role, plain: PlainPrompt) -> PromptTemplate | None:
        """Fixed texts that give the same prompts; None if the chat template rules that out."""
        ...

    def stop(self, plain: PlainPrompt) -> tuple[str, ...]:
        """Stop strings that a task's prompts need with this renderer."""
        ...

    def record(self) -> dict[str, Any]:
        """What identifies the rendering, for run.json and the plan's hash."""
        ...


class ChatRenderer:
    """Renders through a tokenizer's chat template, with the date frozen.

    Args:
        tokenizer: a transformers tokenizer.
        template: Jinja text that replaces the tokenizer's chat template.
        arguments: further template variables, such as ``enable_thinking``.
        date: ISO date given to templates that ask for today's.
    """

    def __init__(self, tokenizer: Any, template: str | None, arguments: Mapping[str, Any], date: str) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._arguments = dict(arguments)
        self._date = date
        reserved = sorted({"tokenize", "add_generation_prompt", "chat_template", "conversation"} & set(arguments))
        if reserved:
            raise UsageError(f"--chat-template-kwarg {reserved[0]}: the run sets it itself.")
        moment = datetime.datetime.fromisoformat(date)
        self._variables = {"strftime_now": moment.strftime, **self._arguments}

    def render(self, messages: Sequence[Message]) -> str:
        """Prompt text up to the start of the assistant's turn.

        Raises:
            jinja2.TemplateError: the template refuses these messages.
        """
        text = self._tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=True,
            **self._variables,
        )
        return str(text)

    def full(self, sentence: str | None, role: Role, plain: PlainPrompt) -> PromptTemplate:
        """See :class:`Renderer`."""
        return FullFrame(self, sentence, role)

    def fast(self, sentence: str | None, role: Role, plain: PlainPrompt) -> PromptTemplate | None:
        """The texts around a probe question; None unless it occurs exactly once."""
        before, found, after = self.render(chat(sentence, role, PROBE)).partition(PROBE)
        return TextFrame(before, after) if found and PROBE not in after else None

    def stop(self, plain: PlainPrompt) -> tuple[str, ...]:
        """None: a chat model stops at the end of its turn."""
        return ()

    def record(self) -> dict[str, Any]:
        """Kind, date and overrides."""
        return {
            "kind": "chat",
            "date": self._date,
            "chat_template": self._template,
            "arguments": self._arguments,
        }


class PlainRenderer:
    """For base models, which have no chat template: persona, solved examples, question, an open answer."""

    def full(self, sentence: str | None, role: Role, plain: PlainPrompt) -> PromptTemplate:
        """The texts around the item."""
        lead = f"{sentence}\n\n" if sentence else ""
        shown = "".join(
            f"{plain.question} {example.prompt.strip()}\n{plain.answer} {example.answer.strip()}\n\n"
            for example in plain.examples
        )
        return TextFrame(f"{lead}{shown}{plain.question} ", f"\n{plain.answer}", special_tokens=True)

    def fast(self, sentence: str | None, role: Role, plain: PlainPrompt) -> PromptTemplate | None:
        """As :meth:`full`."""
        return self.full(sentence, role, plain)

    def probe(self, messages: Sequence[Message]) -> str:
        """Prompt of messages made by :func:`chat`, for a task without solved examples."""
        *lead, question = (message["content"] for message in messages)
        return str(self.full("\n\n".join(lead) or None, "system", PlainPrompt()).fill(question))

    def stop(self, plain: PlainPrompt) -> tuple[str, ...]:
        """The task's stop strings: without them a base model invents the next question."""
        return plain.stop

    def record(self) -> dict[str, Any]:
        """The kind."""
        return {"kind": "plain"}


class MessageRenderer:
    """For endpoints: the server renders."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = dict(arguments)

    def full(self, sentence: str | None, role: Role, plain: PlainPrompt) -> PromptTemplate:
        """See :class:`Renderer`."""
        return MessageFrame(sentence, role)

    def fast(self, sentence: str | None, role: Role, plain: PlainPrompt) -> PromptTemplate | None:
        """As :meth:`full`."""
        return self.full(sentence, role, plain)

    def stop(self, plain: PlainPrompt) -> tuple[str, ...]:
        """None: a chat model stops at the end of its turn."""
        return ()

    def record(self) -> dict[str, Any]:
        """Kind, and the variables passed to the server's chat template."""
        return {"kind": "messages", "arguments": self._arguments}


@dataclass(frozen=True, slots=True)
class Placement:
    """Position of the personas in this checkpoint's prompts.

    ``verified`` is False if the rendered prompt cannot be seen (endpoints). ``no_persona_prompt`` is the rendered
    prompt of the baseline with ``{{ item }}`` for the question: "no persona" is not always "no system prompt".
    ``opens_thinking``: the prompt itself begins the model's thinking.
    """

    role: Role
    verified: bool
    no_persona_prompt: str | None
    opens_thinking: bool


class Probe(Protocol):
    """Renders messages to the text a model sees, or None if that cannot be known.

    Raises ``ValueError`` or ``jinja2.TemplateError`` if the chat template refuses the messages.
    """

    def __call__(self, messages: Sequence[Message]) -> str | None:
        """The rendered prompt."""
        ...


def place(probe: Probe, sentences: Mapping[str, str | None], requested: PersonaRole, thinking: str) -> Placement:
    """Find the role under which every persona's text occurs exactly once in the rendered prompt.

    Args:
        probe: renders messages as the model will see them.
        sentences: persona id -> its sentence, None for the baseline.
        requested: a role, or ``auto``: the system turn if that works, else the start of the user turn.
        thinking: the text that opens thinking, such as ``<think>``.

    Raises:
        UsageError: no allowed role works; gives the reason for each one tried.
    """
    roles: list[Role] = ["system", "user_prefix"] if requested == "auto" else [requested]
    reasons: list[str] = []
    for role in roles:
        reason, verified = _check_role(probe, sentences, role)
        if reason is None:
            shown = probe(chat(None, role, PROBE)) if verified else None
            return Placement(
                role=role,
                verified=verified,
                no_persona_prompt=shown.replace(PROBE, "{{ item }}") if shown is not None else None,
                opens_thinking=shown is not None and shown.rstrip().endswith(thinking),
            )
        reasons.append(f"as {role}: {reason}")
    remedy = " Try --persona-role user_prefix, or another --chat-template." if requested == "system" else ""
    raise UsageError("the personas do not reach the model's prompt: " + "; ".join(reasons) + "." + remedy)


def _check_role(probe: Probe, sentences: Mapping[str, str | None], role: Role) -> tuple[str | None, bool]:
    """Why a role does not work (None if it does), and whether the rendered prompt was seen."""
    for persona_id, sentence in sentences.items():
        try:
            shown = probe(chat(sentence, role, PROBE))
        except (jinja2.TemplateError, ValueError, TypeError) as error:
            return f"the chat template refuses it ({error})", True
        if shown is None:
            return None, False
        if shown.count(PROBE) != 1:
            return f"the question occurs {shown.count(PROBE)} times in the prompt", True
        if sentence is not None and shown.count(sentence) != 1:
            return (
                f"the text of persona {persona_id!r} occurs {shown.count(sentence)} times in the prompt",
                True,
            )
    return None, True


def split_thinking(text: str, end: str, opened: bool) -> tuple[str, str | None]:
    """Split a completion into the answer and the thinking before it.

    Args:
        text: what the model wrote.
        end: the text that ends thinking, such as ``</think>``.
        opened: whether the prompt itself began the thinking.

    Returns:
        ``(answer, thinking)``. Unfinished thinking has no answer; a text without thinking is all answer.
    """
    thinking, found, answer = text.rpartition(end)
    if found:
        return answer.lstrip(), thinking
    if opened or text.lstrip().startswith(opening(end)):
        return "", text
    return text, None


def opening(end: str) -> str:
    """The text that opens what ``end`` closes: ``<think>`` for ``</think>``."""
    return end.replace("/", "", 1)
