"""Generalised advantage estimates against the sum that the paper defines, episode by episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from parley.platform.engine.rllib.gradients.advantages import (
    estimate_advantages,
    estimate_stretches,
    leave_one_out,
    whiten,
    whiten_stretches,
)
from parley.platform.engine.rllib.gradients.policy_gradient import Stretch

GAMMA, LAMBDA = 0.97, 0.9


@dataclass
class Steps:
    """Random steps [T, E, N] as a runner would bring them."""

    rewards: NDArray[np.float32]
    values: NDArray[np.float32]
    next_values: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


def draw_steps(seed: int, shape: tuple[int, ...] = (40, 5, 3), end_rate: float = 0.1) -> Steps:
    generator = np.random.default_rng(seed)
    rewards, values, last = (generator.normal(size=shape).astype(np.float32) for _ in range(3))
    kind = generator.random(shape)
    terminated, truncated = kind < end_rate, (kind >= end_rate) & (kind < 1.5 * end_rate)
    next_values = np.concatenate([values[1:], last[:1]])
    ended = terminated | truncated
    next_values[ended] = generator.normal(size=int(ended.sum()))  # of what stood before a restart
    return Steps(rewards, values, next_values, terminated, truncated)


def estimate_slowly(
    rewards: NDArray[Any], values: NDArray[Any], last_value: float, gamma: float, lam: float
) -> list[float]:
    """Equation 16 of one stretch of an episode: the sum of (gamma lambda)^k delta_{t + k}."""
    following = [*values[1:].tolist(), last_value]
    deltas = [
        float(reward) + gamma * after - float(value)
        for reward, value, after in zip(rewards, values, following, strict=True)
    ]
    return [
        sum((gamma * lam) ** k * delta for k, delta in enumerate(deltas[start:]))
        for start in range(len(deltas))
    ]


def estimate(steps: Steps, gamma: float = GAMMA, lam: float = LAMBDA) -> NDArray[np.float32]:
    return estimate_advantages(
        steps.rewards,
        steps.values,
        steps.next_values,
        steps.terminated,
        steps.truncated,
        gamma,
        lam,
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("end_rate", [0.0, 0.1, 0.5])
def test_every_episode_has_the_advantages_of_the_paper(seed: int, end_rate: float) -> None:
    steps = draw_steps(seed, end_rate=end_rate)
    found = estimate(steps)
    num_steps, num_envs, num_agents = found.shape
    for env in range(num_envs):
        for agent in range(num_agents):
            start = 0
            for step in range(num_steps):
                terminated = steps.terminated[step, env, agent]
                if not (terminated | steps.truncated[step, env, agent] | (step == num_steps - 1)):
                    continue
                part = (slice(start, step + 1), env, agent)
                last_value = 0.0 if terminated else float(steps.next_values[step, env, agent])
                expected = estimate_slowly(
                    steps.rewards[part], steps.values[part], last_value, GAMMA, LAMBDA
                )
                np.testing.assert_allclose(found[part], expected, rtol=1e-4, atol=1e-5)
                start = step + 1


def test_lambda_0_is_the_temporal_difference_and_lambda_1_the_return_minus_the_value() -> None:
    steps = draw_steps(0, (30, 1, 1), end_rate=0.0)
    deltas = steps.rewards + GAMMA * steps.next_values - steps.values
    np.testing.assert_allclose(estimate(steps, lam=0.0), deltas, rtol=1e-5, atol=1e-6)
    returns, following = [], float(steps.next_values[-1, 0, 0])
    for reward in steps.rewards[::-1, 0, 0]:
        following = float(reward) + GAMMA * following
        returns.append(following)
    expected = np.array(returns[::-1]) - steps.values[:, 0, 0]
    np.testing.assert_allclose(estimate(steps, lam=1.0)[:, 0, 0], expected, rtol=1e-4, atol=1e-5)


def test_a_truncated_episode_is_worth_what_would_have_followed_a_terminated_one_nothing() -> None:
    one = np.ones((1, 1), np.float32)
    end, goes_on = np.ones((1, 1), np.bool_), np.zeros((1, 1), np.bool_)
    truncated = estimate_advantages(one, 2 * one, 5 * one, goes_on, end, 0.5, 0.9)
    terminated = estimate_advantages(one, 2 * one, 5 * one, end, goes_on, 0.5, 0.9)
    assert (truncated.item(), terminated.item()) == (1 + 0.5 * 5 - 2, 1 - 2)


def test_nothing_flows_back_over_an_end_or_from_steps_in_which_the_agent_did_not_act() -> None:
    steps = draw_steps(3, (20, 1, 1), end_rate=0.0)
    steps.terminated[9] = True
    before = estimate(steps)[:10]
    for name in ("rewards", "values", "next_values"):
        getattr(steps, name)[10:] = 1e6
    np.testing.assert_array_equal(estimate(steps)[:10], before)


def test_a_fragment_cut_in_the_middle_differs_only_by_the_tail_that_it_does_not_see() -> None:
    steps = draw_steps(4, (20, 2, 1), end_rate=0.1)
    steps.terminated[9], steps.truncated[9] = [[True], [False]], [[False], [True]]
    parts = [
        estimate(Steps(*(array[where] for array in vars(steps).values())))
        for where in (slice(0, 10), slice(10, 20))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), estimate(steps))


def test_whitened_advantages_have_mean_0_deviation_1_and_the_same_order() -> None:
    advantages = np.random.default_rng(0).gamma(2.0, 30.0, 5_000).astype(np.float32)
    whitened = whiten(advantages)
    assert abs(float(whitened.mean(dtype=np.float64))) < 1e-5
    assert float(whitened.std(dtype=np.float64)) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_array_equal(np.argsort(whitened), np.argsort(advantages))


@pytest.mark.parametrize("size", [1, 7])
def test_equal_advantages_are_whitened_to_0(size: int) -> None:
    np.testing.assert_array_equal(whiten(np.full(size, 3.0, np.float32)), np.zeros(size))


def draw_stretches(seed: int) -> list[Stretch]:
    """Episodes of one to three stretches of different lengths."""
    generator = np.random.default_rng(seed)
    stretches = []
    for episode in range(6):
        lengths = generator.integers(1, 6, size=1 + episode % 3)
        parts = [generator.normal(size=(2, n)).astype(np.float32) for n in lengths]
        ends = [*(float(values[0]) for _, values in parts[1:]), 0.5 * (episode % 2)]
        for place, ((rewards, values), end) in enumerate(zip(parts, ends, strict=True)):
            total = float(rewards.sum())
            stretches.append(Stretch(episode, place, 0, "seat", rewards, total, values, end))
    return stretches


@pytest.mark.parametrize("seed", range(3))
def test_stretches_are_estimated_along_their_episodes(seed: int) -> None:
    stretches = draw_stretches(seed)
    expected = []
    for episode in range(6):
        own = [stretch for stretch in stretches if stretch.episode == episode]
        rewards = np.concatenate([stretch.rewards for stretch in own])
        values = np.concatenate([stretch.values for stretch in own])
        expected += estimate_slowly(rewards, values, own[-1].next_value, GAMMA, LAMBDA)
    found = estimate_stretches(stretches, GAMMA, LAMBDA)
    assert [len(part) for part in found] == [len(stretch.rewards) for stretch in stretches]
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-4, atol=1e-5)
    whitened = np.concatenate(whiten_stretches(found))
    np.testing.assert_array_equal(whitened, whiten(np.concatenate(found)))
    assert estimate_stretches([], GAMMA, LAMBDA) == whiten_stretches([]) == []


def test_what_is_left_out_of_the_baseline_is_the_return_itself() -> None:
    returns, groups = [1.0, 2.0, 6.0, 5.0, 7.0], ["a", "a", "a", "b", "c"]
    assert leave_one_out(returns, groups) == [-3.0, -1.5, 4.5, 0.0, 0.0]
