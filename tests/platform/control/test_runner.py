"""The env runner: what it stores is what it did, and depends on seed and environment alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from parley.platform.control.algorithm import build_config
from parley.platform.control.fragment import NEXT_VALUES
from parley.platform.control.learner import stretches_of
from parley.platform.control.runner import RESET_STREAM, VectorEnvRunner
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.control.task import (
    make_cartpole_task,
    make_vector_env,
    policy_settings,
)
from parley.platform.engine.rllib.gradients.advantages import estimate_stretches
from parley.platform.runs.state_tree import load_tree, save_tree

MakeConfig = Callable[..., CartPolePPOConfig]
Place = tuple[int, int, int, int]
"""Environment in the whole run, agent, call, first step of an episode."""


def make_runner(config: CartPolePPOConfig, worker_index: int = 1) -> VectorEnvRunner:
    settings = policy_settings(config.env, config.model)
    rllib_config = build_config(config, make_cartpole_task(config.env), settings)
    return VectorEnvRunner(config=rllib_config, worker_index=worker_index)


def place(episode: SingleAgentEpisode, num_envs: int) -> Place:
    worker, call, env, agent, start = map(int, str(episode.id_).split("-"))
    return (worker - 1) * num_envs + env, agent, call, start


def sample(runner: VectorEnvRunner, num_calls: int = 1) -> dict[Place, SingleAgentEpisode]:
    episodes = [episode for _ in range(num_calls) for episode in runner.sample()]
    return {place(episode, runner.num_envs): episode for episode in episodes}


def read_policy(
    runner: VectorEnvRunner, module_id: str, windows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Log-probabilities [B, A] and values [B] of the runner's own module."""
    module: Any = runner.module[module_id]
    with torch.no_grad():
        logits, values = module.policy(torch.from_numpy(windows))
    return torch.log_softmax(logits, -1).numpy(), values.numpy()


def stored(episode: SingleAgentEpisode, column: str) -> NDArray[np.float32]:
    return np.asarray(episode.get_extra_model_outputs(column))


def assert_same(
    found: dict[Place, SingleAgentEpisode], expected: dict[Place, SingleAgentEpisode]
) -> None:
    """Same pieces with the same tokens and actions."""
    assert found.keys() == expected.keys()
    for key, episode in found.items():
        for mine, other in (
            (episode.get_observations(), expected[key].get_observations()),
            (episode.get_actions(), expected[key].get_actions()),
            (episode.get_rewards(), expected[key].get_rewards()),
        ):
            np.testing.assert_array_equal(mine, other)


VARIANTS = {
    "mlp": ["policy=mlp"],
    "filter with padding": ["policy=dhmm_gpt2", "env.window=3"],
    "no mutation noise while sampling": ["policy=dhmm_gpt2", "model.mutation_noise=1.0"],
    "two policies": ["env.num_carts=2", "env.shared_policy=false"],
    "one policy for two carts": ["env.num_carts=2", "env.window=2"],
}


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_stored_log_probabilities_and_values_are_those_of_the_stored_windows(
    overrides: list[str], make_config: MakeConfig
) -> None:
    runner = make_runner(make_config(*overrides))
    episodes = sample(runner, 3)
    for episode in episodes.values():
        windows = np.asarray(episode.get_observations())[:-1]
        log_probs, values = read_policy(runner, str(episode.module_id), windows)
        actions = np.asarray(episode.get_actions())
        chosen = np.take_along_axis(log_probs, actions[:, None], axis=1)[:, 0]
        np.testing.assert_allclose(stored(episode, Columns.ACTION_LOGP), chosen, atol=1e-5)
        np.testing.assert_allclose(stored(episode, Columns.VF_PREDS), values, atol=1e-5)
    own_policies = "env.shared_policy=false" in overrides
    for episode in episodes.values():
        assert episode.module_id == (episode.agent_id if own_policies else "carts")


def test_actions_are_drawn_as_often_as_the_policy_says(make_config: MakeConfig) -> None:
    runner = make_runner(make_config("rollouts.num_envs_per_env_runner=64"))
    module: Any = runner.module["carts"]
    torch.nn.init.normal_(module.policy.actor.output.weight, std=0.5)  # far from one half
    episodes = sample(runner, 10).values()
    actions = np.concatenate([np.asarray(episode.get_actions()) for episode in episodes])
    windows = np.concatenate([np.asarray(e.get_observations())[:-1] for e in episodes])
    right = np.exp(read_policy(runner, "carts", windows)[0][:, 1])
    assert right.std() > 0.1
    for low, high in ((0.0, 0.4), (0.4, 0.6), (0.6, 1.0)):
        part = (right >= low) & (right < high)
        deviation = np.sqrt((right * (1 - right))[part].sum())
        assert abs((actions - right)[part].sum()) < 4 * deviation


@dataclass
class Played:
    """What the rules say about the stored actions: arrays [T, E, N, ...]."""

    tokens: NDArray[np.int64]
    final_tokens: NDArray[np.int64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


def first_step(key: Place, config: CartPolePPOConfig) -> int:
    """The step since the start of the run at which an episode begins."""
    return (key[2] - 1) * config.rollouts.rollout_fragment_length + key[3]


def replay(
    config: CartPolePPOConfig, episodes: Mapping[Place, SingleAgentEpisode], num_steps: int
) -> Played:
    """Take the stored actions again, in environments that were seeded alike."""
    num_envs = config.rollouts.num_envs_per_env_runner
    actions = np.zeros((num_steps, num_envs, config.env.num_carts), np.int64)
    for key, episode in episodes.items():
        start = first_step(key, config)
        actions[start : start + len(episode), key[0], key[1]] = episode.get_actions()
    seeds = [np.random.SeedSequence([config.seed, env, RESET_STREAM]) for env in range(num_envs)]
    carts = make_vector_env(config.env, seeds)
    tokens, steps = [carts.reset()], []
    for row in actions:
        steps.append(carts.step(row))
        tokens.append(steps[-1].tokens)
    return Played(
        np.array(tokens[:-1]),
        np.array([step.final_tokens for step in steps]),
        np.array([step.terminated for step in steps]),
        np.array([step.truncated for step in steps]),
    )


def test_the_episodes_are_the_rules_and_their_advantages_look_beyond_a_truncation(
    make_config: MakeConfig,
) -> None:
    config = make_config("env.max_steps=12", "env.num_carts=2", "env.window=2")
    runner, ppo = make_runner(config), config.ppo
    episodes = sample(runner, 4)
    played = replay(config, episodes, 4 * config.rollouts.rollout_fragment_length)
    for key, episode in episodes.items():
        start, size = first_step(key, config), len(episode)
        steps, last = (slice(start, start + size), *key[:2]), (start + size - 1, *key[:2])
        windows = np.asarray(episode.get_observations())[:-1]
        np.testing.assert_array_equal(windows, played.tokens[steps])
        assert episode.is_terminated == played.terminated[last]
        assert episode.is_truncated == played.truncated[last]
        whole = np.concatenate([windows, played.final_tokens[last][None]])
        values = read_policy(runner, "carts", whole)[1]
        if episode.is_terminated:
            values[-1] = 0.0
        expected = np.zeros(size + 1)
        for step in reversed(range(size)):
            delta = ppo.reward_scale + ppo.gamma * values[step + 1] - values[step]
            expected[step] = delta + ppo.gamma * ppo.gae_lambda * expected[step + 1]
        stretches = stretches_of([episode], ppo.reward_scale)
        (found,) = estimate_stretches(stretches, ppo.gamma, ppo.gae_lambda)
        np.testing.assert_allclose(found, expected[:-1], atol=1e-5)
    assert any(episode.is_truncated for episode in episodes.values())
    assert any(episode.is_terminated for episode in episodes.values())


def test_returns_are_whole_episodes_though_fragments_cut_them(make_config: MakeConfig) -> None:
    config = make_config("rollouts.rollout_fragment_length=8", "ppo.reward_scale=0.01")
    runner = make_runner(config)
    rollouts = [runner.sample_with_weights({}) for _ in range(20)]
    episodes = {place(episode, 4): episode for r in rollouts for episode in r.episodes}
    ended = replay(config, episodes, 160).terminated[:, :, 0]
    for env in range(4):
        ends = np.flatnonzero(ended[:, env]) + 1
        assert len(ends) > 1
    lengths = [length for env in range(4) for length in episode_lengths(ended[:, env])]
    assert sorted(value for r in rollouts for value in r.returns) == sorted(lengths)
    assert {r.num_env_steps for r in rollouts} == {32}


def episode_lengths(ended: NDArray[np.bool_]) -> list[int]:
    ends = np.flatnonzero(ended) + 1
    return np.diff(ends, prepend=0).tolist()


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_episodes_do_not_depend_on_how_environments_are_spread(
    overrides: list[str], make_config: MakeConfig
) -> None:
    together = sample(make_runner(make_config(*overrides)), 3)
    config = make_config(
        *overrides, "rollouts.num_envs_per_env_runner=2", "rollouts.num_env_runners=2"
    )
    spread = {
        key: episode
        for worker_index in (1, 2)
        for key, episode in sample(make_runner(config, worker_index), 3).items()
    }
    assert_same(spread, together)


def test_the_seed_and_the_environments_number_decide(make_config: MakeConfig) -> None:
    first = sample(make_runner(make_config("seed=1")))
    assert_same(sample(make_runner(make_config("seed=1"))), first)
    other = sample(make_runner(make_config("seed=2")))
    windows = [np.asarray(e.get_observations()) for e in (first[0, 0, 1, 0], other[0, 0, 1, 0])]
    assert windows[0].shape != windows[1].shape or (windows[0] != windows[1]).any()
    starts = {first[env, 0, 1, 0].get_observations(0).tobytes() for env in range(4)}
    assert len(starts) > 1


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_a_saved_runner_goes_on_exactly(
    overrides: list[str], make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(*overrides, "env.dither=0.5", "rollouts.rollout_fragment_length=10")
    runner = make_runner(config)
    sample(runner, 3)
    save_tree({1: runner.get_env_state()}, tmp_path / "state")
    expected = [runner.sample_with_weights({}) for _ in range(3)]
    resumed = make_runner(config)
    resumed.set_env_state(load_tree(tmp_path / "state"))
    found = [resumed.sample_with_weights({}) for _ in range(3)]
    assert [rollout.returns for rollout in found] == [rollout.returns for rollout in expected]
    for mine, other in zip(found, expected, strict=True):
        pairs = zip(mine.episodes, other.episodes, strict=True)
        for episode, same in pairs:
            assert place(episode, 4)[:2] == place(same, 4)[:2]
            for name in (Columns.ACTION_LOGP, NEXT_VALUES):
                np.testing.assert_array_equal(stored(episode, name), stored(same, name))
            np.testing.assert_array_equal(episode.get_observations(), same.get_observations())
            np.testing.assert_array_equal(episode.get_actions(), same.get_actions())


def test_a_runner_that_was_down_at_the_checkpoint_starts_afresh(make_config: MakeConfig) -> None:
    config = make_config()
    runner = make_runner(config)
    runner.set_env_state({2: {}})
    assert_same(sample(runner), sample(make_runner(config)))


def weights_of(runner: VectorEnvRunner) -> dict[str, NDArray[np.float32]]:
    weights: dict[str, NDArray[np.float32]] = runner.get_state()[COMPONENT_RL_MODULE]["carts"]
    return weights


def filled(runner: VectorEnvRunner, value: float) -> dict[str, Any]:
    """Weights that are one number throughout."""
    return {"carts": {name: np.full_like(w, value) for name, w in weights_of(runner).items()}}


def test_weights_are_taken_with_a_new_number_and_only_then(make_config: MakeConfig) -> None:
    runner = make_runner(make_config())

    def held_after(value: float, number: int | None) -> float:
        state: dict[str, Any] = {COMPONENT_RL_MODULE: filled(runner, value)}
        runner.set_state(state if number is None else state | {WEIGHTS_SEQ_NO: number})
        (held,) = {float(x) for w in weights_of(runner).values() for x in np.unique(w)}
        return held

    assert held_after(0.25, 7) == 0.25  # a restarted runner holds number 0
    assert held_after(0.5, 7) == 0.25
    assert held_after(0.5, 8) == 0.5
    assert held_after(0.75, 3) == 0.75  # an older checkpoint was restored
    assert held_after(1.0, None) == 1.0
    assert held_after(1.25, 0) == 1.25
    assert runner.get_state()[WEIGHTS_SEQ_NO] == 0


def test_a_rollout_is_played_with_the_weights_that_came_with_the_request(
    make_config: MakeConfig,
) -> None:
    runner = make_runner(make_config())
    rollout = runner.sample_with_weights(
        {COMPONENT_RL_MODULE: filled(runner, 0.0), WEIGHTS_SEQ_NO: 4}
    )
    for episode in rollout.episodes:
        np.testing.assert_allclose(stored(episode, Columns.ACTION_LOGP), np.log(0.5), rtol=1e-6)
        np.testing.assert_array_equal(stored(episode, Columns.VF_PREDS), 0.0)
