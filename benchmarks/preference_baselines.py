"""What shortcuts reach on preference pairs: the figures that a trained model has to beat.

None of these rules reads the prompt. Each looks at the training side at most, then gives a margin
for every held-out pair; `measure_accuracy` judges them as it judges models.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from parley.platform.cooperate.evaluation.preference_accuracy import (
    PreferenceAccuracy,
    measure_accuracy,
)
from parley.platform.maxims.pairs.pair import PairSplit, PreferencePair
from parley.platform.maxims.text.wording import likeness

Floats = NDArray[np.float64]
Score = Callable[[str], float]
"""A response -> how good it looks to a rule; the larger the better."""

TOKEN = r"\w+(?:['’]\w+)*|[^\w\s]"  # noqa: RUF001 - the typographic apostrophe is meant
NUM_REPEATED = 4
"""Words in a row that count as said again."""

_DOUBLED = re.compile(r"(?<!\.)\.\.(?!\.)|[!?,;:][.,;:]|(?<!\.)\.[,;:!?]|\s[.,;!?]")
_LOWER_START = re.compile(r"(?<![.])[.!?]\s+[a-z]|^[a-z]")


def measure_shortcuts(split: PairSplit) -> dict[str, PreferenceAccuracy]:
    """The accuracy of every shortcut on the held-out pairs, by its name in `SHORTCUTS`.

    Raises:
        ValueError: a side is empty.
    """
    if not split.training or not split.heldout:
        raise ValueError("both sides of the split need pairs")
    return {
        name: measure_accuracy(margins(split), split.heldout) for name, margins in SHORTCUTS.items()
    }


def length_margins(split: PairSplit) -> Floats:
    """[N] of the best rule on length alone: longer, shorter, or nearer to the chosen ones' mean.

    Which of the three is best is decided on the training side.
    """
    mean = float(np.mean([_num_words(pair.chosen) for pair in split.training]))
    scores: tuple[Score, ...] = (
        _num_words,
        lambda text: -_num_words(text),
        lambda text: -abs(_num_words(text) - mean),
    )
    best = max(scores, key=lambda score: _hits(score_margins(score, split.training)))
    return score_margins(best, split.heldout)


def word_margins(split: PairSplit, longest: int = 1) -> Floats:
    """[N] of a logistic regression on differences of token counts.

    Args:
        split: the training side is learned from.
        longest: sequences of up to so many tokens are counted.
    """
    vectorizer = CountVectorizer(token_pattern=TOKEN, ngram_range=(1, longest), min_df=2)
    vectorizer.fit([text for pair in split.training for text in (pair.chosen, pair.rejected)])

    def difference(pairs: Sequence[PreferencePair]) -> object:  # sparse [N, vocabulary]
        chosen, rejected = (
            vectorizer.transform(texts)
            for texts in ([pair.chosen for pair in pairs], [pair.rejected for pair in pairs])
        )
        return chosen - rejected

    learned = difference(split.training)
    # Every other pair is turned round; without an intercept that changes nothing but the labels.
    signs = np.where(np.arange(len(split.training)) % 2 == 0, 1.0, -1.0)
    turned = learned.multiply(signs[:, None]).tocsr()  # type: ignore[attr-defined]
    model = LogisticRegression(fit_intercept=False, max_iter=1_000)
    model.fit(turned, signs > 0)
    return np.asarray(model.decision_function(difference(split.heldout)), np.float64)


def stock_margins(split: PairSplit) -> Floats:
    """[N]: a response that was rejected anywhere in training is the worse one."""
    stock = {likeness(pair.rejected) for pair in split.training}
    return score_margins(lambda text: -float(likeness(text) in stock), split.heldout)


def score_margins(score: Score, pairs: Sequence[PreferencePair]) -> Floats:
    """[N]: the chosen response's score less that of the rejected one."""
    return np.array([score(pair.chosen) - score(pair.rejected) for pair in pairs], np.float64)


def count_doubled_marks(text: str) -> int:
    """Marks of punctuation that do not follow each other in careful writing; no ellipses."""
    return len(_DOUBLED.findall(text))


def count_odd_spaces(text: str) -> int:
    """Runs of white space that are more than one space, or stand at an end."""
    return len(re.findall(r"\s{2,}|^\s|\s$", text))


def count_lower_starts(text: str) -> int:
    """Sentences that begin with a small letter."""
    return len(_LOWER_START.findall(text))


def count_repeats(text: str) -> int:
    """Sequences of `NUM_REPEATED` words that were there before, in any case."""
    words = re.findall(r"\w+", text.lower())
    windows = list(zip(*(words[start:] for start in range(NUM_REPEATED)), strict=False))
    return len(windows) - len(set(windows))


def _fewer(count: Callable[[str], int]) -> Callable[[PairSplit], Floats]:
    """The shortcut that prefers the response with fewer of something."""
    return lambda split: score_margins(lambda text: -float(count(text)), split.heldout)


SHORTCUTS: dict[str, Callable[[PairSplit], Floats]] = {
    "length": length_margins,
    "words": word_margins,
    "words and word pairs": lambda split: word_margins(split, longest=2),
    "stock phrases": stock_margins,
    "doubled punctuation": _fewer(count_doubled_marks),
    "odd white space": _fewer(count_odd_spaces),
    "small letters at sentence starts": _fewer(count_lower_starts),
    "repeated word sequences": _fewer(count_repeats),
}
"""Name -> margins of the held-out pairs; what is counted is no merit, hence fewer is better."""


def _num_words(text: str) -> float:
    return float(len(text.split()))


def _hits(margins: Floats) -> float:
    return float(np.mean((margins > 0) + 0.5 * (margins == 0)))
