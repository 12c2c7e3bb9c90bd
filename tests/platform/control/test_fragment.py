"""Cutting a fragment into episodes: every step that was acted in once, in order, never over an end.

The fragments come from random play of the real environment and from random flags.
"""

from __future__ import annotations

import numpy as np
import pytest
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from parley.envs.cartpole.vector import VectorCartPole
from parley.platform.control.fragment import NEXT_VALUES, Fragment, cut_episodes

AGENTS = ["cart_0", "cart_1", "cart_2"]
MODULES = ["carts", "other", "carts"]


def play_fragment(seed: int, num_steps: int = 80, num_envs: int = 4) -> Fragment:
    """Random play of three carts; the numbers that a policy would add are random too."""
    carts = VectorCartPole(
        num_envs, 3, window=2, max_steps=25, seeds=[seed * 100 + env for env in range(num_envs)]
    )
    generator = np.random.default_rng(seed)
    tokens = carts.reset()
    for _ in range(7):  # begins in the middle of episodes
        tokens = carts.step(generator.integers(0, 2, (num_envs, 3))).tokens
    fragment = Fragment.allocate(num_steps, (num_envs, 3), tokens.shape[-1])
    for step in range(num_steps):
        actions = generator.integers(0, 2, (num_envs, 3))
        outcome = carts.step(actions)
        fragment.tokens[step], fragment.actions[step] = tokens, actions
        fragment.rewards[step] = outcome.rewards
        fragment.terminated[step], fragment.truncated[step] = outcome.terminated, outcome.truncated
        fragment.acted[step] = outcome.acted
        tokens = outcome.tokens
    fragment.last_tokens[:] = tokens
    for array in (fragment.action_logps, fragment.values, fragment.next_values):
        array[:] = generator.normal(size=array.shape)
    return fragment


def place(episode: SingleAgentEpisode) -> tuple[int, int, int]:
    """Environment, agent and first step, which the id tells."""
    env, agent, start = map(int, str(episode.id_).split("-")[-3:])
    return env, agent, start


@pytest.mark.parametrize("seed", range(4))
def test_every_acted_step_is_in_one_episode_with_all_that_belongs_to_it(seed: int) -> None:
    fragment = play_fragment(seed)
    episodes = cut_episodes(fragment, AGENTS, MODULES, "1-1")
    times_seen = np.zeros(fragment.acted.shape, int)
    assert not fragment.acted.all()
    for episode in episodes:
        env, agent, start = place(episode)
        where = (slice(start, start + len(episode)), env, agent)
        times_seen[where] += 1
        assert (episode.agent_id, episode.module_id) == (AGENTS[agent], MODULES[agent])
        windows = np.asarray(episode.get_observations())
        np.testing.assert_array_equal(windows[:-1], fragment.tokens[where])
        np.testing.assert_array_equal(episode.get_actions(), fragment.actions[where])
        np.testing.assert_array_equal(episode.get_rewards(), fragment.rewards[where])
        stored = {
            Columns.ACTION_LOGP: fragment.action_logps,
            Columns.VF_PREDS: fragment.values,
            NEXT_VALUES: fragment.next_values,
        }
        for name, array in stored.items():
            np.testing.assert_array_equal(episode.get_extra_model_outputs(name), array[where])
    np.testing.assert_array_equal(times_seen, fragment.acted)


@pytest.mark.parametrize("seed", range(4))
def test_an_end_is_the_last_step_of_its_episode_and_told_by_its_flags(seed: int) -> None:
    fragment = play_fragment(seed)
    ended = fragment.terminated | fragment.truncated
    episodes = cut_episodes(fragment, AGENTS, MODULES, "1-1")
    for episode in episodes:
        env, agent, start = place(episode)
        stop = start + len(episode)
        assert not ended[start : stop - 1, env, agent].any()
        assert episode.is_terminated == fragment.terminated[stop - 1, env, agent]
        assert episode.is_truncated == fragment.truncated[stop - 1, env, agent]
        if not episode.is_done:
            assert stop == len(ended)
            last = np.asarray(episode.get_observations(-1))
            np.testing.assert_array_equal(last, fragment.last_tokens[env, agent])
    assert sum(episode.is_done for episode in episodes) == ended.sum()
    assert any(episode.is_truncated for episode in episodes)
    assert any(episode.is_terminated for episode in episodes)


def test_pieces_come_in_the_order_of_environment_agent_and_time_with_ids_of_their_own() -> None:
    fragment = play_fragment(0)
    episodes = cut_episodes(fragment, AGENTS, MODULES, "3-17")
    places = [place(episode) for episode in episodes]
    assert places == sorted(places)
    assert len({episode.id_ for episode in episodes}) == len(episodes)
    assert all(str(episode.id_).startswith("3-17-") for episode in episodes)


@pytest.mark.parametrize("seed", range(20))
def test_random_flags(seed: int) -> None:
    """Any pattern in which an agent that ended pauses, then acts again until its next end."""
    generator = np.random.default_rng(seed)
    num_steps = int(generator.integers(1, 30))
    fragment = Fragment.allocate(num_steps, (2, 1), 5)
    for env in range(2):
        acting = bool(generator.integers(2))
        for step in range(num_steps):
            acting = acting or generator.random() < 0.3
            fragment.acted[step, env, 0] = acting
            if acting and generator.random() < 0.3:
                flags = fragment.terminated if generator.integers(2) else fragment.truncated
                flags[step, env, 0] = True
                acting = False
    fragment.rewards[:] = np.arange(num_steps)[:, None, None]
    for env in range(2):
        own = [
            episode
            for episode in cut_episodes(fragment, ["cart"], ["carts"], "1-1")
            if place(episode)[0] == env
        ]
        steps = [step for episode in own for step in np.asarray(episode.get_rewards()).tolist()]
        assert steps == np.flatnonzero(fragment.acted[:, env, 0]).tolist()
        ended = (fragment.terminated | fragment.truncated)[:, env, 0]
        assert sum(episode.is_done for episode in own) == ended.sum()


def test_an_agent_that_never_acted_has_no_episode() -> None:
    fragment = Fragment.allocate(6, (1, 2), 5)
    fragment.acted[:, 0, 1] = True
    (episode,) = cut_episodes(fragment, ["idle", "busy"], ["carts", "carts"], "1-1")
    assert (episode.agent_id, len(episode)) == ("busy", 6)
