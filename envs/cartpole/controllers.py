"""Hand-written controllers of the true state, for data and as yardsticks: random and expert."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from parley.envs.cartpole.physics import (
    GRAVITY_M_S2,
    HALF_POLE_M,
    POLE_MASS_KG,
    POLE_MASS_LENGTH,
    STEP_S,
    TOTAL_MASS_KG,
)
from parley.envs.cartpole.tokens import STATE_DIMS, FloatArray, IntArray


class Controller(ABC):
    """A stochastic policy on true states: one hook, the probability of pushing to the right.

    Args:
        seed: of the controller's own random stream, used where `act` gets no random numbers.
    """

    def __init__(self, seed: int = 0) -> None:
        self._generator = np.random.default_rng(seed)

    @property
    @abstractmethod
    def name(self) -> str:
        """What to write into the metadata of a data set."""

    @abstractmethod
    def right_probability(self, states: FloatArray) -> FloatArray:
        """Give the probability float64[...] of pushing to the right in float64[..., 4] states."""

    def act(self, states: FloatArray, uniforms: FloatArray | None = None) -> IntArray:
        """Choose actions int64[...] in float64[..., 4] states.

        Args:
            states: position, velocity, angle, angular velocity on the last axis.
            uniforms: one random number in [0, 1) for each decision, float64[...].
        """
        if uniforms is None:
            uniforms = self._generator.random(states.shape[:-1])
        return (uniforms < self.right_probability(states)).astype(np.int64)


class RandomController(Controller):
    """Pushes left or right with equal probability."""

    name = "random"

    def right_probability(self, states: FloatArray) -> FloatArray:
        """Give 1/2 everywhere."""
        return np.full(states.shape[:-1], 0.5)


class ExpertController(Controller):
    """Pushes in the direction of the linear-quadratic regulator, and so stands for 500 steps.

    The force that the regulator asks for is `-gain @ state`; only its sign can be obeyed.

    Args:
        epsilon: probability of a random action instead, for variety.
        seed: as in `Controller`.

    Raises:
        ValueError: `epsilon` is outside [0, 1].
    """

    def __init__(self, epsilon: float = 0.0, seed: int = 0) -> None:
        if not 0 <= epsilon <= 1:
            raise ValueError(f"epsilon must be between 0 and 1, got {epsilon}")
        super().__init__(seed)
        self.epsilon = epsilon
        self._gain = solve_regulator_gain()

    @property
    def name(self) -> str:
        """Give "expert", with epsilon where there is one."""
        return f"expert(epsilon={self.epsilon:g})" if self.epsilon else "expert"

    def right_probability(self, states: FloatArray) -> FloatArray:
        """Give 1 - epsilon / 2 or epsilon / 2 by the sign of the regulator's force."""
        # A sum of products, not a matrix product: its last bit would depend on the batch's shape.
        force = -sum(gain * states[..., dim] for dim, gain in enumerate(self._gain))
        return np.where(force > 0, 1 - self.epsilon / 2, self.epsilon / 2)


def linearise() -> tuple[FloatArray, FloatArray]:
    """Give A [4, 4] and B [4, 1] of `step_states` near rest: next = A state + B force."""
    inertia = HALF_POLE_M * (4.0 / 3.0 - POLE_MASS_KG / TOTAL_MASS_KG)
    angle_to_theta_acc = GRAVITY_M_S2 / inertia
    force_to_theta_acc = -1 / (TOTAL_MASS_KG * inertia)
    coupling = POLE_MASS_LENGTH / TOTAL_MASS_KG
    rates = np.zeros((STATE_DIMS, STATE_DIMS))
    rates[0, 1] = rates[2, 3] = 1
    rates[1, 2] = -coupling * angle_to_theta_acc
    rates[3, 2] = angle_to_theta_acc
    push = np.zeros((STATE_DIMS, 1))
    push[1] = 1 / TOTAL_MASS_KG - coupling * force_to_theta_acc
    push[3] = force_to_theta_acc
    return np.eye(STATE_DIMS) + STEP_S * rates, STEP_S * push


def solve_regulator_gain(force_cost: float = 0.01, tolerance: float = 1e-10) -> FloatArray:
    """Give the gain float64[4] that minimises the sum of squared states plus `force_cost` force^2.

    Iterates the discrete Riccati equation from the state cost Q = 1 until it stands still:
    P = Q + A' P (A - B K), K = (R + B' P B)^-1 B' P A (Bertsekas, "Dynamic Programming and Optimal
    Control", vol. 1, section 3.1).
    """
    transition, push = linearise()
    state_cost = np.eye(STATE_DIMS)
    cost_to_go = state_cost
    while True:
        weighted = push.T @ cost_to_go
        gain = (weighted @ transition) / (force_cost + weighted @ push)
        updated = state_cost + transition.T @ cost_to_go @ (transition - push @ gain)
        if np.allclose(updated, cost_to_go, rtol=tolerance):
            return gain[0]
        cost_to_go = updated
