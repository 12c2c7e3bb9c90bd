"""Generalised advantage estimation over whole arrays of steps.

Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation"
(arXiv:1506.02438), equations 11 to 16:

    delta_t = r_t + gamma V(s_{t+1}) - V(s_t)
    A_t     = delta_t + gamma lambda A_{t+1}

V(s_{t+1}) is 0 where the episode terminated, and A_{t+1} is left out where it ended in any way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


def estimate_advantages(
    rewards: Floats,
    values: Floats,
    next_values: Floats,
    terminated: Flags,
    truncated: Flags,
    gamma: float,
    gae_lambda: float,
) -> Floats:
    """Advantages [T, ...] of T consecutive steps of any number of streams.

    Args:
        rewards, values: r_t and V(s_t), [T, ...].
        next_values: V of the state that followed, before any restart, [T, ...].
        terminated, truncated: whether the episode ended with the step, [T, ...].
        gamma: discount, in (0, 1].
        gae_lambda: lambda, in [0, 1].
    """
    deltas = rewards + gamma * next_values * ~terminated - values
    carry = np.float32(gamma * gae_lambda) * ~(terminated | truncated)
    advantages = np.empty_like(deltas)
    following = np.zeros_like(deltas[0])
    for step in range(len(deltas) - 1, -1, -1):
        following = deltas[step] + carry[step] * following
        advantages[step] = following
    return advantages


def whiten(advantages: Floats) -> Floats:
    """Advantages [N] shifted and scaled to mean 0 and standard deviation 1."""
    whitened: Floats = (advantages - advantages.mean()) / (advantages.std() + np.float32(1e-8))
    return whitened
