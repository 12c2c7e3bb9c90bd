"""A preference pair and a set of them: what DPO learns from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PreferencePair:
    """One prompt with a better and a worse response."""

    id: str
    """Stable: made of the content, equal wherever the pair is prepared."""
    conversation: str
    """The group that it was split by; pairs of one conversation stand on one side."""
    prompt: str
    chosen: str
    rejected: str
    maxim: str
    """What `rejected` violates: a maxim, several joined by `+`, or `unknown`."""
    source: str
    """Name of the file that it came from."""


@dataclass(frozen=True)
class PairSplit:
    """Pairs to learn from and pairs to measure on; no conversation, prompt or response in both."""

    training: list[PreferencePair]
    heldout: list[PreferencePair]
    spelt_ends: int = 0
    """Pairs whose texts spelt an end token at the end of a turn or response; it was left out."""
