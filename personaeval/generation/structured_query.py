"""Queries whose replies must have a fixed form; an unreadable reply is asked for once more.

The ledger keeps every reply, also the unreadable ones. The second try has another prompt, hence another key, so
running the same query again asks nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from personaeval.errors import EngineError
from personaeval.generation.pending import CHUNK, PendingRequests, count_reasons, run_requests
from personaeval.generation.plan import draw_key, draw_seed, key_state
from personaeval.generation.structured_reply import UnreadableError
from personaeval.library.tasks import PlainPrompt
from personaeval.models.model import Model
from personaeval.models.prompts import PromptTemplate
from personaeval.progress import Counts, Progress
from personaeval.results.ledger import KEY_BYTES, Ledger, Stored
from personaeval.types import Completion, Request, Sampling

T = TypeVar("T")

NO_REPLY = "the engine gave no reply"


@dataclass(frozen=True, slots=True)
class ParsedReply(Generic[T]):
    """A reply, parsed and as the ledger keeps it; without one, ``reason`` says why."""

    reply: T | None
    stored: Stored | None
    reason: str | None


class TextRequests:
    """Rows of (text, repeat), asked in this order.

    Args:
        texts: number -> the question's text; made when needed, never stored.
        rows: the rows, each ``number × repeats + repeat``.
        prompt_template: makes a prompt from a text.
        identity: everything besides prompt and sampling that can change a reply.
        sampling: sampling of the replies.
        repeats: how often each text is asked.
        seed: base of every repeat's seed.
    """

    def __init__(
        self,
        texts: Callable[[int], str],
        rows: Sequence[int],
        prompt_template: PromptTemplate,
        identity: Mapping[str, Any],
        sampling: Sampling,
        repeats: int,
        seed: int = 0,
    ) -> None:
        self._seed = seed
        self._texts = texts
        self._rows = rows
        self._prompt_template = prompt_template
        self._sampling = sampling
        self._repeats = repeats
        self.size = len(rows)
        state = key_state(identity, sampling, prompt_template.special_tokens)
        keys = bytearray()
        last, prompt = -1, b""
        for row in rows:
            number, repeat = divmod(row, repeats)
            if number != last:
                last, prompt = number, prompt_template.identity(texts(number))
            one = state.copy()
            one.update(prompt + draw_key(sampling, seed, repeat, f"repeat:{repeat}"))
            keys += one.digest()
        self._keys = bytes(keys)

    def keys(self, start: int, stop: int) -> list[bytes]:
        """Keys of rows ``start`` to ``stop - 1``."""
        return [self._keys[i : i + KEY_BYTES] for i in range(start * KEY_BYTES, stop * KEY_BYTES, KEY_BYTES)]

    def requests(self, wanted: Callable[[int], bool]) -> Iterator[Request]:
        """Requests of the wanted rows."""
        for place, row in enumerate(self._rows):
            if wanted(place):
                number, repeat = divmod(row, self._repeats)
                text = self._texts(number)
                prompt = self._prompt_template.identity(text)
                yield Request(
                    row=place,
                    key=self._keys[place * KEY_BYTES : (place + 1) * KEY_BYTES],
                    prompt=self._prompt_template.fill(text),
                    sampling=self._sampling,
                    seed=draw_seed(self._sampling, self._seed, repeat, prompt),
                    special_tokens=self._prompt_template.special_tokens,
                )


class StructuredQuery(Generic[T]):
    """Texts sent to one model; each unreadable reply is asked for once more.

    Args:
        model: the model to ask.
        identity: everything besides prompt and sampling that can change a reply.
        sampling: sampling of the replies.
        count: number of texts.
        text: (number, whether this is the second try) -> the question's text.
        read: parses a reply; raises :class:`UnreadableError`.
        ledger: keeps the replies.
        repeats: how often each text is asked.
        seed: base of every repeat's seed.
    """

    def __init__(
        self,
        model: Model,
        identity: Mapping[str, Any],
        sampling: Sampling,
        count: int,
        text: Callable[[int, bool], str],
        read: Callable[[Stored], T],
        ledger: Ledger,
        repeats: int = 1,
        seed: int = 0,
    ) -> None:
        self._seed = seed
        self.model = model
        self._ledger = ledger
        self._text = text
        self._read_reply = read
        plain = PlainPrompt()
        self._prompt_template = model.renderer.full(None, "system", plain)
        self._identity = identity
        self._sampling = replace(sampling, stop=model.renderer.stop(plain))
        self._repeats = repeats
        self._first = self._work(range(count * repeats), again=False)
        self._again: PendingRequests | None = None
        self._places: dict[int, int] = {}

    @property
    def reused(self) -> bool:
        """Whether the ledger holds a reply already."""
        return self._first.present > 0

    def ask(self, progress: Progress, title: str, watch: Callable[[Completion], None] | None = None) -> str | None:
        """Ask what the ledger lacks; return why the engine failed as a whole, if it did. Replies received are kept.

        Args:
            progress: shows the work.
            title: of the series of requests.
            watch: is given each reply as it comes.
        """
        failure = None
        if (blank := self._first.describe_blank()) is not None:
            progress.message(f"{title}: {blank}")
        try:
            run_requests(self.model, self._rounds(), progress, title, watch)
        except EngineError as error:
            failure = str(error)
            progress.message(f"{title}: {failure}")
        again = self._look_back()
        again.finish(failure or NO_REPLY)
        if failure is not None:
            self._first.errors = dict.fromkeys(self._first.errors, failure)
        self._ledger.flush()
        return failure

    def counts(self) -> Counts:
        """Requests and tokens of both tries; ``failed`` counts rows without a reply."""
        total = Counts()
        for pending in (self._first, self._look_back()):
            total.completed += pending.counts.completed
            total.failed += len(pending.errors)
            total.prompt_tokens += pending.counts.prompt_tokens
            total.cached_tokens += pending.counts.cached_tokens
            total.output_tokens += pending.counts.output_tokens
        return total

    def failures(self) -> Counter[str]:
        """Why rows have no reply, with counts."""
        errors = [error for pending in (self._first, self._look_back()) for error in pending.errors.values()]
        return count_reasons(errors)

    def replies(self, rows: range) -> Iterator[ParsedReply[T]]:
        """For each row (``number × repeats + repeat``) the reply that counts, or why there is none."""
        again = self._look_back()
        for row, first in zip(rows, self._read(self._first, rows), strict=True):
            if row not in self._places:
                yield first
                continue
            place = self._places[row]
            second = next(self._read(again, range(place, place + 1)))
            reason = None if second.reply is not None else f"{first.reason}; asked again: {second.reason}"
            yield ParsedReply(second.reply, second.stored or first.stored, reason)

    def _work(self, rows: Sequence[int], again: bool) -> PendingRequests:
        def text(number: int) -> str:
            return self._text(number, again)

        source = TextRequests(
            text, rows, self._prompt_template, self._identity, self._sampling, self._repeats, self._seed
        )
        return PendingRequests(source, self._ledger)

    def _rounds(self) -> Iterator[PendingRequests]:
        yield self._first
        yield self._look_back()

    def _look_back(self) -> PendingRequests:
        """Find the unreadable replies, and return the requests that ask for them again."""
        if self._again is None:
            self._first.finish(NO_REPLY)
            self._ledger.flush()
            unreadable = []
            for start in range(0, self._first.source.size, CHUNK):
                rows = range(start, min(start + CHUNK, self._first.source.size))
                found = zip(rows, self._read(self._first, rows), strict=True)
                unreadable += [row for row, parsed in found if parsed.reply is None and parsed.stored]
            self._places = {row: place for place, row in enumerate(unreadable)}
            self._again = self._work(unreadable, again=True)
        return self._again

    def _read(self, pending: PendingRequests, rows: range) -> Iterator[ParsedReply[T]]:
        keys = pending.source.keys(rows.start, rows.stop)
        stored = self._ledger.completions(keys)
        if self._sampling.score_tokens:
            weights = self._ledger.weights(keys)
            stored = {key: replace(one, weights=weights.get(key)) for key, one in stored.items()}
        for row, key in zip(rows, keys, strict=True):
            found = stored.get(key)
            if found is None:
                yield ParsedReply(None, None, pending.errors.get(row, NO_REPLY))
                continue
            try:
                yield ParsedReply(self._read_reply(found), found, None)
            except UnreadableError as error:
                yield ParsedReply(None, found, str(error))
