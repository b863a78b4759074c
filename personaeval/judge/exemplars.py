"""Exemplars: one answer per score for each question, written once by one judge and shown to all to anchor the scale.

Their ledger key covers the author, the rubric, the persona and the question, so every checkpoint's responses are judged
with the same exemplars. A question whose exemplars cannot be read is judged without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import BeforeValidator, Field

from personaeval.errors import EngineError
from personaeval.generation.structured_query import StructuredQuery
from personaeval.generation.structured_reply import AskedLength, StructuredReply, UnreadableError
from personaeval.judge.judge_prompt import neutral
from personaeval.judge.panel import CHARACTERS, EXAMPLES_TOKENS, Judge, JudgeInput, Panel, usage_of
from personaeval.judge.rubrics import SCORES, Rubric, Rubrics
from personaeval.judge.usage import JudgeUsage
from personaeval.progress import Progress
from personaeval.results.ledger import Ledger, Stored
from personaeval.types import Sampling

_LONGEST = 800


def _not_empty(value: object) -> object:
    if not isinstance(value, str) or not value.strip():
        raise UnreadableError("the reply lacks an answer for one of the scores")
    return value


Answer = Annotated[str, AskedLength(_LONGEST), BeforeValidator(_not_empty)]


class ExemplarSet(StructuredReply):
    """One answer to a question for each score."""

    one: Answer = Field(alias="1", title="answer for the score 1")
    two: Answer = Field(alias="2", title="answer for the score 2")
    three: Answer = Field(alias="3", title="answer for the score 3")
    four: Answer = Field(alias="4", title="answer for the score 4")
    five: Answer = Field(alias="5", title="answer for the score 5")

    def as_text(self) -> str:
        """The answers as judges are shown them, a line each."""
        answers = (self.one, self.two, self.three, self.four, self.five)
        short = (" ".join(answer.split())[:_LONGEST] for answer in answers)
        return "\n".join(f"Worth {score}: {answer}" for score, answer in zip(SCORES, short, strict=True))


SAMPLING = Sampling(temperature=0.0, top_p=1.0, max_tokens=EXAMPLES_TOKENS, schema=ExemplarSet.schema_text())


@dataclass(frozen=True)
class Anchored:
    """Judge inputs with exemplars, the usage of writing them, and the number of questions without any."""

    judge_inputs: list[JudgeInput]
    usage: JudgeUsage
    without: int


def anchor(
    panel: Panel, judge_inputs: Sequence[JudgeInput], rubrics: Mapping[str, Rubrics], ledger: Ledger, progress: Progress
) -> Anchored:
    """Let the panel's first judge write exemplars for every question and add them to the judge inputs.

    Args:
        panel: the judges.
        judge_inputs: rubric by rubric.
        rubrics: task -> its rubrics.
        ledger: keeps the exemplars.
        progress: shows what is done.

    Raises:
        EngineError: some exemplars failed; running again asks only for those.
    """
    author, name = panel.judges[0], _usage_name(panel)
    questions = {(one.task, one.item): one for one in judge_inputs}
    query = _query(author, list(questions.values()), rubrics, ledger)
    panel.check_sameness(ledger, progress, {author.fingerprint} if query.reused else ())
    failure = query.ask(progress, f"exemplars by {author.short_name}")
    usage = usage_of(query, name, failure)
    if usage.failed:
        raise EngineError(
            f"{name}: {usage.failed} of the exemplars failed ({failure or 'see above'}). Run the same command "
            "again: finished ones are kept."
        )
    written = dict(zip(questions, query.replies(range(len(questions))), strict=True))
    return Anchored(
        [replace(one, examples=written[one.task, one.item].reply or "") for one in judge_inputs],
        usage,
        sum(parsed.reply is None for parsed in written.values()),
    )


def worst_case(panel: Panel, judge_inputs: Sequence[JudgeInput]) -> JudgeUsage:
    """Upper bound of the requests and tokens for writing exemplars."""
    questions = {(one.task, one.item): one for one in judge_inputs}.values()
    return JudgeUsage(
        _usage_name(panel),
        panel.judges[0].model.spec.name,
        calls=len(questions),
        # The lead is mostly the rubric, which the exemplars' prompt holds too.
        prompt_tokens=sum((len(one.lead) + len(one.persona) + len(one.question)) // CHARACTERS for one in questions),
        output_tokens=len(questions) * SAMPLING.max_tokens,
    )


def _usage_name(panel: Panel) -> str:
    return f"{panel.short_names()[0]} (exemplars)"


def _query(
    author: Judge, questions: Sequence[JudgeInput], rubrics: Mapping[str, Rubrics], ledger: Ledger
) -> StructuredQuery[str]:
    def text(number: int, again: bool) -> str:
        one = questions[number]
        return _prompt(rubrics[one.task][one.dimension], one.persona, one.question, again)

    sampling = SAMPLING if author.sampling.temperature is not None else replace(SAMPLING, temperature=None)
    identity = {**author.identity(), "sampling": sampling.record()}
    return StructuredQuery(author.model, identity, sampling, len(questions), text, _read, ledger)


def _prompt(rubric: Rubric, persona: str, question: str, again: bool) -> str:
    anchors = "\n".join(f"{score}: {text.strip()}" for score, text in rubric.anchors.items())
    text = f"""\
Someone is asked to speak as a given persona and is put one question. Answers are scored for one quality alone. Write \
five short answers to the question, in the words of whoever answers: one that deserves each score of the scale.

# Quality: {rubric.title}
{rubric.asks.strip()}

# What counts as given
{rubric.given.strip()}

# Scale
{anchors}

# How to reply
Reply with one JSON object whose keys are "1", "2", "3", "4" and "5", each with the answer that deserves this score: \
one to four sentences, without a word about the score.

# Persona
{neutral(persona)}

# Question
{neutral(question)}

Now reply with the JSON object alone."""
    return f"{text}\n\nYour last reply could not be read. Write one JSON object and nothing else." if again else text


def _read(stored: Stored) -> str:
    return ExemplarSet.read(stored.text).as_text()
