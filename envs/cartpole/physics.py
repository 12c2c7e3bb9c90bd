"""CartPole's equations of motion on whole arrays: pure functions, no tokens, no episodes.

The order of the floating-point operations is that of gymnasium's `CartPole-v1` (Euler integrator),
so that every state equals gymnasium's to the last bit.
Source: Barto, Sutton, Anderson, "Neuronlike adaptive elements that can solve difficult learning
control problems", 1983; equations after Florian, "Correct equations for the dynamics of the
cart-pole system", 2005.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from parley.envs.cartpole.tokens import STATE_DIMS, FloatArray

GRAVITY_M_S2 = 9.8
CART_MASS_KG = 1.0
POLE_MASS_KG = 0.1
TOTAL_MASS_KG = POLE_MASS_KG + CART_MASS_KG
HALF_POLE_M = 0.5
POLE_MASS_LENGTH = POLE_MASS_KG * HALF_POLE_M
FORCE_N = 10.0
STEP_S = 0.02
MAX_POSITION_M = 2.4
MAX_ANGLE_RAD = 12 * 2 * math.pi / 360
START_RANGE = 0.05
"""Every component of a start state is uniform in [-0.05, 0.05), in the component's own unit."""


def step_states(states: FloatArray, actions: NDArray[np.integer]) -> FloatArray:
    """Move every cart on by one step of 20 ms.

    Args:
        states: float64[..., 4]: position, velocity, angle, angular velocity.
        actions: int[...]: 1 pushes to the right, anything else to the left.

    Returns:
        A new float64[..., 4] array; in memory the components come first, which keeps the next
        call fast.
    """
    x, x_dot, theta, theta_dot = (states[..., d] for d in range(STATE_DIMS))
    force = np.where(actions == 1, FORCE_N, -FORCE_N)
    cos_theta = np.cos(theta)
    sin_theta = np.sin(theta)
    push = (force + POLE_MASS_LENGTH * np.square(theta_dot) * sin_theta) / TOTAL_MASS_KG
    theta_acc = (GRAVITY_M_S2 * sin_theta - cos_theta * push) / (
        HALF_POLE_M * (4.0 / 3.0 - POLE_MASS_KG * np.square(cos_theta) / TOTAL_MASS_KG)
    )
    x_acc = push - POLE_MASS_LENGTH * theta_acc * cos_theta / TOTAL_MASS_KG

    components = np.empty((STATE_DIMS, *x.shape))
    components[0] = x_dot
    components[1] = x_acc
    components[2] = theta_dot
    components[3] = theta_acc
    components *= STEP_S
    moved = components.transpose(*range(1, states.ndim), 0)
    moved += states
    return moved


def has_fallen(states: FloatArray) -> NDArray[np.bool_]:
    """Say which of float64[..., 4] left the track or lean over 12 degrees: bool[...]."""
    off_track = np.abs(states[..., 0]) > MAX_POSITION_M
    tilted = np.abs(states[..., 2]) > MAX_ANGLE_RAD
    return off_track | tilted


def draw_start(generator: np.random.Generator, num_carts: int = 1) -> FloatArray:
    """Draw start states float64[num_carts, 4]; for one cart gymnasium's from the same stream."""
    return generator.uniform(-START_RANGE, START_RANGE, size=(num_carts, STATE_DIMS))
