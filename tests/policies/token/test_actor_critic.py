"""The language model as a policy: what it reads, what it ignores, what is trained how."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from parley.policies.dhmm_gpt2 import BeliefFilter, DHMMGPT2Config
from parley.policies.token.actor_critic import (
    LanguageActorCritic,
    build_language_policy,
    optimiser_groups,
    padding_mask,
)
from parley.policies.token.mlp import TokenMLP, TokenMLPConfig

RESET, ACT_LEFT, ACT_RIGHT = 0, 2, 3
VOCAB, STEP = 24, 5


def make_policy(**changes: Any) -> LanguageActorCritic:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": VOCAB,
        "embed_size": 16,
        "heads": 2,
        "ff_hidden": 24,
        "num_states": 4,
        "max_len": 32,
        "initializer_range": 0.3,
    }
    return build_language_policy(DHMMGPT2Config(**(sizes | changes))).eval()


def draw_episode(num_steps: int, batch: int = 3, seed: int = 1) -> Tensor:
    """Token histories int64 [batch, 5 * num_steps], as an environment writes them."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.randint(4, VOCAB, (batch, num_steps, STEP), generator=generator)
    steps[..., 0] = torch.randint(2, 4, (batch, num_steps), generator=generator)
    steps[:, 0, 0] = RESET
    return steps.flatten(1)


def pad(tokens: Tensor, num_steps: int) -> Tensor:
    padding = torch.full((len(tokens), num_steps * STEP), RESET)
    return torch.cat([padding, tokens], dim=1)


FORMS = {"filter": {}, "plain": {"counter_heads": 0, "filter_heads": 0}}


def test_logits_are_the_language_models_over_the_action_tokens() -> None:
    policy, tokens = make_policy(), draw_episode(4)
    with torch.no_grad():
        logits, values = policy(tokens)
        whole = policy.language_model(tokens).logits[:, -1]
        hidden = policy.language_model.transformer(tokens).last_hidden_state[:, -1]
    torch.testing.assert_close(logits, whole[:, [ACT_LEFT, ACT_RIGHT]])
    torch.testing.assert_close(policy.next_token_logits(tokens), whole)
    torch.testing.assert_close(values, policy.value_head(hidden)[:, 0])
    assert (logits.shape, values.shape) == ((3, 2), (3,))


def test_the_action_tokens_may_be_others() -> None:
    policy, tokens = make_policy(), draw_episode(2)
    other = LanguageActorCritic(policy.language_model, action_tokens=(7, 5, 6))
    whole = policy.next_token_logits(tokens)
    torch.testing.assert_close(other(tokens)[0], whole[:, [7, 5, 6]])


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("num_padded", [1, 3])
def test_padding_changes_nothing(num_padded: int, form: dict[str, int]) -> None:
    policy, tokens = make_policy(**form), draw_episode(3)
    with torch.no_grad():
        expected = policy(tokens)
        found = policy(pad(tokens, num_padded))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_windows_of_all_ages_in_one_batch_are_read_as_each_alone(form: dict[str, int]) -> None:
    policy = make_policy(**form)
    ages = [draw_episode(age, batch=1, seed=age) for age in (1, 2, 3, 4)]
    later = draw_episode(5, batch=1)[:, STEP:]  # the episode's start has left the window
    windows = torch.cat([*(pad(window, 4 - age) for age, window in enumerate(ages, 1)), later])
    with torch.no_grad():
        logits, values = policy(windows)
        alone = [policy(window) for window in (*ages, later)]
    torch.testing.assert_close(logits, torch.cat([row[0] for row in alone]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(values, torch.cat([row[1] for row in alone]), atol=1e-5, rtol=1e-5)


def test_the_whole_window_is_read() -> None:
    policy, tokens = make_policy(), draw_episode(3, batch=1)
    with torch.no_grad():
        before = policy(tokens)[0]
        for position in range(1, tokens.shape[1]):
            changed = tokens.clone()
            changed[0, position] = 4 + (changed[0, position] - 3) % (VOCAB - 4)
            assert not torch.allclose(policy(changed)[0], before, atol=1e-6), position


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ([[0, 5, 6]], None),
        ([[2, 5, 6]], None),
        ([[0, 0, 6]], [[0, 1, 1]]),
        ([[0, 0, 0]], [[0, 0, 1]]),
        ([[2, 5, 6], [0, 0, 6], [7, 8, 0]], [[1, 1, 1], [0, 1, 1], [0, 0, 1]]),
    ],
)
def test_the_mask_begins_at_the_last_reset(
    windows: list[list[int]], expected: list[list[int]] | None
) -> None:
    mask = padding_mask(torch.tensor(windows))
    assert (None if mask is None else mask.tolist()) == expected


def test_every_parameter_is_in_one_group_with_its_scale() -> None:
    policy = make_policy(layers=2, filter_layers=(0, 1))
    groups = optimiser_groups(policy, 2e-3, 0.1, 3.0)
    scales = {group["name"]: group["lr_scale"] for group in groups}
    assert scales == {"decayed": 1.0, "undecayed": 1.0, "filters": pytest.approx(3.0)}
    assert {group["name"]: group["weight_decay"] for group in groups} == {
        "decayed": 0.1,
        "undecayed": 0.0,
        "filters": 0.0,
    }
    places = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(places) == len(set(places))
    assert set(places) == {id(parameter) for parameter in policy.parameters()}
    filters = [module for module in policy.modules() if isinstance(module, BeliefFilter)]
    assert len(filters) == 2
    of_filters = next(group["params"] for group in groups if group["name"] == "filters")
    expected = {id(parameter) for module in filters for parameter in module.parameters()}
    assert {id(parameter) for parameter in of_filters} == expected


def test_a_policy_without_filters_has_no_group_for_them() -> None:
    mlp = TokenMLP(TokenMLPConfig(vocab_size=VOCAB, num_tokens=STEP))
    for policy in (make_policy(counter_heads=0, filter_heads=0), mlp):
        groups = optimiser_groups(policy, 1e-3, 0.0, 5.0)
        assert [group["name"] for group in groups] == ["decayed", "undecayed"]
        assert {group["lr_scale"] for group in groups} == {1.0}


def test_both_heads_train_the_body_in_every_weight_that_the_window_reaches() -> None:
    policy = make_policy().train()
    logits, values = policy(draw_episode(4, batch=8))
    (logits.square().mean() + values.square().mean()).backward()
    still = [
        name
        for name, parameter in policy.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert not still
