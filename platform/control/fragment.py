"""A fragment: T steps of E environments with N agents each, as arrays.

A runner fills it, `cut_episodes` turns it into RLlib's episodes: one per agent and stretch of
steps between two episode ends.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer

NEXT_VALUES = "next_values"
"""Column of an episode: V of the window that followed each step."""


@dataclass
class Fragment:
    """What happened in T steps; all arrays begin with [T, E, N]."""

    tokens: NDArray[np.int64]
    """[T, E, N, L]: the window that was acted on."""
    actions: NDArray[np.int64]
    action_logps: NDArray[np.float32]
    """Log-probability of the action under the distribution that it was drawn from."""
    values: NDArray[np.float32]
    """V of the window that was acted on."""
    next_values: NDArray[np.float32]
    """V of the window that followed, before any restart."""
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    acted: NDArray[np.bool_]
    """Whether the agent took part in the step; where not, the other arrays hold nothing."""
    last_tokens: NDArray[np.int64]
    """[E, N, L]: the window after the last step."""

    @classmethod
    def allocate(cls, num_steps: int, shape: tuple[int, int], num_tokens: int) -> Fragment:
        """An empty fragment for `shape` = (E, N) and windows of `num_tokens`."""
        whole = (num_steps, *shape)
        return cls(
            tokens=np.zeros((*whole, num_tokens), np.int64),
            actions=np.zeros(whole, np.int64),
            action_logps=np.zeros(whole, np.float32),
            values=np.zeros(whole, np.float32),
            next_values=np.zeros(whole, np.float32),
            rewards=np.zeros(whole, np.float32),
            terminated=np.zeros(whole, np.bool_),
            truncated=np.zeros(whole, np.bool_),
            acted=np.zeros(whole, np.bool_),
            last_tokens=np.zeros((*shape, num_tokens), np.int64),
        )


class EpisodePiece(SingleAgentEpisode):
    """A piece that RLlib can slice for several learners.

    RLlib's own slices forget whose they are and repeat a step of the slice before.
    """

    __slots__ = ()

    def slice(
        self, slice_: builtins.slice, *, len_lookback_buffer: int | None = None
    ) -> EpisodePiece:
        """The steps of `slice_` and no others."""
        piece = super().slice(slice_, len_lookback_buffer=0)
        piece.__class__ = EpisodePiece
        piece.agent_id, piece.module_id = self.agent_id, self.module_id
        return cast("EpisodePiece", piece)


def cut_episodes(
    fragment: Fragment,
    agent_ids: list[str],
    module_ids: list[str],
    name: str,
) -> list[EpisodePiece]:
    """Cut a fragment into episode pieces without copying its arrays.

    Args:
        fragment: the steps.
        agent_ids, module_ids: of the N agents.
        name: makes the pieces' ids unique; sorted by id, pieces stand in the order below.

    Returns:
        Pieces in the order of environment, agent, time; pieces of agents that took no part in any
        step are left out.
    """
    ended = fragment.terminated | fragment.truncated
    extra = {
        Columns.ACTION_LOGP: fragment.action_logps,
        Columns.VF_PREDS: fragment.values,
        NEXT_VALUES: fragment.next_values,
    }
    pieces = []
    for env in range(ended.shape[1]):
        for agent, agent_id in enumerate(agent_ids):
            for start, stop in _stretches(ended[:, env, agent], fragment.acted[:, env, agent]):
                where = (slice(start, stop), env, agent)
                pieces.append(
                    EpisodePiece(
                        f"{name}-{env:05d}-{agent:03d}-{start:06d}",
                        observations=_buffer(_windows(fragment, start, stop, env, agent)),
                        infos=InfiniteLookbackBuffer([{}] * (stop - start + 1)),
                        actions=_buffer(fragment.actions[where]),
                        rewards=_buffer(fragment.rewards[where]),
                        terminated=bool(fragment.terminated[stop - 1, env, agent]),
                        truncated=bool(fragment.truncated[stop - 1, env, agent]),
                        extra_model_outputs={key: _buffer(a[where]) for key, a in extra.items()},
                        len_lookback_buffer=0,
                        agent_id=agent_id,
                        module_id=module_ids[agent],
                    )
                )
    return pieces


def _stretches(ended: NDArray[np.bool_], acted: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Half-open ranges of steps that belong to one episode and in which the agent acted."""
    num_steps = len(ended)
    cuts = [0, *(np.flatnonzero(ended) + 1).tolist(), num_steps]
    ranges = []
    for start, stop in pairwise(cuts):
        steps = np.flatnonzero(acted[start:stop])
        if steps.size:
            ranges.append((start + int(steps[0]), start + int(steps[-1]) + 1))
    return ranges


def _windows(fragment: Fragment, start: int, stop: int, env: int, agent: int) -> NDArray[np.int64]:
    """The windows [steps + 1, L] of a stretch; RLlib's episodes hold one more than steps.

    The additional one is never read (its value is in `next_values`), so where the stretch ends in
    an episode's end it may be the first window of the next episode.
    """
    tokens = fragment.tokens[:, env, agent]
    if stop < len(tokens):
        return tokens[start : stop + 1]
    return np.concatenate([tokens[start:], fragment.last_tokens[None, env, agent]])


def _buffer(array: NDArray[Any]) -> InfiniteLookbackBuffer:
    return InfiniteLookbackBuffer(array)
