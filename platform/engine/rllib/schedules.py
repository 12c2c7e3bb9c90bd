"""How a number changes while a run goes on: learning rates, entropy bonuses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """A straight line from one number to another, which stays."""

    first: float
    last: float
    length: int
    """Count at which `last` is reached."""

    def at(self, count: int) -> float:
        """The number after `count`."""
        return self.first + (self.last - self.first) * min(1.0, count / self.length)


@dataclass(frozen=True)
class Fall:
    """A straight line to zero."""

    first: float
    length: int
    """Count at which it is zero."""

    def at(self, count: int) -> float:
        """The number after `count`."""
        return self.first * max(0.0, 1.0 - count / self.length)


Schedule = Line | Fall


def constant(number: float) -> Line:
    """The same number for all counts."""
    return Line(number, number, 1)
