from __future__ import annotations

from typing import Any

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

from parley.envs import ENVIRONMENTS
from parley.envs.dialogue.aec import AECDialogue
from parley.envs.dialogue.multi import MultiDialogue
from parley.envs.dialogue.rules import DialogueSettings, History

END, VOCAB, REPLY, WINDOW = 0, 8, 4, 12
CONFIG: dict[str, Any] = {
    "seats": ["distorter", "competitor"],
    "max_turns": 5,
    "max_reply_tokens": REPLY,
    "window": WINDOW,
    "end_token": END,
    "vocab_size": VOCAB,
    "openers": [[1, 2], [3]],
}


def count_tokens(seat: str, history: History, reply: np.ndarray) -> float:
    return float(len(reply))


def config(**changes: Any) -> dict[str, Any]:
    return {**CONFIG, **changes}


def say(*ids: int) -> np.ndarray:
    """Give the action that says `ids` and closes the reply if there is room."""
    return np.array([*ids, *[END] * (REPLY - len(ids))])


def test_the_row_of_the_table_names_both_forms() -> None:
    entry = ENVIRONMENTS["parley/Dialogue"]
    assert entry.kind == "multi"
    assert entry.load() is MultiDialogue
    assert entry.pettingzoo_entry_point == f"{AECDialogue.__module__}:{AECDialogue.__name__}"


@pytest.mark.parametrize("num_seats", [1, 2, 3])
@pytest.mark.parametrize("max_turns", [1, 9])
def test_rllibs_own_checks_pass(num_seats: int, max_turns: int) -> None:
    seats = [f"seat_{seat}" for seat in range(num_seats)]
    for _ in range(20):
        check_multiagent_environments(
            MultiDialogue(config(seats=seats, max_turns=max_turns, reward=count_tokens))
        )


def test_spaces_and_agents() -> None:
    env = MultiDialogue(config())
    aec = AECDialogue(
        DialogueSettings(**{k: v for k, v in CONFIG.items() if k != "openers"}), [[1]]
    )
    assert env.possible_agents == env.agents == ["distorter", "competitor"]
    for seat in CONFIG["seats"]:
        assert env.get_observation_space(seat) == aec.observation_space(seat)
        assert env.get_action_space(seat) == aec.action_space(seat)


def test_only_the_next_seat_observes_until_all_do() -> None:
    env = MultiDialogue(config(max_turns=3, openers=[[1, 2]], reward=count_tokens))
    observations, infos = env.reset(seed=0)
    seen: list[Any] = [(list(observations), {}, {}, {})]
    assert infos.keys() == observations.keys()
    for seat, action in (
        ("distorter", say(5)),
        ("competitor", say(6, 6, 6, 6)),
        ("distorter", say(7)),
    ):
        observations, rewards, terminated, truncated, infos = env.step({seat: action})
        assert infos.keys() == observations.keys()
        assert all(env.get_observation_space(s).contains(o) for s, o in observations.items())
        seen.append((list(observations), rewards, terminated, truncated))
    going, ended = {"__all__": False}, {"__all__": True}
    assert seen == [
        (["distorter"], {}, {}, {}),
        (["competitor"], {"distorter": 2.0}, going, going),
        (["distorter"], {"competitor": 4.0}, going, going),
        (["distorter", "competitor"], {"distorter": 2.0}, ended, going),
    ]
    np.testing.assert_equal(observations["distorter"], observations["competitor"])
    last = observations["distorter"]
    assert last["tokens"].tolist() == [1, 2, END, 5, END, 6, 6, 6, 6, END, 7, END]
    assert last["roles"].tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2, 0, 1, 1]
    assert last["length"] == 12


def play(env: Any, generator: np.random.Generator, seed: int) -> Any:
    """Play one dialogue of random tokens, recorded by RLlib's episode."""
    episode = MultiAgentEpisode()
    observations, infos = env.reset(seed=seed)
    episode.add_env_reset(observations=observations, infos=infos)
    while not episode.is_done:
        actions = {
            seat: generator.integers(0, VOCAB, REPLY) for seat in episode.get_agents_to_act()
        }
        observations, rewards, terminated, truncated, infos = env.step(actions)
        episode.add_env_step(
            observations, actions, rewards, infos, terminateds=terminated, truncateds=truncated
        )
    return episode


@pytest.mark.parametrize("num_seats", [1, 2, 3])
def test_rllibs_episodes_hold_every_reply_and_reward(num_seats: int) -> None:
    seats = [f"seat_{seat}" for seat in range(num_seats)]
    env = MultiDialogue(config(seats=seats, max_dialogue_tokens=20, reward=count_tokens))
    generator, ends = np.random.default_rng(0), set()
    for seed in range(60):
        episode = play(env, generator, seed)
        dialogue = env.dialogue
        assert (episode.is_terminated, episode.is_truncated) == (
            dialogue.terminated,
            dialogue.truncated,
        )
        ends.add((dialogue.terminated, dialogue.truncated))
        for seat in seats:
            replies = [turn for turn in dialogue.turns if turn.speaker == seat]
            if not replies:
                assert seat not in episode.agent_episodes or not len(episode.agent_episodes[seat])
                continue
            single = episode.agent_episodes[seat]
            assert len(single) == len(replies)
            assert (single.is_terminated, single.is_truncated) == (
                dialogue.terminated,
                dialogue.truncated,
            )
            rewards = [float(len(turn.tokens) + turn.closed) for turn in replies]
            assert list(single.get_rewards()) == rewards
            last = single.get_observations(-1)
            np.testing.assert_array_equal(
                last["tokens"][: last["length"]], dialogue.history().tokens
            )
    assert ends == {(True, False), (False, True)}


class RandomTalk(TorchRLModule):
    """Draws every token uniformly; takes part in RLlib's loop as a frozen model would."""

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        lengths = batch[Columns.OBS]["length"]
        assert batch[Columns.OBS]["tokens"].shape == (len(lengths), WINDOW)
        return {Columns.ACTIONS: torch.randint(0, VOCAB, (len(lengths), REPLY))}


def test_rllibs_stock_env_runner_samples_whole_dialogues() -> None:
    settings = (
        PPOConfig()
        .environment(MultiDialogue, env_config=config(reward=count_tokens))
        .env_runners(num_envs_per_env_runner=3, batch_mode="complete_episodes")
        .multi_agent(
            policies={"trained", "frozen"},
            policy_mapping_fn=lambda agent, episode, **_: (
                "trained" if agent == "distorter" else "frozen"
            ),
        )
        .rl_module(
            rl_module_spec=MultiRLModuleSpec(
                rl_module_specs={
                    name: RLModuleSpec(module_class=RandomTalk) for name in ("trained", "frozen")
                }
            )
        )
        .debugging(seed=0)
    )
    runner = MultiAgentEnvRunner(config=settings)
    episodes = runner.sample(num_episodes=6, explore=True)
    runner.stop()
    assert len(episodes) == 6
    for episode in episodes:
        assert episode.is_terminated
        modules: dict[Any, str] = {"distorter": "trained", "competitor": "frozen"}
        for seat, single in episode.agent_episodes.items():
            assert single.module_id == modules[seat]
            assert single.is_terminated
            for action, reward in zip(single.get_actions(), single.get_rewards(), strict=True):
                ends = np.flatnonzero(action == END)
                assert reward == (ends[0] + 1 if ends.size else REPLY)


def test_one_seed_gives_one_run() -> None:
    runs = []
    for _ in range(2):
        env, generator = MultiDialogue(config()), np.random.default_rng(3)
        episodes = [play(env, generator, seed) for seed in (1, 2)]
        runs.append([e.agent_episodes["distorter"].get_observations() for e in episodes])
    np.testing.assert_equal(runs[0], runs[1])


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"'max_turn', did you mean 'max_turns'\? Known keys"):
        MultiDialogue(config(max_turn=3))
    with pytest.raises(ValueError, match=r"env_config lacks \['seats', 'max_turns'.*'openers'\]"):
        MultiDialogue()
    with pytest.raises(ValueError, match=r"env_config lacks \['openers'\]"):
        MultiDialogue({key: value for key, value in CONFIG.items() if key != "openers"})
    with pytest.raises(ValueError, match="window 2 cannot hold one reply"):
        MultiDialogue(config(window=2))
    env = MultiDialogue(config(max_turns=1))
    with pytest.raises(RuntimeError, match=r"call reset\(\)"):
        env.step({"distorter": say(1)})
    env.reset(seed=0)
    for seats in ([], ["competitor"], ["distorter", "competitor"]):
        with pytest.raises(ValueError, match="it is the turn of 'distorter' alone"):
            env.step({seat: say(1) for seat in seats})
    env.step({"distorter": say(1)})
    with pytest.raises(RuntimeError, match=r"the dialogue is over: call reset\(\)"):
        env.step({"competitor": say(1)})
