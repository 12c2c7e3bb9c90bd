from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.utils.pre_checks.env import check_multiagent_environments

from parley.envs.cartpole.multi import MultiCartPole
from parley.envs.cartpole.vector import VectorCartPole


def test_rllibs_own_checks_pass() -> None:
    check_multiagent_environments(MultiCartPole({"num_carts": 3, "window": 2}))


def test_spaces_and_agents() -> None:
    env = MultiCartPole({"num_carts": 3, "window": 2, "num_bins": 5})
    assert env.possible_agents == ["cart_0", "cart_1", "cart_2"]
    for agent in env.possible_agents:
        assert env.get_observation_space(agent) == gymnasium.spaces.Box(0, 23, (10,), np.int64)
        assert env.get_action_space(agent) == gymnasium.spaces.Discrete(2)
    observations, _ = env.reset(seed=0)
    assert all(env.get_observation_space(agent).contains(o) for agent, o in observations.items())


@pytest.mark.parametrize("dither", [0.0, 1.0])
def test_several_environments_equal_the_vectorised_rules(dither: float) -> None:
    settings: dict[str, Any] = {"num_carts": 3, "window": 2, "dither": dither, "max_steps": 25}
    seeds = [5, 6, 7]
    carts = VectorCartPole(3, seeds=seeds, **settings)
    envs = [MultiCartPole(settings) for _ in seeds]
    first = carts.reset()
    for row, (env, seed) in enumerate(zip(envs, seeds, strict=True)):
        assert_same_tokens(env.reset(seed=seed)[0], first[row])
    num_over = num_truncated = 0
    for actions in np.random.default_rng(0).integers(0, 2, (400, 3, 3)):
        step = carts.step(actions)
        for row, env in enumerate(envs):
            over, truncated = assert_same_step(env, actions[row], step, row)
            num_over += over
            num_truncated += truncated
            if over:
                assert_same_tokens(env.reset()[0], step.tokens[row])
    assert num_over > num_truncated > 0


def assert_same_tokens(observations: dict[str, np.ndarray], tokens: np.ndarray) -> None:
    for agent, observation in observations.items():
        np.testing.assert_array_equal(observation, tokens[int(agent.removeprefix("cart_"))])


def assert_same_step(env: Any, actions: np.ndarray, step: Any, row: int) -> tuple[bool, bool]:
    """Step the environment; say whether its episode is over, and whether it was truncated."""
    ids = {agent: cart for cart, agent in enumerate(env.possible_agents)}
    observations, rewards, terminated, truncated, infos = env.step(
        {agent: int(actions[ids[agent]]) for agent in env.agents}
    )
    acted = {agent for agent, cart in ids.items() if step.acted[row, cart]}
    assert observations.keys() == rewards.keys() == infos.keys() == acted
    assert_same_tokens(observations, step.final_tokens[row])
    for agent in acted:
        assert rewards[agent] == step.rewards[row, ids[agent]]
        assert terminated[agent] == step.terminated[row, ids[agent]]
        was_truncated = truncated.get(agent, truncated["__all__"])
        assert was_truncated == step.truncated[row, ids[agent]]
    over = terminated["__all__"] or truncated["__all__"]
    assert over == (not env.agents)
    assert not (terminated["__all__"] and truncated["__all__"])
    return over, truncated["__all__"]


def test_rllibs_episodes_tell_truncated_carts_from_terminated_ones() -> None:
    env: Any = MultiCartPole({"num_carts": 2, "max_steps": 15})
    episode = MultiAgentEpisode()
    observations, infos = env.reset(seed=0)
    episode.add_env_reset(observations=observations, infos=infos)
    age = 0
    while env.agents:
        # cart_0 is pushed to the right until it falls, cart_1 to and fro.
        actions = {agent: 1 if agent == "cart_0" else age % 2 for agent in env.agents}
        observations, rewards, terminated, truncated, infos = env.step(actions)
        episode.add_env_step(
            observations, actions, rewards, infos, terminateds=terminated, truncateds=truncated
        )
        age += 1
    fallen, standing = (episode.agent_episodes[agent] for agent in ("cart_0", "cart_1"))
    assert fallen.is_terminated
    assert not fallen.is_truncated
    assert standing.is_truncated
    assert not standing.is_terminated
    assert len(fallen) < len(standing) == 15


class CoinModule(TorchRLModule):
    """Pushes left or right with equal probability."""

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return {Columns.ACTION_DIST_INPUTS: torch.zeros(len(batch[Columns.OBS]), 2)}


def test_rllibs_stock_env_runner_samples_whole_episodes() -> None:
    config = (
        PPOConfig()
        .environment(MultiCartPole, env_config={"num_carts": 2, "window": 2})
        .env_runners(num_envs_per_env_runner=2, batch_mode="complete_episodes")
        .multi_agent(policies={"pilot"}, policy_mapping_fn=lambda agent, episode, **_: "pilot")
        .rl_module(
            rl_module_spec=MultiRLModuleSpec(
                rl_module_specs={"pilot": RLModuleSpec(module_class=CoinModule)}
            )
        )
        .debugging(seed=0)
    )
    runner = MultiAgentEnvRunner(config=config)
    episodes = runner.sample(num_episodes=4, explore=True)
    runner.stop()
    assert len(episodes) == 4
    for episode in episodes:
        assert episode.is_terminated
        for single in episode.agent_episodes.values():
            assert single.is_terminated
            assert single.get_return() == len(single)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"num_bin'.*expected"):
        MultiCartPole({"num_bin": 5})
    env = MultiCartPole({"num_carts": 2})
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"running carts \['cart_0', 'cart_1'\], got \['cart_0'\]"):
        env.step({"cart_0": 1})
