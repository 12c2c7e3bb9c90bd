"""Whether the anchor of self-play can hold, by the rule of decision 0009."""

from __future__ import annotations

from collections.abc import Mapping

from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.runs.pinned_inputs import RunInput
from parley.platform.settings.errors import ConfigError


def check_anchor(config: DialogueDistortConfig, inputs: Mapping[str, RunInput]) -> None:
    """Refuse an anchor that pulls towards noise: on, but not above 1, at the judge's own model.

    Args:
        config: the experiment.
        inputs: what the run notes of its models; seats with equal ones start as the same model.

    Raises:
        ConfigError: `anchor.kl` is such an anchor.
    """

    def model_of(seat: str) -> str:
        found = inputs.get(f"seats.{seat}.model")
        return (found and found.identity) or config.seats[seat].model

    weight, judge = config.anchor.kl, config.reward.judge
    alike = [seat for seat in config.trained_seats if model_of(seat) == model_of(judge)]
    if 0.0 < weight <= 1.0 and alike:
        raise ConfigError(
            f"anchor.kl {weight:g}: the judge {judge!r} is the model that {alike[0]!r} starts as, "
            f"and an anchor of at most 1 then rewards noise; set anchor.kl above 1 (2.2 is the "
            f"default), to 0 for no anchor, or give the two seats different models"
        )
