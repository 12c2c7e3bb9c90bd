"""Several carts as an RLlib environment. The only module of `envs.cartpole` that imports Ray."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.rllib.env.multi_agent_env import MultiAgentEnv

from parley.envs.cartpole.parallel import ParallelCartPole
from parley.envs.cartpole.tokens import IntArray
from parley.envs.interface import AgentSteps, Info, Options


class MultiCartPole(MultiAgentEnv):
    """`ParallelCartPole` in RLlib's form: one environment, agents "cart_0" to "cart_{N-1}".

    The last step of an episode says truncated["__all__"] if a cart was truncated in it, otherwise
    terminated["__all__"]. Carts that are truncated have no flag of their own besides "__all__" (all
    are truncated in the same step): RLlib's `MultiAgentEpisode.add_env_step` takes an episode whose
    agents all have such flags for terminated, and would not bootstrap the truncated ones.

    Args:
        config: `ParallelCartPole`'s arguments as `env_config`: any of num_carts, num_bins, window,
            dither, max_steps.

    Raises:
        ValueError: an unknown key, or an argument or action outside its range.
    """

    CONFIG_KEYS = ("num_carts", "num_bins", "window", "dither", "max_steps")

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        arguments = dict(config or {})
        unknown = sorted(arguments.keys() - set(self.CONFIG_KEYS))
        if unknown:
            raise ValueError(f"unknown config keys {unknown}: expected {list(self.CONFIG_KEYS)}")
        self._carts = ParallelCartPole(**arguments)
        self.possible_agents = [*self._carts.possible_agents]
        self.agents = [*self._carts.possible_agents]
        self.observation_spaces = dict(self._carts.observation_spaces.items())
        self.action_spaces = dict(self._carts.action_spaces.items())
        super().__init__()

    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: Options | None = None
    ) -> tuple[dict[str, IntArray], dict[str, Info]]:
        """Start an episode with all carts; `options` are ignored."""
        observations, infos = self._carts.reset(seed=seed)
        self.agents = [*self._carts.agents]
        return observations, infos

    def step(  # type: ignore[override]
        self, action_dict: dict[str, int]
    ) -> AgentSteps[IntArray]:
        """Push every cart that is still running."""
        observations, rewards, terminated, truncated, infos = self._carts.step(action_dict)
        self.agents = [*self._carts.agents]
        any_truncated = any(truncated.values())
        terminated["__all__"] = not self.agents and not any_truncated
        truncated = {agent: False for agent, flag in truncated.items() if not flag}
        truncated["__all__"] = any_truncated
        return observations, rewards, terminated, truncated, infos
