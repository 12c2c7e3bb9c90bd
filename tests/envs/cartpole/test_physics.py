from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from parley.envs.cartpole.physics import draw_start, has_fallen, step_states


def test_states_equal_gymnasiums_to_the_last_bit() -> None:
    env: Any = gymnasium.make("CartPole-v1").unwrapped
    generator = np.random.default_rng(0)
    scale = np.array([2.5, 4.0, 0.25, 4.0])
    states = generator.uniform(-scale, scale, size=(1000, 4))
    actions = generator.integers(0, 2, size=1000)
    moved, expected = step_states(states, actions), np.empty_like(states)
    fallen = np.empty(1000, dtype=bool)
    for row in range(1000):
        env.reset()
        env.state = states[row]
        _, _, fallen[row], _, _ = env.step(int(actions[row]))
        expected[row] = env.state
    np.testing.assert_array_equal(moved, expected)
    np.testing.assert_array_equal(has_fallen(moved), fallen)
    assert 0 < fallen.mean() < 1


def test_a_state_moves_alike_alone_and_in_any_batch() -> None:
    states = np.random.default_rng(1).uniform(-0.2, 0.2, size=(7, 3, 4))
    actions = np.random.default_rng(2).integers(0, 2, size=(7, 3))
    together = step_states(states, actions)
    for index in np.ndindex(7, 3):
        np.testing.assert_array_equal(together[index], step_states(states[index], actions[index]))


def test_start_states_are_gymnasiums() -> None:
    env: Any = gymnasium.make("CartPole-v1")
    env.reset(seed=5)
    start = draw_start(np.random.default_rng(5))
    np.testing.assert_array_equal(start[0], env.unwrapped.state)
