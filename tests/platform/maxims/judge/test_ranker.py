"""The ranker: its score by a plain formula, what its loss counts, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from parley.platform.maxims.judge.ranker import MAX_COMPARED, NUM_LAGS, Ranker
from parley.platform.maxims.judge.ranker_encoders import (
    MAX_TOKENS,
    MiniLMEncoder,
    TokenStates,
    WordEncoder,
    has_minilm,
    learn_words,
)
from parley.platform.maxims.judge.ranker_training import (
    COMPARING_SCALE,
    RankerSettings,
    compute_loss,
    make_batch,
    train_ranker,
)

WIDTH = 12


def random_states(lengths: list[int], seed: int = 0) -> TokenStates:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenStates(rng.normal(size=(int(offsets[-1]), WIDTH)).astype(np.float16), offsets)


def make_ranker() -> Ranker:
    torch.manual_seed(0)
    ranker = Ranker(WIDTH, token_width=6).eval()
    for parameter in ranker.parameters():  # away from the special values of the start
        torch.nn.init.normal_(parameter, std=0.4)
    return ranker


def score_plainly(ranker: Ranker, states: TokenStates, turns: list[int], reply: int) -> float:
    """The score of one pair by loops; `turns` before the reply, the last one first."""

    def vectors(turn: int) -> torch.Tensor:
        start, stop = states.offsets[turn : turn + 2]
        return torch.from_numpy(states.states[start:stop].astype(np.float32))

    def compared(turn: int) -> torch.Tensor:
        return F.normalize(ranker.token_map(vectors(turn)[:MAX_COMPARED]), dim=-1)

    offered = F.normalize(ranker.reply_map(vectors(reply).mean(0)), dim=-1)
    mixed, whole, nearest = torch.zeros(WIDTH), [], []
    weights = F.softplus(ranker.token_weight(vectors(reply)[:MAX_COMPARED])[:, 0])
    weights = weights / weights.sum()
    bests = []
    for lag in range(NUM_LAGS):
        if lag < len(turns):
            wanted = F.normalize(ranker.lag_maps[lag](vectors(turns[lag]).mean(0)), dim=-1)
            found = (compared(reply) @ compared(turns[lag]).T).amax(1).clamp_min(0)
        else:
            wanted, found = torch.zeros(WIDTH), torch.zeros(len(weights))
        mixed = mixed + ranker.lag_shares[lag] * wanted
        whole.append(wanted @ offered)
        bests.append(found)
        nearest.append((found * weights).sum())
    whole.append(F.normalize(mixed, dim=-1) @ offered)
    nearest.append((torch.stack(bests).amax(0) * weights).sum())
    features = torch.stack([*whole, *nearest])
    context_traits = ranker.context_traits(vectors(turns[0]).mean(0))
    traits = torch.cat([context_traits, ranker.reply_traits(vectors(reply).mean(0))])
    joined = ranker.join_out(ranker.joining(torch.cat([features, traits])))
    return float(joined + features @ ranker.feature_weights + ranker.offset)


@torch.no_grad()
def test_scores_equal_the_plain_formula_whatever_the_padding() -> None:
    # Padding must not be anyone's nearest token: lengths differ, and each turn meets a longer one.
    ranker, states = make_ranker(), random_states([3, 7, 1, 36, 5])
    turns = ranker.read(*states.pad([0, 1, 2, 3, 4]))
    lags = torch.tensor([[1, 0, 2], [3, 0, 0], [2, 3, 0]])
    present = torch.tensor([[1.0, 1, 1], [1, 0, 0], [1, 1, 0]])
    pairs = (torch.tensor([0, 1, 2, 2]), torch.tensor([4, 2, 1, 3]))
    scores = ranker(turns, lags, present, turns, pairs)
    shown = ([1, 0, 2], [3], [2, 3], [2, 3])
    expected = [
        score_plainly(ranker, states, context, int(reply))
        for context, reply in zip(shown, pairs[1], strict=True)
    ]
    assert scores.tolist() == pytest.approx(expected, abs=1e-4)


def test_a_batch_says_who_answers_whom() -> None:
    batch = make_batch([1, 0], np.array([0, 2, 6]))
    assert batch.turns.tolist() == [2, 3, 4, 5, 0, 1]
    assert batch.conversations.tolist() == [1, 1, 1, 0]
    assert batch.replies.tolist() == [1, 2, 3, 5]
    assert batch.lags.tolist() == [[0, 0, 0], [1, 0, 0], [2, 1, 0], [4, 0, 0]]
    assert batch.present.tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0]]


@torch.no_grad()
def test_the_loss_equals_the_plain_formula() -> None:
    """Replies of the same conversation are no negatives; every drawn pair counts both ways."""
    ranker, states = make_ranker(), random_states([3, 5, 4, 2, 6, 3])
    batch = make_batch([0, 1], np.array([0, 4, 6]))
    turns = ranker.read(*states.pad(batch.turns.tolist()))
    everything = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    table = ranker(
        turns, batch.lags, batch.present, turns[batch.replies], (everything[:, 0], everything[:, 1])
    ).view(4, 4)
    rng = np.random.default_rng(5)
    drawn = [rng.permutation(4) for _ in range(3)]
    owners = [0, 0, 0, 1]
    by_context = [
        [table[i, row[i]] for row in drawn if owners[row[i]] != owners[i]] for i in range(4)
    ]
    by_reply = [
        [table[i, j] for row in drawn for i in range(4) if row[i] == j and owners[i] != owners[j]]
        for j in range(4)
    ]
    choices = sum(
        float(torch.logsumexp(torch.stack([table[i, i], *others[i]]), 0) - table[i, i])
        for others in (by_context, by_reply)
        for i in range(4)
    )
    false = torch.stack([score for scores in by_context for score in scores])
    belonging = F.softplus(-table.diag()).mean() + F.softplus(false).mean()
    cosines = (
        ranker.summarise(turns, batch.lags, batch.present)[:, -1]
        @ F.normalize(ranker.reply_map(turns.pooled[batch.replies]), dim=-1).T
    )
    whole = COMPARING_SCALE * cosines
    for i, j in everything.tolist():
        if i != j and owners[i] == owners[j]:
            whole[i, j] = -1e4
    own = torch.arange(4)
    compared = F.cross_entropy(whole, own) + F.cross_entropy(whole.T, own)
    expected = choices / 4 + 2 * float(belonging) + float(compared) / 2
    loss = compute_loss(ranker, states, batch, 3, np.random.default_rng(5))
    assert float(loss) == pytest.approx(expected, abs=1e-4)


def test_one_conversation_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two"):
        train_ranker(random_states([2, 2]), np.array([0, 2]), RankerSettings(), seed=0)


def make_topics(num_talks: int, seed: int) -> tuple[TokenStates, np.ndarray]:
    """Conversations of four turns whose token vectors lie around the topic's own vector."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(num_talks):
        topic = rng.normal(size=WIDTH)
        rows += [topic + 0.7 * rng.normal(size=(3, WIDTH)) for _ in range(4)]
    offsets = np.arange(0, 3 * len(rows) + 1, 3)
    firsts = np.arange(0, 4 * num_talks + 1, 4)
    return TokenStates(np.concatenate(rows).astype(np.float16), offsets), firsts


def test_it_learns_to_prefer_the_reply_of_the_same_conversation() -> None:
    settings = RankerSettings(
        num_epochs=4, conversations_per_batch=10, num_negatives=4, token_width=6, warmup_steps=2
    )
    ranker = train_ranker(*make_topics(60, 1), settings, seed=0)
    states, firsts = make_topics(20, 2)
    batch = make_batch(list(range(20)), firsts)
    with torch.no_grad():
        turns = ranker.read(*states.pad(batch.turns.tolist()))
        own = torch.arange(len(batch.replies))
        reply = turns[batch.replies]
        true = ranker(turns, batch.lags, batch.present, reply, (own, own))
        false = ranker(turns, batch.lags, batch.present, reply, (own, own.roll(9)))
    assert float((true > false).float().mean()) > 0.9
    assert float(true.mean()) > 0 > float(false.mean())


def test_training_is_a_function_of_its_seed() -> None:
    settings = RankerSettings(num_epochs=1, conversations_per_batch=5, token_width=4)
    states, firsts = make_topics(10, 1)
    weights = [train_ranker(states, firsts, settings, seed).token_map.weight for seed in (3, 3, 4)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_word_vectors_are_near_for_words_of_the_same_company() -> None:
    turns = ["the cat and the dog play", "a dog and a cat sleep", "the cat chased the dog"] * 4
    turns += ["stars and planets shine", "planets circle the stars", "bright stars far planets"] * 4
    encoder = learn_words(turns, width=8, seed=0)
    vectors = encoder.encode(["cat", "dog", "stars"]).states.astype(float)
    cat, dog, stars = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert cat @ dog > cat @ stars + 0.2


def test_word_encoder_reads_any_turn() -> None:
    encoder = WordEncoder(["hello"], np.ones((513, 3), np.float32))
    states = encoder.encode(["", "hello \u4f60\u597d", "word " * 100])
    assert np.diff(states.offsets).tolist() == [1, 3, MAX_TOKENS]


@pytest.mark.skipif(not has_minilm(), reason="needs the extra `embeddings`")
def test_minilm_gives_the_same_vectors_in_any_batch() -> None:
    encoder = MiniLMEncoder()
    turns = ["Do you like jazz?", "Yes, I love it, above all the old records.", ""]
    together = encoder.encode(turns)
    for number, turn in enumerate(turns):
        alone = encoder.encode([turn])
        start, stop = together.offsets[number : number + 2]
        np.testing.assert_allclose(together.states[start:stop], alone.states, atol=2e-2)
