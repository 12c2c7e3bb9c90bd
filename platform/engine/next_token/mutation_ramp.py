"""When and how fast mutation noise comes in.

From the start, noise prevents learning; once the loss is low, it drives the program counters'
transitions towards permutations, so that errors do not add up over long inputs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MutationRamp:
    """A straight line from one noise level to another, begun by a low loss."""

    low: float
    """Noise before the ramp."""
    high: float
    """Noise at its end, and afterwards."""
    trigger_loss: float
    """The ramp begins at a row of metrics whose training loss is below this (nats per token)."""
    num_steps: int
    """Gradient steps of the ramp."""

    def noise(self, step: int, start: int | None) -> float:
        """The noise of gradient step `step` (from 0) where the ramp began at `start`, if it did."""
        if start is None:
            return self.low
        share = min(1.0, (step - start + 1) / self.num_steps)
        return self.low + share * (self.high - self.low)
