"""Names for the tables of gymnasium's and PettingZoo's interface; their keys are each one's own."""

from __future__ import annotations

from typing import Any, TypeVar

Observed = TypeVar("Observed")

Info = dict[str, Any]
"""What a step tells besides the observation: `{"is_correct": True}`."""
Options = dict[str, Any]
"""What `reset` is asked for besides a seed: `{"size": 5}`."""
Metadata = dict[str, Any]
"""What an environment says of itself: `{"render_modes": ["ansi"]}`."""
State = dict[str, Any]
"""What an environment needs to go on where it was, as plain values."""
AgentSteps = tuple[
    dict[str, Observed], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Info]
]
"""What a step of several agents gives, by agent: observations, rewards, whether it was terminated,
whether it was truncated, and infos; `AgentSteps[IntArray]`."""
