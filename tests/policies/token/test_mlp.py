"""The perceptron is one on one-hot tokens, and starts undecided."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from parley.policies.token.mlp import TokenMLP, TokenMLPConfig

VOCAB, LENGTH = 12, 5


def make_policy(seed: int = 0) -> TokenMLP:
    torch.manual_seed(seed)
    config = TokenMLPConfig(vocab_size=VOCAB, num_tokens=LENGTH, hidden_size=16, num_actions=3)
    return TokenMLP(config).eval()


def draw_tokens(batch: int = 64) -> Tensor:
    return torch.randint(VOCAB, (batch, LENGTH), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_it_equals_matrix_products_with_one_hot_rows() -> None:
    policy, tokens = make_policy(), draw_tokens()
    for parameter in policy.parameters():  # biases away from zero
        parameter.add_(0.1 * torch.randn_like(parameter))
    one_hot = F.one_hot(tokens, VOCAB).float().flatten(1)  # [B, L * V]
    for tower, found in zip((policy.actor, policy.critic), policy(tokens), strict=True):
        first = torch.tanh(one_hot @ tower.embedding.weight + tower.bias)
        expected = tower.output(torch.tanh(tower.hidden(first)))
        torch.testing.assert_close(found, expected.squeeze(-1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_token_means_another_thing_in_another_place() -> None:
    policy = make_policy()
    logits, _ = policy(torch.tensor([[4, 5, 6, 7, 8], [5, 4, 6, 7, 8]]))
    assert not torch.allclose(logits[0], logits[1], atol=1e-6)


@torch.no_grad()
def test_it_starts_undecided_yet_sees_differences() -> None:
    logits, values = make_policy()(draw_tokens())
    assert (logits.softmax(-1) - 1 / 3).abs().max() < 0.05
    assert logits.std(0).min() > 1e-4
    assert values.std() > 0.05


def test_actor_and_critic_share_nothing() -> None:
    policy = make_policy().train()
    logits, _ = policy(draw_tokens())
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in policy.actor.parameters())
    assert all(parameter.grad is None for parameter in policy.critic.parameters())


def test_the_weights_come_from_torchs_generator() -> None:
    first, second, other = (make_policy(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@torch.no_grad()
def test_transformers_saves_and_loads_it(tmp_path: Path) -> None:
    policy, tokens = make_policy(), draw_tokens()
    policy.save_pretrained(tmp_path)
    loaded = TokenMLP.from_pretrained(tmp_path)
    for found, expected in zip(loaded(tokens), policy(tokens), strict=True):
        assert torch.equal(found, expected)
