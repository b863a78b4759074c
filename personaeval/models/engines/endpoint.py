"""An OpenAI-compatible endpoint: its description of itself, and the meaning of its errors for a user."""

from __future__ import annotations

import functools
import importlib
import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from personaeval.errors import EngineError, UsageError
from personaeval.progress import Activity
from personaeval.types import Message, Prompt

if TYPE_CHECKING:
    import openai


_KEY = "OPENAI_API_KEY"

_NO_KEY = "EMPTY"
"""Sent where no key is set: the client wants one, and servers without keys take any."""

_CONNECT_SECONDS = 20.0

_PROBE_SECONDS = 60.0

_PROBE_RETRIES = 2

_REASON_LENGTH = 300

_API_VERSION = "api-version"

_STABLE = ("id", "root", "parent", "owned_by", "max_model_len")
"""What /models says of the model itself; dates and permission ids change from call to call."""

_RENDERING = (
    "chat_template",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
    "add_special_tokens",
)
"""Arguments of a chat request that /tokenize takes too."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One model at one base URL, such as ``http://127.0.0.1:8000/v1``; ``flag`` is the option that named it.

    Raises:
        UsageError: not a URL of http or https, or one that carries a password or a query: both would be recorded.
    """

    url: str
    model: str
    flag: str = field(default="--model", compare=False)
    query: Mapping[str, str] = field(init=False, default_factory=dict)
    """Of the URL: the ``api-version`` that Azure wants."""

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise UsageError(f"{self.flag}: {self.url!r} is no URL of an endpoint; write http://HOST:PORT/v1.")
        known = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
        if "@" in parts.netloc or known not in ([], [_API_VERSION]) or parts.fragment:
            raise UsageError(
                f"{self.flag}: the URL of {parts.hostname} carries a password or a query, which would be recorded with "
                f"the run; write scheme://HOST:PORT/PATH alone (or with ?{_API_VERSION}=…) and put the key in {_KEY}."
            )
        object.__setattr__(self, "url", urlunsplit(parts._replace(query="")).rstrip("/"))
        object.__setattr__(self, "query", dict(parse_qsl(parts.query)))

    @property
    def place(self) -> str:
        """Address with path: a gateway may serve different models of one name under different paths."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.lower()}{parts.path}"

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        name = urlsplit(self.url).hostname or ""
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name == "localhost"
        return address.is_loopback or address.is_unspecified

    def connect(
        self, timeout: float, retries: int, connections: int, activity: Activity | None = None
    ) -> openai.AsyncOpenAI:
        """A client, closed by the caller. The key comes from the environment and goes nowhere else.

        ``activity`` counts what the client sends again, and why.
        """
        import openai

        limits = type(openai.DEFAULT_CONNECTION_LIMITS)(
            max_connections=connections, max_keepalive_connections=connections
        )
        timeouts = openai.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS))
        # Azure takes its keys in a header of its own.
        headers: Any = {"api-key": _api_key(), "Authorization": openai.Omit()} if self.query else None
        return openai.AsyncOpenAI(
            base_url=self.url,
            api_key=_api_key(),
            default_query=dict(self.query) or None,
            default_headers=headers,
            max_retries=retries,
            timeout=timeouts,
            # A proxy for outside addresses cannot reach a server on this machine.
            http_client=_http_client(activity or Activity(), limits, timeouts, trust_env=not self.is_local),
        )

    async def identify(self) -> dict[str, Any] | None:
        """The stable part of this model's entry in ``/models``, which is a hint and no more.

        Servers accept aliases, variants and deployments that they do not list, and some show their list to nobody:
        whether the model is there, only a request to it tells.

        Returns:
            Some of ``id``, ``root``, ``parent``, ``owned_by``, ``max_model_len``; None where the server does not list
            the model.

        Raises:
            EngineError: it cannot be reached.
        """
        known = await self.list_models()
        entry = known.get(self.model) or (await self._get(f"{self.url}/models/{self.model}") if known else None)
        if not isinstance(entry, dict) or "id" not in entry:
            return None
        return {name: entry[name] for name in _STABLE if entry.get(name) is not None}

    async def list_models(self) -> dict[str, dict[str, Any]]:
        """The models that the server lists, by name: OpenAI's form, a bare list, or one under another key.

        Raises:
            EngineError: it cannot be reached.
        """
        listing = await self._get(f"{self.url}/models")
        if isinstance(listing, dict):
            listing = listing.get("data") if isinstance(listing.get("data"), list) else listing.get("models")
        entries = [entry for entry in listing if isinstance(entry, dict)] if isinstance(listing, list) else []
        return {str(entry["id"]): entry for entry in entries if "id" in entry}

    async def post(self, client: openai.AsyncOpenAI, prompt: Prompt, body: Mapping[str, Any]) -> bytes:
        """Post one request; the raw response, since the client's parser accepts malformed answers.

        Args:
            client: made by :meth:`connect`.
            prompt: messages, or a text to be completed.
            body: the other fields.
        """
        if isinstance(prompt, str):
            plain = client.completions.with_raw_response
            return bytes((await plain.create(model=self.model, prompt=prompt, extra_body=dict(body))).content)
        messages: Any = [dict(message) for message in prompt]
        chat = client.chat.completions.with_raw_response
        return bytes((await chat.create(model=self.model, messages=messages, extra_body=dict(body))).content)

    async def tokenize(
        self, messages: Sequence[Message], arguments: Mapping[str, Any] | None = None
    ) -> list[int] | None:
        """Token ids of the prompt that the server makes of chat messages, by vLLM's interface.

        Args:
            messages: the chat.
            arguments: of the chat request; those that shape the prompt are passed on.

        Returns:
            The ids; None where the server cannot tell.

        Raises:
            ValueError: the chat template refuses these messages; says why.
            EngineError: the server cannot be reached.
        """
        shaping = {name: value for name, value in (arguments or {}).items() if name in _RENDERING}
        body = {"model": self.model, "messages": [dict(message) for message in messages], **shaping}
        answer, refused = await self._post("tokenize", body)
        if refused is not None:
            # Some servers refuse every chat here, which says nothing about the template.
            plain = {**body, "messages": [{"role": "user", "content": "Hello"}]}
            if (await self._post("tokenize", plain))[1] is None:
                raise ValueError(refused)
            return None
        tokens = answer.get("tokens") if isinstance(answer, dict) else None
        if not isinstance(tokens, list) or not tokens or not all(isinstance(token, int) for token in tokens):
            return None
        return tokens

    async def rendered(self, messages: Sequence[Message], arguments: Mapping[str, Any] | None = None) -> str | None:
        """The prompt that the server makes of chat messages, as vLLM or llama.cpp tell it; None if it cannot tell.

        Raises:
            ValueError: the chat template refuses these messages; says why.
            EngineError: the server cannot be reached.
        """
        tokens = await self.tokenize(messages, arguments)
        if tokens is None:
            return await self._applied(messages, arguments)
        answer, _ = await self._post("detokenize", {"model": self.model, "tokens": tokens})
        text = answer.get("prompt") if isinstance(answer, dict) else None
        return text if isinstance(text, str) and text else None

    async def _applied(self, messages: Sequence[Message], arguments: Mapping[str, Any] | None) -> str | None:
        """What llama.cpp's server makes of chat messages."""
        shaping = {name: value for name, value in (arguments or {}).items() if name in _RENDERING}
        body = {"messages": [dict(message) for message in messages], **shaping}
        answer, refused = await self._post("apply-template", body, refusals=(400, 500))
        if refused is not None:
            plain = {**body, "messages": [{"role": "user", "content": "Hello"}]}
            if (await self._post("apply-template", plain, refusals=(400, 500)))[1] is None:
                raise ValueError(refused)
            return None
        text = answer.get("prompt") if isinstance(answer, dict) else None
        return text if isinstance(text, str) and text else None

    async def _get(self, url: str) -> object | None:
        """The JSON at an address; None if nothing is there for us.

        Raises:
            EngineError: the server cannot be reached.
        """
        import openai

        async with self.connect(_PROBE_SECONDS, _PROBE_RETRIES, 1) as client:
            try:
                return await client.get(url, cast_to=object)
            except (openai.APIStatusError, ValueError):
                return None
            except openai.APIError as error:
                raise self._unreachable(public(error)) from None

    async def _post(
        self, name: str, body: Mapping[str, Any], refusals: tuple[int, ...] = (400,)
    ) -> tuple[object | None, str | None]:
        """POST to the server's root, where vLLM serves these; its answer (None if unsupported) and its refusal."""
        import openai

        async with self.connect(_PROBE_SECONDS, _PROBE_RETRIES, 1) as client:
            try:
                address = f"{self.url.removesuffix('/v1')}/{name}"
                return await client.post(address, cast_to=object, body=dict(body)), None
            except openai.APIStatusError as error:
                return None, public(error) if error.status_code in refusals else None
            except (openai.APITimeoutError, ValueError):
                return None, None
            except openai.APIConnectionError as error:
                raise self._unreachable(public(error)) from None

    def _unreachable(self, reason: str) -> EngineError:
        return EngineError(
            f"{self.url}: does not answer as it should: {reason}. Check that the server is up, that it has finished "
            "loading, and the URL, which mostly ends in /v1."
        )

    def fatal(self, error: openai.APIError, has_answered: bool = False) -> EngineError | None:
        """The exception to raise if an error affects every request; None if it may concern one request only.

        ``has_answered``: whether the endpoint has answered before. Some gateways refuse single prompts with 403.
        """
        status = getattr(error, "status_code", None)
        reason = public(error)
        if status == 401:
            held = "refuses the key in" if os.environ.get(_KEY) else "wants a key, and there is none in"
            return EngineError(f"{self.url}: {held} {_KEY} ({reason}). Set it to a key of this endpoint.")
        if status == 403 and not has_answered:
            return EngineError(
                f"{self.url}: the key in {_KEY} may not use model {self.model!r} ({reason}). Use another key or model."
            )
        if status == 404:
            return EngineError(
                f"{self.url}: has no model {self.model!r}, or is not the base URL ({reason}). Check the name, and that "
                "the URL ends where /chat/completions begins."
            )
        if status == 402 or error.code == "insufficient_quota":
            return EngineError(f"{self.url}: the account's credit is used up ({reason}). Run again once it has some.")
        return None


def _http_client(activity: Activity, limits: Any, timeouts: Any, *, trust_env: bool) -> Any:
    """An HTTP client that notes every request sent again, and why the one before it failed."""
    import openai

    class Client(openai.DefaultAsyncHttpxClient):
        async def send(self, request: Any, **arguments: Any) -> Any:
            if int(request.headers.get("x-stainless-retry-count") or 0):
                activity.retried += 1
            try:
                response = await super().send(request, **arguments)
            except Exception as error:
                activity.reason = "timed out" if "Timeout" in type(error).__name__ else "no connection"
                raise
            if response.status_code >= 400:
                activity.reason = f"HTTP {response.status_code}"
            return response

    certificates = _certificates(trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    return Client(limits=limits, timeout=timeouts, trust_env=trust_env, verify=certificates)


@functools.cache
def _certificates(trust_env: bool, _file: str | None, _folder: str | None) -> Any:
    """The system's certificates. Reading them takes 40 ms of CPU time, and every probe has a client of its own."""
    import openai

    httpx = importlib.import_module(type(openai.DEFAULT_CONNECTION_LIMITS).__module__.partition(".")[0])
    return httpx.create_ssl_context(trust_env=trust_env)


def reason_of(error: openai.APIError) -> str:
    """The server's words for an error, else the client's; may hold anything the server wrote."""
    body = error.body
    if isinstance(body, dict):
        # The client has unwrapped {"error": …} already; some servers write a bare string or another name there.
        for name in ("message", "error", "detail"):
            if body.get(name):
                return str(body[name])
    return str(body or error.message)


def public(error: openai.APIError) -> str:
    """An error as one line to show and record: with its status, without the key."""
    status = getattr(error, "status_code", None)
    cause = error.__cause__
    reason = reason_of(error)
    if status is None and cause is not None:
        reason = f"{reason.rstrip('.')} ({str(cause) or type(cause).__name__})"
    return redact(f"HTTP {status}: {reason}" if status is not None else reason)


def redact(text: str) -> str:
    """The text on one line, cut to a readable length, without the key."""
    key = _api_key()
    if key != _NO_KEY:
        text = text.replace(key, f"<{_KEY}>")
    text = " ".join(text.split())
    text = text if len(text) <= _REASON_LENGTH else f"{text[:_REASON_LENGTH]}…"
    return text.rstrip(".")


def _api_key() -> str:
    return os.environ.get(_KEY, "").strip() or _NO_KEY
