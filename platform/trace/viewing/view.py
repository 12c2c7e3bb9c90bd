"""One trace to look at: what a model wrote next to the true trace, what its execution showed, and
what the model believed at every token.

Plain data, which a run keeps as JSON. `trace_viewer` makes it; `trace_layout`, `trace_page` and
`trace_picture` show it, and load no model.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from parley.platform.errors import InputError, display_path
from parley.platform.records import Facts

VIEW_FILE = "trace.json"
"""Where a run keeps one."""


@dataclass(frozen=True)
class Strip:
    """A distribution over states at every token, in short."""

    name: str
    num_states: int
    """How many there are."""
    states: list[int]
    """The likeliest state after each token; a token without one has -1."""
    shares: list[float]
    """Its probability."""


@dataclass(frozen=True)
class TraceView:
    """A trace of T written and U true tokens; of a source both are the same trace, which was read
    and not written."""

    language: str
    size: int
    is_source: bool
    num_given: int
    """Tokens of the prompt."""
    written: list[str]
    """T names."""
    true: list[str]
    """U names."""
    states: list[str]
    """T texts: the executor's state after each written token that is legal; empty in the prompt
    and from the first illegal token on."""
    illegal_at: int | None
    is_exact: bool
    """The executed trace has given the right answer; of a source always true."""
    verdict: str
    """What executing the trace has shown, in a sentence."""
    strips: list[Strip]

    @property
    def num_places(self) -> int:
        """Places of the longer of both traces."""
        return max(len(self.written), len(self.true))

    @property
    def num_states(self) -> int:
        """States of the strip that has the most; 0 without strips."""
        return max((strip.num_states for strip in self.strips), default=0)

    def differs(self, place: int) -> bool:
        """Whether the model wrote something else than the true token, or one of them is missing."""
        return self.written[place : place + 1] != self.true[place : place + 1]

    def to_json(self) -> Facts:
        """Plain values; `from_json` reads them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Facts) -> Self:
        """Read what `to_json` gave.

        Raises:
            ValueError: the values are those of something else.
        """
        try:
            strips = [Strip(**strip) for strip in values["strips"]]
            return cls(**{**values, "strips": strips})
        except (TypeError, KeyError) as error:
            raise ValueError(f"not a watched trace: {error}") from error


def read_view(path: Path) -> TraceView | None:
    """A trace that a run has kept; None where there is none.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return TraceView.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(
            f"{display_path(path)} is damaged ({error}); delete it to go without the trace"
        ) from error
