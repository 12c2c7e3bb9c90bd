from __future__ import annotations

import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest

from parley.envs.cartpole.tokens import RESET, STEP_TOKENS, CartPoleTokenizer
from parley.envs.cartpole.vector import DITHER_BLOCK_STEPS, VectorCartPole, VectorStep


def balance(states: np.ndarray) -> np.ndarray:
    """A simple controller that stands for hundreds of steps."""
    return (states[..., 2] + 0.2 * states[..., 3] + 0.05 * states[..., 1] > 0).astype(np.int64)


def play(
    carts: VectorCartPole, num_steps: int, seed: int = 0
) -> tuple[np.ndarray, list[VectorStep]]:
    """Start and take random actions."""
    generator = np.random.default_rng(seed)
    shape = (carts.num_envs, carts.num_carts)
    first = carts.reset()
    return first, [carts.step(generator.integers(0, 2, shape)) for _ in range(num_steps)]


def test_episodes_equal_gymnasiums_to_the_last_bit() -> None:
    carts = VectorCartPole(3, seeds=[10, 11, 12])
    carts.reset()
    envs: list[Any] = [gymnasium.make("CartPole-v1") for _ in range(3)]
    for seed, env in enumerate(envs, start=10):
        env.reset(seed=seed)
    generator = np.random.default_rng(0)
    for _ in range(400):
        actions = generator.integers(0, 2, (3, 1))
        step = carts.step(actions)
        for row, env in enumerate(envs):
            _, reward, terminated, truncated, _ = env.step(int(actions[row, 0]))
            ours = (step.rewards[row, 0], step.terminated[row, 0], step.truncated[row, 0])
            assert ours == (reward, terminated, truncated)
            if terminated or truncated:
                env.reset()
            np.testing.assert_array_equal(carts.states[row, 0], env.unwrapped.state)


def test_shapes_and_types() -> None:
    first, steps = play(VectorCartPole(3, 2, window=4, seeds=[0, 1, 2]), 1)
    step = steps[0]
    assert first.shape == step.tokens.shape == step.final_tokens.shape == (3, 2, 20)
    assert first.dtype == step.tokens.dtype == np.int64
    assert step.rewards.shape == step.acted.shape == (3, 2)
    assert step.rewards.dtype == np.float32
    assert step.terminated.dtype == step.truncated.dtype == step.acted.dtype == np.bool_


@pytest.mark.parametrize("window", [1, 3, 8])
def test_a_window_is_the_end_of_the_episode_padded_with_reset(window: int) -> None:
    carts = VectorCartPole(4, 1, window=window, dither=0.5, seeds=[0, 1, 2, 3])
    narrow = VectorCartPole(4, 1, window=1, dither=0.5, seeds=[0, 1, 2, 3])
    first, steps = play(carts, 150)
    narrow_first, narrow_steps = play(narrow, 150)
    padding = np.full(STEP_TOKENS * window, RESET)
    histories = [row for row in narrow_first[:, 0]]

    def expected(env: int) -> np.ndarray:
        return np.concatenate([padding, histories[env]])[-STEP_TOKENS * window :]

    for env in range(4):
        np.testing.assert_array_equal(first[env, 0], expected(env))
    for step, narrow_step in zip(steps, narrow_steps, strict=True):
        for env in range(4):
            history = [histories[env], narrow_step.final_tokens[env, 0]]
            histories[env] = np.concatenate(history)
            np.testing.assert_array_equal(step.final_tokens[env, 0], expected(env))
            if step.terminated[env, 0]:
                histories[env] = narrow_step.tokens[env, 0]
            np.testing.assert_array_equal(step.tokens[env, 0], expected(env))


def test_the_window_before_the_last_reset_is_padding_only() -> None:
    first, steps = play(VectorCartPole(8, 1, window=30, seeds=range(8)), 200)
    for tokens in [first, *(step.tokens for step in steps)]:
        for window in tokens[:, 0]:
            resets = np.flatnonzero(window == RESET)
            if resets.size:
                assert (window[: resets[-1] + 1] == RESET).all()
                assert resets[-1] % STEP_TOKENS == 0


def test_carts_end_one_by_one_and_restart_together() -> None:
    carts = VectorCartPole(5, 3, window=2, seeds=range(5))
    tokens, steps = play(carts, 300)
    running = np.ones((5, 3), dtype=bool)
    num_restarts = 0
    for step in steps:
        np.testing.assert_array_equal(step.acted, running)
        np.testing.assert_array_equal(step.rewards, running.astype(np.float32))
        ended = step.terminated | step.truncated
        assert not (ended & ~running).any()
        idle = ~step.acted
        np.testing.assert_array_equal(step.final_tokens[idle], tokens[idle])
        running &= ~ended
        restarted = ~running.any(axis=1)
        num_restarts += int(restarted.sum())
        running[restarted] = True
        np.testing.assert_array_equal(step.tokens[restarted, :, : STEP_TOKENS + 1], RESET)
        np.testing.assert_array_equal(step.tokens[~restarted], step.final_tokens[~restarted])
        tokens = step.tokens
    assert num_restarts > 10
    assert any((~step.acted).any() for step in steps)


def test_truncation_after_max_steps_and_termination_wins() -> None:
    carts = VectorCartPole(40, 1, max_steps=10, seeds=range(40))
    carts.reset()
    right = np.ones((40, 1), dtype=np.int64)
    steps = [carts.step(right) for _ in range(10)]
    ended = np.stack([step.terminated | step.truncated for step in steps])
    assert not (steps[9].terminated & steps[9].truncated).any()
    assert steps[9].terminated.any()
    assert steps[9].truncated.any()
    assert ended[9][~ended[:9].any(axis=0)].all()
    assert not any(step.truncated.any() for step in steps[:9])


def test_a_balanced_pole_is_truncated_at_500_with_return_500() -> None:
    carts = VectorCartPole(2, 1, seeds=[0, 1])
    carts.reset()
    total = np.zeros((2, 1))
    for age in range(1, 501):
        step = carts.step(balance(carts.states))
        total += step.rewards
        assert not step.terminated.any()
        assert step.truncated.all() == (age == 500)
    np.testing.assert_array_equal(total, 500)


@pytest.mark.parametrize("dither", [0.0, 1.0])
def test_an_environment_depends_on_its_own_seed_only(dither: float) -> None:
    seeds = [7, 8, 9]
    settings: dict[str, Any] = {"num_carts": 2, "dither": dither, "window": 2}
    actions = np.random.default_rng(0).integers(0, 2, (300, 3, 2))
    together = VectorCartPole(3, seeds=seeds, **settings)
    first = together.reset()
    steps = [together.step(row) for row in actions]
    for env, seed in enumerate(seeds):
        alone = VectorCartPole(1, seeds=[seed], **settings)
        np.testing.assert_array_equal(alone.reset()[0], first[env])
        for row, step in zip(actions, steps, strict=True):
            ours = alone.step(row[env : env + 1])
            for field in step._fields:
                np.testing.assert_array_equal(getattr(ours, field)[0], getattr(step, field)[env])


def test_other_seeds_give_other_episodes() -> None:
    carts = VectorCartPole(2, seeds=[0, 1])
    carts.reset()
    assert not np.array_equal(carts.states[0], carts.states[1])


@pytest.mark.parametrize("dither", [0.0, 0.7])
def test_a_saved_state_goes_on_exactly(dither: float) -> None:
    def make(seeds: list[int]) -> VectorCartPole:
        return VectorCartPole(4, 2, window=3, dither=dither, max_steps=90, seeds=seeds)

    carts = make([0, 1, 2, 3])
    play(carts, 37)
    saved = pickle.loads(pickle.dumps(carts.get_state()))
    actions = np.random.default_rng(1).integers(0, 2, (200, 4, 2))
    expected = [carts.step(row) for row in actions]
    resumed = make([9, 9, 9, 9])
    resumed.set_state(saved)
    for row, step in zip(actions, expected, strict=True):
        for ours, theirs in zip(resumed.step(row), step, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(resumed.reset(), carts.reset())


def test_a_state_of_other_settings_is_refused() -> None:
    state = VectorCartPole(2, seeds=[0, 1]).get_state()
    with pytest.raises(ValueError, match="num_bins"):
        VectorCartPole(2, num_bins=20, seeds=[0, 1]).set_state(state)


def test_returned_arrays_never_change_afterwards() -> None:
    carts = VectorCartPole(6, 2, window=2, seeds=range(6))
    first, steps = play(carts, 1)
    copies = [first.copy(), *(part.copy() for part in steps[0])]
    states = carts.states
    states_copy = states.copy()
    for _ in range(100):
        carts.step(np.ones((6, 2), dtype=np.int64))
    carts.reset()
    for part, copy in zip([first, *steps[0]], copies, strict=True):
        np.testing.assert_array_equal(part, copy)
    np.testing.assert_array_equal(states, states_copy)


def test_dither_is_unbiased_over_whole_episodes() -> None:
    carts = VectorCartPole(64, 1, dither=1.0, seeds=range(64))
    carts.reset()
    tokenizer = CartPoleTokenizer(10)
    errors_bins = []
    for _ in range(3 * DITHER_BLOCK_STEPS):
        step = carts.step(balance(carts.states))
        decoded = tokenizer.decode_state(step.tokens[..., -4:])
        errors_bins.append((decoded - carts.states) / tokenizer.bin_widths)
    # Position and angle stay away from the edges, where clipping would bias them: 12,000 samples.
    assert np.abs(np.mean(errors_bins, axis=(0, 1, 2))[[0, 2]]).max() < 0.02
    assert np.std(errors_bins) > 0.3


def test_without_auto_reset_an_environment_waits() -> None:
    carts = VectorCartPole(3, 1, dither=1.0, auto_reset=False, seeds=[0, 1, 2])
    carts.reset()
    right = np.ones((3, 1), dtype=np.int64)
    steps = []
    while carts.running.any():
        steps.append(carts.step(right))
    np.testing.assert_array_equal(steps[-1].tokens, steps[-1].final_tokens)
    with pytest.raises(RuntimeError, match="reset"):
        carts.step(right)
    carts.reset()
    assert carts.running.all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0, "seeds": []}, "num_envs must be at least 1, got 0"),
        ({"num_carts": 0}, "num_carts must be at least 1, got 0"),
        ({"num_bins": 1}, "num_bins must be at least 2, got 1"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"max_steps": 0}, "max_steps must be at least 1, got 0"),
        ({"dither": 1.5}, "dither must be between 0 and 1 bin widths, got 1.5"),
        ({"dither": -0.1}, "dither must be between"),
        ({"seeds": [1]}, "one seed for each of 2 environments, got 1"),
    ],
)
def test_arguments_outside_their_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VectorCartPole(**{"num_envs": 2, "seeds": [0, 1], **arguments})


def test_bad_actions_are_refused() -> None:
    carts = VectorCartPole(2, 1, seeds=[0, 1])
    with pytest.raises(RuntimeError, match="reset"):
        carts.step(np.zeros((2, 1), dtype=np.int64))
    carts.reset()
    with pytest.raises(ValueError, match=r"shape \(2, 1\), got int64 of shape \(2,\)"):
        carts.step(np.zeros(2, dtype=np.int64))
    with pytest.raises(ValueError, match="float64"):
        carts.step(np.zeros((2, 1)))  # type: ignore[arg-type]
    for wrong in (2, -1):
        with pytest.raises(ValueError, match=r"0 \(left\) or 1 \(right\)"):
            carts.step(np.array([[0], [wrong]]))
