"""The env runner: plays a vectorised token environment with RLlib's modules, in whole arrays.

It replaces RLlib's `MultiAgentEnvRunner` where an environment has a vector form: one numpy step
moves all environments and one forward pass per policy serves all agents, while the stock runner
builds dictionaries and lists for each agent and step. It owns its environment, its modules and
its random streams; weights come in with every call, so that a restarted runner never acts on
stale ones.

Environment e of runner w has the number g = w * num_envs + e in the whole run. Its resets and its
action draws use streams of (seed, g) alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.columns import Columns
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.utils.metrics import EPISODE_RETURN_MEAN

from parley.platform.control.fragment import EpisodePiece, Fragment, cut_episodes
from parley.platform.control.vector_task import VectorEnv
from parley.platform.engine.rllib.weight_receiver import WeightReceiver
from parley.platform.records import Spaces, State
from parley.policies.token.window_module import TokenModule

Space = gymnasium.spaces.Space[Any]

RESET_STREAM, ACTION_STREAM = 0, 1
"""Which of an environment's two random streams a seed sequence is for."""


@dataclass(frozen=True)
class Rollout:
    """What one call of `sample_with_weights` brings back."""

    worker_index: int
    episodes: list[EpisodePiece]
    metrics: Any
    """RLlib's runner metrics."""
    returns: list[float]
    """Returns of the agents' episodes that ended in these steps."""
    num_env_steps: int
    seconds: float


@dataclass(frozen=True)
class RunnerSettings:
    """What a runner needs to know besides RLlib's own settings."""

    make_vector_env: Callable[[Sequence[np.random.SeedSequence]], VectorEnv]
    """Called with the reset streams of the runner's environments."""
    agent_ids: tuple[str, ...]
    seed: int
    reward_scale: float
    """Factor on the rewards that the learner sees."""


class VectorEnvRunner(WeightReceiver):
    """Plays `rollout_fragment_length` steps of all its environments per call.

    The algorithm's `env_config` holds `runner`, its `RunnerSettings`; `policy_mapping_fn` gives
    each agent its module.
    """

    env: VectorEnv  # type: ignore[assignment]  # RLlib's base class declares None

    def __init__(self, *, config: AlgorithmConfig, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self.settings: RunnerSettings = self.config.env_config["runner"]
        self.agent_ids = list(self.settings.agent_ids)
        mapping: Callable[..., str] = self.config.policy_mapping_fn
        self.module_ids = [mapping(agent_id, None) for agent_id in self.agent_ids]
        self.num_envs: int = self.config.num_envs_per_env_runner
        self._num_calls = 0
        self._tokens: NDArray[np.int64] | None = None
        self.make_env()
        self.make_module()

    def make_env(self) -> None:
        """Make the environments and the streams from which actions are drawn."""
        first = max(0, (self.worker_index or 0) - 1) * self.num_envs
        numbers = range(first, first + self.num_envs)
        self.env = self.settings.make_vector_env([self._stream(g, RESET_STREAM) for g in numbers])
        self._action_generators = [
            np.random.default_rng(self._stream(g, ACTION_STREAM)) for g in numbers
        ]
        self._tokens = None
        self._returns = np.zeros((self.num_envs, len(self.agent_ids)))

    def make_module(self) -> None:
        """Build the modules, and note which agents each serves."""
        super().make_module()
        for module_id in self.module.keys():  # noqa: SIM118, no mapping
            cast("TokenModule", self.module[module_id]).eval()
        agents: dict[str, list[int]] = {}
        for agent, module_id in enumerate(self.module_ids):
            agents.setdefault(module_id, []).append(agent)
        self._agents_of_module = {key: np.array(columns) for key, columns in agents.items()}

    def sample_with_weights(self, state: Mapping[str, Any]) -> Rollout:
        """Take the learner's weights, then play one fragment."""
        self.set_state(state)
        if self._tokens is None and self._weights_seq_no > 1:
            self.make_env()  # the runner replaces one that died: it must not play its start again
        started = time.perf_counter()
        episodes, returns = self._play()
        return Rollout(
            self.worker_index or 0,
            episodes,
            self.get_metrics(),
            returns,
            self.num_envs * self._num_steps,
            time.perf_counter() - started,
        )

    def sample(self, **kwargs: Any) -> list[EpisodePiece]:
        """Play one fragment with the weights at hand (RLlib's own entry)."""
        return self._play()[0]

    def get_spaces(self) -> Spaces:
        """Observation and action space of every module and of the environment."""
        spaces = cast(
            "tuple[Space, Space]", (self.config.observation_space, self.config.action_space)
        )
        by_agent = tuple(
            gymnasium.spaces.Dict(dict.fromkeys(self.agent_ids, space)) for space in spaces
        )
        return {
            INPUT_ENV_SPACES: by_agent,
            INPUT_ENV_SINGLE_SPACES: by_agent,
            **dict.fromkeys(self.module_ids, spaces),
        }

    def get_env_state(self) -> State:
        """What a resumed run needs to continue with the same episodes and the same draws."""
        return {
            "worker_index": self.worker_index or 0,
            "env": self.env.get_state(),
            "tokens": self._tokens,
            "returns": self._returns,
            "actions": [g.bit_generator.state for g in self._action_generators],
        }

    def set_env_state(self, states: Mapping[int, State]) -> None:
        """Go on where `get_env_state` was called; `states` holds those of all runners."""
        state = states.get(self.worker_index or 0)
        if state is None:  # the runner was down when the checkpoint was written
            return
        self.env.set_state(state["env"])
        self._tokens = state["tokens"]
        self._returns = np.array(state["returns"])
        for generator, saved in zip(self._action_generators, state["actions"], strict=True):
            generator.bit_generator.state = saved

    @property
    def _num_steps(self) -> int:
        return int(self.config.get_rollout_fragment_length(self.worker_index or 0))

    def _stream(self, number: int, purpose: int) -> np.random.SeedSequence:
        replaced_at = [self._weights_seq_no] if self._weights_seq_no > 1 else []
        return np.random.SeedSequence([self.settings.seed, number, purpose, *replaced_at])

    def _play(self) -> tuple[list[EpisodePiece], list[float]]:
        with torch.inference_mode():
            fragment = self._roll()
        self._num_calls += 1
        name = f"{self.worker_index or 0:05d}-{self._num_calls:06d}"
        episodes = cut_episodes(fragment, self.agent_ids, self.module_ids, name)
        returns = self._finished_returns(fragment)
        self._log_metrics(len(fragment.actions) * self.num_envs, returns)
        return episodes, returns

    def _roll(self) -> Fragment:
        """Play the steps; forward passes see all environments at once."""
        tokens = self.env.reset() if self._tokens is None else self._tokens
        num_steps, (num_envs, num_agents, length) = self._num_steps, tokens.shape
        fragment = Fragment.allocate(num_steps, (num_envs, num_agents), length)
        uniforms = np.stack(
            [g.random((num_steps, num_agents)) for g in self._action_generators], axis=1
        )
        for step in range(num_steps):
            running = self.env.running
            actions, logps, values = self._act(tokens, running, uniforms[step])
            outcome = self.env.step(actions)
            fragment.tokens[step] = tokens
            fragment.actions[step] = actions
            fragment.action_logps[step] = logps
            fragment.values[step] = values
            fragment.rewards[step] = outcome.rewards
            fragment.terminated[step] = outcome.terminated
            fragment.truncated[step] = outcome.truncated
            fragment.acted[step] = outcome.acted
            if outcome.truncated.any():
                fragment.next_values[step] = self._values(outcome.final_tokens, outcome.truncated)
            tokens = outcome.tokens
        fragment.last_tokens[:] = tokens
        following = np.concatenate([fragment.values[1:], self._values(tokens, None)[None]])
        ended = fragment.terminated | fragment.truncated
        np.copyto(fragment.next_values, following, where=~ended)
        self._tokens = tokens
        return fragment

    def _act(
        self,
        tokens: NDArray[np.int64],
        running: NDArray[np.bool_],
        uniforms: NDArray[np.float64],
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
        """Draw actions [E, N] by inverse transform; give their log-probabilities and values."""
        actions = np.zeros(running.shape, np.int64)
        logps = np.zeros(running.shape, np.float32)
        values = np.zeros(running.shape, np.float32)
        for module_id, where in self._rows(running):
            output = self.module[module_id].forward_exploration(
                {Columns.OBS: torch.from_numpy(tokens[where])}
            )
            log_probs = torch.log_softmax(output[Columns.ACTION_DIST_INPUTS], -1).numpy()
            edges = np.exp(log_probs[:, :-1], dtype=np.float64).cumsum(axis=1)
            drawn = (uniforms[where][:, None] >= edges).sum(axis=1)
            actions[where] = drawn
            logps[where] = np.take_along_axis(log_probs, drawn[:, None], axis=1)[:, 0]
            values[where] = output[Columns.VF_PREDS].numpy()
        return actions, logps, values

    def _values(
        self, tokens: NDArray[np.int64], chosen: NDArray[np.bool_] | None
    ) -> NDArray[np.float32]:
        """Values [E, N] of the chosen agents' windows; 0 elsewhere."""
        values = np.zeros(tokens.shape[:2], np.float32)
        for module_id, where in self._rows(
            np.ones_like(values, bool) if chosen is None else chosen
        ):
            batch = {Columns.OBS: torch.from_numpy(tokens[where])}
            module = cast("TokenModule", self.module[module_id])
            values[where] = module.compute_values(batch).numpy()
        return values

    def _rows(
        self, chosen: NDArray[np.bool_]
    ) -> list[tuple[str, tuple[NDArray[np.int64], NDArray[np.int64]]]]:
        """The chosen (environment, agent) pairs of every module that has any."""
        rows = []
        for module_id, agents in self._agents_of_module.items():
            envs, columns = np.nonzero(chosen[:, agents])
            if envs.size:
                rows.append((module_id, (envs, agents[columns])))
        return rows

    def _finished_returns(self, fragment: Fragment) -> list[float]:
        """The returns of the episodes that ended; those that go on are carried to the next call."""
        ended = fragment.terminated | fragment.truncated
        returns = []
        for rewards, over in zip(fragment.rewards, ended, strict=True):
            self._returns += rewards
            if over.any():
                returns += self._returns[over].tolist()
                self._returns[over] = 0.0
        return returns

    def _log_metrics(self, num_env_steps: int, returns: list[float]) -> None:
        self._count_env_steps(num_env_steps)
        for value in returns:
            self.metrics.log_value(EPISODE_RETURN_MEAN, value, window=100)
