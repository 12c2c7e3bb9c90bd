from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from parley.envs.dialogue.aec import AECDialogue, make_action_space
from parley.envs.dialogue.rules import Dialogue, DialogueSettings, History

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PettingZoo's test package uses PettingZoo's deprecated API.
    from pettingzoo.test import api_test, seed_test

END = 0
OPENERS = [[1, 2], [3], [4, 4, 4]]


def make(num_seats: int = 2, **changes: Any) -> AECDialogue:
    arguments: dict[str, Any] = {
        "seats": tuple(f"player_{seat}" for seat in range(num_seats)),
        "max_turns": 6,
        "max_reply_tokens": 4,
        "window": 12,
        "end_token": END,
        "vocab_size": 8,
    }
    reward = {"reward": changes.pop("reward")} if "reward" in changes else {}
    return AECDialogue(DialogueSettings(**{**arguments, **changes}), OPENERS, **reward)


def count_tokens(seat: str, history: History, reply: np.ndarray) -> float:
    return float(len(reply))


@pytest.mark.filterwarnings(
    "error",
    "ignore:Observation is not a NumPy array",
    "ignore:Observation space for each agent probably should be",
    "ignore:Environment has not defined a render",
)
@pytest.mark.parametrize(
    "env",
    [
        make(1),
        make(2, reward=count_tokens),
        make(3, max_turns=2),
        make(3, max_turns=100, max_dialogue_tokens=30, end_token=7, reward=count_tokens),
        make(2, max_turns=100, max_reply_tokens=1, window=4, vocab_size=2000),
    ],
    ids=["one seat", "two", "a seat that never speaks", "truncated", "long"],
)
def test_pettingzoos_own_tests_pass(env: AECDialogue) -> None:
    api_test(env, num_cycles=200)
    seed_test(lambda: AECDialogue(env.settings, OPENERS, env.reward), num_cycles=50)


def play(env: AECDialogue, seed: int | None, actions: np.random.Generator) -> list[Any]:
    """Play one dialogue with random actions; give what each seat's `last` said."""
    env.reset(seed=seed)
    seen: list[Any] = []
    for seat in env.agent_iter():
        observation, reward, terminated, truncated, _ = env.last()
        seen.append((seat, observation, reward, terminated, truncated))
        over = terminated or truncated
        env.step(None if over else actions.integers(0, 8, env.settings.max_reply_tokens))
    return seen


@pytest.mark.parametrize("num_seats", [1, 2, 3])
def test_random_play_equals_the_rules(num_seats: int) -> None:
    env = make(num_seats, max_dialogue_tokens=25, reward=count_tokens)
    generator, ends = np.random.default_rng(0), set()
    for seed in range(100):
        env.reset(seed=seed)
        dialogue = Dialogue(env.settings, env.dialogue.turns[0].tokens)
        earned = dict.fromkeys(env.possible_agents, 0.0)
        for seat in env.agent_iter():
            observation, reward, terminated, truncated, _ = env.last()
            assert observation is not None
            length, history = observation["length"], dialogue.history()
            np.testing.assert_array_equal(observation["tokens"][:length], history.tokens)
            np.testing.assert_array_equal(observation["roles"][:length], history.roles)
            assert (observation["tokens"][length:] == END).all()
            assert not observation["roles"][length:].any()
            assert env.observation_space(seat).contains(observation)
            assert (terminated, truncated) == (dialogue.terminated, dialogue.truncated)
            assert reward == earned[seat]
            if dialogue.over:
                env.step(None)
                continue
            assert seat == dialogue.next_seat
            action = generator.integers(0, 8, 4)
            ends_at = np.flatnonzero(action == END)
            reply = action[: ends_at[0] + 1] if ends_at.size else action
            dialogue.say(reply)
            earned[seat] = float(len(reply))
            env.step(action)
        assert env.agents == []
        ends.add((dialogue.terminated, dialogue.truncated))
    assert ends == {(True, False), (False, True)}


def test_one_seed_gives_one_run_and_none_goes_on() -> None:
    runs = []
    for _ in range(2):
        env, actions = make(), np.random.default_rng(1)
        runs.append([play(env, seed, actions) for seed in (5, None, None, 6)])
    np.testing.assert_equal(runs[0], runs[1])
    env = make()
    openers = set()
    for _ in range(50):
        env.reset()
        openers.add(tuple(env.dialogue.turns[0].tokens.tolist()))
    assert openers == set(map(tuple, OPENERS))


def test_the_reward_function_sees_what_the_seat_saw_and_drew() -> None:
    calls: list[tuple[str, list[int], list[int]]] = []

    def record(seat: str, history: History, reply: np.ndarray) -> float:
        calls.append((seat, history.tokens.tolist(), reply.tolist()))
        return float(len(calls))

    env = make(2, reward=record)
    env.reset(seed=0)
    opener = env.dialogue.turns[0].tokens.tolist()
    env.step(np.array([5, END, 6, 6]))
    assert env.rewards == {"player_0": 1.0, "player_1": 0.0}
    env.step(np.array([1, 2, 3, 4]))
    assert env.rewards == {"player_0": 0.0, "player_1": 2.0}
    assert calls == [
        ("player_0", [*opener, END], [5, END]),
        ("player_1", [*opener, END, 5, END], [1, 2, 3, 4]),
    ]
    assert env.last()[1] == 1.0


def test_every_sample_is_a_legal_reply() -> None:
    env = make(1, max_turns=1)
    space = make_action_space(env.settings)
    space.seed(0)
    for _ in range(50):
        env.reset()
        env.step(space.sample())
        assert env.dialogue.terminated
    env.reset()
    env.step(np.full(4, END))
    assert env.dialogue.turns[-1].tokens.size == 0


def test_refusals() -> None:
    settings = make().settings
    with pytest.raises(ValueError, match="openers is empty: give at least one"):
        AECDialogue(settings, [])
    with pytest.raises(ValueError, match=r"openers\[1\]: opener longer than the window"):
        AECDialogue(settings, [[1], [1] * 12])
    env = make(reward=lambda seat, history, reply: float("nan"))
    with pytest.raises(RuntimeError, match=r"call reset\(\)"):
        env.step(np.zeros(4, dtype=np.int64))
    env.reset(seed=0)
    faulty: list[Any] = [np.zeros(3, dtype=np.int64), np.zeros(4), None]
    for action in faulty:
        with pytest.raises(ValueError, match=r"action of 'player_0' must be integer ids of shape"):
            env.step(action)
    with pytest.raises(ValueError, match="holds the id 8 at position 0"):
        env.step(np.full(4, 8))
    with pytest.raises(ValueError, match=r"reward function gave 'player_0' nan"):
        env.step(np.ones(4, dtype=np.int64))
