from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import parley.envs  # noqa: F401  (registers)
from parley.envs.trace.environment import AdditionEnv, MarkovEnv, SortingEnv, TraceEnv
from parley.envs.trace.language import IntArray
from parley.envs.trace.reward import LEGAL_TOTAL, trace_rewards
from parley.envs.trace.split import is_heldout

IDS = ("parley/Addition-v0", "parley/Sorting-v0", "parley/Markov-v0")


def true_actions(env: TraceEnv, info: dict[str, Any]) -> IntArray:
    """The tokens of the true trace that an episode has to write."""
    traces = env.language.write_traces(info["size"], info["input"][None])
    return traces.tokens[0, traces.prompt_length : traces.lengths[0]]


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("arguments", [{}, {"max_size": 6, "min_size": 2, "part": "heldout"}])
def test_gymnasiums_checker_has_nothing_to_say(id: str, arguments: dict[str, Any]) -> None:
    env = gymnasium.make(id, **arguments).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)


@pytest.mark.parametrize("env", [AdditionEnv(), AdditionEnv(order="msd"), SortingEnv(max_size=6)])
def test_a_true_trace_earns_one_and_its_legal_shares(env: TraceEnv) -> None:
    _, info = env.reset(seed=1)
    actions = true_actions(env, info)
    rewards = []
    for place, action in enumerate(actions):
        _, reward, terminated, truncated, info = env.step(int(action))
        rewards.append(reward)
        assert not truncated
        assert terminated == (place == len(actions) - 1)
    assert sum(rewards) == pytest.approx(1 + LEGAL_TOTAL)
    assert info["exact"] and info["reason"] == ""


@pytest.mark.parametrize("id", IDS)
def test_random_episodes_earn_what_the_batched_rules_say(id: str) -> None:
    env: Any = gymnasium.make(id, min_size=3, max_size=3).unwrapped
    generator = np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(20):
        _, info = env.reset()
        actions, rewards, over = true_actions(env, info).copy(), [], False
        actions[generator.integers(len(actions))] = generator.integers(env.language.vocab_size)
        for action in actions:
            _, reward, over, _, _ = env.step(int(action))
            rewards.append(reward)
            if over:
                break
        traces = env.language.write_traces(3, info["input"][None])
        prompt = traces.tokens[0, : traces.prompt_length]
        written = np.concatenate([prompt, actions])[None]
        batched = trace_rewards(env.language, 3, info["input"][None], written)
        np.testing.assert_allclose(rewards, batched.rewards[0, : len(rewards)])


def test_observations_hold_the_trace_behind_padding() -> None:
    env = AdditionEnv(min_size=1, max_size=2)
    observation, info = env.reset(seed=0, options={"size": 1, "input": [7, 8]})
    assert env.language.spell(observation[-5:]) == "START 7 + 8 ="
    assert not observation[:-5].any()
    observation, *_ = env.step(true_actions(env, info)[0])
    assert env.language.spell(observation[-6:]) == "START 7 + 8 = 5"


def test_an_illegal_token_ends_the_episode_and_is_not_written() -> None:
    env = SortingEnv(render_mode="ansi")
    before, _ = env.reset(seed=0)
    after, reward, terminated, truncated, info = env.step(0)
    np.testing.assert_array_equal(before, after)
    assert (reward, terminated, truncated) == (-1.0, True, False)
    assert "COMPARE or END expected, not START" in info["reason"]
    assert not info["exact"]
    rendered = env.render()
    assert rendered is not None and rendered.startswith("START ^")
    with pytest.raises(RuntimeError, match="reset"):
        env.step(0)


def test_ending_at_once_costs_as_much_as_an_illegal_token() -> None:
    env = SortingEnv()
    env.reset(seed=0, options={"input": [4, 3, 2, 1, 0]})
    _, reward, terminated, _, info = env.step(1)
    assert terminated and reward < -0.9 and "the answer is (4, 3, 2, 1, 0)" in info["reason"]


def test_a_walk_earns_the_logarithm_of_its_probability() -> None:
    env = MarkovEnv(num_states=3, min_size=4, max_size=4)
    _, info = env.reset(seed=3)
    walk, total, over = info["input"], 0.0, False
    for state in walk:
        assert not over
        _, reward, over, _, _ = env.step(int(state) + 2)
        total += reward
    language = env.language
    assert over
    nats = language.optimal_nats(language.write_traces(4, walk[None])).sum()
    steps = language.num_tokens(4) - 1
    assert total == pytest.approx((4 * np.log(3) - nats) / steps)


def test_seeds_are_honoured() -> None:
    first, second = SortingEnv(min_size=2, max_size=8), SortingEnv(min_size=2, max_size=8)
    for seed in (5, None, None):
        (one, _), (other, _) = first.reset(seed=seed), second.reset(seed=seed)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("part", ["training", "heldout"])
def test_only_inputs_of_its_part_are_drawn(part: Any) -> None:
    env = AdditionEnv(min_size=2, max_size=2, part=part, holdout=0.3)
    env.reset(seed=0)
    inputs = np.stack([env.reset()[1]["input"] for _ in range(50)])
    held = is_heldout(env.language, 2, inputs, 0.3)
    assert (held == (part == "heldout")).all()


def test_refusals() -> None:
    with pytest.raises(ValueError, match="sizes begin at 2 elements, got 1"):
        SortingEnv(min_size=1)
    with pytest.raises(ValueError, match="min_size 4 is larger than max_size 3"):
        AdditionEnv(min_size=4)
    with pytest.raises(ValueError, match="render_mode must be None or 'ansi'"):
        AdditionEnv(render_mode="human")
    with pytest.raises(ValueError, match="part must be"):
        AdditionEnv(part="test")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="addition: no input of size 1 is in the heldout part"):
        AdditionEnv(base=2, min_size=1, max_size=1, part="heldout", holdout=0.001)
    env = AdditionEnv()
    with pytest.raises(ValueError, match="'size' and 'input', not"):
        env.reset(options={"digits": 3})
    with pytest.raises(ValueError, match="size must be 3 to 3, got 4"):
        env.reset(options={"size": 4})
    with pytest.raises(ValueError, match=r"integers of shape \(6,\), got int64 of shape \(2,\)"):
        env.reset(options={"input": [1, 2]})
    with pytest.raises(ValueError, match="does not fit the alphabet"):
        env.reset(options={"input": [1, 2, 3, 4, 5, 10]})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action must be 0 to 16, got 17"):
        env.step(17)
