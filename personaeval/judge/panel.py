"""The panel: judges that score responses one at a time; the ledger keeps their replies.

An unreadable reply is asked for once more, with a reminder of how to reply. A judgement without a readable reply is
unscored, with the reason; it never counts as 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from personaeval.config import JudgeFormat, JudgeOptions, ModelOptions
from personaeval.errors import UsageError
from personaeval.generation.pending import CHUNK
from personaeval.generation.sameness import check_sameness, open_known_model
from personaeval.generation.structured_query import StructuredQuery
from personaeval.judge.first_replies import FirstReplies
from personaeval.judge.judge_prompt import VERSION, judge_prompt
from personaeval.judge.reply import Reply, schema_for
from personaeval.judge.reply_formats import read_stored
from personaeval.judge.rubrics import SCORES
from personaeval.judge.usage import JudgeUsage
from personaeval.models.checkpoints import parse_model
from personaeval.models.model import EndpointModel, Model
from personaeval.models.suitability import opens_thinking
from personaeval.progress import Progress
from personaeval.results.ledger import Ledger, Stored
from personaeval.types import Sampling

CHARACTERS = 4
"""Characters per token, roughly."""

EXAMPLES_TOKENS = 2048
"""Most tokens of one question's exemplars."""

_REASONS = 5
"""Reasons of failures that are recorded."""

_EXEMPLARS = 1
"""Version of the prompt that asks for exemplars."""


@dataclass(frozen=True, slots=True)
class JudgeInput:
    """One response to be judged.

    ``lead`` is the preamble of its dimension's rubric; ``persona`` and ``question`` are those given to the model;
    ``examples`` are the exemplars, if any.
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
    examples: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One reply of one judge about one response, and its text; if it cannot be read, ``reason`` says why."""

    judge_input: int
    judge: int
    repeat: int
    reply: Reply | None
    reason: str | None
    prompt_tokens: int
    completion_tokens: int
    text: str | None = None


@dataclass
class Judge:
    """A model with the sampling, reasoning mark and reply format used for judging."""

    model: Model
    sampling: Sampling
    reasoning_end: str
    reasoning_start: str | None = None
    form: JudgeFormat = "json"

    @property
    def short_name(self) -> str:
        """Its model's short name."""
        return self.model.spec.short_name

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its model."""
        return self.model.fingerprint

    def identity(self) -> dict[str, Any]:
        """Everything besides the prompt that can change its reply. Hashed: the key "subject" must stay."""
        return {
            "subject": self.model.identity(),
            "rendering": self.model.renderer.record(),
            "sampling": self.sampling.record(),
            "reasoning_end": self.reasoning_end,
            **({"reasoning_start": self.reasoning_start} if self.reasoning_start else {}),
            **({"form": self.form} if self.form != "json" else {}),
        }


class Panel:
    """Judges in an order that does not depend on the command line's.

    Args:
        judges: at least one.
        repeats: how often each judges each response.
        exemplars: whether the first judge writes an answer per score for each question, shown to all judges.
    """

    def __init__(self, judges: Sequence[Judge], repeats: int, exemplars: bool = False) -> None:
        self.judges = tuple(
            sorted(judges, key=lambda judge: (judge.short_name, judge.fingerprint, str(judge.identity())))
        )
        self.repeats = repeats
        self.exemplars = exemplars

    def short_names(self) -> list[str]:
        """A distinct name for every judge."""
        names = [judge.short_name for judge in self.judges]
        if len(set(names)) < len(names):
            names = [f"{judge.short_name}-{judge.fingerprint[:8]}" for judge in self.judges]
        if len(set(names)) < len(names):
            names = [f"{name}#{number}" for number, name in enumerate(names, start=1)]
        return names

    def identity(self) -> dict[str, Any]:
        """What identifies the panel's scores, for plan and group hashes."""
        return {
            "judges": [judge.identity() for judge in self.judges],
            "repeats": self.repeats,
            "wording": VERSION,
            **({"exemplars": _EXEMPLARS} if self.exemplars else {}),
        }

    def describe(self) -> dict[str, Any]:
        """The panel's entry in run.json."""
        judges = [
            {**judge.identity(), **judge.model.record(), "short_name": name, "fingerprint": judge.fingerprint}
            for judge, name in zip(self.judges, self.short_names(), strict=True)
        ]
        author = {"exemplars_by": self.short_names()[0]} if self.exemplars else {}
        return {**self.identity(), **author, "judges": judges}

    def worst_case(self, judge_inputs: Sequence[JudgeInput], longest: int) -> list[JudgeUsage]:
        """Upper bound of each judge's requests and tokens, with an empty ledger and no prefix cache.

        Args:
            judge_inputs: those to be judged, with empty responses.
            longest: most tokens of a response.
        """
        examples = EXAMPLES_TOKENS if self.exemplars else 0
        prompt = sum(
            (len(one.lead) + len(one.persona) + len(one.question)) // CHARACTERS + longest + examples
            for one in judge_inputs
        )
        return [
            JudgeUsage(
                name,
                judge.model.spec.name,
                calls=len(judge_inputs) * self.repeats,
                prompt_tokens=prompt * self.repeats,
                output_tokens=len(judge_inputs) * self.repeats * judge.sampling.max_tokens,
            )
            for judge, name in zip(self.judges, self.short_names(), strict=True)
        ]

    def check_sameness(self, ledger: Ledger, progress: Progress, reused: Collection[str] = ()) -> None:
        """See :func:`~personaeval.generation.sameness.check_sameness`.

        Args:
            ledger: which keeps the judges' replies.
            progress: says what could not be checked.
            reused: fingerprints of judges whose stored replies are used.
        """
        for judge in self.judges:
            is_reused = judge.fingerprint in reused
            check_sameness(judge.model, ledger, progress, is_reused=is_reused, version_flag="--judge-model-version")

    def judge(self, judge_inputs: Sequence[JudgeInput], ledger: Ledger, progress: Progress) -> PanelResult:
        """Let every judge score every response, one judge after the other; replies in the ledger are reused.

        Judge inputs should come rubric by rubric (:func:`in_order`). If a judge's engine fails as a whole, its
        missing judgements are unscored.
        """
        queries = [_query(judge, judge_inputs, self.repeats, ledger) for judge in self.judges]
        self.check_sameness(ledger, progress, {query.model.fingerprint for query in queries if query.reused})
        usages = [
            _ask_judge(judge, query, progress, name)
            for judge, query, name in zip(self.judges, queries, self.short_names(), strict=True)
        ]
        return PanelResult(queries, usages, len(judge_inputs), self.repeats)


def open_panel(
    options: JudgeOptions, shared: ModelOptions, results: Path, say: Callable[[str], None] | None = None
) -> Panel | None:
    """Find the judges; loads no weights. None if no judge is named.

    Args:
        options: who judges, and how they are asked.
        shared: options of the evaluated models; the judges' connection, date and end of thinking are the same.
        results: the results folder, which may know endpoints by an older fingerprint.
        say: prints a line on what endpoints take; None: they are not asked.

    Raises:
        UsageError: a judge cannot be found, or expected scores are wanted of one that cannot give them.
        EngineError: an endpoint that does not answer.
    """
    own = options.opening_options(shared)
    specs = [parse_model(text, "--judge") for text in options.judge]
    local = next((spec.short_name for spec in specs if spec.engine != "openai"), None)
    if options.expected_score and local is not None:
        raise UsageError(f"--expected-score: needs log-probabilities, which only endpoints give; {local} is not one.")
    score_tokens = tuple(map(str, SCORES)) if options.expected_score else ()
    tokens = options.judge_max_tokens
    form = options.judge_format
    if options.expected_score and form != "json":
        raise UsageError(f"--expected-score: needs the replies of --judge-format json, not {form}.")
    schema = schema_for(tokens) if form == "json" else None
    if options.judge_temperature == "default" and local is not None:
        raise UsageError(f"--judge-temperature default: only an endpoint has one of its own, and {local} is none.")
    given = None if options.judge_temperature == "default" else options.judge_temperature or 0.0
    sampling = Sampling(given, 1.0, tokens, schema=schema, score_tokens=score_tokens)
    judges = [
        Judge(open_known_model(spec, own, results), sampling, own.reasoning_end, own.reasoning_start, form)
        for spec in specs
    ]
    if say is not None:
        for judge in judges:
            _settle_sampling(judge, options, say)
    _refuse_duplicates(options.judge, judges)
    return Panel(judges, options.judge_repeats, options.exemplars) if judges else None


def _settle_sampling(judge: Judge, options: JudgeOptions, say: Callable[[str], None]) -> None:
    """Find out whether a judge takes the sampling; by default, one that refuses temperature 0 is asked at its own.

    Raises:
        UsageError: it refuses the temperature that was named.
    """
    if not isinstance(judge.model, EndpointModel):
        return
    judge.model.negotiate([judge.sampling], has_system=False, say=say)
    refused = judge.model.dialect.refused_temperature
    if refused is None:
        return
    if options.judge_temperature is not None:
        raise UsageError(
            f"--judge-temperature {refused:g}: the endpoint of {judge.short_name} refuses it; leave it out, or use "
            "--judge-temperature default."
        )
    say(
        f"judge {judge.short_name}: the endpoint refuses temperature {refused:g}, so it judges at the server's default."
    )
    judge.sampling = replace(judge.sampling, temperature=None)


def _refuse_duplicates(named: Sequence[str], judges: Sequence[Judge]) -> None:
    """Refuse one judge under two names: it would be asked twice and agree with itself."""
    seen: dict[str, str] = {}
    for name, judge in zip(named, judges, strict=True):
        first = seen.setdefault(str(judge.identity()), name)
        if first is not name:
            raise UsageError(
                f"--judge {first} and --judge {name} are the same judge; use --judge-repeats N to ask it N times."
            )


def in_order(judge_inputs: Sequence[JudgeInput]) -> list[JudgeInput]:
    """Judge inputs sorted by rubric, otherwise in the given order."""
    return sorted(judge_inputs, key=lambda judge_input: (judge_input.task, judge_input.dimension))


def _query(judge: Judge, judge_inputs: Sequence[JudgeInput], repeats: int, ledger: Ledger) -> StructuredQuery[Reply]:
    def text(number: int, again: bool) -> str:
        one = judge_inputs[number]
        return judge_prompt(
            one.lead, one.persona, one.question, one.response, reminder=again, examples=one.examples, form=judge.form
        )

    return StructuredQuery(
        judge.model, judge.identity(), judge.sampling, len(judge_inputs), text, _reader(judge), ledger, repeats=repeats
    )


def _reader(judge: Judge) -> Callable[[Stored], Reply]:
    thinking, opened = judge.model.thinking, opens_thinking(judge.model)

    def read(stored: Stored) -> Reply:
        return read_stored(stored, judge.form, thinking, opened, expected=bool(judge.sampling.score_tokens))

    return read


def _ask_judge(judge: Judge, query: StructuredQuery[Reply], progress: Progress, name: str) -> JudgeUsage:
    first = FirstReplies(name, _reader(judge), progress.message)
    return usage_of(query, name, query.ask(progress, f"judge {name}", first.watch))


def usage_of(query: StructuredQuery[Any], name: str, failure: str | None) -> JudgeUsage:
    """Requests and tokens of a query."""
    counts = query.counts()
    return JudgeUsage(
        judge=name,
        model=query.model.spec.name,
        calls=counts.completed,
        failed=counts.failed,
        prompt_tokens=counts.prompt_tokens,
        cached_tokens=counts.cached_tokens,
        output_tokens=counts.output_tokens,
        engine_error=failure,
        reasons=dict(query.failures().most_common(_REASONS)),
    )


class PanelResult:
    """A panel's judgements, read from the ledger while iterating."""

    def __init__(
        self, queries: Sequence[StructuredQuery[Reply]], usages: Sequence[JudgeUsage], judge_inputs: int, repeats: int
    ) -> None:
        self.usages = tuple(usages)
        self._queries = queries
        self._judge_inputs = judge_inputs
        self._repeats = repeats

    def judgements(self) -> Iterator[Judgement]:
        """Yield every judgement: by judge input, then judge, then repeat."""
        step = max(1, CHUNK // self._repeats)
        for start in range(0, self._judge_inputs, step):
            numbers = range(start, min(start + step, self._judge_inputs))
            rows = range(numbers.start * self._repeats, numbers.stop * self._repeats)
            read = [list(query.replies(rows)) for query in self._queries]
            for number in numbers:
                for judge, parsed in enumerate(read):
                    for repeat in range(self._repeats):
                        one = parsed[(number - start) * self._repeats + repeat]
                        yield Judgement(
                            number,
                            judge,
                            repeat,
                            one.reply,
                            one.reason,
                            one.stored.prompt_tokens if one.stored else 0,
                            one.stored.completion_tokens if one.stored else 0,
                            one.stored.text if one.stored else None,
                        )
