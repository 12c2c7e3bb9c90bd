"""Next-token learning of traces: the loss, the noise that comes in late, and that it learns."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from parley.envs.labels import IGNORED_LABEL
from parley.envs.trace.language import Language
from parley.envs.trace.languages import build_language
from parley.platform.engine.next_token.gradient_step import NextTokenLearner, TokenBatch
from parley.platform.engine.next_token.mutation_ramp import MutationRamp
from parley.platform.trace.blocks import BlockRecipe, make_block
from parley.platform.trace.evaluation.measure import TraceTask, measure
from parley.platform.trace.settings import NextTokenConfig
from parley.platform.trace.stream import to_tensors
from parley.policies.dhmm_gpt2 import DHMMGPT2Config, DHMMGPT2ForCausalLM

HOLDOUT = 0.2
SIZES = {"embed_size": 16, "heads": 2, "ff_hidden": 32, "num_states": 4}


def make_model(language: Language, **sizes: Any) -> DHMMGPT2ForCausalLM:
    torch.manual_seed(0)
    chosen = {"positions": "rotary", **SIZES, **sizes}
    return DHMMGPT2ForCausalLM(DHMMGPT2Config(vocab_size=language.vocab_size, **chosen))


def stream(
    language: Language, sizes: tuple[int, ...], batch_tokens: int, seed: int = 0
) -> Iterator[TokenBatch]:
    """Batches without end, made here."""
    recipe = BlockRecipe(language, sizes, HOLDOUT, batch_tokens, 8, seed)
    block = 0
    while True:
        yield from map(to_tensors, make_block(recipe, block))
        block += 1


def slow_loss(logits: Tensor, targets: Tensor) -> float:
    """Mean nats of the targets that count, one after the other."""
    nats = []
    for row, place in zip(*np.nonzero(targets.numpy() != IGNORED_LABEL), strict=True):
        values = logits[row, place].double().tolist()
        chosen = values[int(targets[row, place])]
        nats.append(math.log(sum(math.exp(value) for value in values)) - chosen)
    return sum(nats) / len(nats)


@pytest.mark.parametrize("name", ["addition", "sorting", "shell_game", "markov"])
def test_the_loss_is_the_mean_over_determined_tokens(name: str) -> None:
    language = build_language(name)
    batch = next(stream(language, (3, 4), 200))
    assert (batch.targets == IGNORED_LABEL).any() or language.is_source
    model = make_model(language).eval()
    with torch.no_grad():
        expected = slow_loss(model(batch.inputs).logits, batch.targets)
    loss = NextTokenLearner(model, NextTokenConfig(), seed=0).learn(batch)
    assert loss == pytest.approx(expected, rel=1e-5)


def test_what_stands_in_the_prompt_has_no_gradient() -> None:
    """The labels of the prompt may be anything: only those that count move the weights."""
    language = build_language("addition")
    batch = next(stream(language, (3,), 200))
    first = batch.targets.shape[1] - batch.num_places
    assert (batch.targets[:, :first] == IGNORED_LABEL).all()
    assert (batch.targets[:, first] != IGNORED_LABEL).all()
    assert first == language.write_traces(3, np.zeros((1, 6), np.int64)).prompt_length - 1


def test_ranks_share_a_batch_and_empty_shares_do_no_harm() -> None:
    language = build_language("addition")
    batch = next(stream(language, (6,), 64))
    assert len(batch.inputs) == 2
    settings = NextTokenConfig(max_grad_norm=1e9)
    whole = NextTokenLearner(make_model(language), settings, seed=0)
    loss = whole.learn(batch)
    learners = [NextTokenLearner(make_model(language), settings, 0, rank, 3) for rank in range(3)]
    assert sum(learner.learn(batch) for learner in learners) == pytest.approx(loss, rel=1e-5)
    for name, parameter in whole.model.named_parameters():
        grads = [dict(learner.model.named_parameters())[name].grad for learner in learners]
        mean = torch.stack([grad for grad in grads if grad is not None]).mean(0)
        torch.testing.assert_close(mean, parameter.grad, rtol=1e-4, atol=1e-6)


def test_noise_rises_in_a_straight_line_once_begun() -> None:
    ramp = MutationRamp(low=0.0, high=2.0, trigger_loss=0.1, num_steps=4)
    assert [ramp.noise(step, None) for step in (0, 50)] == [0.0, 0.0]
    noise = [ramp.noise(step, 10) for step in (10, 11, 12, 13, 14, 99)]
    assert noise == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert MutationRamp(1.0, 2.0, 0.1, 2).noise(3, 3) == 1.5


@pytest.mark.parametrize("matrix_learning_rate", [None, 0.02])
def test_a_restored_learner_goes_on_as_if_never_stopped(
    matrix_learning_rate: float | None,
) -> None:
    language = build_language("shell_game")
    settings = NextTokenConfig(matrix_learning_rate=matrix_learning_rate)
    batches = [batch for batch, _ in zip(stream(language, (4,), 128), range(6), strict=False)]

    def learn(learner: NextTokenLearner, steps: range) -> list[float]:
        losses = []
        for step in steps:
            learner.model.set_mutation_noise(0.1 * step)
            losses.append(learner.learn(batches[step]))
        return losses

    straight = NextTokenLearner(make_model(language), settings, seed=2)
    losses = learn(straight, range(6))
    first = NextTokenLearner(make_model(language), settings, seed=2)
    again = learn(first, range(3))
    weights, state = first.weights(), first.optimiser_state()
    torch.randn(5)
    second = NextTokenLearner(make_model(language), settings, seed=2)
    second.restore(weights, state)
    assert again + learn(second, range(3, 6)) == losses
    for name, array in straight.weights().items():
        np.testing.assert_array_equal(second.weights()[name], array)


def test_it_learns_to_track_a_state() -> None:
    """Parity of 2 to 8 moves: held-out games end right, and longer ones than ever seen, too."""
    language = build_language("parity")
    settings = NextTokenConfig(
        num_steps=200, warmup_steps=20, learning_rate=3e-3, matrix_learning_rate=0.02
    )
    model = make_model(language, positions="none", embed_size=32, num_states=8)
    learner = NextTokenLearner(model, settings, seed=0)
    sizes = tuple(range(2, 9))
    for batch, _ in zip(stream(language, sizes, 512), range(200), strict=False):
        learner.learn(batch)
    figures = measure(model, TraceTask(language, sizes, HOLDOUT), (4, 8, 20), 64, seed=0)
    assert figures.exact_match == 1.0
    assert figures.metrics()["exact_match_by_length"][20] == 1.0
    assert figures.nats_over_optimal < 0.02
