"""Checks of persona sets beyond the schema of a persona file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from personaeval.library.duplicates import near_duplicates
from personaeval.library.personas import Category, Persona, prompted_texts

WORDS = (5, 80)

_SHOWN = 10


def problems(personas: Sequence[Persona], is_written: bool = True) -> list[str]:
    """One line per kind of mistake, with the ids of the personas that make it.

    Args:
        personas: of a set or a file.
        is_written: whether they were written as a set for the template's sentence, and not brought in a file: their
            length and full stop are then checked as well.
    """
    low, high = WORDS
    ids = {persona.id for persona in personas}
    own = {persona.id for persona in personas if is_written and persona.prompt is None}
    rules: dict[str, Callable[[Persona], bool]] = {
        f"texts that are not {low} to {high} words long": lambda p: (
            p.id in own and not low <= len(p.text.split()) <= high
        ),
        "texts that end in a full stop, which the template adds": lambda p: p.id in own and p.text.endswith("."),
        "no tags, or an empty one": lambda p: not p.tags or any(not tag.strip() for tag in p.tags),
        "experts without a domain": lambda p: p.category is Category.EXPERT and not p.domain,
        "paraphrases of a persona that is missing": lambda p: (
            p.paraphrase_of is not None and p.paraphrase_of not in ids
        ),
    }
    found = []
    for rule, broken in rules.items():
        names = [persona.id for persona in personas if broken(persona)]
        if names:
            found.append(f"{rule}: {_some(names)}")
    return found


def likenesses(personas: Sequence[Persona]) -> list[str]:
    """One line on near-duplicate texts, if any; crossed personas and paraphrases are alike by design."""
    own = [p for p in personas if p.paraphrase_of is None and p.category is not Category.DEMOGRAPHIC]
    pairs = near_duplicates(prompted_texts(own))
    named = [f"{own[index].id} repeats {own[other].id}" for index, other in pairs.items()]
    return [f"nearly the same text: {_some(named)}"] if named else []


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
