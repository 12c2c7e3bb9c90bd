"""The dialogue as a PettingZoo environment, turn by turn; `multi` gives it RLlib's form."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray
from pettingzoo import AECEnv

from parley.envs.dialogue.rules import (
    ENVIRONMENT_ROLE,
    Dialogue,
    DialogueSettings,
    History,
    Ids,
    cut_reply,
)
from parley.envs.interface import Info, Metadata, Options

Observation = dict[str, Any]
"""As in `AECDialogue`: tokens, roles, length."""
Action = NDArray[np.integer]
Reward = Callable[[str, History, NDArray[np.integer]], float]
"""A pure function of the seat, the history that it saw and the ids that it drew (with the end token
if it drew one): what the seat earns for that reply, a finite number."""


def no_reward(seat: str, history: History, reply: NDArray[np.integer]) -> float:
    """Give 0 for every reply."""
    return 0.0


class AECDialogue(AECEnv[str, Observation, Action]):
    """Seats that answer each other in tokens, one whole utterance a step.

    Agents:
        the seats of the settings. They speak in turn, and all of them end together.
    Observation space:
        Dict of `tokens` int64[window], the most recent whole turns, each with its end token;
        `roles` int8[window], who drew each of them (0 nobody: the opener, or an end token put in at
        the reply limit; otherwise seat index + 1); `length`, how many of them count. Behind stand
        end tokens with role 0. Every seat sees the same.
    Action space:
        Box int64[max_reply_tokens] of ids. The reply ends with its first end token, which closes
        it, and the rest is ignored; without one the reply is as long as it may be, and the
        environment ends it.
    Reward:
        what the reward function says of a reply, to the seat that spoke, in the step in which it
        spoke. Without a function: 0.
    Start:
        one of the openers, drawn from the environment's random stream.
    End:
        terminated for all seats after `max_turns` replies, or when a seat ends the talk with an
        empty reply (the end token first). Truncated for all seats when `max_dialogue_tokens` is
        reached; never both. A seat may end without having spoken.

    Args:
        settings: the rules' settings.
        openers: ids of the openers, one or more, without end tokens.
        reward: as described at `Reward`.

    Raises:
        ValueError: there is no opener, an opener breaks the rules, an action is not of that form,
            or the reward is no finite number.
        RuntimeError: `step` before `reset`, or after the last seat has left.
    """

    metadata: ClassVar[Metadata] = {
        "name": "parley_dialogue_v0",
        "render_modes": [],
        "is_parallelizable": False,
    }
    render_mode = None

    def __init__(
        self,
        settings: DialogueSettings,
        openers: Sequence[Ids],
        reward: Reward = no_reward,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.openers = _checked_openers(openers, settings)
        self.reward = reward
        self._generator = np.random.default_rng()
        self._dialogue: Dialogue | None = None
        self.possible_agents = list(settings.seats)
        self.agents: list[str] = []
        self.observation_spaces = {
            seat: make_observation_space(settings) for seat in settings.seats
        }
        self.action_spaces = {seat: make_action_space(settings) for seat in settings.seats}

    @property
    def dialogue(self) -> Dialogue:
        """The dialogue that is going on, or has just ended."""
        if self._dialogue is None:
            raise RuntimeError("no dialogue has begun: call reset() first")
        return self._dialogue

    def observation_space(self, agent: str) -> gymnasium.spaces.Space[Observation]:
        """Give the histories that `agent` may see."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gymnasium.spaces.Space[Action]:
        """Give the replies that `agent` may give."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: Options | None = None) -> None:
        """Begin a dialogue; `options` are ignored. Without a seed the random stream goes on."""
        if seed is not None:
            self._generator = np.random.default_rng(seed)
        opener = self.openers[self._generator.integers(len(self.openers))]
        self._dialogue = Dialogue(self.settings, opener)
        self.agents = self.possible_agents.copy()
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self.infos: dict[str, Info] = {agent: {} for agent in self.agents}
        self.agent_selection = self._dialogue.next_seat
        # PettingZoo's own memory of whose turn it was before ended agents had theirs.
        self._skip_agent_selection = None

    def observe(self, agent: str) -> Observation:
        """Give what every seat sees now."""
        return pad_history(self.dialogue.history(), self.settings)

    def step(self, action: Action | None) -> None:
        """Let `agent_selection` speak; an ended seat takes its leave with None."""
        if not self.agents:
            raise RuntimeError("no dialogue is running: call reset() before step()")
        seat = self.agent_selection
        if self.terminations[seat] or self.truncations[seat]:
            self._was_dead_step(action)
            return
        reply = self._checked_reply(seat, action)
        history = self.dialogue.history()
        self.dialogue.say(reply)
        self._cumulative_rewards[seat] = 0.0
        self._clear_rewards()
        self.rewards[seat] = _checked_reward(seat, self.reward(seat, history, reply))
        self._accumulate_rewards()
        self.terminations = dict.fromkeys(self.agents, self.dialogue.terminated)
        self.truncations = dict.fromkeys(self.agents, self.dialogue.truncated)
        self.agent_selection = self.dialogue.next_seat

    def _checked_reply(self, seat: str, action: Action | None) -> NDArray[np.integer]:
        """Give the ids of an action up to its first end token."""
        ids = np.asarray(action)
        if ids.shape != (self.settings.max_reply_tokens,) or ids.dtype.kind not in "iu":
            raise ValueError(
                f"the action of {seat!r} must be integer ids of shape "
                f"({self.settings.max_reply_tokens},), got {ids.dtype} of shape {ids.shape}: fill "
                f"a shorter reply up behind its end token {self.settings.end_token}"
            )
        return cut_reply(ids, self.settings.end_token)


def make_observation_space(settings: DialogueSettings) -> gymnasium.spaces.Dict:
    """Give the space of `pad_history`'s values."""
    window = settings.window
    return gymnasium.spaces.Dict(
        {
            "tokens": gymnasium.spaces.Box(0, settings.vocab_size - 1, (window,), np.int64),
            "roles": gymnasium.spaces.Box(0, len(settings.seats), (window,), np.int8),
            "length": gymnasium.spaces.Discrete(window + 1),
        }
    )


def make_action_space(settings: DialogueSettings) -> gymnasium.spaces.Box:
    """Give the space of replies int64[max_reply_tokens]; each of its members is a legal reply."""
    return gymnasium.spaces.Box(0, settings.vocab_size - 1, (settings.max_reply_tokens,), np.int64)


def pad_history(history: History, settings: DialogueSettings) -> Observation:
    """Give a history as tokens int64[window], roles int8[window] and length."""
    length = len(history.tokens)
    tokens = np.full(settings.window, settings.end_token, dtype=np.int64)
    tokens[:length] = history.tokens
    roles = np.full(settings.window, ENVIRONMENT_ROLE, dtype=np.int8)
    roles[:length] = history.roles
    return {"tokens": tokens, "roles": roles, "length": np.int64(length)}


def _checked_openers(openers: Sequence[Ids], settings: DialogueSettings) -> list[NDArray[np.int32]]:
    if not len(openers):
        raise ValueError("openers is empty: give at least one opener as token ids")
    checked = []
    for number, opener in enumerate(openers):
        try:
            checked.append(Dialogue(settings, opener).turns[0].tokens)
        except ValueError as error:
            raise ValueError(f"openers[{number}]: {error}") from error
    return checked


def _checked_reward(seat: str, reward: float) -> float:
    if not math.isfinite(reward):
        raise ValueError(f"the reward function gave {seat!r} {reward}: it must be a finite number")
    return float(reward)
