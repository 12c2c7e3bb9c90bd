"""Episode data sets: played by a controller, kept as ragged token sequences, saved and loaded.

    RESET s0(4) a0 s1(4) a1 ... s_T(4) DONE

An episode's randomness depends only on (seed, index of the episode): any number of workers that
share the indices between them collect the same data. `sequences` makes training batches of it.

A controller that sometimes acts at random shows many states, but its actions are a bad example.
Such a data set may carry next to every action the one that an expert would have taken (labels for
imitation on the learner's side of the distribution, as in DAgger: Ross et al. 2011, AISTATS).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from parley.envs.cartpole.controllers import Controller
from parley.envs.cartpole.episode_files import COLUMNS, LABELS, read_columns, write_columns
from parley.envs.cartpole.sequences import TokenBatch, crops, pad_batch
from parley.envs.cartpole.tokens import (
    ACT_LEFT,
    ACT_RIGHT,
    DONE,
    RESET,
    STEP_TOKENS,
    CartPoleTokenizer,
    IntArray,
)
from parley.envs.cartpole.vector import VectorCartPole
from parley.envs.labels import IGNORED_LABEL

__all__ = [
    "IGNORED_LABEL",
    "EpisodeSet",
    "TokenBatch",
    "collect_episodes",
    "crops",
    "pad_batch",
]

COLLECT_BATCH = 256
"""So many episodes are played side by side."""
ENVIRONMENT_STREAM, CONTROLLER_STREAM = 0, 1
METADATA = ("num_bins", "dither", "controller")


@dataclass(frozen=True, eq=False)
class EpisodeSet:
    """n episodes of tokens with their returns, and the settings they were made with."""

    tokens: NDArray[np.signedinteger]
    """int16 or int32 [total]: the sequences of all episodes, one after the other."""
    offsets: IntArray
    """int64[n + 1]: episode i is `tokens[offsets[i] : offsets[i + 1]]`."""
    returns: NDArray[np.float32]
    """float32[n]"""
    terminated: NDArray[np.bool_]
    """bool[n]: whether the pole fell or the cart left; false for a truncated episode (DONE too)."""
    num_bins: int
    dither: float
    controller: str
    labels: NDArray[np.signedinteger] | None = None
    """[total]: the tokens with the expert's action in place of each action; None: not recorded."""

    def __len__(self) -> int:
        """Give the number of episodes."""
        return len(self.offsets) - 1

    @property
    def sequences(self) -> list[NDArray[np.signedinteger]]:
        """The token sequences of the episodes: views, RESET first, DONE last."""
        return np.split(self.tokens, self.offsets[1:-1]) if len(self) else []

    @property
    def lengths(self) -> IntArray:
        """The number of environment steps of each episode: int64[n]."""
        return np.diff(self.offsets) // STEP_TOKENS - 1

    def select(self, indices: NDArray[np.integer]) -> EpisodeSet:
        """Give the episodes of int[m] `indices`, in that order."""
        return replace(
            self,
            tokens=_pick(self.tokens, self.offsets, indices),
            offsets=_offsets(np.diff(self.offsets)[indices]),
            returns=self.returns[indices],
            terminated=self.terminated[indices],
            labels=None if self.labels is None else _pick(self.labels, self.offsets, indices),
        )

    def split(self, fraction: float, seed: int) -> tuple[EpisodeSet, EpisodeSet]:
        """Draw `fraction` of the episodes at random; give them and the rest.

        Raises:
            ValueError: one of the two would be empty.
        """
        num_first = round(fraction * len(self))
        if not 0 < num_first < len(self):
            raise ValueError(f"fraction {fraction} of {len(self)} episodes leaves one part empty")
        order = np.random.default_rng(seed).permutation(len(self))
        return self.select(np.sort(order[:num_first])), self.select(np.sort(order[num_first:]))

    @staticmethod
    def concat(parts: Sequence[EpisodeSet]) -> EpisodeSet:
        """Put data sets of one tokenizer together.

        Raises:
            ValueError: no part, parts that differ in `num_bins` or `dither`, or only some have
                labels.
        """
        tokenizers = {(part.num_bins, part.dither) for part in parts}
        if len(tokenizers) != 1:
            raise ValueError(f"parts must share one (num_bins, dither), got {sorted(tokenizers)}")
        labels = [part.labels for part in parts if part.labels is not None]
        if len(labels) not in (0, len(parts)):
            raise ValueError(f"{len(labels)} of {len(parts)} parts have labels: all or none must")
        return replace(
            parts[0],
            tokens=_join([part.tokens for part in parts], parts[0].tokens.dtype),
            offsets=_offsets(np.concatenate([np.diff(part.offsets) for part in parts])),
            returns=np.concatenate([part.returns for part in parts]),
            terminated=np.concatenate([part.terminated for part in parts]),
            controller="+".join(dict.fromkeys(part.controller for part in parts)),
            labels=_join(labels, labels[0].dtype) if labels else None,
        )

    def save(self, path: str | Path) -> None:
        """Write to a .parquet or .npz file, atomically."""
        columns = {name: getattr(self, name) for name in COLUMNS}
        if self.labels is not None:
            columns[LABELS] = self.labels
        write_columns(Path(path), columns, {name: getattr(self, name) for name in METADATA})

    @classmethod
    def load(cls, path: str | Path, num_bins: int | None = None) -> EpisodeSet:
        """Read a file that `save` wrote.

        Args:
            path: ends in ".parquet" or ".npz".
            num_bins: of the tokenizer that the reader needs; None takes any.

        Raises:
            ValueError: the file is damaged, lacks columns, has another vocabulary than `num_bins`
                gives, or holds anything but episodes in the language that its metadata names.
            FileNotFoundError: there is no such file.
        """
        columns, metadata = read_columns(Path(path))
        missing = [name for name in METADATA if name not in metadata]
        if missing:
            raise ValueError(f"{path}: metadata lacks {missing}")
        if num_bins not in (None, metadata["num_bins"]):
            raise ValueError(
                f"{path}: foreign vocabulary: its tokens are of {metadata['num_bins']} bins, "
                f"the reader's of {num_bins}"
            )
        episodes = cls(
            tokens=columns["tokens"],
            offsets=columns["offsets"],
            returns=columns["returns"],
            terminated=columns["terminated"],
            num_bins=metadata["num_bins"],
            dither=metadata["dither"],
            controller=metadata["controller"],
            labels=columns.get(LABELS),
        )
        try:
            episodes.check()
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
        return episodes

    def check(self) -> None:
        """Make sure that every episode is a sentence of the token language.

        Raises:
            ValueError: it is not; names the episode and the token.
        """
        if self.tokens.dtype.kind != "i":
            raise ValueError(f"tokens must be signed integers, got {self.tokens.dtype}")
        if len(self.returns) != len(self) or len(self.terminated) != len(self):
            raise ValueError(f"{len(self)} episodes with {len(self.returns)} returns")
        sizes = np.diff(self.offsets)
        broken = np.flatnonzero((sizes % STEP_TOKENS != 1) | (sizes <= 2 * STEP_TOKENS))
        if broken.size:
            raise ValueError(f"episode {broken[0]} of {sizes[broken[0]]} tokens is incomplete")
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.tokens):
            raise ValueError(f"offsets do not cover the {len(self.tokens)} tokens")
        tokenizer = CartPoleTokenizer(self.num_bins)
        for index, sequence in enumerate(self.sequences):
            try:
                _check_sequence(sequence, tokenizer)
            except ValueError as error:
                raise ValueError(f"foreign token in episode {index}: {error}") from error
        if self.labels is not None:
            _check_labels(self.labels, self.tokens)


def collect_episodes(
    controller: Controller,
    num_episodes: int,
    seed: int,
    num_bins: int = 10,
    dither: float = 0.0,
    max_steps: int = 500,
    episode_range: tuple[int, int] | None = None,
    expert: Controller | None = None,
) -> EpisodeSet:
    """Play episodes with `controller` on the true states and write them down as tokens.

    Args:
        controller: its own random stream is not used.
        num_episodes: of the whole data set.
        seed: of the whole data set, not negative.
        num_bins: bins per state dimension.
        dither: amplitude of the dither before quantising, 0 to 1 bin widths.
        max_steps: length limit of an episode.
        episode_range: play only the episodes [start, stop) of the data set (one worker's share).
        expert: writes its likelier action next to every action, as `EpisodeSet.labels`.

    Raises:
        ValueError: `episode_range` is empty or not within the data set, or an argument that
            `VectorCartPole` refuses.
    """
    start, stop = episode_range or (0, num_episodes)
    if not 0 <= start < stop <= num_episodes:
        raise ValueError(f"episode_range must lie in [0, {num_episodes}], got [{start}, {stop})")
    parts = []
    for first in range(start, stop, COLLECT_BATCH):
        indices = range(first, min(first + COLLECT_BATCH, stop))
        carts = VectorCartPole(
            len(indices),
            num_bins=num_bins,
            dither=dither,
            max_steps=max_steps,
            seeds=[_stream(seed, index, ENVIRONMENT_STREAM) for index in indices],
            auto_reset=False,
        )
        streams = [_stream(seed, index, CONTROLLER_STREAM) for index in indices]
        uniforms = np.stack([np.random.default_rng(s).random(max_steps) for s in streams], axis=1)
        parts.append(_play(carts, controller, uniforms[..., None], expert))
    return EpisodeSet.concat(parts)


def _stream(seed: int, index: int, stream: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(index, stream))


def _play(
    carts: VectorCartPole,
    controller: Controller,
    uniforms: NDArray[np.float64],
    expert: Controller | None,
) -> EpisodeSet:
    """Play one episode in every environment; `uniforms` float64[max_steps, E, 1] decide for it."""
    rows = [carts.reset()[:, 0]]
    choices = [rows[0][:, 0]]  # what the expert would have written first into each row
    returns = np.zeros(carts.num_envs, dtype=np.float32)
    terminated = np.zeros(carts.num_envs, dtype=np.bool_)
    num_steps = np.zeros(carts.num_envs, dtype=np.int64)
    while carts.running.any():
        states = carts.states
        if expert is not None:
            choices.append(expert.act(states, np.full((carts.num_envs, 1), 0.5))[:, 0] + ACT_LEFT)
        step = carts.step(controller.act(states, uniforms[len(rows) - 1]))
        rows.append(step.final_tokens[:, 0])
        returns += step.rewards[:, 0]
        terminated |= step.terminated[:, 0]
        num_steps += step.acted[:, 0]
    dtype = np.dtype(np.int16 if carts.tokenizer.vocab_size < 2**15 else np.int32)
    history = np.stack(rows, axis=1).astype(dtype)  # [E, T + 1, 5]
    sequences = _cut_episodes(history, num_steps)
    labels = None
    if expert is not None:
        history[..., 0] = np.stack(choices, axis=1)
        labels = _join(_cut_episodes(history, num_steps), dtype)
    return EpisodeSet(
        tokens=_join(sequences, dtype),
        offsets=_offsets(np.array([len(sequence) for sequence in sequences])),
        returns=returns,
        terminated=terminated,
        num_bins=carts.tokenizer.num_bins,
        dither=carts.dither,
        controller=controller.name,
        labels=labels,
    )


def _cut_episodes(
    history: NDArray[np.signedinteger], num_steps: IntArray
) -> list[NDArray[np.signedinteger]]:
    """From [E, T + 1, 5] rows, the sequence of each episode of so many steps, DONE last."""
    done = np.array(DONE, history.dtype)
    return [np.append(history[env, : steps + 1], done) for env, steps in enumerate(num_steps)]


def _check_sequence(sequence: NDArray[np.signedinteger], tokenizer: CartPoleTokenizer) -> None:
    steps = sequence[:-1].reshape(-1, STEP_TOKENS)
    if steps[0, 0] != RESET or sequence[-1] != DONE:
        raise ValueError(f"starts with {steps[0, 0]}, ends with {sequence[-1]}, not RESET and DONE")
    actions = steps[1:, 0]
    if actions.min() < ACT_LEFT or actions.max() > ACT_RIGHT:
        raise ValueError(f"actions from {actions.min()} to {actions.max()}")
    tokenizer.decode_state(steps[:, 1:])


def _check_labels(labels: NDArray[np.signedinteger], tokens: NDArray[np.signedinteger]) -> None:
    if labels.shape != tokens.shape or labels.dtype.kind != "i":
        raise ValueError(f"{len(labels)} labels ({labels.dtype}) for {len(tokens)} tokens")
    actions = (tokens == ACT_LEFT) | (tokens == ACT_RIGHT)
    allowed = np.where(actions, (labels == ACT_LEFT) | (labels == ACT_RIGHT), labels == tokens)
    if not allowed.all():
        place = int(np.flatnonzero(~allowed)[0])
        raise ValueError(f"label {labels[place]} of token {tokens[place]} at {place}")


def _pick(
    column: NDArray[np.signedinteger], offsets: IntArray, indices: NDArray[np.integer]
) -> NDArray[np.signedinteger]:
    """The stretches of episodes `indices` in a ragged column, one after the other."""
    return _join([column[offsets[i] : offsets[i + 1]] for i in indices], column.dtype)


def _join(
    sequences: Sequence[NDArray[np.signedinteger]], dtype: DTypeLike
) -> NDArray[np.signedinteger]:
    return np.concatenate(sequences) if sequences else np.zeros(0, dtype)


def _offsets(sizes: NDArray[np.integer]) -> IntArray:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
