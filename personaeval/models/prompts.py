"""How a persona and an item become a prompt, and the proof that the persona is in it.

Chat templates drop, merge or refuse the system role, or add a persona of their own or today's date. So nothing is
assumed: before a run starts, one prompt per persona is rendered in full and checked
(:mod:`personaeval.models.placement`), and the prompt without a persona is recorded.

A run renders millions of prompts that differ only in the item. A :class:`TextFrame` holds one persona's text before
and after the item; the plan uses it only if it equals the full rendering on a sample.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, cast

import jinja2

from personaeval.errors import UsageError
from personaeval.library.tasks import PlainPrompt
from personaeval.types import Message, Prompt

Role = Literal["system", "user_prefix"]

PROBE = "Qx7 probe question of no importance?"
"""A question that no template holds."""

STAND_IN = "Xq7 vwk zjy."
"""A persona's sentence that no template holds."""


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

    def end(self) -> str | None:
        """What follows the item in the rendered prompt; None where a server renders it."""
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

    def end(self) -> str | None:
        """The text after the item."""
        return self.after


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

    def end(self) -> str | None:
        """What follows a probe question."""
        return self.fill(PROBE).rpartition(PROBE)[2]


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

    def end(self) -> str | None:
        """Unknown."""
        return None


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


_NO_TOOLS: tuple[list[dict[str, Any]], ...] = (
    [],
    [{"type": "function", "function": {"name": "none", "description": "", "parameters": {"type": "object"}}}],
)
"""Tools that tell a model as little as can be told."""


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
        try:
            return self._render(messages, self._roles_in_parts)
        except (jinja2.TemplateError, TypeError) as error:
            tools = self._tools_needed(messages)
            if tools is None:
                raise
            raise ValueError(
                f"{error}; it needs tools, which no task here has: pass --chat-template-kwarg 'tools={tools}'"
            ) from error

    def _tools_needed(self, messages: Sequence[Message]) -> str | None:
        """The list of tools, as JSON, with which a template renders that does not without one; None if none helps."""
        if "tools" in self._arguments:
            return None
        for tools in _NO_TOOLS:
            try:
                self._render(messages, self._roles_in_parts, tools=tools)
            except (jinja2.TemplateError, ValueError, TypeError):
                continue
            return json.dumps(tools)
        return None

    @cached_property
    def _roles_in_parts(self) -> frozenset[str]:
        """The roles whose content this template takes as a list of parts alone, as those of vision models do."""
        in_parts: frozenset[str] = frozenset()
        for role, role_name, text in (("user_prefix", "user", PROBE), ("system", "system", STAND_IN)):
            messages = chat(STAND_IN, cast("Role", role), PROBE)
            wider = in_parts | {role_name}
            if not self._shows(text, messages, in_parts) and self._shows(text, messages, wider):
                in_parts = wider
        return in_parts

    def _shows(self, text: str, messages: Sequence[Message], in_parts: frozenset[str]) -> bool:
        try:
            return text in self._render(messages, in_parts)
        except (jinja2.TemplateError, ValueError, TypeError):
            return False

    def _render(self, messages: Sequence[Message], in_parts: frozenset[str], **more: Any) -> str:
        conversation = [
            {"role": role, "content": [{"type": "text", "text": content}] if role in in_parts else content}
            for role, content in ((message["role"], message["content"]) for message in messages)
        ]
        text = self._tokenizer.apply_chat_template(
            conversation,
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=True,
            **self._variables,
            **more,
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
            **({"content_in_parts": sorted(self._roles_in_parts)} if self._roles_in_parts else {}),
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
