"""Near-duplicates among texts: pairs that share most of their words.

>>> alike_share(["a cook at sea", "at sea a COOK", "a nun"])
AlikeShare(share=0.3333333333333333, of=3)
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

SIMILARITY = 0.8

ALIKE_LIMIT = 0.1
"""Largest share of pairs that look alike without a caution: look-alikes raise PSS by themselves."""

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, kana, Han. Each sign counts as a word."""

_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")

_MOST_COMPARED = 2000

_CHUNK = 256


@dataclass(frozen=True, slots=True)
class AlikeShare:
    """The share of pairs that look alike, and the number of texts that were compared: a random sample of many."""

    share: float
    of: int

    def __str__(self) -> str:
        about = "about " if self.of == _MOST_COMPARED else ""
        shown = f"{self.share:.0%}" if self.share >= 0.01 or not self.share else "under 1%"
        return f"{about}{shown} of the pairs of personas that PSS compares look alike"

    @property
    def caution(self) -> str | None:
        """What a reader of PSS should know; None below the limit."""
        if self.share <= ALIKE_LIMIT:
            return None
        return f"{self}, which raises PSS by itself: it compares only with PSS over the same personas"


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
    words = [_words(text) for text in texts]
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


def alike_share(texts: Sequence[str], similarity: float = SIMILARITY) -> AlikeShare:
    """The share of all pairs of texts that are near-duplicates; estimated from a random sample where there are many.

    Args:
        texts: of the personas, without the baseline.
        similarity: as of :func:`near_duplicates`.
    """
    import numpy as np
    from scipy.sparse import csr_array

    if len(texts) > _MOST_COMPARED:
        chosen = np.random.default_rng(0).choice(len(texts), _MOST_COMPARED, replace=False)
        texts = [texts[place] for place in sorted(chosen)]
    count = len(texts)
    if count < 2:
        return AlikeShare(0.0, count)
    words = [_words(text) for text in texts]
    places = {word: place for place, word in enumerate(sorted(set().union(*words)))}
    columns = [places[word] for found in words for word in found]
    sizes = np.array([len(found) for found in words])
    rows = np.repeat(np.arange(count), sizes)
    holds = csr_array((np.ones(len(columns), np.int32), (rows, columns)), shape=(count, len(places)))
    alike = 0
    for start in range(0, count, _CHUNK):
        common = (holds[start : start + _CHUNK] @ holds.T).tocoo()
        first, second = common.coords
        union = sizes[first + start] + sizes[second] - common.data
        alike += int((common.data >= similarity * union - 1e-9).sum())
    return AlikeShare((alike - count) / (count * (count - 1)), count)


def _words(text: str) -> frozenset[str]:
    # A text without words, such as emoji, is compared as a whole.
    return frozenset(_WORD.findall(text.casefold())) or frozenset([text])


def _least(number: float) -> int:
    # 0.8 * 5 is 4.000000000000001 for some factors; the margin must not lose a pair.
    return math.ceil(number - 1e-9)


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    common = len(one & other)
    return common / (len(one) + len(other) - common)
