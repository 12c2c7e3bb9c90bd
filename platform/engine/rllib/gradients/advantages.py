"""Advantages: the estimates and baselines of which policy gradients are made.

Generalised advantage estimation works on whole arrays of steps;
Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation"
(arXiv:1506.02438), equations 11 to 16:

    delta_t = r_t + gamma V(s_{t+1}) - V(s_t)
    A_t     = delta_t + gamma lambda A_{t+1}

V(s_{t+1}) is 0 where the episode terminated, and A_{t+1} is left out where it ended in any way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from parley.platform.engine.rllib.gradients.policy_gradient import Floats, Stretch
from parley.platform.engine.rllib.sequence_batch import pad_rows

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


def estimate_stretches(
    stretches: Sequence[Stretch], gamma: float, gae_lambda: float
) -> list[Floats]:
    """Advantages [n] of each stretch, along the stretches of its episode.

    Args:
        stretches: those of an episode one after the other.
        gamma, gae_lambda: see `estimate_advantages`.
    """
    episodes = [list(own) for _, own in groupby(stretches, key=lambda stretch: stretch.episode)]
    if not episodes:
        return []
    rewards = [np.concatenate([it.rewards for it in own]) for own in episodes]
    values = [np.concatenate([it.values for it in own]) for own in episodes]
    following = [
        np.concatenate([np.append(it.values[1:], np.float32(it.next_value)) for it in own])
        for own in episodes
    ]
    steps = np.arange(max(map(len, rewards)))[:, None]
    ended = steps == np.array([len(row) - 1 for row in rewards])
    estimates = estimate_advantages(
        pad_rows(rewards).T,
        pad_rows(values).T,
        pad_rows(following).T,
        np.zeros_like(ended),
        ended,
        gamma,
        gae_lambda,
    )
    return [
        part
        for column, own in zip(estimates.T, episodes, strict=True)
        for part in _cut(column, [len(it.rewards) for it in own])
    ]


def whiten_stretches(advantages: Sequence[Floats]) -> list[Floats]:
    """Whiten the advantages of all stretches together."""
    if not advantages:
        return []
    return _cut(whiten(np.concatenate(advantages)), [len(part) for part in advantages])


def leave_one_out(returns: Sequence[float], groups: Sequence[Hashable]) -> list[float]:
    """Each return minus the mean of the others in its group; 0 for one that is alone there."""
    members = defaultdict[Hashable, list[float]](list)
    for group, value in zip(groups, returns, strict=True):
        members[group].append(value)
    sums = {group: sum(values) for group, values in members.items()}
    gains = []
    for group, value in zip(groups, returns, strict=True):
        others = len(members[group]) - 1
        gains.append(value - (sums[group] - value) / others if others else 0.0)
    return gains


def _cut(array: Floats, lengths: Sequence[int]) -> list[Floats]:
    """The parts of an array that have these lengths, one after the other."""
    ends = np.cumsum(lengths)
    return [array[end - length : end] for end, length in zip(ends, lengths, strict=True)]
