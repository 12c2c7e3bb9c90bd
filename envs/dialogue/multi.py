"""The dialogue as an RLlib environment. The only module of `envs.dialogue` that imports Ray."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from ray.rllib.env.multi_agent_env import MultiAgentEnv

from parley.envs.dialogue.aec import Action, AECDialogue, Observation
from parley.envs.dialogue.rules import Dialogue, DialogueSettings
from parley.envs.interface import AgentSteps, Info, Options

SETTINGS = tuple(field.name for field in dataclasses.fields(DialogueSettings))
REQUIRED_KEYS = (
    *(
        field.name
        for field in dataclasses.fields(DialogueSettings)
        if field.default is dataclasses.MISSING
    ),
    "openers",
)
CONFIG_KEYS = (*SETTINGS, "openers", "reward")


class MultiDialogue(MultiAgentEnv):
    """`AECDialogue` in RLlib's form: the seats are the agents, and each step is one seat's reply.

    Only the seat that speaks next has an observation; in the last step every seat has one, so that
    each seat's own episode is complete. Its reward comes to a seat in the step in which it spoke.
    The end of the dialogue is said by "__all__" alone, all seats end together: RLlib's
    `MultiAgentEpisode.add_env_step` takes an episode whose agents all have flags of their own for
    terminated, and would not bootstrap the truncated ones. Which policy sits in which seat is the
    business of RLlib's `policy_mapping_fn`.

    Args:
        config: as `env_config`: the fields of `DialogueSettings`, `openers` (lists of ids) and
            perhaps `reward`, both as in `AECDialogue`.

    Raises:
        ValueError: an unknown key, a missing one, or what `DialogueSettings` and `AECDialogue`
            refuse; `step` with an action for any other seat than the one that speaks next.
        RuntimeError: `step` before `reset`, or after the dialogue's end.
    """

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        arguments = dict(config or {})
        _require_keys(arguments)
        settings = DialogueSettings(
            **{key: arguments.pop(key) for key in SETTINGS if key in arguments}
        )
        self._aec = AECDialogue(settings, **arguments)
        self.possible_agents = [*self._aec.possible_agents]
        self.agents = [*self._aec.possible_agents]
        self.observation_spaces = dict(self._aec.observation_spaces.items())
        self.action_spaces = dict(self._aec.action_spaces.items())
        super().__init__()

    @property
    def dialogue(self) -> Dialogue:
        """The dialogue that is going on, or has just ended."""
        return self._aec.dialogue

    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: Options | None = None
    ) -> tuple[dict[str, Observation], dict[str, Info]]:
        """Begin a dialogue; `options` are ignored."""
        self._aec.reset(seed=seed)
        return self._observe([self._aec.agent_selection])

    def step(  # type: ignore[override]
        self, action_dict: dict[str, Action]
    ) -> AgentSteps[Observation]:
        """Let the seat that has the turn speak."""
        if self.dialogue.over:
            raise RuntimeError("the dialogue is over: call reset() before step()")
        seat = self._aec.agent_selection
        if action_dict.keys() != {seat}:
            raise ValueError(f"it is the turn of {seat!r} alone, got actions of {[*action_dict]}")
        self._aec.step(action_dict[seat])
        dialogue = self.dialogue
        seeing = self._aec.possible_agents if dialogue.over else [dialogue.next_seat]
        observations, infos = self._observe(seeing)
        return (
            observations,
            {seat: self._aec.rewards[seat]},
            {"__all__": dialogue.terminated},
            {"__all__": dialogue.truncated},
            infos,
        )

    def _observe(self, seats: list[str]) -> tuple[dict[str, Observation], dict[str, Info]]:
        return {seat: self._aec.observe(seat) for seat in seats}, {seat: {} for seat in seats}


def _require_keys(config: Mapping[str, Any]) -> None:
    for key in config:
        if key not in CONFIG_KEYS:
            nearest = difflib.get_close_matches(key, CONFIG_KEYS, n=1, cutoff=0)
            raise ValueError(
                f"unknown config key {key!r}, did you mean {nearest[0]!r}? Known keys: "
                f"{list(CONFIG_KEYS)}"
            )
    if missing := [key for key in REQUIRED_KEYS if key not in config]:
        raise ValueError(f"env_config lacks {missing}: required keys are {list(REQUIRED_KEYS)}")
