"""The panel: judges that score responses one by one, their replies kept in the ledger.

A reply that cannot be read is asked for once more, with a reminder of how to reply. What cannot be read then, and what
the engine never gave, is unscored with the reason; it is never 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from personaeval.checkpoints import parse_model
from personaeval.config import RunConfig
from personaeval.engines import Sampling
from personaeval.inquiry import Inquiry, UnreadableError
from personaeval.judge import prompts
from personaeval.judge.prompts import judge_prompt
from personaeval.judge.reply import SCHEMA, Reply, read_reply
from personaeval.ledger import Ledger, Stored
from personaeval.progress import Display
from personaeval.subject import Subject, open_subject
from personaeval.work import CHUNK

_CHARACTERS = 4
"""Characters of a token, about."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One response to be judged.

    ``lead`` is the preamble of its dimension's rubric; ``persona`` and ``question`` are what the model was given.
    """

    lead: str
    task: str
    item: str
    persona_id: str
    sample: int
    dimension: str
    persona: str
    question: str
    response: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one judge said of one response, once; ``reason`` says why there is no reply."""

    exhibit: int
    judge: int
    repeat: int
    reply: Reply | None
    reason: str | None
    prompt_tokens: int
    completion_tokens: int


@dataclass
class Bench:
    """What one judge's part in one command came to: requests, tokens, and why its engine failed as a whole, if so."""

    judge: str
    model: str
    calls: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    engine_error: str | None = None


@dataclass
class Judge:
    """One judge: a model with its way of being asked."""

    subject: Subject
    sampling: Sampling
    reasoning_end: str

    @property
    def label(self) -> str:
        """A short name."""
        return self.subject.spec.label

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its model."""
        return self.subject.fingerprint

    def identity(self) -> dict[str, Any]:
        """Return what, beside the prompt, can change its reply."""
        return {
            "subject": self.subject.identity(),
            "rendering": self.subject.renderer.record(),
            "sampling": self.sampling.record(),
            "reasoning_end": self.reasoning_end,
        }


class Panel:
    """Judges in an order that does not depend on how they were named.

    Args:
        judges: at least one.
        repeats: how often each judges each response.
    """

    def __init__(self, judges: Sequence[Judge], repeats: int) -> None:
        self.judges = tuple(sorted(judges, key=lambda judge: (judge.label, judge.fingerprint, str(judge.identity()))))
        self.repeats = repeats

    def labels(self) -> list[str]:
        """Return a distinct name for every judge."""
        names = [judge.label for judge in self.judges]
        if len(set(names)) < len(names):
            names = [f"{judge.label}-{judge.fingerprint[:8]}" for judge in self.judges]
        if len(set(names)) < len(names):
            names = [f"{name}#{number}" for number, name in enumerate(names, start=1)]
        return names

    def identity(self) -> dict[str, Any]:
        """Return what identifies the panel's work, for plan and group hashes."""
        return {
            "judges": [judge.identity() for judge in self.judges],
            "repeats": self.repeats,
            "wording": prompts.VERSION,
        }

    def describe(self) -> dict[str, Any]:
        """Return what run.json says of the panel."""
        judges = [
            {**judge.identity(), **judge.subject.record(), "label": label, "fingerprint": judge.fingerprint}
            for judge, label in zip(self.judges, self.labels(), strict=True)
        ]
        return {**self.identity(), "judges": judges}

    def worst_case(self, exhibits: Sequence[Exhibit], longest: int) -> list[Bench]:
        """Return what each judge would be asked at most, were nothing in the ledger and in no cache.

        Args:
            exhibits: what would be judged, the responses still empty.
            longest: tokens of a response at most.
        """
        prompt = sum(
            (len(one.lead) + len(one.persona) + len(one.question)) // _CHARACTERS + longest for one in exhibits
        )
        return [
            Bench(
                label,
                judge.subject.spec.name,
                calls=len(exhibits) * self.repeats,
                prompt_tokens=prompt * self.repeats,
                output_tokens=len(exhibits) * self.repeats * judge.sampling.max_tokens,
            )
            for judge, label in zip(self.judges, self.labels(), strict=True)
        ]

    def judge(self, exhibits: Sequence[Exhibit], ledger: Ledger, display: Display) -> Sitting:
        """Have every judge score every exhibit, one judge after the other; what the ledger holds is not asked again.

        Exhibits should go rubric by rubric (:func:`in_order`). A judge whose engine fails as a whole leaves its
        judgements unscored.
        """
        inquiries = [_inquire(judge, exhibits, self.repeats, ledger) for judge in self.judges]
        benches = [_sit(inquiry, display, label) for inquiry, label in zip(inquiries, self.labels(), strict=True)]
        return Sitting(inquiries, benches, len(exhibits), self.repeats)


def open_panel(config: RunConfig) -> Panel | None:
    """Find the judges of a run; loads no weights.

    Raises:
        UsageError: a judge is not to be had.
        EngineError: an endpoint that does not answer.
    """
    own = config.model_copy(
        update={
            "engine_args": config.judge_engine_args,
            "chat_template": None,
            "chat_template_kwargs": config.judge_chat_template_kwargs,
            "dtype": "auto",
            "tokenizer": None,
        }
    )
    sampling = Sampling(temperature=0.0, top_p=1.0, max_tokens=config.judge_max_tokens, schema=SCHEMA)
    judges = [Judge(open_subject(parse_model(text), own), sampling, config.reasoning_end) for text in config.judge]
    return Panel(judges, config.judge_repeats) if judges else None


def in_order(exhibits: Sequence[Exhibit]) -> list[Exhibit]:
    """Return exhibits rubric by rubric, else in their own order."""
    return sorted(exhibits, key=lambda exhibit: (exhibit.task, exhibit.dimension))


def _inquire(judge: Judge, exhibits: Sequence[Exhibit], repeats: int, ledger: Ledger) -> Inquiry[Reply]:
    def text(number: int, again: bool) -> str:
        one = exhibits[number]
        return judge_prompt(one.lead, one.persona, one.question, one.response, reminder=again)

    def read(stored: Stored) -> Reply:
        return _read(stored, judge.reasoning_end)

    return Inquiry(judge.subject, judge.identity(), judge.sampling, len(exhibits), text, read, ledger, repeats=repeats)


def _sit(inquiry: Inquiry[Reply], display: Display, label: str) -> Bench:
    failure = inquiry.ask(display, f"judge {label}")
    counts = inquiry.counts()
    return Bench(
        judge=label,
        model=inquiry.subject.spec.name,
        calls=counts.completed,
        failed=counts.failed,
        prompt_tokens=counts.prompt_tokens,
        cached_tokens=counts.cached_tokens,
        output_tokens=counts.output_tokens,
        engine_error=failure,
    )


def _read(stored: Stored, reasoning_end: str) -> Reply:
    text = stored.text
    if not text.lstrip().startswith("{"):
        # A model that thinks aloud; where the schema held it from the first token on, there is no thinking.
        text = text.rpartition(reasoning_end)[2]
    try:
        return read_reply(text)
    except UnreadableError as error:
        if stored.finish_reason == "length":
            raise UnreadableError(f"{error} (cut off at {stored.completion_tokens} tokens)") from None
        raise


class Sitting:
    """What a panel said of exhibits; read from the ledger as it is gone through."""

    def __init__(
        self, inquiries: Sequence[Inquiry[Reply]], benches: Sequence[Bench], exhibits: int, repeats: int
    ) -> None:
        self.benches = tuple(benches)
        self._inquiries = inquiries
        self._exhibits = exhibits
        self._repeats = repeats

    def judgements(self) -> Iterator[Judgement]:
        """Yield every judgement: exhibit by exhibit, judge by judge, repeat by repeat."""
        step = max(1, CHUNK // self._repeats)
        for start in range(0, self._exhibits, step):
            numbers = range(start, min(start + step, self._exhibits))
            rows = range(numbers.start * self._repeats, numbers.stop * self._repeats)
            read = [list(inquiry.replies(rows)) for inquiry in self._inquiries]
            for number in numbers:
                for judge, received in enumerate(read):
                    for repeat in range(self._repeats):
                        one = received[(number - start) * self._repeats + repeat]
                        yield Judgement(
                            number,
                            judge,
                            repeat,
                            one.reply,
                            one.reason,
                            one.stored.prompt_tokens if one.stored else 0,
                            one.stored.completion_tokens if one.stored else 0,
                        )
