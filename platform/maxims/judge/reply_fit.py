"""How well a reply fits its context: the ranker, the topic and plain clues in one score.

A logistic regression joins them. It learns on conversations that the rankers have not seen, where
their scores are honest: true replies against replies of other conversations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from parley.platform.maxims.judge.ranker import NUM_LAGS, Ranker
from parley.platform.maxims.judge.ranker_encoders import TokenStates, TurnEncoder
from parley.platform.maxims.judge.topics import Topics
from parley.platform.maxims.text.sentences import find_content_words

PAIRS_AT_ONCE = 256
NUM_FOLDS = 5
STRENGTH = 0.3
"""Inverse regularisation of the regression, on standardised clues."""
CLUES = (
    "ranker",
    "topic_context",
    "topic_last",
    "shared_context",
    "shared_last",
    "content",
    "share_context",
    "reply_words",
    "last_words",
    "question_before",
    "question",
    "answering_word",
    "question_at_end",
)
"""The columns that are joined: ranker, cosines of topics, rarity of shared words, and forms."""
_ANSWERS = ("yes", "no", "yeah", "i ")

Floats = NDArray[np.float64]
Contexts = Sequence[Sequence[str]]


@dataclass(frozen=True)
class FitParts:
    """What tells how a reply fits."""

    encoder: TurnEncoder
    rankers: Sequence[Ranker]
    topics: Topics


@dataclass(frozen=True)
class Joining:
    """A logistic regression on `CLUES`."""

    centres: Floats
    """[F]: mean of each clue."""
    weights: Floats
    """[F]: of the clues less their means."""
    offset: float

    def score(self, clues: Floats) -> Floats:
        """Log-odds float64 [N] that each reply was given there; NaN stays."""
        found: Floats = (clues - self.centres) @ self.weights + self.offset
        return found


def join(true: Floats, false: Floats) -> Joining:
    """The regression of true [N, F] against false [M, F]; rows with NaN are left out."""
    from sklearn.linear_model import LogisticRegression

    clues = np.concatenate([true, false])
    labels = np.repeat([1, 0], [len(true), len(false)])
    usable = ~np.isnan(clues).any(1)
    clues, labels = clues[usable], labels[usable]
    centres, scales = clues.mean(0), np.maximum(clues.std(0), 1e-6)
    model = LogisticRegression(C=STRENGTH, max_iter=1_000).fit((clues - centres) / scales, labels)
    return Joining(centres, model.coef_[0] / scales, float(model.intercept_[0]))


def score_unseen(true: Floats, false: Floats, owners: NDArray[np.int64]) -> Floats:
    """Scores of `true` [N, F], each by a regression that has not seen its conversation.

    Args:
        true, false: clues of the true and of other replies in the same places, [N, F] each.
        owners: int64 [N], the conversation of each place.
    """
    folds = owners % NUM_FOLDS
    scores = np.full(len(true), np.nan)
    for fold in np.unique(folds):
        rest = folds != fold
        joining = join(true[rest], false[rest]) if rest.any() else join(true, false)
        scores[~rest] = joining.score(true[~rest])
    return scores


def find_clues(parts: FitParts, contexts: Contexts, replies: Sequence[str]) -> Floats:
    """The clues float64 [N, F] of replies, by the order of `CLUES`; NaN without a context."""
    clues = np.full((len(replies), len(CLUES)), np.nan)
    places = [place for place, turns in enumerate(contexts) if turns]
    if not places:
        return clues
    shown, said = [contexts[place] for place in places], [replies[place] for place in places]
    topics = parts.topics
    about = topics.locate(said)
    clues[places, 0] = score_by_rankers(parts, shown, said)
    clues[places, 1] = (about * topics.locate([" ".join(turns) for turns in shown])).sum(1)
    clues[places, 2] = (about * topics.locate([turns[-1] for turns in shown])).sum(1)
    clues[places, 3:] = [_read(topics, *pair) for pair in zip(shown, said, strict=True)]
    return clues


def _read(topics: Topics, turns: Sequence[str], reply: str) -> tuple[float, ...]:
    """The clues from the fourth on."""
    words, last = set(find_content_words(reply)), turns[-1]
    content = topics.weight(words)
    shared = topics.weight(words & set(find_content_words(" ".join(turns))))
    return (
        shared,
        topics.weight(words & set(find_content_words(last))),
        content,
        shared / (content + 1),
        len(reply.split()),
        len(last.split()),
        "?" in last,
        "?" in reply,
        reply.lower().startswith(_ANSWERS),
        last.endswith("?"),
    )


def score_by_rankers(parts: FitParts, contexts: Contexts, replies: Sequence[str]) -> Floats:
    """The rankers' mean score of each reply in its context, float64 [N]; no context is empty.

    Every distinct turn is encoded once, however many contexts or replies it stands in. Contexts
    are encoded apart from replies: both are still known when other replies are scored in the same
    contexts, or the same replies in others.
    """
    shown_turns = tuple(sorted({turn for shown in contexts for turn in shown}))
    said_turns = tuple(sorted(set(replies)))
    before = {turn: place for place, turn in enumerate(shown_turns)}
    after = {turn: place for place, turn in enumerate(said_turns, len(before))}
    states = parts.encoder.encode_again(shown_turns).join(parts.encoder.encode_again(said_turns))
    scores = np.zeros(len(replies))
    order = sorted(range(len(replies)), key=lambda row: len(replies[row]))
    for start in range(0, len(order), PAIRS_AT_ONCE):
        chunk = order[start : start + PAIRS_AT_ONCE]
        shown = [[before[turn] for turn in reversed(contexts[row][-NUM_LAGS:])] for row in chunk]
        said = [after[replies[row]] for row in chunk]
        scores[chunk] = _score_chunk(parts.rankers, states, shown, said)
    return scores


@torch.inference_mode()
def _score_chunk(
    rankers: Sequence[Ranker], states: TokenStates, shown: list[list[int]], said: list[int]
) -> Floats:
    """Scores [P] of replies; `shown` has the turns before each, the last one first."""
    used = sorted({turn for turns in shown for turn in turns} | set(said))
    place = {turn: number for number, turn in enumerate(used)}
    lags = torch.zeros(len(said), NUM_LAGS, dtype=torch.long)
    present = torch.zeros(len(said), NUM_LAGS)
    for row, turns in enumerate(shown):
        lags[row, : len(turns)] = torch.tensor([place[turn] for turn in turns])
        present[row, : len(turns)] = 1
    replies = torch.tensor([place[turn] for turn in said])
    own = torch.arange(len(said))
    padded, mask = states.pad(used)
    total = np.zeros(len(said))
    for ranker in rankers:
        read = ranker.read(padded, mask)
        scores = ranker(read, lags, present, read[replies], (own, own))
        total += scores.double().numpy()
    return total / len(rankers)
