"""PPO's loss against a loop in numpy, and where its gradients point."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from parley.platform.engine.rllib.loss import LossTerms
from tests.platform.engine.rllib.gradient_fixtures import compute_ppo_loss

SETTINGS: dict[str, Any] = {
    "clip": 0.2,
    "value_clip": None,
    "value_coefficient": 0.5,
    "entropy_coefficient": 0.01,
}


def draw_batch(seed: int, size: int = 200, num_actions: int = 2) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    logits = normal(size, num_actions)
    actions = torch.randint(num_actions, (size,), generator=generator)
    logps = torch.log_softmax(logits, -1).gather(1, actions[:, None])[:, 0]
    values = normal(size)
    return {
        "logits": logits,
        "values": values,
        "actions": actions,
        "old_logps": logps + 0.3 * normal(size),
        "old_values": values + 0.3 * normal(size),
        "advantages": normal(size),
        "value_targets": normal(size),
    }


def compute(batch: dict[str, Any], **changes: Any) -> LossTerms:
    return compute_ppo_loss(**batch, **(SETTINGS | changes))


def compute_slowly(batch: dict[str, Any], **changes: Any) -> dict[str, float]:
    """The formulas step by step, in Python's floats."""
    settings = SETTINGS | changes
    clip, value_clip = settings["clip"], settings["value_clip"]
    sums = dict.fromkeys(("policy", "value", "entropy", "kl", "clip_fraction"), 0.0)
    columns = [batch[name].tolist() for name in batch]
    for logits, value, action, old_logp, old_value, advantage, target in zip(*columns, strict=True):
        total = sum(math.exp(logit) for logit in logits)
        probabilities = [math.exp(logit) / total for logit in logits]
        ratio = probabilities[action] / math.exp(old_logp)
        clipped_ratio = min(max(ratio, 1 - clip), 1 + clip)
        sums["policy"] -= min(ratio * advantage, clipped_ratio * advantage)
        error = (value - target) ** 2
        if value_clip is not None:
            change = min(max(value - old_value, -value_clip), value_clip)
            error = max(error, (old_value + change - target) ** 2)
        sums["value"] += error
        sums["entropy"] -= sum(p * math.log(p) for p in probabilities)
        sums["kl"] += ratio - 1 - math.log(ratio)
        sums["clip_fraction"] += ratio < 1 - clip or ratio > 1 + clip
    means = {name: value / len(columns[0]) for name, value in sums.items()}
    means["total"] = (
        means["policy"]
        + settings["value_coefficient"] * means["value"]
        - settings["entropy_coefficient"] * means["entropy"]
    )
    return means


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("num_actions", [2, 5])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"value_clip": 0.1},
        {"value_clip": 100.0},
        {"clip": 0.01},
        {"value_coefficient": 0.0, "entropy_coefficient": 0.3},
    ],
)
def test_all_terms_equal_the_slow_formulas(
    changes: dict[str, Any], num_actions: int, seed: int
) -> None:
    batch = draw_batch(seed, num_actions=num_actions)
    found = compute(batch, **changes)
    for name, expected in compute_slowly(batch, **changes).items():
        assert getattr(found, name).item() == pytest.approx(expected, rel=1e-4, abs=1e-6), name


def test_an_unchanged_policy_has_no_divergence_and_clips_nothing() -> None:
    batch = draw_batch(0)
    logps = torch.log_softmax(batch["logits"], -1)
    batch["old_logps"] = logps.gather(1, batch["actions"][:, None])[:, 0]
    terms = compute(batch)
    assert terms.kl.item() == terms.clip_fraction.item() == 0.0
    assert terms.policy.item() == pytest.approx(-batch["advantages"].mean().item(), abs=1e-6)


def test_a_step_down_the_gradient_makes_good_actions_likelier_and_bad_ones_rarer() -> None:
    batch = draw_batch(1)
    before = torch.log_softmax(batch["logits"], -1).gather(1, batch["actions"][:, None])[:, 0]
    batch["old_logps"] = before
    batch["logits"].requires_grad_()
    compute(batch, value_coefficient=0.0, entropy_coefficient=0.0).total.backward()
    moved = batch["logits"] - 10.0 * batch["logits"].grad
    after = torch.log_softmax(moved, -1).gather(1, batch["actions"][:, None])[:, 0]
    assert ((after > before) == (batch["advantages"] > 0)).all()


def test_a_ratio_beyond_the_clip_has_no_gradient_unless_it_went_the_wrong_way() -> None:
    #                     good, too likely | good, too rare | bad, too rare | bad, too likely
    ratios = torch.tensor([1.5, 0.5, 0.5, 1.5])
    advantages = torch.tensor([1.0, 1.0, -1.0, -1.0])
    logits = torch.zeros(4, 2, requires_grad=True)
    nothing = torch.zeros(4)
    terms = compute_ppo_loss(
        logits,
        nothing,
        torch.zeros(4, dtype=torch.int64),
        math.log(0.5) - ratios.log(),
        nothing,
        advantages,
        nothing,
        **SETTINGS | {"entropy_coefficient": 0.0},
    )
    terms.total.backward()
    assert logits.grad is not None
    assert (logits.grad[:, 0] != 0).tolist() == [False, True, False, True]
    assert terms.clip_fraction.item() == 1.0


def test_the_entropy_bonus_flattens_and_the_value_loss_moves_to_its_targets() -> None:
    batch = draw_batch(2)
    batch["advantages"] = torch.zeros(200)
    batch["logits"].requires_grad_()
    batch["values"].requires_grad_()
    compute(batch).total.backward()
    logits, values = batch["logits"], batch["values"]
    flatter = torch.distributions.Categorical(logits=logits - 10.0 * logits.grad)
    assert (flatter.entropy() >= torch.distributions.Categorical(logits=logits).entropy()).all()
    nearer = (values - values.grad - batch["value_targets"]).abs()
    assert (nearer <= (values - batch["value_targets"]).abs()).all()


def test_figures_beside_the_loss_carry_no_gradient() -> None:
    batch = draw_batch(3)
    batch["logits"].requires_grad_()
    terms = compute(batch)
    assert terms.total.requires_grad
    assert not terms.kl.requires_grad
    assert not terms.clip_fraction.requires_grad


def test_numbers_stay_finite_where_the_new_policy_excludes_an_old_action() -> None:
    batch = draw_batch(4, size=4)
    batch["logits"] = torch.tensor([[80.0, -80.0]] * 4)
    batch["actions"] = torch.tensor([0, 1, 0, 1])
    terms = compute(batch)
    assert all(np.isfinite(value.item()) for value in vars(terms).values())
