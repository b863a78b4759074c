"""One model of a run: its fingerprint, its prompt rendering and its engine.

Opening a model loads no weights. If the ledger holds every answer, none are ever loaded.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from personaeval.config import ModelOptions
from personaeval.errors import EngineError, UsageError
from personaeval.models.checkpoints import ModelSpec, resolve, resolve_dtype
from personaeval.models.embedding_rows import refuse_rowless_tokens
from personaeval.models.endpoint_origin import EndpointOrigin
from personaeval.models.engines import Engine, EngineSettings
from personaeval.models.engines.availability import refuse_unavailable
from personaeval.models.engines.dialect import Dialect
from personaeval.models.engines.local import answer_token_ids, tokenise
from personaeval.models.event_loop import run_blocking
from personaeval.models.families import family
from personaeval.models.placement import Probe
from personaeval.models.prompts import ChatRenderer, MessageRenderer, PlainRenderer, Renderer
from personaeval.models.thinking import Thinking, find_thinking, opening
from personaeval.models.tokenizer import control_tokens, load_tokenizer, read_chat_template, special_tokens, template_of
from personaeval.models.weights import check_weights
from personaeval.types import Message, Request, Sampling

# These change the speed, not the answers: two runs that differ only here share their answers.
PERFORMANCE_ARGS = frozenset(
    {
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "data_parallel_size",
        "gpu_memory_utilization",
        "max_num_seqs",
        "max_num_batched_tokens",
        "enforce_eager",
        "enable_prefix_caching",
        "block_size",
        "swap_space",
        "kv_cache_memory_bytes",
        "distributed_executor_backend",
        "download_dir",
        "disable_log_stats",
    }
)


class Model(Protocol):
    """What a run needs from a model."""

    spec: ModelSpec
    fingerprint: str
    renderer: Renderer
    probe: Probe
    control_tokens: frozenset[str]
    """Tokens that no persona's text may hold; empty where the tokenizer is not at hand."""
    chat_template: str | None
    """The chat template's text; None where it is not at hand."""
    thinking: Thinking
    """The marks that tell its thinking from its answers."""

    def identity(self) -> dict[str, Any]:
        """Everything besides prompt and sampling that can change an answer; part of every request key."""
        ...

    def record(self) -> dict[str, Any]:
        """The model's entry in run.json."""
        ...

    def context(self) -> int | None:
        """Most tokens of a prompt and its answer together; None if unknown."""
        ...

    def count_tokens(self, text: str) -> int:
        """Number of tokens of a rendered prompt; requires a known :meth:`context`."""
        ...

    def refuse_unavailable(self) -> None:
        """Refuse an engine that is not installed, or a device that is not there; before anything is announced."""
        ...

    async def open_engine(self) -> Engine:
        """Load the weights or connect."""
        ...


def open_model(spec: ModelSpec, options: ModelOptions) -> Model:
    """Find a model and read what identifies it.

    Raises:
        UsageError: the model cannot be found, or its options do not fit.
        EngineError: an endpoint that does not answer.
    """
    if spec.engine == "openai":
        return EndpointModel(spec, options)
    return LocalModel(spec, options)


def _settings(
    options: ModelOptions, dtype: str, arguments: Mapping[str, Any], kept_tokens: tuple[str, ...] = ()
) -> EngineSettings:
    return EngineSettings(
        dtype=dtype,
        device=options.device,
        trust_remote_code=options.trust_remote_code,
        arguments=arguments,
        concurrency=options.concurrency,
        requests_per_minute=options.requests_per_minute,
        tokens_per_minute=options.tokens_per_minute,
        timeout=options.timeout,
        patience=options.patience,
        kept_tokens=kept_tokens,
    )


class InProcessModel(ABC):
    """A model that this process runs itself: its tokenizer gives exact prompts and token counts."""

    def __init__(
        self,
        spec: ModelSpec,
        options: ModelOptions,
        fingerprint: str,
        model_config: Mapping[str, Any],
        dtype: str,
        tokenizer: Any,
    ) -> None:
        self.spec = spec
        self.fingerprint = fingerprint
        self._options = options
        self._model_config = model_config
        self._dtype = dtype
        self._tokenizer = tokenizer
        self.control_tokens = control_tokens(tokenizer)
        template = read_chat_template(options.chat_template)
        self.chat_template: str | None = template or template_of(tokenizer)
        self.thinking = find_thinking(self.chat_template, options.reasoning_start, options.reasoning_end)
        self._kept_tokens = self.thinking.kept_tokens(special_tokens(tokenizer))
        if options.plain or (template is None and not tokenizer.chat_template):
            plain = PlainRenderer()
            self.renderer: Renderer = plain
            self.probe: Probe = plain.probe
        else:
            chat = ChatRenderer(tokenizer, template, options.chat_template_kwargs, options.date)
            self.renderer, self.probe = chat, chat.render

    def identity(self) -> dict[str, Any]:
        """See :class:`Model`."""
        return self._identity(self._kept_tokens)

    def former_identity(self) -> dict[str, Any] | None:
        """The identity under which its answers were stored while decoding dropped its thinking marks; None if it never
        did."""
        end = self._options.reasoning_end
        marks = (opening(end), end)
        kept = tuple(mark for mark in marks if mark in special_tokens(self._tokenizer))
        return None if kept == self._kept_tokens else self._identity(kept)

    def _identity(self, kept_tokens: tuple[str, ...]) -> dict[str, Any]:
        arguments = {k: v for k, v in self._options.engine_args.items() if k not in PERFORMANCE_ARGS}
        kept = {"kept_tokens": kept_tokens} if kept_tokens else {}
        return {
            "fingerprint": self.fingerprint,
            "engine": self.spec.engine,
            "dtype": self._dtype,
            "quantization": (self._model_config.get("quantization_config") or {}).get("quant_method"),
            "arguments": arguments,
            **kept,
        }

    def record(self) -> dict[str, Any]:
        """See :class:`Model`."""
        return {
            **self.identity(),
            "name": self.spec.name,
            **self._origin(),
            "fingerprint_verifiable": True,
            "architecture": (self._model_config.get("architectures") or [None])[0],
            "family": family(
                Path(self.spec.name).name, self._model_config.get("_name_or_path"), self._model_config.get("model_type")
            ),
            "rendering": self.renderer.record(),
        }

    @abstractmethod
    def _origin(self) -> dict[str, Any]:
        """Where the model comes from, for run.json."""

    def context(self) -> int | None:
        """See :class:`Model`."""
        given = self._options.engine_args.get("max_model_len")
        if isinstance(given, int):
            return given
        inner = self._model_config.get("text_config") or self._model_config
        scaling = inner.get("rope_scaling") or inner.get("rope_parameters") or {}
        if self.spec.engine == "vllm" and (scaling.get("rope_type") or scaling.get("type") or "default") != "default":
            # vLLM extends the context by the scaling factor.
            return None
        stated = inner.get("max_position_embeddings")
        return stated if isinstance(stated, int) else None

    def count_tokens(self, text: str) -> int:
        """See :class:`Model`."""
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def answer_token_ids(self, answers: Sequence[str]) -> list[int]:
        """Token ids of answers that are one token each; ValueError if one is more."""
        return answer_token_ids(self._tokenizer, answers)

    def tokenise(self, requests: Sequence[Request]) -> list[list[int]]:
        """Token ids of each request's prompt, as the engine will make them."""
        return tokenise(self._tokenizer, requests)

    def embedding_rows(self) -> int | None:
        """Rows of the embedding, of which every token of a prompt needs one; None if unknown."""
        stated = (self._model_config.get("text_config") or self._model_config).get("vocab_size")
        return stated if isinstance(stated, int) else None

    def refuse_rowless_tokens(self, requests: Iterable[Request]) -> None:
        """Refuse prompts with a token that has no row in the embedding."""
        refuse_rowless_tokens(self.spec.name, self._tokenizer, self.embedding_rows(), requests)

    def refuse_unavailable(self) -> None:
        """See :class:`Model`; a model in memory runs where it is."""
        return

    @abstractmethod
    async def open_engine(self) -> Engine:
        """See :class:`Model`."""


class LocalModel(InProcessModel):
    """A checkpoint directory run by vLLM or transformers."""

    def __init__(self, spec: ModelSpec, options: ModelOptions) -> None:
        self._checkpoint = resolve(spec, options.full_hash)
        config = self._checkpoint.config()
        self._unused_weights = check_weights(
            self._checkpoint.folder, self._checkpoint.fingerprint, config, options.trust_remote_code
        )
        super().__init__(
            spec,
            options,
            self._checkpoint.fingerprint,
            config,
            resolve_dtype(options.dtype, config),
            load_tokenizer(str(self._checkpoint.folder), options.trust_remote_code),
        )

    def _origin(self) -> dict[str, Any]:
        return {
            "folder": str(self._checkpoint.folder),
            "revision": self._checkpoint.revision,
            "full_hash": self._checkpoint.full_hash,
            "unused_weights": self._unused_weights,
        }

    def refuse_unavailable(self) -> None:
        """See :class:`Model`."""
        refuse_unavailable(self.spec.engine, self._options.device)

    async def open_engine(self) -> Engine:
        """See :class:`Model`."""
        engine = await self._load()
        # A trainer may have overwritten the weights while they were loaded.
        try:
            now = resolve(self.spec, self._options.full_hash).fingerprint
        except UsageError:
            now = "half written"
        if now != self.fingerprint:
            await engine.close()
            raise EngineError(
                f"{self._checkpoint.folder}: the checkpoint changed while it was being loaded. Run again once it is "
                "written, or copy it first."
            )
        return engine

    async def _load(self) -> Engine:
        settings = replace(
            _settings(self._options, self._dtype, self._options.engine_args, self._kept_tokens),
            unused_weights=tuple(self._unused_weights or ()),
        )
        folder = str(self._checkpoint.folder)
        if self.spec.engine == "vllm":
            from personaeval.models.engines import vllm

            return await vllm.open_engine(folder, self._tokenizer, settings)
        from personaeval.models.engines import transformers

        return await transformers.open_engine(folder, self._tokenizer, settings)


class EndpointModel:
    """A model behind an OpenAI-compatible endpoint; its weights cannot be inspected.

    ``dialect`` is what the endpoint takes: known once :meth:`negotiate` has asked.
    """

    def __init__(self, spec: ModelSpec, options: ModelOptions) -> None:
        from personaeval.models.engines.openai import Endpoint

        assert spec.url is not None, "parse_model gives every endpoint a URL"
        self.spec = spec
        self._options = options
        self._endpoint = Endpoint(spec.url, spec.name, spec.flag)
        self.listed = run_blocking(self._endpoint.identify())
        self.origin = EndpointOrigin(self._endpoint.place, spec.name, options.model_version)
        self.fingerprint = self.origin.fingerprint()
        self.is_vouched_for = options.trust_endpoint
        self.dialect = Dialect()
        self.renderer: Renderer = MessageRenderer(options.chat_template_kwargs)
        if options.chat_template is not None:
            raise UsageError("--chat-template: an endpoint renders by its own template; give it to the server instead.")
        self.probe: Probe = self._ask_server
        self._tokenizer: Any = None
        self.control_tokens: frozenset[str] = frozenset()
        self.chat_template: str | None = None
        if options.tokenizer is not None:
            self._tokenizer = load_tokenizer(options.tokenizer, options.trust_remote_code)
            self.control_tokens = control_tokens(self._tokenizer)
            self.chat_template = template_of(self._tokenizer)
            self.probe = ChatRenderer(self._tokenizer, None, options.chat_template_kwargs, options.date).render
        if options.plain:
            plain = PlainRenderer()
            self.renderer, self.probe = plain, plain.probe
        named = options.reasoning_start, options.reasoning_end
        self.thinking = find_thinking(self.chat_template, *named, is_endpoint=True)

    def negotiate(self, samplings: Sequence[Sampling], *, has_system: bool, say: Callable[[str], None]) -> None:
        """Find out what the endpoint takes, before anything is planned.

        Args:
            samplings: of the requests to come.
            has_system: whether some of them have a system turn.
            say: prints a line.

        Raises:
            UsageError: it does not have the model, or takes fewer new tokens than are asked for.
            EngineError: it refuses the key or every request, or does not answer.
        """
        from personaeval.models.engines.probe import find_dialect

        is_chat = not self._options.plain
        settings = _settings(self._options, "", self._arguments())
        asking = find_dialect(self._endpoint, settings, samplings, is_chat=is_chat, has_system=has_system and is_chat)
        self.dialect = run_blocking(asking)
        if (differs := self.dialect.describe()) is not None:
            say(f"{self.spec.short_name}: the endpoint {differs}.")

    def _ask_server(self, messages: Sequence[Message]) -> str | None:
        return run_blocking(self._endpoint.rendered(tuple(messages), self._arguments()))

    def _arguments(self) -> dict[str, Any]:
        arguments = dict(self._options.engine_args)
        if self._options.chat_template_kwargs:
            arguments["chat_template_kwargs"] = self._options.chat_template_kwargs
        return arguments

    def identity(self) -> dict[str, Any]:
        """See :class:`Model`."""
        return {"fingerprint": self.fingerprint, "engine": "openai", "arguments": self._arguments()}

    def record(self) -> dict[str, Any]:
        """See :class:`Model`."""
        return {
            **self.identity(),
            **self.origin.record(),
            "url": self.spec.url,
            "listed": self.listed,
            "family": family(self.spec.name, str((self.listed or {}).get("root", ""))),
            "fingerprint_verifiable": False,
            "rendering": self.renderer.record(),
            **({"dialect": found} if (found := self.dialect.record()) else {}),
        }

    def context(self) -> int | None:
        """See :class:`Model`; known if the server lists it and ``--tokenizer`` is given."""
        listed = (self.listed or {}).get("max_model_len")
        return listed if self._tokenizer is not None and isinstance(listed, int) else None

    def count_tokens(self, text: str) -> int:
        """See :class:`Model`."""
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def refuse_unavailable(self) -> None:
        """See :class:`Model`; the endpoint has answered already."""

    async def open_engine(self) -> Engine:
        """See :class:`Model`."""
        from personaeval.models.engines import openai

        settings = replace(_settings(self._options, "", self._arguments()), dialect=self.dialect)
        return await openai.open_engine(self._endpoint, settings)
