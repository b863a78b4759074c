"""Suspect readings: wrong verdicts whose text holds the gold answer where an answer would stand.

docs/metrics.md has the definition. The chance level is measured beside it: on the other choices, or on the
gold answers of other items (decoys).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from personaeval.library.tasks import ChoiceScorer, ExactScorer, ExtractingScorer, Item, MathScorer, NumericScorer, Task
from personaeval.verify import read_numeric, reader
from personaeval.verify.choices import lettered, mentions, named_texts, plain
from personaeval.verify.equivalence import read_letter
from personaeval.verify.normalise import HEAD, lowered, prose, unify, untex
from personaeval.verify.number import parse_number
from personaeval.verify.reading import Candidate, Reading

DECOYS = 20
"""Number of other items' gold answers that measure chance."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n")


def suspicion(
    scorer: ExtractingScorer,
    gold: str,
    text: str,
    choices: tuple[str, ...],
    reading: Reading,
    decoys: Sequence[str],
) -> tuple[bool, float]:
    """Whether a verdict of wrong or of no answer is suspect, and the probability that it looks so by chance.

    Args:
        scorer: the task's scorer.
        gold: the right answer.
        text: the completion, thinking removed.
        choices: texts of the choices.
        reading: the text's reading.
        decoys: gold answers of other items.
    """
    chosen = reading.chosen
    others = [
        one for one in reading.rest() if one is not chosen and one.evidence != "last_number" and one.value is not None
    ]
    found = _Found(scorer, choices, others, text if _is_bare(chosen) and not others else "")
    if not found.any:
        return False, 0.0
    if isinstance(scorer, ChoiceScorer):
        letter = read_letter(gold, choices)
        left = [
            one for one in lettered(choices).letters[: len(choices)] if one not in (letter, chosen and chosen.value)
        ]
        return found.holds(letter or gold), _mean([found.holds(one) for one in left])
    # The gold answer of a wrong verdict is never the one read; a decoy that is would count the answer itself as a hit.
    left = [one for one in decoys if chosen is None or not reader.states(scorer, one, [chosen], choices)]
    return found.holds(gold), _mean([found.holds(one) for one in left])


def _is_bare(chosen: Candidate | None) -> bool:
    return chosen is None or chosen.evidence == "last_number"


def _mean(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits) if hits else 0.0


class _Found:
    """A text's candidates besides its answer, or without any the words of its last sentence."""

    def __init__(
        self, scorer: ExtractingScorer, choices: tuple[str, ...], others: Sequence[Candidate], text: str
    ) -> None:
        self._scorer = scorer
        self._choices = choices
        self._others = others
        self._sentence = _last_sentence(text) if text else ""
        self._numbers = read_numeric.mentions(self._sentence) if self._sentence else []
        self._letters: set[str] = set()
        if self._sentence and isinstance(scorer, ChoiceScorer):
            given = lettered(choices)
            named = mentions(self._sentence, 0, len(self._sentence), given)
            self._letters = {
                one.letter for one in [*named, *named_texts(plain(self._sentence), given)] if not one.rejected
            }
        self._low = f" {lowered(self._sentence)} "

    @property
    def any(self) -> bool:
        """Whether the text has any."""
        return bool(self._others or self._sentence.strip())

    def holds(self, target: str) -> bool:
        """Whether an answer is among them."""
        if self._others:
            return reader.states(self._scorer, target, self._others, self._choices)
        if isinstance(self._scorer, ChoiceScorer):
            return target in self._letters
        number = parse_number(target)
        if number is not None:
            return any(value == number.value for value, _ in self._numbers)
        word = re.escape(lowered(untex(target)).strip(" ()"))
        return bool(word) and re.search(rf"(?<!\w){word}(?!\w)", self._low) is not None


def _last_sentence(text: str) -> str:
    plain_text = untex(prose(unify(text[-HEAD:])))
    return next((part for part in reversed(_SENTENCE.split(plain_text)) if re.search(r"\w", part)), "")[-1000:]


def decoys_of(task: Task, items: Sequence[Item]) -> dict[str, tuple[str, ...]]:
    """For each item's id, the gold answers of up to 20 other items that look alike and are not in its prompt.

    Empty if the other choices give the chance level, or if another program scores.
    """
    if not isinstance(task.scorer, NumericScorer | MathScorer | ExactScorer):
        return {}
    alike: dict[str, list[str]] = {}
    for item in items:
        group = alike.setdefault(_shape(item.gold), [])
        if item.gold not in group:
            group.append(item.gold)
    return {item.id: _decoys(item, alike[_shape(item.gold)], number) for number, item in enumerate(items)}


def _decoys(item: Item, golds: list[str], number: int) -> tuple[str, ...]:
    start = (number * 7919) % len(golds)
    found: list[str] = []
    for gold in (*golds[start:], *golds[:start]):
        if gold != item.gold and not _is_in(gold, item.prompt):
            found.append(gold)
        if len(found) == DECOYS:
            break
    return tuple(found)


def _is_in(gold: str, prompt: str) -> bool:
    # Most are not there at all, and an expression for each would be compiled for nothing.
    return gold in prompt and re.search(rf"(?<![\w.]){re.escape(gold)}(?![\w]|\.\d)", prompt) is not None


def _shape(gold: str) -> str:
    """Kind and number of digits of a gold answer."""
    digits = sum(map(str.isdigit, gold))
    number = parse_number(gold)
    if number is None:
        return f"formula {min(digits, 6)}" if digits else "words"
    return f"{'whole' if number.value.denominator == 1 else 'fraction'} {digits}"
