"""Next-token prediction: windows, loss by kind, gradient steps that can be repeated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from parley.envs.cartpole.controllers import ExpertController
from parley.envs.cartpole.episodes import EpisodeSet, collect_episodes
from parley.envs.cartpole.tokens import ACT_LEFT, ACT_RIGHT, DONE, RESET, STEP_TOKENS
from parley.envs.labels import IGNORED_LABEL
from parley.platform.control.episode_windows import (
    KINDS,
    ImitationSource,
    KindLosses,
    WindowSource,
    measure_kinds,
)
from parley.platform.control.settings import ImitationTrainingConfig
from parley.platform.engine.next_token.gradient_step import (
    NextTokenLearner,
    token_losses,
)
from parley.platform.engine.torch.loss_fault import NonFiniteLossError
from parley.policies.dhmm_gpt2 import DHMMGPT2Config, DHMMGPT2ForCausalLM

CROP_STEPS = 3
TRAINING = ImitationTrainingConfig(
    num_steps=40, batch_size=16, crop_steps=CROP_STEPS, warmup_steps=4, eval_interval=20
)


@pytest.fixture(scope="module")
def episodes() -> EpisodeSet:
    controller = ExpertController(epsilon=0.8)
    return collect_episodes(controller, 12, seed=1, max_steps=60, expert=ExpertController())


@pytest.fixture(scope="module")
def source(episodes: EpisodeSet) -> WindowSource:
    return WindowSource(episodes, CROP_STEPS, labels=True)


def make_model(mutation_noise: float = 0.0) -> DHMMGPT2ForCausalLM:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "embed_size": 16,
        "heads": 2,
        "ff_hidden": 32,
        "num_states": 4,
        "max_len": 32,
    }
    return DHMMGPT2ForCausalLM(
        DHMMGPT2Config(vocab_size=44, mutation_noise=mutation_noise, **sizes)
    )


def learn(learner: NextTokenLearner, source: WindowSource) -> float:
    """One gradient step on the batch that a worker would take."""
    whole = ImitationSource(source, source, TRAINING.batch_size, learner.seed)
    return learner.learn(whole.batch(learner.num_steps))


def slow_sums(logits: Tensor, targets: Tensor) -> dict[str, tuple[float, int]]:
    """Nats and numbers by kind, one token after the other."""
    sums = dict.fromkeys(KINDS, (0.0, 0))
    for row in range(targets.shape[0]):
        for place in range(targets.shape[1]):
            token = int(targets[row, place])
            if token == IGNORED_LABEL:
                continue
            values = logits[row, place].tolist()
            nats = math.log(sum(math.exp(value) for value in values)) - values[token]
            kind = "done" if token == DONE else "action" if token in (2, 3) else "state"
            sums[kind] = (sums[kind][0] + nats, sums[kind][1] + 1)
    return sums


def test_loss_is_that_of_a_slow_formula() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(5, 21, 44, generator=generator)
    targets = torch.randint(1, 44, (5, 21), generator=generator)
    targets[torch.rand(5, 21, generator=generator) < 0.2] = IGNORED_LABEL
    targets[0, :3] = torch.tensor([DONE, ACT_LEFT, ACT_RIGHT])
    losses = token_losses(logits, targets)
    assert (losses[targets == IGNORED_LABEL] == 0).all()
    sums = KindLosses.measure(losses, targets)
    slow = slow_sums(logits, targets)
    for index, kind in enumerate(KINDS):
        assert sums.counts[index] == slow[kind][1]
        assert sums.nats[index].item() == pytest.approx(slow[kind][0], rel=1e-5)
    means = (sums + sums).means("loss")
    assert means["loss_done"] == pytest.approx(slow["done"][0] / slow["done"][1], rel=1e-5)
    total, count = (sum(values) for values in zip(*slow.values(), strict=True))
    assert means["loss"] == pytest.approx(total / count, rel=1e-5)


def test_a_kind_that_does_not_occur_has_no_mean() -> None:
    targets = torch.full((1, 4), 7)
    means = KindLosses.measure(token_losses(torch.zeros(1, 4, 44), targets), targets).means("loss")
    assert means["loss_state"] == means["loss"] == pytest.approx(math.log(44))
    assert means["loss_action"] is means["loss_done"] is None


def test_windows_are_stretches_of_episodes(episodes: EpisodeSet, source: WindowSource) -> None:
    assert source.num_starts == (episodes.lengths + 1).sum()
    windows = source.draw(400, seed=0, step=0)
    assert windows.inputs.shape == windows.targets.shape == (400, STEP_TOKENS * CROP_STEPS)
    texts = [" " + " ".join(map(str, sequence)) + " " for sequence in episodes.sequences]
    openings, lengths = set(), set()
    for inputs, targets in zip(windows.inputs.tolist(), windows.targets.tolist(), strict=True):
        length = sum(target != IGNORED_LABEL for target in targets)
        openings.add(inputs[0])
        lengths.add(length)
        assert any(" " + " ".join(map(str, inputs[:length])) + " " in text for text in texts)
        assert targets[length:] == [IGNORED_LABEL] * (len(targets) - length)
        if length < len(targets):
            assert targets[length - 1] == DONE
    assert openings == {RESET, ACT_LEFT, ACT_RIGHT}
    assert lengths == {STEP_TOKENS * steps for steps in range(1, CROP_STEPS + 1)}


def test_every_token_is_predicted_once(episodes: EpisodeSet, source: WindowSource) -> None:
    targets = torch.cat([windows.targets.flatten() for windows in source.cover()])
    found = np.bincount(targets[targets != IGNORED_LABEL], minlength=44)
    assert episodes.labels is not None
    expected = np.bincount(episodes.labels, minlength=44)
    expected[RESET] = 0
    np.testing.assert_array_equal(found, expected)


def test_labels_are_the_experts_choice_and_inputs_what_was_done(episodes: EpisodeSet) -> None:
    expert = WindowSource(episodes, CROP_STEPS, labels=True).draw(300, seed=0, step=1)
    executed = WindowSource(episodes, CROP_STEPS, labels=False).draw(300, seed=0, step=1)
    assert torch.equal(expert.inputs, executed.inputs)
    assert torch.equal(
        executed.targets[:, :-1],
        executed.inputs[:, 1:].where(
            executed.targets[:, :-1] != IGNORED_LABEL, torch.tensor(IGNORED_LABEL)
        ),
    )
    differing = expert.targets != executed.targets
    actions = (executed.targets == ACT_LEFT) | (executed.targets == ACT_RIGHT)
    assert not (differing & ~actions).any()
    assert 0.25 < differing[actions].float().mean() < 0.55  # epsilon / 2 = 0.4


def test_batches_depend_on_seed_and_step_and_split_over_ranks(source: WindowSource) -> None:
    batch = source.draw(9, seed=4, step=7)
    assert torch.equal(batch.inputs, source.draw(9, seed=4, step=7).inputs)
    assert not torch.equal(batch.inputs, source.draw(9, seed=4, step=8).inputs)
    assert not torch.equal(batch.inputs, source.draw(9, seed=5, step=7).inputs)
    shares = [batch.share(rank, 2) for rank in range(2)]
    assert [len(inputs) for inputs, _ in shares] == [5, 4]
    num_targets = sum(int((targets != IGNORED_LABEL).sum()) for _, targets in shares)
    assert num_targets == batch.num_targets
    inputs, targets = batch.share(9, 10)
    assert inputs.shape == targets.shape == batch.inputs[:1].shape
    assert (targets == IGNORED_LABEL).all()


def test_ranks_together_take_the_step_of_one(source: WindowSource) -> None:
    whole = make_model()
    loss = learn(NextTokenLearner(whole, TRAINING, seed=0), source)
    parts = 0.0
    gradients: list[list[Tensor]] = []
    for rank in range(2):
        model = make_model()
        unclipped = TRAINING.model_copy(update={"max_grad_norm": 1e9})
        parts += learn(NextTokenLearner(model, unclipped, 0, rank, 2), source)
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert parts == pytest.approx(loss, rel=1e-5)
    averaged = [(one + other) / 2 for one, other in zip(*gradients, strict=True)]
    own = [p.grad for p in whole.parameters() if p.grad is not None]
    scale = min(1.0, TRAINING.max_grad_norm / float(torch.nn.utils.get_total_norm(averaged)))
    for expected, found in zip(own, averaged, strict=True):
        torch.testing.assert_close(scale * found, expected, rtol=1e-4, atol=1e-6)


def test_it_learns(source: WindowSource) -> None:
    learner = NextTokenLearner(make_model(), TRAINING, seed=0)
    before = measure_kinds(learner.model, source).means("loss")
    for _ in range(TRAINING.num_steps):
        learn(learner, source)
    after = measure_kinds(learner.model, source).means("loss")
    assert before["loss"] == pytest.approx(math.log(44), rel=0.05)
    for kind in ("loss_state", "loss_action"):
        assert after[kind] is not None and before[kind] is not None
        assert after[kind] < 0.9 * before[kind], kind  # type: ignore[operator]


@pytest.mark.parametrize("mutation_noise", [0.0, 0.5])
def test_a_restored_learner_goes_on_as_if_never_stopped(
    source: WindowSource, mutation_noise: float
) -> None:
    straight = NextTokenLearner(make_model(mutation_noise), TRAINING, seed=2)
    losses = [learn(straight, source) for _ in range(8)]
    first = NextTokenLearner(make_model(mutation_noise), TRAINING, seed=2)
    again = [learn(first, source) for _ in range(3)]
    weights, state = first.weights(), first.optimiser_state()
    learn(first, source)
    torch.randn(5)
    second = NextTokenLearner(make_model(mutation_noise), TRAINING, seed=2)
    second.restore(weights, state)
    again += [learn(second, source) for _ in range(5)]
    assert again == losses
    for name, array in straight.weights().items():
        np.testing.assert_array_equal(second.weights()[name], array)


def test_divergence_is_named_and_leaves_the_weights(source: WindowSource) -> None:
    model = make_model()
    learner = NextTokenLearner(model, TRAINING, seed=0)
    with torch.no_grad():
        model.transformer.norm.weight[0] = math.inf
    before = learner.weights()
    with pytest.raises(NonFiniteLossError, match=r"nan at gradient step 1; lower training"):
        learn(learner, source)
    for name, array in learner.weights().items():
        np.testing.assert_array_equal(array, before[name])


def test_labels_must_be_there(episodes: EpisodeSet) -> None:
    plain = collect_episodes(ExpertController(), 2, seed=0, max_steps=5)
    with pytest.raises(ValueError, match="no labels"):
        WindowSource(plain, CROP_STEPS, labels=True)
