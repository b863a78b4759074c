"""Whether an endpoint is still the model whose answers are stored.

Nobody can look at the weights behind a URL: after a restart with others, the same name would get the old ones' answers.
So an endpoint is asked a few fixed prompts when it is first used, at the start of the run and in its middle: how it
differs from itself (batches change greedy answers) is the noise. Before its stored answers are used it is asked again,
and refused if the beginnings that stayed the same then are others now. The answers are in the ledger; they count as no
requests of any run. Close neighbours begin alike, and cannot be told apart so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personaeval.config import ModelOptions
from personaeval.documents import hash_json
from personaeval.errors import EngineError, UsageError
from personaeval.models.checkpoints import ModelSpec
from personaeval.models.endpoint_origin import EndpointOrigin
from personaeval.models.engines import Engine
from personaeval.models.engines.endpoint import Endpoint
from personaeval.models.event_loop import run_blocking
from personaeval.models.model import EndpointModel, Model, open_model
from personaeval.progress import Counts, Progress
from personaeval.results.ledger import LEDGER, Ledger
from personaeval.results.runs import finished_runs
from personaeval.types import Request, Sampling

PROMPTS = (
    "Write the first lines of a story that begins in a lighthouse on the night its lamp goes out.",
    "Which invention has changed how people cook more than any other? Argue for your choice.",
    "Describe the smell of a railway station to somebody who has never been in one.",
    "Make up an animal that could live inside a glacier, and say what it eats.",
    "Why do people keep letters that they will never read again?",
    "Plan a day in a town you know nothing about, with ten coins in your pocket.",
    "Explain to a child of six why the moon does not fall down.",
    "Name a rule that every household should have, and one that none should have.",
)
"""Questions without one right answer. With another wording, what is stored counts no more."""

SAMPLING = Sampling(temperature=0.0, top_p=1.0, max_tokens=48)

BEGINNING = 30
"""Characters of an answer that are compared."""

CHANGED = 3
"""So many other beginnings are another model."""

USABLE = 4
"""With fewer beginnings that stay the same by themselves, nothing can be said."""

ROUNDS = 2
"""Rounds that are stored: their difference is the noise."""

PATIENCE_SECONDS = 120.0
"""How long a round may take; what has not come by then is no answer."""

Answers = Sequence[str | None]
"""One round: what was answered to each prompt, None where nothing was."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Answers of now beside the stored ones: prompts that can tell anything, and those that begin otherwise."""

    usable: int
    changed: tuple[int, ...]

    @property
    def is_telling(self) -> bool:
        """Whether enough prompts are usable."""
        return self.usable >= USABLE

    @property
    def is_other(self) -> bool:
        """Whether another model answered."""
        return self.is_telling and len(self.changed) >= CHANGED


def compare(first: Answers, second: Answers, now: Answers) -> Comparison:
    """Compare the answers of now with two stored rounds, on the prompts where those two began alike."""
    alike = [
        (number, before, today)
        for number, (before, later, today) in enumerate(zip(first, second, now, strict=True))
        if before and later and today and _beginning(before) == _beginning(later)
    ]
    changed = tuple(number for number, before, today in alike if _beginning(before) != _beginning(today))
    return Comparison(len(alike), changed)


def check_sameness(
    model: Model, ledger: Ledger, progress: Progress, *, is_reused: bool, version_flag: str = "--model-version"
) -> None:
    """Ask an endpoint whose answers are stored whether it is still the same model; once in a command.

    Args:
        model: any; only endpoints are asked.
        ledger: which holds its answers.
        progress: says what could not be checked.
        is_reused: whether stored answers are used now.
        version_flag: the flag with which a user names another version.

    Raises:
        UsageError: another model answers.
    """
    if not isinstance(model, EndpointModel) or model.is_vouched_for:
        return
    stored = ledger.probes(_key(model))
    if not stored and not is_reused:
        return
    now = run_blocking(_ask_alone(model))
    model.is_vouched_for = True
    if not _is_usable(now):
        answered = sum(answer is not None for answer in now)
        why = f"it answered only {answered} of {len(PROMPTS)} fixed prompts"
        _say_unchecked(model, progress, why, version_flag)
        return
    if not stored:
        ledger.add_probes(_key(model), 1, now)
        _say_unchecked(model, progress, "no answers to the fixed prompts were stored with its own", version_flag)
        return
    found = compare(stored[0], stored[-1], now)
    if not found.is_telling:
        _say_unchecked(model, progress, f"only {found.usable} of {len(PROMPTS)} fixed prompts can tell", version_flag)
    elif not found.is_other:
        if len(stored) == 1:
            ledger.add_probes(_key(model), 2, now)
    elif len(stored) == 1:
        why = "it answers otherwise than at first, but how far it differs from itself is not known"
        _say_unchecked(model, progress, why, version_flag)
    else:
        raise UsageError(_refusal(model, found, stored[0], now, version_flag))


class FirstUse:
    """Asks an endpoint that the ledger does not know the fixed prompts, beside the first requests and in the middle.

    Does nothing for other models.
    """

    def __init__(self, model: Model, ledger: Ledger, engine: Engine) -> None:
        self._ledger = ledger
        self._engine = engine
        self._asking: list[asyncio.Task[None]] = []
        self._asked = ROUNDS
        self._key = ""
        if isinstance(model, EndpointModel):
            self._key = _key(model)
            # A second round beside another command's first might be another model's: only a check may add it.
            if not ledger.probes(self._key):
                self._asked = 0
                # What this command asks from here on is the model that it asks now.
                model.is_vouched_for = True
                self._ask_again()

    def advance(self, counts: Counts) -> None:
        """Ask a second time once half of the requests are done."""
        if self._asked < ROUNDS and 2 * (counts.completed + counts.failed) >= counts.wanted:
            self._ask_again()

    async def finish(self) -> None:
        """Wait for the answers."""
        await asyncio.gather(*self._asking)

    def cancel(self) -> None:
        """Stop asking."""
        for task in self._asking:
            task.cancel()

    def _ask_again(self) -> None:
        self._asked += 1
        self._asking.append(asyncio.create_task(self._ask(self._asked)))

    async def _ask(self, number: int) -> None:
        answers = await _ask(self._engine)
        if _is_usable(answers):
            self._ledger.add_probes(self._key, number, answers)


def open_known_model(spec: ModelSpec, options: ModelOptions, results: Path) -> Model:
    """As :func:`~personaeval.models.model.open_model`, with the fingerprint under which ``results`` knows an endpoint.

    Earlier versions hashed what the server says of itself. Answers that they stored stay usable.
    """
    model = open_model(spec, options)
    if isinstance(model, EndpointModel) and (results / LEDGER).is_file():
        with Ledger(results / LEDGER) as ledger:
            own = model.fingerprint
            known = ledger.fingerprint_of(own)
            if known is None:
                former = _former_fingerprint(model, results) if ledger.had_former_endpoints else None
                known = ledger.settle_fingerprint(own, former or own)
            model.fingerprint = known
    return model


def _former_fingerprint(model: EndpointModel, results: Path) -> str | None:
    """The fingerprint of a run or judge of this origin; else what an earlier version would give it today."""
    today = model.origin.former_fingerprint(model.listed)
    if today is None:
        return None
    recorded = []
    for run in finished_runs(results):
        judges = run.record.panel.judges if run.record.panel else []
        recorded += [one.fingerprint for one in (run.record.model, *judges) if _origin(one.to_json()) == model.origin]
    return today if today in recorded or not recorded else recorded[0]


def _origin(record: dict[str, Any]) -> EndpointOrigin | None:
    """The origin of a model in run.json; None for a local one."""
    if record.get("engine") != "openai" or not record.get("url"):
        return None
    return EndpointOrigin(Endpoint(record["url"], record["name"]).place, record["name"], record.get("version"))


def _key(model: EndpointModel) -> str:
    """Identifies whose answers to which prompts: another ``--engine-arg`` may change them."""
    return hash_json([model.identity(), PROMPTS, SAMPLING.record()])


async def _ask_alone(model: EndpointModel) -> Answers:
    engine = await model.open_engine()
    try:
        return await _ask(engine)
    finally:
        await engine.close()


async def _ask(engine: Engine) -> Answers:
    """One round of the fixed prompts; what fails is no answer, whatever the reason."""
    answers: list[str | None] = [None] * len(PROMPTS)
    requests = (
        Request(number, b"", ({"role": "user", "content": text},), SAMPLING, seed=0)
        for number, text in enumerate(PROMPTS)
    )
    # The run's own requests tell why an engine fails.
    with contextlib.suppress(EngineError, TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for completion in engine.generate(requests):
                # A reasoning model has not come to its answer yet.
                said = (completion.reasoning or "") + completion.text
                answers[completion.row] = said if completion.error is None and said.strip() else None
    return answers


def _is_usable(answers: Answers) -> bool:
    """Whether a round can ever tell anything; another is not kept, so that a server that recovers is asked again."""
    return sum(answer is not None for answer in answers) >= USABLE


def _beginning(answer: str) -> str:
    return answer[:BEGINNING]


def _say_unchecked(model: EndpointModel, progress: Progress, why: str, flag: str) -> None:
    progress.message(
        f"{model.spec.short_name}: sameness not checked: {why}. Its stored answers are used; if the model has changed, "
        f"name its version with {flag}."
    )


def _refusal(model: EndpointModel, found: Comparison, before: Answers, now: Answers, flag: str) -> str:
    number = found.changed[0]
    example = f"{_beginning(before[number] or '')!r} then, {_beginning(now[number] or '')!r} now"
    return (
        f"{model.spec.short_name}: {model.origin.place} does not answer as it did when its stored answers were made: "
        f"{len(found.changed)} of {found.usable} fixed prompts begin otherwise ({example}). If another model is served "
        f"now, name it: {flag} NAME gives it results of its own. If it is the same, pass --trust-endpoint."
    )
