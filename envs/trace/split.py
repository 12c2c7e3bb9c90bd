"""Which inputs a model may train on: a split of all inputs by their hash.

No list is kept. Whether an input is held out depends on the language's name, the size and the
input alone: it is the same on every machine, in every process and for every seed.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from parley.envs.trace.language import IntArray, Language

Part = Literal["training", "heldout"]

MAX_EMPTY_DRAWS = 65_536
"""Draws in a row without one of the part: then it is taken to be empty."""
BLOCK_TOKENS = 4_194_304
"""At most so many numbers of candidate inputs are drawn at a time."""

_UInt64Array = NDArray[np.uint64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def is_heldout(
    language: Language, size: int, inputs: IntArray, holdout: float
) -> NDArray[np.bool_]:
    """Say which inputs int64 [N, K] are held out: bool [N], a share of about `holdout`.

    Raises:
        ValueError: `holdout` is not between 0 and 1.
    """
    if not 0 <= holdout <= 1:
        raise ValueError(f"holdout must be between 0 and 1, got {holdout}")
    hashes = hash_inputs(language.name, size, language.visible(inputs))
    # 53 bits are exact in float64.
    held: NDArray[np.bool_] = (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53 < holdout
    return held


def draw_split(
    language: Language,
    size: int,
    count: int,
    generator: np.random.Generator,
    part: Part,
    holdout: float,
) -> IntArray:
    """Draw `count` random inputs int64 [count, K] of one part, with replacement.

    Raises:
        ValueError: the part seems to be empty, `part` is unknown or `holdout` out of range.
    """
    if part not in ("training", "heldout"):
        raise ValueError(f"part must be 'training' or 'heldout', got {part!r}")
    share = holdout if part == "heldout" else 1 - holdout
    accepted: list[IntArray] = []
    missing, empty_draws = count, 0
    while missing > 0:
        candidates = language.draw_inputs(
            size, _block_rows(language, size, missing, share), generator
        )
        held = is_heldout(language, size, candidates, holdout)
        chosen = candidates[held if part == "heldout" else ~held][:missing]
        accepted.append(chosen)
        missing -= len(chosen)
        empty_draws = 0 if len(chosen) else empty_draws + len(candidates)
        if empty_draws >= MAX_EMPTY_DRAWS:
            raise ValueError(
                f"{language.name}: no input of size {size} is in the {part} part: "
                f"{empty_draws} draws at holdout {holdout} found none "
                f"(there are {language.num_inputs(size):.6g} inputs of this size); "
                f"change the holdout or leave this size out"
            )
    return np.concatenate(accepted) if accepted else language.draw_inputs(size, 0, generator)


def _block_rows(language: Language, size: int, missing: int, share: float) -> int:
    """How many candidates to draw, so that mostly one block is enough."""
    wanted = int(1.1 * missing / max(share, 1e-3)) + 16
    return max(1, min(wanted, BLOCK_TOKENS // language.num_tokens(size)))


def hash_inputs(name: str, size: int, inputs: IntArray) -> _UInt64Array:
    """Hash inputs int64 [N, K] of one language and size: uint64 [N].

    Every column is mixed with a key of its own, and the sum is mixed again; the mixer is that of
    SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
    """
    words = np.array([*name.encode(), size], dtype=np.uint64)
    key = _mix(_mix(words + _keys(len(words))).sum(dtype=np.uint64, keepdims=True))
    columns = np.ascontiguousarray(inputs, dtype=np.int64).view(np.uint64)
    keys = _mix(key + _keys(inputs.shape[1]))
    return _mix(_mix(columns + keys).sum(axis=1, dtype=np.uint64))


def _keys(count: int) -> _UInt64Array:
    return np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN


def _mix(words: _UInt64Array) -> _UInt64Array:
    """Steps of SplitMix64's finaliser; every bit of the result depends on every bit of a word."""
    words = words + _GOLDEN
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
