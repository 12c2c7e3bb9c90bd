"""The scale of surprise, and what it is for: a policy of random tokens is not the optimum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from parley.envs.dialogue.openers import load_openers
from parley.envs.dialogue.reward import SurpriseScale, reward_reply
from parley.envs.dialogue.rules import DialogueSettings
from parley.platform.distort.calibration import HIGHEST_CEILING, measure_scale
from parley.platform.distort.player import CALIBRATION, DialoguePlayer, SeatModels
from parley.platform.distort.record import PlayedDialogue, PlayedTurn
from parley.policies.dialogue.loading import LanguageModel, load_language_model
from parley.policies.dialogue.sampling import Sampling
from parley.policies.dialogue.speaker import Speaker
from tests.platform.distort.dialogue_fixtures import (
    COMPETITOR,
    END,
    PLAIN,
    make_cast,
    make_model,
    make_policy,
    make_settings,
    play,
    score_reply,
    speak,
)

NUM_DIALOGUES = 64
Tokens = NDArray[np.int32]
Floats = NDArray[np.float32]
SEAT = "distorter"


@dataclass(frozen=True)
class Talks:
    """Dialogues of a trained model with itself, and what is measured of them."""

    model: LanguageModel
    settings: DialogueSettings
    judge: Speaker
    dialogues: list[PlayedDialogue]
    scale: SurpriseScale

    @property
    def turns(self) -> list[tuple[PlayedDialogue, PlayedTurn]]:
        """The distorter's, with their dialogues."""
        return [(d, turn) for d in self.dialogues for turn in d.turns_of([SEAT])]

    def score(self, replies: Sequence[Tokens]) -> list[Floats]:
        """The judge's log-probabilities of other replies in the places of the distorter's."""
        scores: list[Floats] = []
        size = self.judge.num_rows
        pairs = list(zip(self.turns, replies, strict=True))
        for first in range(0, len(pairs), size):
            batch = pairs[first : first + size]
            tails = [r if r[-1] == self.settings.end_token else self._close(r) for _, r in batch]
            texts = [
                np.concatenate([dialogue.tokens[turn.history_start : turn.start], tail])
                for ((dialogue, turn), _), tail in zip(batch, tails, strict=True)
            ]
            self.judge.forget()
            found = self.judge.score(range(len(batch)), texts, [len(tail) for tail in tails])
            scores += [score[: len(r)] for score, (_, r) in zip(found, batch, strict=True)]
        return scores

    def _close(self, reply: Tokens) -> Tokens:
        return np.append(reply, np.int32(self.settings.end_token))

    def mean_reward(
        self, replies: Sequence[Tokens], policy: Sequence[Floats], beta: float
    ) -> float:
        """What `replies` earn, drawn by a policy with these log-probabilities.

        The judge is the distorter's starting point too.
        """
        scores = self.score(replies)
        return float(
            np.mean(
                [
                    reward_reply(score, own, score, beta, self.scale).total
                    for score, own in zip(scores, policy, strict=True)
                ]
            )
        )


@pytest.fixture(scope="module")
def talks(quick_model_folder: Path) -> Talks:
    """Dialogues of the quick model, which judges and begins."""
    model = load_language_model(quick_model_folder)
    sampling = Sampling(top_k=50, max_reply_tokens=20)
    vocab_size = int(model.model.get_output_embeddings().weight.shape[0])
    settings = DialogueSettings((SEAT, "competitor"), 5, 20, 120, model.end_token, vocab_size)
    judge, distorter = (Speaker(model.model, model.end_token, 32, sampling) for _ in range(2))
    cast = SeatModels({SEAT: distorter, "competitor": judge}, judge, {SEAT: judge})
    player = DialoguePlayer(settings, cast, 0, CALIBRATION)
    texts = load_openers(None)
    openers = [
        np.array(model.tokenizer.encode(texts[n % len(texts)], add_special_tokens=False), np.int32)
        for n in range(NUM_DIALOGUES)
    ]
    dialogues = []
    for first in range(0, NUM_DIALOGUES, 32):
        dialogues += player.play(range(first, first + 32), openers[first : first + 32])
    scale = measure_scale(dialogues, [SEAT], judge, settings, 0.9, seed=0)
    return Talks(model, settings, judge, dialogues, scale)


def own_replies(talks: Talks) -> list[Tokens]:
    return [turn.tokens for _, turn in talks.turns]


def random_replies(talks: Talks, share: float, seed: int = 5) -> list[Tokens]:
    """The replies with this share of their tokens drawn from the whole vocabulary."""
    generator = np.random.default_rng(seed)
    replies = []
    for reply in own_replies(talks):
        tokens = reply.copy()
        num_words = len(reply) - (reply[-1] == talks.settings.end_token)
        drawn = generator.integers(talks.settings.vocab_size - 1, size=num_words)
        drawn += drawn >= talks.settings.end_token
        chosen = generator.random(num_words) < share
        tokens[:num_words][chosen] = drawn[chosen]
        replies.append(tokens)
    return replies


def displaced_replies(talks: Talks) -> list[Tokens]:
    """Fluent text in the wrong place."""
    replies = own_replies(talks)
    return replies[7:] + replies[:7]


def uniform(talks: Talks, replies: Sequence[Tokens]) -> list[Floats]:
    """Log-probabilities of tokens under a policy that draws any."""
    level = -np.log(talks.settings.vocab_size)
    return [np.full(len(reply), level, np.float32) for reply in replies]


def test_the_levels_stand_in_their_order(talks: Talks) -> None:
    scale = talks.scale
    assert 0.5 < scale.start < scale.ceiling < scale.random
    assert scale.random > np.log(talks.settings.vocab_size)  # worse than knowing nothing
    own = [-float(np.mean(turn.judge_log_probs)) for _, turn in talks.turns]  # type: ignore[arg-type]
    assert scale.start == pytest.approx(np.mean(own), abs=1e-5)


def test_random_tokens_are_not_the_optimum_even_without_an_anchor(talks: Talks) -> None:
    own, noise, foreign = own_replies(talks), random_replies(talks, 1.0), displaced_replies(talks)
    gibberish = np.inf
    for beta in (2.5, 0.1, 0.0):
        began = talks.mean_reward(own, talks.score(own), beta)
        gibberish = talks.mean_reward(noise, uniform(talks, noise), beta)
        assert gibberish <= began
    fluent = talks.mean_reward(foreign, talks.score(foreign), 0.0)
    assert fluent > talks.mean_reward(own, talks.score(own), 0.0) > gibberish


def test_the_reward_falls_with_the_share_of_random_tokens(talks: Talks) -> None:
    """Beyond what fluent text can earn, more noise never pays."""
    rewards = []
    for share in (0.5, 0.75, 1.0):
        replies = random_replies(talks, share)
        rewards.append(talks.mean_reward(replies, talks.score(replies), 0.0))
    assert rewards == sorted(rewards, reverse=True)
    foreign = displaced_replies(talks)
    assert talks.mean_reward(foreign, talks.score(foreign), 0.0) > rewards[-1]


def test_without_the_scale_random_tokens_would_win(talks: Talks) -> None:
    """What the scale is there for."""
    noise, foreign = random_replies(talks, 1.0), displaced_replies(talks)
    surprise = [[-float(s.mean()) for s in talks.score(r)] for r in (noise, foreign)]
    assert np.mean(surprise[0]) > np.mean(surprise[1])


def test_the_scale_is_that_of_slow_passes() -> None:
    """Every level from plain forward passes over each reply alone; narrow windows too."""
    cast, settings = make_cast(make_policy(0)), make_settings(window=15, max_turns=7)
    dialogues = play(cast, settings)
    judge = make_model(COMPETITOR)
    scale = measure_scale(dialogues, [SEAT], speak(judge, PLAIN, 5), settings, 0.5, seed=2)
    turns = [(d, turn) for d in dialogues for turn in d.turns_of([SEAT])]
    own = [-float(score_reply(judge, *pair).mean()) for pair in turns]
    assert scale.start == pytest.approx(np.mean(own), abs=1e-4)
    generator = np.random.default_rng(2)
    order = generator.permutation(len(turns))
    source = {int(order[i]): int(order[i - 1]) for i in range(len(order))}
    foreign = [
        surprise_of(turns[here][0], turns[here][1], turns[source[here]][1].tokens)
        for here in range(len(turns))
    ]
    noise = []
    for dialogue, turn in turns:
        drawn = generator.integers(settings.vocab_size - 1, size=len(turn.tokens))
        tokens = np.array([d + (d >= END) for d in drawn], np.int32)
        if turn.closed:
            tokens[-1] = END
        noise.append(surprise_of(dialogue, turn, tokens))
    assert scale.random == pytest.approx(np.mean(noise), abs=1e-4)
    expected = float(np.quantile(foreign, 0.5))
    if scale.random > scale.start:
        expected = min(expected, scale.start + HIGHEST_CEILING * (scale.random - scale.start))
    assert scale.ceiling == pytest.approx(max(expected, scale.start), abs=1e-4)


def surprise_of(dialogue: PlayedDialogue, turn: PlayedTurn, tokens: Tokens) -> float:
    """The judge's surprise at other tokens in a reply's place, by one plain pass."""
    ids = np.concatenate([dialogue.tokens[: turn.start], tokens])
    changed = PlayedDialogue(dialogue.number, dialogue.opener, ids)
    place = PlayedTurn(
        SEAT,
        turn.history_start,
        turn.start,
        tokens,
        False,
        *(np.zeros(0, np.float32),) * 3,
        None,
        None,
    )
    return -float(score_reply(make_model(COMPETITOR), changed, place).mean())


@pytest.mark.parametrize("seed", range(4))
def test_a_judge_that_knows_nothing_still_gives_a_sound_scale(seed: int) -> None:
    """Untrained models find all replies alike: the ceiling stays below random tokens."""
    dialogues = play(make_cast(make_policy(seed), competitor=seed + 10))
    judge = speak(make_model(seed + 10), PLAIN, 16)
    scale = measure_scale(dialogues, [SEAT], judge, make_settings(), 0.9, seed)
    assert scale.start <= scale.ceiling
    assert float(scale.count(np.array([scale.random], np.float32))[0]) <= scale.start + 1e-4
    assert scale.slope <= 9.001


def test_one_reply_is_too_few() -> None:
    dialogues = play(make_cast(make_policy(0)), make_settings(max_turns=1), num_dialogues=1)
    judge = speak(make_model(COMPETITOR), PLAIN, 16)
    with pytest.raises(ValueError, match="1 replies of distorter: at least 2"):
        measure_scale(dialogues, [SEAT], judge, make_settings(), 0.9, seed=0)
