"""How a persona and an item become a prompt, and the proof that the persona is in it.

Chat templates drop, merge or refuse the system role, add a persona of their own, or today's date. So nothing is
assumed: one prompt per persona is rendered in full and looked at before a run starts (:func:`place`), and what
the template says when there is no persona is recorded.

A run renders millions of prompts that differ in the item alone. A :class:`TextFrame` holds what stands before and
after the item for one persona; the plan uses it only where it equals the full rendering on a sample.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
"""Ways to put a persona to a model, by name."""

PROBE = "Qx7 probe question of no importance?"


def template_text(template: str) -> str:
    """Return the text of a template given by name or as text.

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
    """Return what the model is told it is: ``template`` (text or name) filled in; None for the baseline.

    Raises:
        UsageError: the template is broken or does not use ``persona``.
    """
    if persona.is_baseline:
        return None
    template = template_text(template)
    try:
        environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)
        sentence = environment.from_string(template).render(persona=persona.text, id=persona.id).strip()
    except Exception as error:
        # A template is a small program: it fails in any way it likes.
        raise UsageError(f"--template {template!r}: {error}.") from error
    if persona.text not in sentence:
        raise UsageError(f"--template {template!r}: it must contain {{{{ persona }}}}.")
    return sentence


def with_system(sentence: str | None, system: str | None) -> str | None:
    """Return a persona's sentence with what the task itself says in the system turn behind it."""
    return "\n\n".join(part for part in (sentence, system) if part) or None


def chat(sentence: str | None, role: Role, question: str) -> tuple[Message, ...]:
    """Return the messages of one prompt: the persona in its place, then the question."""
    if sentence is None:
        return ({"role": "user", "content": question},)
    if role == "system":
        return ({"role": "system", "content": sentence}, {"role": "user", "content": question})
    return ({"role": "user", "content": f"{sentence}\n\n{question}"},)


class PromptTemplate(Protocol):
    """One persona's prompts for one task, ready to be filled with items."""

    @property
    def special_tokens(self) -> bool:
        """Whether the tokenizer has to add its own special tokens."""
        ...

    def fill(self, question: str) -> Prompt:
        """Return the prompt for an item."""
        ...

    def identity(self, question: str) -> bytes:
        """Return bytes that differ whenever two prompts differ."""
        ...


@dataclass(frozen=True, slots=True)
class TextFrame:
    """Rendered text before and after the item."""

    before: str
    after: str
    special_tokens: bool = False

    def fill(self, question: str) -> str:
        """Return the rendered prompt."""
        return f"{self.before}{question}{self.after}"

    def identity(self, question: str) -> bytes:
        """Return the rendered prompt's bytes."""
        return self.fill(question).encode()


@dataclass(frozen=True, slots=True)
class FullFrame:
    """Every prompt rendered in full: the slow way, for templates that look into the question."""

    renderer: ChatRenderer
    sentence: str | None
    role: Role
    special_tokens: bool = False

    def fill(self, question: str) -> str:
        """Return the rendered prompt."""
        return self.renderer.render(chat(self.sentence, self.role, question))

    def identity(self, question: str) -> bytes:
        """Return the rendered prompt's bytes."""
        return self.fill(question).encode()


@dataclass(frozen=True, slots=True)
class MessageFrame:
    """Messages for an endpoint, whose server renders the template: identity is that of the messages."""

    sentence: str | None
    role: Role
    special_tokens: bool = False

    def fill(self, question: str) -> tuple[Message, ...]:
        """Return the messages."""
        return chat(self.sentence, self.role, question)

    def identity(self, question: str) -> bytes:
        """Return the messages as canonical JSON."""
        return json.dumps([[m["role"], m["content"]] for m in self.fill(question)], ensure_ascii=False).encode()


class Renderer(Protocol):
    """Makes the prompts of one checkpoint."""

    def full(self, sentence: str | None, role: Role, plain: PlainPrompt) -> PromptTemplate:
        """Return the frame that renders every prompt in full."""
        ...

    def fast(self, sentence: str | None, role: Role, plain: PlainPrompt) -> PromptTemplate | None:
        """Return a frame of fixed texts for the same prompts, or None where the template allows none."""
        ...

    def stop(self, plain: PlainPrompt) -> tuple[str, ...]:
        """Return the stop strings that a task's prompts need here."""
        ...

    def record(self) -> dict[str, Any]:
        """Return what identifies the rendering, for run.json and the plan's hash."""
        ...


class ChatRenderer:
    """Renders through a tokenizer's chat template, with the date frozen.

    Args:
        tokenizer: a transformers tokenizer.
        template: Jinja text in the place of the tokenizer's own chat template.
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
            raise UsageError(f"--chat-template-kwarg {reserved[0]}: is set by the run itself.")
        moment = datetime.datetime.fromisoformat(date)
        self._variables = {"strftime_now": moment.strftime, **self._arguments}

    def render(self, messages: Sequence[Message]) -> str:
        """Return the prompt text, ready for the assistant's turn.

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
        """Return a :class:`FullFrame`."""
        return FullFrame(self, sentence, role)

    def fast(self, sentence: str | None, role: Role, plain: PlainPrompt) -> PromptTemplate | None:
        """Return the texts around a probe question, where it stands exactly once."""
        before, found, after = self.render(chat(sentence, role, PROBE)).partition(PROBE)
        return TextFrame(before, after) if found and PROBE not in after else None

    def stop(self, plain: PlainPrompt) -> tuple[str, ...]:
        """Return nothing: the end of the turn stops a chat model."""
        return ()

    def record(self) -> dict[str, Any]:
        """Return the kind, date and overrides."""
        return {
            "kind": "chat",
            "date": self._date,
            "chat_template": self._template,
            "arguments": self._arguments,
        }


class PlainRenderer:
    """For base models, which have no chat template: persona, solved examples, question, an open answer."""

    def full(self, sentence: str | None, role: Role, plain: PlainPrompt) -> PromptTemplate:
        """Return the texts around the item; there is no template to differ from them."""
        lead = f"{sentence}\n\n" if sentence else ""
        shown = "".join(
            f"{plain.question} {example.prompt.strip()}\n{plain.answer} {example.answer.strip()}\n\n"
            for example in plain.examples
        )
        return TextFrame(f"{lead}{shown}{plain.question} ", f"\n{plain.answer}", special_tokens=True)

    def fast(self, sentence: str | None, role: Role, plain: PlainPrompt) -> PromptTemplate | None:
        """Return the same as :meth:`full`."""
        return self.full(sentence, role, plain)

    def probe(self, messages: Sequence[Message]) -> str:
        """Return the prompt of messages made by :func:`chat`, as a task without examples of its own has it."""
        *lead, question = (message["content"] for message in messages)
        return str(self.full("\n\n".join(lead) or None, "system", PlainPrompt()).fill(question))

    def stop(self, plain: PlainPrompt) -> tuple[str, ...]:
        """Return the task's stop strings, else the model runs on into a next question of its own."""
        return plain.stop

    def record(self) -> dict[str, Any]:
        """Return the kind."""
        return {"kind": "plain"}


class MessageRenderer:
    """For endpoints: the server renders."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = dict(arguments)

    def full(self, sentence: str | None, role: Role, plain: PlainPrompt) -> PromptTemplate:
        """Return a :class:`MessageFrame`."""
        return MessageFrame(sentence, role)

    def fast(self, sentence: str | None, role: Role, plain: PlainPrompt) -> PromptTemplate | None:
        """Return the same as :meth:`full`."""
        return self.full(sentence, role, plain)

    def stop(self, plain: PlainPrompt) -> tuple[str, ...]:
        """Return nothing: the end of the turn stops a chat model."""
        return ()

    def record(self) -> dict[str, Any]:
        """Return the kind and what the server's template is given."""
        return {"kind": "messages", "arguments": self._arguments}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the personas stand in this checkpoint's prompts.

    ``verified`` is False where nobody could look at the rendered prompt. ``no_persona_prompt`` is what the
    template makes of a question without any persona, the question shown as ``{{ item }}``: "no persona" is not
    always "no system prompt". ``opens_thinking``: the prompt itself begins the model's thinking.
    """

    role: Role
    verified: bool
    no_persona_prompt: str | None
    opens_thinking: bool


class Probe(Protocol):
    """Renders messages to the text a model sees; None where that cannot be known; raises ``ValueError`` or
    ``jinja2.TemplateError`` where the template refuses them."""

    def __call__(self, messages: Sequence[Message]) -> str | None:
        """Return the rendered prompt."""
        ...


def place(probe: Probe, sentences: Mapping[str, str | None], requested: PersonaRole, thinking: str) -> Placement:
    """Find the place where every persona's text stands exactly once in the rendered prompt.

    Args:
        probe: renders messages as the model will see them.
        sentences: persona id -> its sentence, None for the baseline.
        requested: a role, or ``auto``: the system turn where that works, else the start of the user's turn.
        thinking: the text that opens thinking, such as ``<think>``.

    Raises:
        UsageError: no allowed place holds every persona; says why for each place tried.
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
    """Return why a role does not work (None: it does), and whether that was seen or only assumed."""
    for persona_id, sentence in sentences.items():
        try:
            shown = probe(chat(sentence, role, PROBE))
        except (jinja2.TemplateError, ValueError, TypeError) as error:
            return f"the chat template refuses it ({error})", True
        if shown is None:
            return None, False
        if shown.count(PROBE) != 1:
            return f"the question stands {shown.count(PROBE)} times in the prompt", True
        if sentence is not None and shown.count(sentence) != 1:
            return (
                f"the text of persona {persona_id!r} stands {shown.count(sentence)} times in the prompt",
                True,
            )
    return None, True


def split_thinking(text: str, end: str, opened: bool) -> tuple[str, str | None]:
    """Split a completion into the answer and the thinking before it.

    Args:
        text: what the model wrote.
        end: the text that ends thinking, such as ``</think>``.
        opened: whether the prompt itself had begun the thinking.

    Returns:
        ``(answer, thinking)``. Thinking that never ends has no answer; a text without thinking is all answer.
    """
    thinking, found, answer = text.rpartition(end)
    if found:
        return answer.lstrip(), thinking
    if opened or text.lstrip().startswith(opening(end)):
        return "", text
    return text, None


def opening(end: str) -> str:
    """Return the text that opens what ``end`` closes: ``<think>`` for ``</think>``."""
    return end.replace("/", "", 1)
