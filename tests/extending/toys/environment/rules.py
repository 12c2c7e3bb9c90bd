"""The rules of the coin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def throw(num: int, heads: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Sides [num], 1 with the probability `heads`."""
    return (rng.random(num) < heads).astype(np.int64)
