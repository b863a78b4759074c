"""Options of one purpose, which several commands share: opening a model, asking judges, finding tasks."""

from __future__ import annotations

import datetime
import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, field_validator

from personaeval.config.flags import Flag, Options, flag_name
from personaeval.errors import UsageError

ENDPOINT = "Endpoint"
"""Heading of the options about endpoints."""

PersonaRole = Literal["auto", "system", "user_prefix"]


def _temperature(value: object) -> object:
    try:
        number = value if value == "default" else float(str(value))
    except ValueError:
        number = -1.0
    if isinstance(number, float) and not 0 <= number < math.inf:
        raise ValueError("must be a number of at least 0, or the word default")
    return number


Temperature = Annotated[float | Literal["default"], BeforeValidator(_temperature)]
"""``default``: none is sent, and the server's own holds."""

JudgeFormat = Literal["json", "prometheus", "rating"]


class SentenceOptions(Options):
    """The sentence that introduces a persona."""

    group: ClassVar[str] = "Prompts"

    template: str = Field(
        default="you-are",
        description="The persona's sentence: you-are, adopt, described, third-person, imagine, "
        "a text with {{ persona }}, or verbatim: the persona's text alone.",
    )


class PromptOptions(SentenceOptions):
    """How a persona enters the prompt."""

    persona_role: PersonaRole = Field(default="auto", description="auto, system or user_prefix.")


class LibraryOptions(Options):
    """Where to find tasks and personas besides the package's own."""

    group: ClassVar[str] = "What to evaluate"

    include: Annotated[tuple[Path, ...], Flag(value="FOLDER")] = Field(
        default=(), description="Folder with more tasks/ and personas/."
    )


class PriceOptions(Options):
    """What judges cost."""

    group: ClassVar[str] = "Judges"

    prices: Annotated[Path | None, Flag(value="FILE")] = Field(
        default=None, description="YAML file with prices per million tokens."
    )


class TrustOptions(Options):
    """Whether a checkpoint's own code may run."""

    group: ClassVar[str] = "Model"

    trust_remote_code: bool = Field(default=False, description="Run code that comes with the checkpoint.")


class EngineOptions(Options):
    """Arguments of an engine."""

    group: ClassVar[str] = "Model"

    engine_args: Annotated[dict[str, Any], Flag("--engine-arg")] = Field(
        default={}, description="Passed through to the engine, such as tensor_parallel_size=8."
    )


class EndpointOptions(Options):
    """Whether to check that an endpoint serves the same model as before."""

    group: ClassVar[str] = ENDPOINT

    trust_endpoint: bool = Field(
        default=False, description="Reuse stored answers of an endpoint without checking that its model is unchanged."
    )


class ConnectionOptions(EndpointOptions):
    """Limits on requests to an endpoint."""

    group: ClassVar[str] = ENDPOINT

    concurrency: int = Field(default=64, gt=0, description="Concurrent requests to an endpoint.")
    timeout: Annotated[float, Flag(value="SECONDS")] = Field(
        default=600.0, gt=0, description="Time-out of a request to an endpoint."
    )
    patience: Annotated[float, Flag(value="SECONDS")] = Field(
        default=300.0, ge=0, description="How long to wait for an endpoint that is away or over its limits."
    )


class VersionOptions(Options):
    """Which version of a model an endpoint serves."""

    group: ClassVar[str] = ENDPOINT

    model_version: str | None = Field(
        default=None,
        min_length=1,
        description="Version of the model behind an endpoint, of your choice; each version has its own results.",
    )


class TemplateOptions(Options):
    """The chat template and what it is filled with."""

    group: ClassVar[str] = "Model"

    chat_template: Annotated[Path | None, Flag(value="FILE")] = Field(
        default=None, description="Jinja file that replaces the checkpoint's template."
    )
    chat_template_kwargs: Annotated[dict[str, Any], Flag("--chat-template-kwarg")] = Field(
        default={}, description="Variables for the chat template, such as enable_thinking=false."
    )
    plain: bool = Field(
        default=False,
        description="Ask for plain completions, as of a base model, even if there is a chat template; "
        "an endpoint is asked through /completions.",
    )
    date: Annotated[str, Flag(value="YYYY-MM-DD")] = Field(
        default="2026-01-01", description="The date for chat templates that ask for today's."
    )

    @field_validator("date")
    @classmethod
    def _iso_date(cls, value: str) -> str:
        datetime.date.fromisoformat(value)
        return value


class ModelOptions(TemplateOptions, VersionOptions, ConnectionOptions, TrustOptions, EngineOptions):
    """How a model is prompted and opened; the same for every checkpoint of a command."""

    reasoning_start: str | None = Field(
        default=None, min_length=1, description="What begins a model's thinking; by default, what the end tells of it."
    )
    reasoning_end: str = Field(
        default="</think>",
        min_length=1,
        description="What ends a model's thinking, beside the marks that its chat template shows.",
    )

    dtype: str = Field(
        default="auto",
        description="auto, bfloat16, float16 or float32; auto is the checkpoint's own, float32 becoming bfloat16.",
    )
    device: str = Field(default="auto", description="Device of the transformers engine.")
    full_hash: bool = Field(default=False, description="Fingerprint every byte of the weights.")
    tokenizer: Annotated[str | None, Flag(group=ENDPOINT)] = Field(
        default=None, description="Tokenizer with which an endpoint's prompts are checked and counted."
    )
    requests_per_minute: Annotated[int | None, Flag(group=ENDPOINT)] = Field(
        default=None, gt=0, description="An endpoint's rate limit for requests."
    )
    tokens_per_minute: Annotated[int | None, Flag(group=ENDPOINT)] = Field(
        default=None, gt=0, description="An endpoint's rate limit for tokens."
    )


class JudgeCallOptions(EndpointOptions):
    """Who judges, and how a judge is asked."""

    group: ClassVar[str] = "Judges"

    judge: Annotated[tuple[str, ...], Flag(short="-j", value="MODEL")] = Field(
        default=(), description="Judge for judged tasks, named like a model; several form a panel."
    )
    judge_repeats: int = Field(default=1, gt=0, le=100, description="How often each judge scores each response.")
    judge_max_tokens: int = Field(default=1024, gt=0, description="New tokens of a judge, thinking included.")
    judge_format: JudgeFormat = Field(
        default="json",
        description="How judges reply: json, prometheus (feedback, [RESULT] 4) or rating (explanation, [[4]]).",
    )
    judge_temperature: Annotated[Temperature | None, Flag(default="0 where it is taken", value="NUMBER")] = Field(
        default=None, description="Temperature of the judges, or the word default: the endpoint's own."
    )
    judge_model_version: str | None = Field(
        default=None, min_length=1, description="As --model-version, of judges behind endpoints."
    )
    judge_engine_args: Annotated[dict[str, Any], Flag("--judge-engine-arg")] = Field(
        default={}, description="Passed through to the judges' engines."
    )
    judge_chat_template_kwargs: Annotated[dict[str, Any], Flag("--judge-chat-template-kwarg")] = Field(
        default={}, description="Variables for the judges' chat templates."
    )

    @field_validator("judge")
    @classmethod
    def _each_judge_once(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(values))

    def opening_options(self, shared: ModelOptions) -> ModelOptions:
        """How the judges are opened: connection, date and end of thinking from ``shared``, the rest from here."""
        return shared.model_copy(
            update={
                "model_version": self.judge_model_version,
                "trust_endpoint": self.trust_endpoint,
                "engine_args": self.judge_engine_args,
                "chat_template": None,
                "plain": False,
                "chat_template_kwargs": self.judge_chat_template_kwargs,
                "dtype": "auto",
                "tokenizer": None,
            }
        )


class JudgeOptions(JudgeCallOptions):
    """Who scores judged tasks, and how."""

    group: ClassVar[str] = "Judges"

    exemplars: bool = Field(
        default=False,
        description="Show judges an answer for each score, written once per question by the first judge.",
    )
    expected_score: bool = Field(
        default=False,
        description="Use the expected score under the judge's log-probabilities; endpoints only.",
    )

    def refuse_unused(self) -> None:
        """Refuse options for judges if no judge is named.

        Raises:
            UsageError: names the options.
        """
        own = [name for name in JudgeOptions.model_fields if name not in EndpointOptions.model_fields]
        unused = [name for name in own if getattr(self, name) != JudgeOptions.model_fields[name].default]
        if unused and not self.judge:
            flags = ", ".join(flag_name(JudgeOptions, name) for name in unused)
            raise UsageError(f"{flags}: only for judges, and no judge is named. Add --judge, or leave it out.")
