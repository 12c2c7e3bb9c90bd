"""What a policy's replies are drawn to: their diversity, their repetitions, phrases that rise.

The measures of one set of replies are pure functions of token ids. `AttractorTracker` adds what
needs a memory: replies said before, and word n-grams whose share rises over that of the first
iterations. Its memory is bounded, and can be saved and restored for an exact resume.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from parley.platform.language.variety import Reply, distinct_n, ngrams, repetition_rate
from parley.platform.records import Metrics, State

PHRASE_LENGTHS = (2, 3, 4)
"""Words of a phrase."""

RISE_THRESHOLD = 0.05
RISE_STANDARD_ERRORS = 4.0
"""A phrase has risen when its share of the replies is above that in the baseline by the first, and
by so many standard errors of the difference: among thousands of phrases some vary by three."""

NUM_BASELINE_ITERATIONS = 3
NUM_ATTRACTORS = 10
MAX_REMEMBERED_REPLIES = 200_000
MAX_BASELINE_PHRASES = 50_000
MAX_RISEN_PHRASES = 10_000

EXTENSION_SHARE = 0.8
"""Of two phrases that overlap, one stands for both if it rose at least this part as much."""

WORD_PATTERN = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]+")
"""A word, or a run of signs."""


def phrases_of(text: str) -> set[str]:
    """The phrases of a reply: 2 to 4 neighbouring words in lower case, joined by spaces.

    A run of signs, such as `,` or `...`, counts as a word, but a phrase does not begin or end with
    one unless it holds nothing else: `you , my dear` and `?! ...`, but not `dear .`.
    """
    words = WORD_PATTERN.findall(text.lower())
    windows = (words[i : i + n] for n in PHRASE_LENGTHS for i in range(len(words) - n + 1))
    return {
        " ".join(window)
        for window in windows
        if (_is_word(window[0]) and _is_word(window[-1])) or not any(map(_is_word, window))
    }


class AttractorTracker:
    """Follows one policy's replies through the iterations of a run.

    Args:
        num_baseline: the first so many updates are what later ones are compared with.
        max_replies: replies remembered as said before; the oldest are forgotten first.
    """

    def __init__(
        self,
        num_baseline: int = NUM_BASELINE_ITERATIONS,
        max_replies: int = MAX_REMEMBERED_REPLIES,
    ) -> None:
        if num_baseline < 1 or max_replies < 1:
            raise ValueError(
                f"num_baseline {num_baseline} and max_replies {max_replies} must be at least 1"
            )
        self.num_baseline = num_baseline
        self.max_replies = max_replies
        self._num_gathered = 0
        self._said: dict[int, None] = {}
        """Digests of earlier replies, oldest first."""
        self._baseline: Counter[str] = Counter()
        """Phrase -> replies of the baseline that hold it."""
        self._num_baseline_replies = 0
        self._rose_at: dict[str, int] = {}
        """Phrase -> first iteration at which it had risen, in that order."""

    def update(self, iteration: int, replies: Sequence[Reply], texts: Sequence[str]) -> Metrics:
        """Measure the replies of one iteration.

        Args:
            iteration: its number.
            replies: [R] token ids, in an order that a resumed run repeats.
            texts: [R] the same replies as text.

        Returns:
            `distinct_1`, `distinct_2`, `distinct_3`, `repetition_rate`; `repeated_replies`: the
            share equal, token for token, to an earlier reply of this or a former iteration;
            `reply_length`: mean tokens; `attractors`: see `_attractors`. Rates of nothing are NaN.
        """
        if len(replies) != len(texts):
            raise ValueError(f"{len(replies)} replies but {len(texts)} texts")
        return {
            "distinct_1": distinct_n(replies, 1),
            "distinct_2": distinct_n(replies, 2),
            "distinct_3": distinct_n(replies, 3),
            "repetition_rate": repetition_rate(replies),
            "repeated_replies": self._share_said_before(replies),
            "reply_length": _mean([len(reply) for reply in replies]),
            "attractors": self._attractors(iteration, texts),
        }

    def state(self) -> State:
        """All that `restore` needs, as numbers, strings, lists, dicts and one numpy array."""
        return {
            "num_gathered": self._num_gathered,
            "said": np.fromiter(self._said, np.uint64, len(self._said)),
            "baseline": [[phrase, count] for phrase, count in self._baseline.items()],
            "num_baseline_replies": self._num_baseline_replies,
            "rose_at": [[phrase, iteration] for phrase, iteration in self._rose_at.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where the tracker that wrote `state` was."""
        self._num_gathered = int(state["num_gathered"])
        self._said = dict.fromkeys(int(digest) for digest in state["said"])
        self._baseline = Counter({str(phrase): int(n) for phrase, n in state["baseline"]})
        self._num_baseline_replies = int(state["num_baseline_replies"])
        self._rose_at = {str(phrase): int(n) for phrase, n in state["rose_at"]}

    def _share_said_before(self, replies: Sequence[Reply]) -> float:
        num_repeated = 0
        for reply in replies:
            digest = _digest(reply)
            num_repeated += digest in self._said
            self._said.setdefault(digest)
        for digest in list(self._said)[: max(0, len(self._said) - self.max_replies)]:
            del self._said[digest]
        return num_repeated / len(replies) if replies else math.nan

    def _attractors(self, iteration: int, texts: Sequence[str]) -> list[Metrics]:
        """The phrases that rose most, no two of them sharing a pair of neighbouring words.

        Each is a dict: `ngram`; `share` of the replies that hold it; `rise`, that share less the
        share in the baseline; `rose_at`, the first iteration at which it had risen (see
        `RISE_THRESHOLD`), or None. While the baseline is gathered there is no rise, and the most
        frequent are given.
        """
        if not texts:
            return []
        counts = Counter(phrase for text in texts for phrase in phrases_of(text))
        gathering = self._num_gathered < self.num_baseline
        if gathering:
            self._gather(counts, len(texts))
        shares = {phrase: n / len(texts) for phrase, n in counts.items() if n >= 2}
        rises = {
            phrase: 0.0 if gathering else share - self._baseline_share(phrase)
            for phrase, share in shares.items()
        }
        self._note_risen(iteration, rises, len(texts))
        chosen = _choose_phrases(shares if gathering else rises)
        return [
            {
                "ngram": phrase,
                "share": shares[phrase],
                "rise": rises[phrase],
                "rose_at": self._rose_at.get(phrase),
            }
            for phrase in chosen
        ]

    def _gather(self, counts: Counter[str], num_replies: int) -> None:
        """Add an iteration to the baseline; once it is whole, forget what only one reply held.

        A phrase that is forgotten counts as never said, an error of less than one reply.
        """
        self._num_gathered += 1
        self._baseline.update(counts)
        self._num_baseline_replies += num_replies
        if self._num_gathered == self.num_baseline:
            known = sorted(self._baseline.items(), key=lambda item: (-item[1], item[0]))
            kept = [item for item in known[:MAX_BASELINE_PHRASES] if item[1] > 1]
            self._baseline = Counter(dict(kept))

    def _baseline_share(self, phrase: str) -> float:
        return self._baseline[phrase] / self._num_baseline_replies

    def _error(self, phrase: str, rises: Mapping[str, float], num_replies: int) -> float:
        """The standard error of a rise if the share had not changed (two proportions, pooled)."""
        before, num_before = self._baseline_share(phrase), self._num_baseline_replies
        num_holders = (before + rises[phrase]) * num_replies + before * num_before
        pooled = num_holders / (num_replies + num_before)
        return math.sqrt(max(0.0, pooled * (1 - pooled)) * (1 / num_replies + 1 / num_before))

    def _note_risen(self, iteration: int, rises: Mapping[str, float], num_replies: int) -> None:
        for phrase in sorted(rises):
            needed = max(
                RISE_THRESHOLD, RISE_STANDARD_ERRORS * self._error(phrase, rises, num_replies)
            )
            if rises[phrase] >= needed:
                self._rose_at.setdefault(phrase, iteration)
        for phrase in list(self._rose_at)[: max(0, len(self._rose_at) - MAX_RISEN_PHRASES)]:
            del self._rose_at[phrase]


def _choose_phrases(scores: Mapping[str, float]) -> list[str]:
    """The phrases of highest positive score, each in its longest form, without near-duplicates."""
    ranked = sorted(
        (phrase for phrase, score in scores.items() if score > 0),
        key=lambda phrase: (-scores[phrase], -phrase.count(" "), phrase),
    )
    chosen: list[str] = []
    while ranked and len(chosen) < NUM_ATTRACTORS:
        phrase = _longest_form(ranked[0], ranked, scores)
        chosen.append(phrase)
        covered = _covered_pairs(phrase, ranked, scores)
        ranked = [other for other in ranked if not covered & _pairs(other)]
    return chosen


def _covered_pairs(
    phrase: str, ranked: Sequence[str], scores: Mapping[str, float]
) -> set[tuple[int | str, ...]]:
    """The pairs of words in `phrase` and in what hangs together with it.

    A saying of more than four words makes several phrases, each sharing pairs with the next and
    nearly as frequent: one of them stands for all.
    """
    covered = _pairs(phrase)
    like = [other for other in ranked if scores[other] >= EXTENSION_SHARE * scores[phrase]]
    size = 0
    while len(covered) > size:
        size = len(covered)
        covered.update(*(_pairs(other) for other in like if covered & _pairs(other)))
    return covered


def _longest_form(phrase: str, ranked: Sequence[str], scores: Mapping[str, float]) -> str:
    """The longest phrase around `phrase` that is nearly as frequent; of equals the first ranked."""
    forms = (
        other
        for other in ranked
        if f" {phrase} " in f" {other} " and scores[other] >= EXTENSION_SHARE * scores[phrase]
    )
    return max(forms, key=lambda form: form.count(" "))


def _pairs(phrase: str) -> set[tuple[int | str, ...]]:
    return set(ngrams(phrase.split(" "), 2))


def _is_word(word: str) -> bool:
    """Whether it is no run of signs."""
    return word[0].isalnum() or word[0] == "_"


def _digest(reply: Reply) -> int:
    """64 bits that stand for the reply; the odds that two of a million meet are below 1e-7."""
    data = np.asarray(reply, dtype="<i8").tobytes()
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
