"""Parity with its answers exchanged."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from parley.envs.trace.tracking import Tracking


class Negated(Tracking):
    """Bits; is the number of ones so far odd or even?"""

    name: ClassVar[str] = "negated"

    def __init__(self) -> None:
        super().__init__(("ODD", "EVEN"), ("0", "1"), np.array([[0, 1], [1, 0]]))
