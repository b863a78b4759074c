"""Near-duplicates among texts: pairs that share most of their words."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

SIMILARITY = 0.8

_WORD = re.compile(r"\w+")


def near_duplicates(texts: Sequence[str], similarity: float = SIMILARITY) -> dict[int, int]:
    """Texts that repeat an earlier one, possibly reordered or with a few words changed.

    Two texts are near-duplicates if their sets of words (case and punctuation ignored) have a Jaccard index
    |A ∩ B| / |A ∪ B| of at least ``similarity``. The first is kept. A dropped text causes no further drops, so a chain
    of small changes does not erase a set.

    Exact and fast: sufficiently similar sets A and B share a word among the |A| − ⌈similarity · |A|⌉ + 1 rarest words
    of A and the correspondingly rarest of B (prefix filtering, Bayardo, Ma & Srikant 2007). So a text is compared only
    with texts that share one of its rare words.

    Args:
        texts: any number of texts.
        similarity: above 0, at most 1.

    Returns:
        Index of a repeating text -> index of the text it repeats.
    """
    words = [frozenset(_WORD.findall(text.casefold())) for text in texts]
    # A text without words, such as emoji, is compared as a whole.
    words = [found or frozenset([text]) for found, text in zip(words, texts, strict=True)]
    frequency = Counter(word for found in words for word in found)
    under_word: defaultdict[str, list[int]] = defaultdict(list)
    repeated: dict[int, int] = {}
    for index, found in enumerate(words):
        size = len(found)
        rarest_first = sorted(found, key=lambda word: (frequency[word], word))
        prefix = rarest_first[: size - _least(similarity * size) + 1]
        candidates = set(itertools.chain.from_iterable(under_word[word] for word in prefix))
        alike = [other for other in candidates if _jaccard(found, words[other]) >= similarity]
        if alike:
            repeated[index] = min(alike)
            continue
        for word in prefix:
            under_word[word].append(index)
    return repeated


def _least(number: float) -> int:
    # 0.8 * 5 is 4.000000000000001 for some factors; the margin must not lose a pair.
    return math.ceil(number - 1e-9)


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    common = len(one & other)
    return common / (len(one) + len(other) - common)
