from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import parley.envs  # registers
from parley.envs.cartpole.single import TokenCartPole
from parley.envs.cartpole.vector import VectorCartPole

ID = "parley/TokenCartPole-v0"


@pytest.fixture(autouse=True)
def without_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")


@pytest.mark.parametrize("arguments", [{}, {"window": 4, "dither": 1.0, "num_bins": 20}])
def test_gymnasiums_checker_has_nothing_to_say(arguments: dict[str, Any]) -> None:
    env = gymnasium.make(ID, **arguments).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # pygame's own modules warn of setuptools' pkg_resources when they are first imported.
        warnings.filterwarnings("ignore", module="pygame")
        check_env(env)


def test_episodes_equal_cartpole_v1s() -> None:
    env: Any = gymnasium.make(ID, num_bins=1000)
    plain: Any = gymnasium.make("CartPole-v1")
    env.action_space.seed(0)
    for episode in range(5):
        seed = 3 if episode == 0 else None
        env.reset(seed=seed)
        plain.reset(seed=seed)
        over = False
        while not over:
            action = env.action_space.sample()
            _, *ours, _ = env.step(action)
            _, *theirs, _ = plain.step(action)
            assert ours == theirs
            np.testing.assert_array_equal(env.unwrapped.state, plain.unwrapped.state)
            over = ours[1] or ours[2]


def test_observations_equal_the_vectorised_rules() -> None:
    env = TokenCartPole(window=3, dither=0.5)
    carts = VectorCartPole(1, window=3, dither=0.5, seeds=[4])
    observation, info = env.reset(seed=4)
    np.testing.assert_array_equal(observation, carts.reset()[0, 0])
    assert info == {}
    for action in np.random.default_rng(0).integers(0, 2, 300):
        step = carts.step(np.array([[action]]))
        observation, _, terminated, truncated, _ = env.step(int(action))
        np.testing.assert_array_equal(observation, step.final_tokens[0, 0])
        if terminated or truncated:
            observation, _ = env.reset()
            np.testing.assert_array_equal(observation, step.tokens[0, 0])


def test_it_truncates_by_itself() -> None:
    env = gymnasium.make(ID, max_steps=3)
    env.reset(seed=0)
    ends = [env.step(action)[2:4] for action in (0, 1, 0)]
    assert ends == [(False, False), (False, False), (False, True)]
    with pytest.raises(RuntimeError, match="reset"):
        env.step(0)


def test_frames_show_the_true_state() -> None:
    env = gymnasium.make(ID, render_mode="rgb_array")
    plain = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    for each in (env, plain):
        each.reset(seed=1)
        each.step(1)
    frame: Any = env.render()
    assert frame.shape == (400, 600, 3)
    assert frame.dtype == np.uint8
    np.testing.assert_array_equal(frame, plain.render())
    env.close()
    plain.close()


def test_human_mode_runs_without_a_screen() -> None:
    env = gymnasium.make(ID, render_mode="human")
    env.reset(seed=0)
    env.step(0)
    env.close()


def test_refusals() -> None:
    with pytest.raises(ValueError, match="render_mode must be None or one of"):
        TokenCartPole(render_mode="ansi")
    with pytest.raises(ValueError, match="num_bins must be at least 2, got 1"):
        TokenCartPole(num_bins=1)
    env = TokenCartPole()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="got 2 to 2"):
        env.step(2)
    assert parley.envs.ENVIRONMENTS[ID].load() is TokenCartPole
