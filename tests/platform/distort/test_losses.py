"""The losses of dialogue policies against loops in Python's floats, and where gradients point."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from parley.platform.engine.rllib.loss import LossTerms
from parley.policies.dialogue.sampling import NO_TOKEN, truncated_log_probs
from tests.platform.engine.rllib.gradient_fixtures import compute_ppo_loss, compute_reinforce_loss

SIZE, V, K = 60, 11, 5
TEMPERATURE = 0.7
PPO: dict[str, Any] = {
    "clip": 0.2,
    "value_clip": 0.3,
    "value_coefficient": 0.5,
    "entropy_coefficient": 0.02,
}
Batch = dict[str, Tensor]


def draw_batch(seed: int, truncated: bool) -> Batch:
    """Raw logits [N, V] and what was noted when N tokens were drawn, some time ago."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    order = torch.rand(SIZE, V, generator=generator).argsort(dim=1)
    support = order[:, :K].clone()
    support[: SIZE // 3, K - 2 :] = NO_TOKEN
    return {
        "raw": 2.0 * normal(SIZE, V),
        "actions": order[:, 0],
        "old_logps": -normal(SIZE).abs(),
        "advantages": normal(SIZE),
        "values": normal(SIZE),
        "old_values": normal(SIZE),
        "value_targets": normal(SIZE),
        **({"support": support.int()} if truncated else {}),
    }


def distributions_slowly(batch: Batch) -> list[dict[int, float]]:
    """Token -> probability, of those that could be drawn."""
    tables = []
    for row, logits in enumerate(batch["raw"].tolist()):
        ids = batch["support"][row].tolist() if "support" in batch else range(V)
        weights = {i: math.exp(logits[i] / TEMPERATURE) for i in ids if i != NO_TOKEN}
        total = sum(weights.values())
        tables.append({i: weight / total for i, weight in weights.items()})
    return tables


def log_probs_of(batch: Batch) -> Tensor:
    return truncated_log_probs(batch["raw"], batch.get("support"), TEMPERATURE)


def compute_reinforce(batch: Batch, entropy_coefficient: float) -> LossTerms:
    names = ("actions", "old_logps", "advantages")
    columns = [batch[name] for name in names]
    return compute_reinforce_loss(
        log_probs_of(batch), *columns, entropy_coefficient=entropy_coefficient
    )


def mean_entropy_slowly(batch: Batch) -> float:
    tables = distributions_slowly(batch)
    return sum(-p * math.log(p) for table in tables for p in table.values()) / SIZE


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_reinforce_is_the_loop(seed: int, truncated: bool) -> None:
    batch = draw_batch(seed, truncated)
    terms = compute_reinforce(batch, 0.02)
    policy, kl = 0.0, 0.0
    for row, table in enumerate(distributions_slowly(batch)):
        log_prob = math.log(table[int(batch["actions"][row])])
        policy -= float(batch["advantages"][row]) * log_prob / SIZE
        log_ratio = log_prob - float(batch["old_logps"][row])
        kl += (math.exp(log_ratio) - 1 - log_ratio) / SIZE
    entropy = mean_entropy_slowly(batch)
    assert terms.policy.item() == pytest.approx(policy, abs=1e-5)
    assert terms.entropy.item() == pytest.approx(entropy, abs=1e-5)
    assert terms.kl.item() == pytest.approx(kl, rel=1e-4)
    assert terms.total.item() == pytest.approx(policy - 0.02 * entropy, abs=1e-5)
    assert terms.value.item() == terms.clip_fraction.item() == 0.0


@pytest.mark.parametrize("truncated", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_ppo_on_truncated_draws_is_the_loop(seed: int, truncated: bool) -> None:
    batch = draw_batch(seed, truncated)
    names = ("values", "actions", "old_logps", "old_values", "advantages", "value_targets")
    terms = compute_ppo_loss(log_probs_of(batch), *(batch[name] for name in names), **PPO)
    policy, value = 0.0, 0.0
    columns = {name: batch[name].tolist() for name in names}
    for row, table in enumerate(distributions_slowly(batch)):
        now = {name: column[row] for name, column in columns.items()}
        ratio = table[now["actions"]] / math.exp(now["old_logps"])
        clipped = min(max(ratio, 1 - PPO["clip"]), 1 + PPO["clip"])
        policy -= min(ratio * now["advantages"], clipped * now["advantages"]) / SIZE
        change = now["values"] - now["old_values"]
        near = now["old_values"] + min(max(change, -PPO["value_clip"]), PPO["value_clip"])
        errors = [(guess - now["value_targets"]) ** 2 for guess in (now["values"], near)]
        value += max(errors) / SIZE
    entropy = mean_entropy_slowly(batch)
    assert terms.policy.item() == pytest.approx(policy, rel=1e-4, abs=1e-5)
    assert terms.value.item() == pytest.approx(value, rel=1e-5)
    assert terms.total.item() == pytest.approx(
        policy + PPO["value_coefficient"] * value - PPO["entropy_coefficient"] * entropy,
        rel=1e-4,
        abs=1e-5,
    )


@pytest.mark.parametrize("truncated", [False, True])
def test_the_gradient_of_reinforce_is_the_score_function_estimator(truncated: bool) -> None:
    """-(R - b) (1[token drawn] - pi) / T per logit; nothing outside of the support."""
    batch = draw_batch(0, truncated)
    batch["raw"].requires_grad_()
    compute_reinforce(batch, 0.0).total.backward()
    found = batch["raw"].grad
    assert found is not None
    expected = torch.zeros(SIZE, V)
    for row, table in enumerate(distributions_slowly(batch)):
        for token, probability in table.items():
            score = (int(token == batch["actions"][row]) - probability) / TEMPERATURE
            expected[row, token] = -batch["advantages"][row] * score / SIZE
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_over_all_draws_the_estimator_is_the_gradient_of_the_expected_reward() -> None:
    """Each of V tokens drawn as often as its probability says, whatever the baseline."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(V, generator=generator, dtype=torch.float64, requires_grad=True)
    rewards = torch.randn(V, generator=generator, dtype=torch.float64)
    (expected,) = torch.autograd.grad(torch.softmax(logits, -1) @ rewards, logits)
    for baseline in (0.0, 3.0):
        weights = torch.softmax(logits.detach(), -1)
        terms = compute_reinforce_loss(
            logits.expand(V, V),
            torch.arange(V),
            torch.zeros(V, dtype=torch.float64),
            V * weights * (rewards - baseline),
            entropy_coefficient=0.0,
        )
        (found,) = torch.autograd.grad(terms.total, logits)
        torch.testing.assert_close(-found, expected)


def test_the_entropy_bonus_spreads_the_distribution() -> None:
    batch = draw_batch(2, truncated=True)
    batch["advantages"].zero_()
    batch["raw"].requires_grad_()
    terms = compute_reinforce(batch, 0.5)
    terms.total.backward()
    assert batch["raw"].grad is not None
    with torch.no_grad():
        batch["raw"] -= 0.1 * SIZE * batch["raw"].grad
    assert compute_reinforce(batch, 0.5).entropy > terms.entropy
    assert batch["raw"].grad.isfinite().all()
