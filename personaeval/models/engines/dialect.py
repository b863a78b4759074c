"""What an endpoint takes of a request, as a probe found it, and the body of a request in these terms."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from personaeval.types import Request, Sampling

TOP = 20
"""Alternatives of a token that are asked for: the most that hosted models and vLLM give."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How an endpoint differs from what every OpenAI-compatible server takes.

    Attributes:
        left_out: neutral parameters that it refuses, of top_p (at 1) and seed.
        limit_name: what it calls the most new tokens.
        streams: whether it answers as a stream alone.
        takes_schemas: whether it takes JSON schemas.
        takes_system: whether it takes a system turn.
        refused_temperature: a temperature that it refuses; None if it took what was asked.
    """

    left_out: tuple[str, ...] = ()
    limit_name: str = "max_tokens"
    streams: bool = False
    takes_schemas: bool = True
    takes_system: bool = True
    refused_temperature: float | None = None

    def record(self) -> dict[str, Any]:
        """What differs, for run.json; empty for a server that takes everything."""
        return {
            name: value
            for name, value in (
                ("left_out", list(self.left_out)),
                ("limit_name", self.limit_name if self.limit_name != "max_tokens" else ""),
                ("streams", self.streams),
                ("refuses_schemas", not self.takes_schemas),
                ("refuses_system_turn", not self.takes_system),
            )
            if value
        }

    def describe(self) -> str | None:
        """What differs, in words; None if nothing does."""
        parts = []
        if self.left_out:
            parts.append(f"refuses {' and '.join(self.left_out)}, which changes no answer and is left out")
        if self.limit_name != "max_tokens":
            parts.append(f"calls max_tokens {self.limit_name}")
        if self.streams:
            parts.append("answers as a stream alone")
        if not self.takes_schemas:
            parts.append("takes no JSON schema (the form is described in the prompt)")
        if not self.takes_system:
            parts.append("refuses a system turn (personas stand in the user's turn)")
        return "; ".join(parts) or None

    def body(
        self, sampling: Sampling, seed: int, arguments: Mapping[str, Any], *, is_chat: bool = True
    ) -> dict[str, Any]:
        """The fields of a request beside model and prompt."""
        body: dict[str, Any] = dict(arguments)
        if sampling.temperature is not None:
            body["temperature"] = sampling.temperature
        if not ("top_p" in self.left_out and sampling.top_p == 1):
            body["top_p"] = sampling.top_p
        body[self.limit_name if is_chat else "max_tokens"] = sampling.max_tokens
        if "seed" not in self.left_out:
            body["seed"] = seed
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.schema is not None and self.takes_schemas:
            body["response_format"] = response_format(sampling.schema)
        if sampling.score_tokens and is_chat:
            body |= {"logprobs": True, "top_logprobs": TOP}
        if self.streams:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body

    def refuses(self, request: Request) -> str | None:
        """Why a request need not be sent; None if the endpoint may take it."""
        temperature = request.sampling.temperature
        if self.refused_temperature is None or temperature != self.refused_temperature:
            return None
        return f"the endpoint refuses temperature {temperature:g}"


@functools.cache
def response_format(schema: str) -> dict[str, Any]:
    """The request field for a JSON schema, without length limits, which hosted models refuse."""
    content = json.loads(schema, object_hook=lambda part: {k: v for k, v in part.items() if k != "maxLength"})
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": content}}
