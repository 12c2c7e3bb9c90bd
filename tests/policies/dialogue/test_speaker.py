"""A speaker says what the model would say: every figure is held against teacher forcing."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from parley.policies.dhmm_gpt2 import DHMMGPT2Config, DHMMGPT2ForCausalLM
from parley.policies.dialogue.reading import CachedReader, RereadingReader
from parley.policies.dialogue.sampling import Sampling, truncated_log_probs
from parley.policies.dialogue.speaker import NonFiniteLogitsError, Reply, Speaker

V, WIDTH, CONTEXT, END = 12, 32, 160, 0
SAMPLING = Sampling(temperature=0.8, top_k=6, max_reply_tokens=8)

SIZES: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.2,
    "bos_token_id": END,
    "eos_token_id": END,
    "pad_token_id": None,
}


def make_gpt2(**settings: Any) -> PreTrainedModel:
    return GPT2LMHeadModel(GPT2Config(**{**SIZES, **settings}))


def make_unfused_gpt2() -> PreTrainedModel:
    """Takes the way of any transformers model: its activation is another."""
    return make_gpt2(activation_function="relu")


def make_llama() -> PreTrainedModel:
    return LlamaForCausalLM(LlamaConfig(**SIZES, intermediate_size=48, num_key_value_heads=2))


def make_neox() -> PreTrainedModel:
    return GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES, intermediate_size=48))


def make_mistral() -> PreTrainedModel:
    """Looks back 6 tokens only."""
    sizes = {**SIZES, "intermediate_size": 48, "num_key_value_heads": 2, "sliding_window": 6}
    return MistralForCausalLM(MistralConfig(**sizes))


def make_dhmm_gpt2() -> PreTrainedModel:
    config = DHMMGPT2Config(vocab_size=V, embed_size=WIDTH, layers=2, heads=2, max_len=CONTEXT)
    return DHMMGPT2ForCausalLM(config)


MAKERS = (make_gpt2, make_unfused_gpt2, make_llama, make_neox, make_mistral, make_dhmm_gpt2)


def make(maker: Callable[[], PreTrainedModel] = make_gpt2, seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    return maker().eval()


def embedding_of(model: PreTrainedModel) -> torch.Tensor:
    embedding = model.get_input_embeddings()
    assert isinstance(embedding, nn.Embedding)
    return embedding.weight


def say(rng: np.random.Generator, most: int = 9) -> NDArray[np.int64]:
    """An utterance and its end token."""
    return np.append(rng.integers(1, V, rng.integers(1, most)), END)


@torch.no_grad()
def read_all(model: PreTrainedModel, ids: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [T, V] and hidden states [T, D] of one whole history, without any cache."""
    tokens = torch.from_numpy(ids)[None]
    hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
    return model(input_ids=tokens, use_cache=False).logits[0], hidden[0]


def gather(table: torch.Tensor, ids: NDArray[np.integer]) -> NDArray[np.float32]:
    return table.gather(1, torch.from_numpy(ids.astype(np.int64))[:, None])[:, 0].numpy()


def check_reply(
    model: PreTrainedModel,
    sampling: Sampling,
    history: NDArray[np.int64],
    reply: Reply,
    score_last: int = 0,
    value_head: nn.Module | None = None,
) -> None:
    """Hold a reply against one plain pass over its history and itself."""
    logits, hidden = read_all(model, np.concatenate([history, reply.tokens]).astype(np.int64))
    before = slice(len(history) - 1, -1)
    support = None if reply.support is None else torch.from_numpy(reply.support)
    drawn_from = truncated_log_probs(logits[before], support, sampling.temperature)
    full = logits.log_softmax(dim=-1)
    np.testing.assert_allclose(reply.log_probs, gather(drawn_from, reply.tokens), rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        reply.full_log_probs, gather(full[before], reply.tokens), rtol=0, atol=1e-5
    )
    entropies = torch.special.entr(drawn_from.exp()).sum(dim=-1).numpy()
    np.testing.assert_allclose(reply.entropies, entropies, rtol=0, atol=1e-5)
    if score_last:
        of_history = full[len(history) - score_last - 1 : len(history) - 1]
        assert reply.scored is not None
        expected = gather(of_history, history[-score_last:])
        np.testing.assert_allclose(reply.scored, expected, rtol=0, atol=1e-5)
    if value_head is not None:
        assert reply.values is not None
        with torch.no_grad():
            expected = value_head(hidden[before])[:, 0].numpy()
        np.testing.assert_allclose(reply.values, expected, rtol=0, atol=1e-5)


@dataclass
class Talk:
    """Dialogues with a speaker, whose other side says random things."""

    speaker: Speaker
    seed: int = 0
    histories: list[NDArray[np.int64]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        if not self.histories:
            self.histories = [say(self.rng) for _ in range(self.speaker.num_rows)]

    def turn(self, rows: Sequence[int], score_last: Sequence[int] | None = None) -> list[Reply]:
        """A reply in each row; histories grow by it and by an answer."""
        limit = self.speaker.sampling.max_reply_tokens
        uniforms = self.rng.random((len(rows), limit))
        before = [self.histories[row] for row in rows]
        replies = self.speaker.reply(rows, before, uniforms, score_last)
        for row, reply in zip(rows, replies, strict=True):
            closing = np.array([] if reply.closed else [END], np.int64)
            said = np.append(reply.tokens, closing).astype(np.int64)
            self.histories[row] = np.concatenate([self.histories[row], said, say(self.rng)])
        return replies


@pytest.mark.parametrize("maker", MAKERS)
def test_replies_equal_teacher_forcing_over_several_turns(
    maker: Callable[[], PreTrainedModel],
) -> None:
    """Rows are ragged, end early, take part or not, come in any order, and lose their fronts."""
    model = make(maker)
    torch.manual_seed(1)
    head = nn.Linear(WIDTH, 1)
    talk = Talk(Speaker(model, END, 6, SAMPLING, head))
    closed = []
    for turn in range(5):
        rows = [int(row) for row in talk.rng.permutation(6)[: talk.rng.integers(2, 7)]]
        if turn == 3:  # the window has moved on
            front = talk.histories[rows[0]]
            talk.histories[rows[0]] = front[1 + int(np.argmax(front == END)) :]
        before = [talk.histories[row] for row in rows]
        score_last = [int(talk.rng.integers(0, min(9, len(history)))) for history in before]
        replies = talk.turn(rows, score_last)
        for history, reply, count in zip(before, replies, score_last, strict=True):
            assert len(reply.tokens) <= SAMPLING.max_reply_tokens
            assert reply.closed == (reply.tokens[-1] == END) and END not in reply.tokens[:-1]
            check_reply(model, SAMPLING, history, reply, count, head)
            closed.append(reply.closed)
    assert any(closed) and not all(closed)


@pytest.mark.parametrize(
    ("maker", "reader"),
    [
        (make_gpt2, CachedReader),
        (make_unfused_gpt2, CachedReader),
        (make_llama, CachedReader),
        (make_neox, CachedReader),
        (make_mistral, RereadingReader),
        (make_dhmm_gpt2, RereadingReader),
    ],
)
def test_models_with_keys_and_values_alone_are_cached(
    maker: Callable[[], PreTrainedModel], reader: type
) -> None:
    assert type(Speaker(make(maker), END, 2, SAMPLING).reader) is reader


SAMPLINGS = [
    Sampling(max_reply_tokens=6),
    Sampling(temperature=1.3, top_p=0.7, max_reply_tokens=6),
    Sampling(top_k=4, min_reply_tokens=3, max_reply_tokens=6),
    Sampling(min_reply_tokens=6, max_reply_tokens=6),
    Sampling(min_reply_tokens=2, max_reply_tokens=6),
    Sampling(max_reply_tokens=1),
]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_every_way_of_sampling_equals_teacher_forcing(sampling: Sampling) -> None:
    model = make()
    talk = Talk(Speaker(model, END, 5, sampling))
    for _ in range(3):
        before = list(talk.histories)
        for history, reply in zip(before, talk.turn(range(5)), strict=True):
            assert len(reply.tokens) > sampling.min_reply_tokens or (
                not reply.closed and len(reply.tokens) == sampling.max_reply_tokens
            )
            check_reply(model, sampling, history, reply)


def test_greedy_replies_are_those_of_generate() -> None:
    model = make()
    speaker = Speaker(model, END, 4, Sampling(temperature=0.0, max_reply_tokens=12))
    histories = Talk(speaker).histories
    replies = speaker.reply(range(4), histories, np.zeros((4, 12)))
    for history, reply in zip(histories, replies, strict=True):
        tokens = torch.from_numpy(history)[None]
        settings = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": END}
        expected = model.generate(  # type: ignore[operator]
            tokens, attention_mask=torch.ones_like(tokens), **settings
        )
        assert reply.tokens.tolist() == expected[0, len(history) :].tolist()


def test_many_rows_say_what_each_says_alone() -> None:
    model = make()
    together = Talk(Speaker(model, END, 32, SAMPLING))
    start = list(together.histories)
    uniforms = np.random.default_rng(7).random((32, 8))
    replies = together.speaker.reply(range(32), start, uniforms)
    assert len({len(reply.tokens) for reply in replies}) > 2
    for row in range(32):
        alone = Speaker(model, END, 1, SAMPLING)
        reply = alone.reply([0], [start[row]], uniforms[row : row + 1])[0]
        assert reply.tokens.tolist() == replies[row].tokens.tolist()
        np.testing.assert_allclose(reply.log_probs, replies[row].log_probs, rtol=0, atol=1e-5)


def test_the_same_uniforms_give_the_same_bits() -> None:
    talks = [Talk(Speaker(make(), END, 4, SAMPLING), seed=3) for _ in range(2)]
    for _ in range(3):
        one, other = (talk.turn([2, 0, 3]) for talk in talks)
        for a, b in zip(one, other, strict=True):
            assert np.array_equal(a.tokens, b.tokens) and np.array_equal(a.log_probs, b.log_probs)
            assert np.array_equal(a.entropies, b.entropies)


def test_scoring_reads_on_from_what_is_held() -> None:
    model = make()
    talk = Talk(Speaker(model, END, 3, SAMPLING))
    talk.turn([0, 1, 2])
    for _ in range(2):  # the second time everything asked for has been read already
        counts = [2, 0, len(talk.histories[2]) - 1]
        scores = talk.speaker.score([0, 1, 2], talk.histories, counts)
        for history, count, scored in zip(talk.histories, counts, scores, strict=True):
            assert scored.shape == (count,) and scored.dtype == np.float32
            if count:
                logits, _ = read_all(model, history)
                full = logits.log_softmax(dim=-1)[-count - 1 : -1]
                np.testing.assert_allclose(scored, gather(full, history[-count:]), atol=1e-5)
    reply = talk.turn([1])[0]
    assert reply.scored is None and reply.values is None


def count_read_tokens(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the passes to come, filled as they happen."""
    assert isinstance(speaker.reader, CachedReader)
    network, sizes = speaker.reader._network, []

    def count(tokens: torch.Tensor, *rest: object) -> torch.Tensor:
        sizes.append(tokens.numel())
        return network(tokens, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(speaker.reader, "_network", count)
    return sizes


def test_only_what_is_new_is_read_and_ended_rows_cost_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speaker = Speaker(make(), END, 8, replace(SAMPLING, temperature=3.0))
    talk = Talk(speaker, seed=5)
    talk.turn(range(8))
    before = list(talk.histories)
    sizes = count_read_tokens(speaker, monkeypatch)
    assert isinstance(speaker.reader, CachedReader)
    held = speaker.reader.cache.lengths[speaker.reader._slots]
    replies = talk.turn(range(8))
    new = [len(history) - count for history, count in zip(before, held, strict=True)]
    steps = [sum(len(reply.tokens) > step for reply in replies) for step in range(1, 8)]
    steps = [size for size in steps if size]
    assert max(new) < 14 and sizes[0] == 8 * max(new)
    assert sizes[1:] == steps and steps[-1] < 8


def test_a_row_that_starts_over_is_read_apart_from_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speaker = Speaker(make(), END, 20, SAMPLING)
    talk = Talk(speaker)
    talk.turn(range(20))
    talk.histories[3] = np.concatenate([say(talk.rng, 30) for _ in range(4)])
    sizes = count_read_tokens(speaker, monkeypatch)
    before = list(talk.histories)
    replies = talk.turn(range(20))
    assert sizes[0] == len(before[3])
    check_reply(make(), SAMPLING, before[3], replies[3])
    check_reply(make(), SAMPLING, before[4], replies[4])


def test_new_weights_count_once_the_old_past_is_forgotten() -> None:
    model = make()
    talk = Talk(Speaker(model, END, 3, SAMPLING))
    talk.turn(range(3))
    model.load_state_dict(make(seed=1).state_dict())
    talk.speaker.forget()
    before = list(talk.histories)
    for history, reply in zip(before, talk.turn(range(3)), strict=True):
        check_reply(model, SAMPLING, history, reply)


def test_clocks_and_counts() -> None:
    talk = Talk(Speaker(make(), END, 3, SAMPLING))
    replies = talk.turn(range(3)) + talk.turn([1])
    assert talk.speaker.num_tokens == sum(len(reply.tokens) for reply in replies)
    assert 0 < talk.speaker.forward_s < talk.speaker.total_s


def test_half_precision_speaks() -> None:
    model = make().to(torch.bfloat16)  # type: ignore[arg-type]
    talk = Talk(Speaker(model, END, 4, SAMPLING, nn.Linear(WIDTH, 1, dtype=torch.bfloat16)))
    talk.turn(range(4))
    before = list(talk.histories)
    for history, reply in zip(before, talk.turn(range(4)), strict=True):
        logits, _ = read_all(model, np.concatenate([history, reply.tokens]).astype(np.int64))
        full = logits.float().log_softmax(dim=-1)[len(history) - 1 : -1]
        np.testing.assert_allclose(reply.full_log_probs, gather(full, reply.tokens), atol=0.2)
        assert reply.log_probs.dtype == np.float32 and reply.values is not None


def test_a_history_may_fill_the_window_up_to_the_reply() -> None:
    model = make()
    history = np.append(np.random.default_rng(0).integers(1, V, CONTEXT - 9), END)
    sampling = replace(SAMPLING, min_reply_tokens=8)
    speaker = Speaker(model, END, 2, sampling)
    reply = speaker.reply([1], [history], np.random.default_rng(1).random((1, 8)))[0]
    check_reply(model, sampling, history, reply, 0)
    with pytest.raises(ValueError, match=r"dialogue 1 has 153 tokens and a reply up to 8, more"):
        speaker.reply([1], [np.append(5, history)], np.zeros((1, 8)))
    assert speaker.score([0], [np.append([7] * 8, history)], [3])[0].shape == (3,)


def test_broken_weights_name_their_dialogues() -> None:
    model = make()
    speaker = Speaker(model, END, 4, SAMPLING)
    histories = [np.array([t, END]) for t in (3, 4, 5, 6)]
    with torch.no_grad():
        embedding_of(model)[4] = torch.nan  # tied: no logit is a number then
    with pytest.raises(NonFiniteLogitsError, match=r"not finite in dialogues \[2, 3\]") as error:
        speaker.reply([2, 3], histories[2:], np.zeros((2, 8)))
    assert error.value.rows == [2, 3]
    restored: NonFiniteLogitsError = pickle.loads(pickle.dumps(error.value))
    assert restored.rows == [2, 3] and str(restored) == str(error.value)


def test_only_the_broken_dialogue_is_named_and_a_healed_model_speaks_again() -> None:
    model = make(lambda: make_gpt2(tie_word_embeddings=False))
    speaker = Speaker(model, END, 3, SAMPLING)
    histories = [np.array([t, 9, END]) for t in (3, 4, 5)]
    histories[1] = np.concatenate([[4] * 40, histories[1]])  # its keys lie beside all others
    embedding = embedding_of(model)
    healthy = embedding.detach().clone()
    with torch.no_grad():
        embedding[4] = torch.nan
    for score_last in (None, [1, 1, 1]):
        with pytest.raises(NonFiniteLogitsError) as error:
            speaker.reply([0, 1, 2], histories, np.zeros((3, 8)), score_last)
        assert error.value.rows == [1]
    with torch.no_grad():
        embedding.copy_(healthy)
    histories[1] = histories[0]
    uniforms = np.random.default_rng(0).random((3, 8))
    for history, reply in zip(
        histories, speaker.reply([2, 1, 0], histories, uniforms), strict=True
    ):
        check_reply(model, SAMPLING, history, reply)


HISTORY = np.array([3, 4, END])


@pytest.mark.parametrize(
    ("rows", "histories", "shape", "score_last", "message"),
    [
        ([0], [HISTORY], (1, 7), None, r"uniforms must have the shape .* = \(1, 8\), got \(1, 7\)"),
        ([], [], (0, 8), None, "0 rows and 0 histories"),
        ([0, 0], [HISTORY] * 2, (2, 8), None, "rows must be different numbers"),
        ([2], [HISTORY], (1, 8), None, "below num_rows = 2, got"),
        ([0], [HISTORY[:-1]], (1, 8), None, "dialogue 0 must end in the end token 0"),
        ([0], [HISTORY[:0]], (1, 8), None, "must end in the end token"),
        ([1], [np.array([V, END])], (1, 8), None, "holds token 12, but the model's vocabulary has"),
        ([1], [np.array([-1, END])], (1, 8), None, "holds token -1"),
        ([0], [HISTORY], (1, 8), [3], "score_last must be between 0 and 2 for dialogue 0"),
    ],
)
def test_arguments_that_do_not_fit(
    rows: list[int],
    histories: list[NDArray[np.int64]],
    shape: tuple[int, int],
    score_last: list[int] | None,
    message: str,
) -> None:
    speaker = Speaker(make(), END, 2, SAMPLING)
    with pytest.raises(ValueError, match=message):
        speaker.reply(rows, histories, np.zeros(shape), score_last)


def test_speakers_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="end_token must be below the model's vocabulary of 12"):
        Speaker(make(), V, 1, SAMPLING)
    with pytest.raises(ValueError, match="num_rows must be >= 1"):
        Speaker(make(), END, 0, SAMPLING)
