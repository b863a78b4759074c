"""The formats in which judges reply, and the reading of a stored reply: thinking apart, then the format's one score.

``json`` is the package's own. ``prometheus`` and ``rating`` are those of judges that were trained on one form: feedback
and ``[RESULT] 4``, an explanation and ``[[4]]``. Both say nothing of refusals, so that the rules alone find these.
"""

from __future__ import annotations

import re

from personaeval.config import JudgeFormat
from personaeval.generation.json_objects import is_one_object
from personaeval.generation.structured_reply import UnreadableError, bare_reply, ending
from personaeval.judge.reply import Reply, read_reply, read_score
from personaeval.models.thinking import Thinking
from personaeval.results.ledger import Stored

_RESULT = re.compile(r"\[RESULT\]\s*:?\s*[(\[{*]{0,3}\s*([^\s()\[\]{}*]*)", re.IGNORECASE)

_RESULT_END = re.compile(r"[\s.)\]}*]*\Z")

_RATING = re.compile(r"\[\[\s*([^\[\]]*?)\s*\]\]")

_RATING_END = re.compile(r"(?:\s*(?:/|out of)\s*5\b)?[\s.!)\]}*_\"'`”]*\Z")

_MARKS: dict[JudgeFormat, tuple[re.Pattern[str], re.Pattern[str], str]] = {
    "prometheus": (_RESULT, _RESULT_END, "[RESULT] and a score"),
    "rating": (_RATING, _RATING_END, "rating in double brackets"),
}
"""Each format's mark, what may follow it at the reply's end, and its name. A mark before that may be a quotation."""

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
        if form == "json":
            is_cut = stored.finish_reason == "length"
            return read_reply(text, (stored.weights or {}) if expected else None, is_cut=is_cut)
        return _read_mark(text, form)
    except UnreadableError as error:
        if stored.finish_reason == "length":
            cut = f"{error} (cut off at {stored.completion_tokens} tokens)"
            raise UnreadableError(cut, "cut off") from None
        raise


def _read_mark(text: str, form: JudgeFormat) -> Reply:
    mark, end, name = _MARKS[form]
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
    if not end.match(bare, found[-1].end()):
        raise UnreadableError(f"the reply goes on after its {name}{ending(bare)}", "several")
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
