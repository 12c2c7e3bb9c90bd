"""The learning rate over a training."""

from __future__ import annotations

import math


def learning_rate_factor(step: int, warmup_steps: int, num_steps: int) -> float:
    """The share of the peak learning rate at `step` of 0 to `num_steps` - 1.

    A straight line up over `warmup_steps`, then half a cosine down to zero.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / (num_steps - warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * progress))
