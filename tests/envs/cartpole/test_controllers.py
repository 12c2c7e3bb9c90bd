from __future__ import annotations

import numpy as np
import pytest

from parley.envs.cartpole.controllers import (
    ExpertController,
    RandomController,
    linearise,
    solve_regulator_gain,
)
from parley.envs.cartpole.episodes import collect_episodes
from parley.envs.cartpole.physics import FORCE_N, step_states


def test_the_linear_model_is_the_tangent_of_the_physics() -> None:
    transition, push = linearise()
    states = np.random.default_rng(0).uniform(-1e-4, 1e-4, size=(50, 4))
    for action, force in ((0, -FORCE_N), (1, FORCE_N)):
        expected = states @ transition.T + push[:, 0] * force
        moved = step_states(states, np.full(50, action))
        np.testing.assert_allclose(moved, expected, atol=1e-8)


def test_the_gain_makes_the_closed_loop_stable() -> None:
    transition, push = linearise()
    closed = transition - push @ solve_regulator_gain()[None]
    assert np.abs(np.linalg.eigvals(closed)).max() < 1
    assert np.abs(np.linalg.eigvals(transition)).max() > 1


def test_the_expert_stands_for_500_steps_in_100_of_100_episodes() -> None:
    episodes = collect_episodes(ExpertController(), 100, seed=1)
    np.testing.assert_array_equal(episodes.returns, 500)
    assert not episodes.terminated.any()


def test_random_actions_are_seeded_and_balanced() -> None:
    states = np.zeros((1000, 2, 4))
    actions = RandomController(seed=1).act(states)
    assert actions.shape == (1000, 2)
    assert abs(actions.mean() - 0.5) < 0.06
    np.testing.assert_array_equal(actions, RandomController(seed=1).act(states))
    assert not np.array_equal(actions, RandomController(seed=2).act(states))


def test_epsilon_is_the_share_of_random_actions() -> None:
    states = np.random.default_rng(0).uniform(-0.1, 0.1, size=(20_000, 4))
    expert = ExpertController().act(states)
    differing = np.mean(ExpertController(epsilon=0.4, seed=3).act(states) != expert)
    assert abs(differing - 0.2) < 0.015
    assert ExpertController(epsilon=0.4).name == "expert(epsilon=0.4)"
    with pytest.raises(ValueError, match="epsilon must be between 0 and 1, got 2"):
        ExpertController(epsilon=2)
