"""Several carts as one PettingZoo environment; `multi` gives it RLlib's form."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from pettingzoo import ParallelEnv

from parley.envs.cartpole.tokens import STEP_TOKENS, IntArray
from parley.envs.cartpole.vector import VectorCartPole, VectorStep
from parley.envs.interface import AgentSteps, Info, Metadata, Options


class ParallelCartPole(ParallelEnv[str, IntArray, int]):
    """N carts that start together and end one by one; each sees its own tokens only.

    Agents:
        "cart_0" to "cart_{N-1}". `agents` holds those still running.
    Observation space, action space, reward, start:
        for each cart those of `TokenCartPole`.
    End:
        a cart is terminated when it leaves the track or its pole falls, and truncated after
        `max_steps` steps. `step` answers for the carts that took part in it, so that a cart is last
        heard of in the step in which it ends.

    Args:
        num_carts: carts N.
        num_bins: bins per state dimension.
        window: steps of history in an observation.
        dither: amplitude of the dither before quantising, 0 to 1 bin widths.
        max_steps: length limit of an episode.

    Raises:
        ValueError: an argument or an action is outside its range, or `step` gets actions for other
            carts than those still running.
        RuntimeError: `step` when no cart is running.
    """

    metadata: ClassVar[Metadata] = {"name": "parley_cartpole_v0", "render_modes": []}
    render_mode = None

    def __init__(
        self,
        num_carts: int = 2,
        num_bins: int = 10,
        window: int = 1,
        dither: float = 0.0,
        max_steps: int = 500,
    ) -> None:
        self._carts = VectorCartPole(
            num_envs=1,
            num_carts=num_carts,
            num_bins=num_bins,
            window=window,
            dither=dither,
            max_steps=max_steps,
            seeds=[np.random.SeedSequence()],
            auto_reset=False,
        )
        self.possible_agents = [f"cart_{cart}" for cart in range(num_carts)]
        self.agents: list[str] = []
        top_token = self._carts.tokenizer.vocab_size - 1
        self.observation_spaces = {
            agent: gymnasium.spaces.Box(0, top_token, (STEP_TOKENS * window,), np.int64)
            for agent in self.possible_agents
        }
        self.action_spaces: dict[str, Any] = {
            agent: gymnasium.spaces.Discrete(2) for agent in self.possible_agents
        }

    def observation_space(self, agent: str) -> gymnasium.spaces.Space[IntArray]:
        """Give the tokens that `agent` may see."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> gymnasium.spaces.Space[int]:
        """Give the two actions of `agent`."""
        space: gymnasium.spaces.Space[int] = self.action_spaces[agent]
        return space

    def reset(
        self, seed: int | None = None, options: Options | None = None
    ) -> tuple[dict[str, IntArray], dict[str, Info]]:
        """Start an episode with all carts; `options` are ignored."""
        if seed is not None:
            self._carts.generators[0] = np.random.default_rng(seed)
        tokens = self._carts.reset()[0]
        self.agents = self.possible_agents.copy()
        observations = dict(zip(self.agents, tokens, strict=True))
        return observations, {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> AgentSteps[IntArray]:
        """Push every cart that is still running."""
        if actions.keys() != set(self.agents):
            raise ValueError(
                f"actions must be for the running carts {self.agents}, got {sorted(actions)}"
            )
        row = np.array([[actions.get(agent, 0) for agent in self.possible_agents]])
        return self._answer(self._carts.step(row))

    def _answer(self, step: VectorStep) -> AgentSteps[IntArray]:
        """Give the dictionaries of the carts that acted, and forget those that ended."""
        acted = {
            agent: cart for cart, agent in enumerate(self.possible_agents) if step.acted[0, cart]
        }
        observations = {agent: step.tokens[0, cart] for agent, cart in acted.items()}
        rewards = {agent: float(step.rewards[0, cart]) for agent, cart in acted.items()}
        terminated = {agent: bool(step.terminated[0, cart]) for agent, cart in acted.items()}
        truncated = {agent: bool(step.truncated[0, cart]) for agent, cart in acted.items()}
        self.agents = [agent for agent in acted if not (terminated[agent] or truncated[agent])]
        return observations, rewards, terminated, truncated, {agent: {} for agent in acted}
