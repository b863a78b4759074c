"""The formats in which judges reply, and the reading of a stored reply: thinking apart, then the format's one score.

``json`` is the package's own. ``prometheus`` and ``rating`` are those of judges that were trained on one form: feedback
and ``[RESULT] 4``, an explanation and ``[[4]]``. Both say nothing of refusals, so that the rules alone find these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from personaeval.config import JudgeFormat
from personaeval.generation.json_objects import is_one_object
from personaeval.generation.structured_reply import UnreadableError, bare_reply, ending
from personaeval.judge.reply import Reply, read_reply, read_score
from personaeval.models.thinking import Thinking
from personaeval.results.ledger import Stored

_RESULT = re.compile(r"\[RESULT\]\s*:?\s*[(\[{*]{0,3}\s*([^\s()\[\]{}*]*)", re.IGNORECASE)

_RESULT_END = re.compile(r"[\s.)\]}*]*\Z")

_RATING = re.compile(r"\[\[\s*([^\[\]]*?)\s*\]\]")

_MARKS: dict[JudgeFormat, tuple[re.Pattern[str], str]] = {
    "prometheus": (_RESULT, "[RESULT] and a score"),
    "rating": (_RATING, "rating in double brackets"),
}

_LONGEST_EXPLANATION = 20_000


def read_stored(
    stored: Stored, form: JudgeFormat, thinking: Thinking, opened: bool, *, expected: bool = False
) -> Reply:
    """Read a judge's reply from the ledger.

    Args:
        stored: the reply.
        form: in which it was asked for.
        thinking: the marks of the judge's thinking.
        opened: whether the prompt begins the thinking.
        expected: whether the expected score is wanted.

    Raises:
        UnreadableError: it holds no score, or several; says what is wrong and where, with the reply's end.
    """
    text, thought = stored.text, None
    # A schema that is enforced from the first token leaves no room for thinking.
    if not is_one_object(text):
        text, thought = thinking.split(text, opened and stored.reasoning is None)
    try:
        if not text.strip():
            raise _silent(stored, thought)
        return _read(text, form, (stored.weights or {}) if expected else None)
    except UnreadableError as error:
        if stored.finish_reason == "length":
            cut = f"{error} (cut off at {stored.completion_tokens} tokens)"
            raise UnreadableError(cut, "cut off") from None
        raise


def _read(text: str, form: JudgeFormat, weights: Mapping[str, float] | None) -> Reply:
    if form == "json":
        return read_reply(text, weights)
    mark, name = _MARKS[form]
    bare = bare_reply(text)
    found = list(mark.finditer(bare))
    if not found:
        raise UnreadableError(f"the reply holds no {name}{ending(bare)}", "no mark")
    try:
        scores = {read_score(one[1].rstrip(".,;:!?")) for one in found}
    except UnreadableError as error:
        raise UnreadableError(f"{error}{ending(bare)}", error.fault) from None
    if len(scores) > 1:
        raise UnreadableError(f"the reply holds {len(scores)} scores that differ{ending(bare)}", "several")
    if form == "prometheus" and not _RESULT_END.match(bare, found[-1].end()):
        raise UnreadableError(f"the reply goes on after its [RESULT]{ending(bare)}", "several")
    explanation = bare[: found[0].start()].strip()[:_LONGEST_EXPLANATION]
    return Reply.model_validate({"reasoning": explanation, "score": scores.pop()})


def _silent(stored: Stored, thought: str | None) -> UnreadableError:
    """Why a reply is empty beside its thinking."""
    reasoning = stored.reasoning or ""
    if '"score"' in reasoning or _RESULT.search(reasoning) or _RATING.search(reasoning):
        return UnreadableError(
            f"the reply is empty, and its score stands in the reasoning field{ending(reasoning)}", "field"
        )
    if thought or reasoning.strip():
        return UnreadableError(f"the reply ends within the judge's thinking{ending(thought or reasoning)}", "thinking")
    return UnreadableError("the reply is empty", "empty")
