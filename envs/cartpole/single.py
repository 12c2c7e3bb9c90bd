"""One cart as a gymnasium environment, for `gymnasium.make("parley/TokenCartPole-v0")`."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from parley.envs.cartpole.tokens import STEP_TOKENS, FloatArray, IntArray
from parley.envs.cartpole.vector import VectorCartPole
from parley.envs.interface import Info, Metadata, Options


class TokenCartPole(gymnasium.Env[IntArray, int]):
    """Balance a pole on a cart, seeing only tokens.

    Observation space:
        `Box(0, vocab_size - 1, (5 * window,), int64)`: the last `window` steps, most recent last.
        A step is the token that led to it (RESET 0 for the first, ACT_LEFT 2, ACT_RIGHT 3) and one
        token for position, velocity, angle and angular velocity each: dimension d, bin k is
        `4 + d * num_bins + k`. A younger episode is left-padded with RESET: whatever stands before
        the last RESET is padding. `vocab_size` is `4 + 4 * num_bins`.
    Action space:
        `Discrete(2)`: 0 pushes the cart to the left, 1 to the right, with 10 N for 20 ms.
    Reward:
        1 for every step, the last one included.
    Start:
        all four components uniform in [-0.05, 0.05); for one seed the same states as `CartPole-v1`.
    End:
        terminated when the cart is more than 2.4 m off or the pole leans over 12 degrees; truncated
        after `max_steps` steps, unless the last one terminated. No TimeLimit wrapper is needed.

    Args:
        num_bins: bins per state dimension.
        window: steps of history in an observation.
        dither: amplitude of the dither before quantising, 0 to 1 bin widths.
        max_steps: length limit of an episode.
        render_mode: None, "rgb_array" or "human".

    Raises:
        ValueError: an argument or an action is outside its range.
        RuntimeError: `step` when no episode is running.
    """

    metadata: ClassVar[Metadata] = {  # type: ignore[misc]
        "render_modes": ["human", "rgb_array"],
        "render_fps": CartPoleEnv.metadata["render_fps"],
    }

    def __init__(
        self,
        num_bins: int = 10,
        window: int = 1,
        dither: float = 0.0,
        max_steps: int = 500,
        render_mode: str | None = None,
    ) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(
                f"render_mode must be None or one of {self.metadata['render_modes']}, "
                f"got {render_mode!r}"
            )
        self.render_mode = render_mode
        self._carts = VectorCartPole(
            num_envs=1,
            num_bins=num_bins,
            window=window,
            dither=dither,
            max_steps=max_steps,
            seeds=[np.random.SeedSequence()],
            auto_reset=False,
        )
        self._renderer = None if render_mode is None else CartPoleEnv(render_mode=render_mode)
        self.observation_space = gymnasium.spaces.Box(
            0, self._carts.tokenizer.vocab_size - 1, (STEP_TOKENS * window,), np.int64
        )
        self.action_space = gymnasium.spaces.Discrete(2)

    @property
    def state(self) -> FloatArray:
        """The true state float64[4] behind the observation: m, m/s, rad, rad/s."""
        state: FloatArray = self._carts.states[0, 0]
        return state

    def reset(
        self, *, seed: int | None = None, options: Options | None = None
    ) -> tuple[IntArray, Info]:
        """Start an episode; `options` are ignored."""
        super().reset(seed=seed)
        self._carts.generators[0] = self.np_random
        tokens = self._carts.reset()
        if self.render_mode == "human":
            self.render()
        return tokens[0, 0], {}

    def step(self, action: int) -> tuple[IntArray, float, bool, bool, Info]:
        """Push the cart for 20 ms."""
        step = self._carts.step(np.array([[action]]))
        if self.render_mode == "human":
            self.render()
        return (
            step.tokens[0, 0],
            float(step.rewards[0, 0]),
            bool(step.terminated[0, 0]),
            bool(step.truncated[0, 0]),
            {},
        )

    def render(self) -> np.ndarray[Any, Any] | None:  # type: ignore[override]
        """Draw the true state as `CartPole-v1` does: uint8[400, 600, 3] for "rgb_array"."""
        if self._renderer is None:
            gymnasium.logger.warn("render() needs a render_mode: pass 'rgb_array' or 'human'")
            return None
        self._renderer.state = self.state
        frame: np.ndarray[Any, Any] | None = self._renderer.render()
        return frame

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._renderer is not None:
            self._renderer.close()
