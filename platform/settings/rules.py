"""Rules between settings of one section that several experiments have."""

from __future__ import annotations

from typing import Protocol, TypeVar

from parley.platform.settings.section import conflict


class _WarmedUp(Protocol):
    @property
    def num_steps(self) -> int: ...
    @property
    def warmup_steps(self) -> int: ...


class _Headed(Protocol):
    @property
    def embed_size(self) -> int: ...
    @property
    def heads(self) -> int: ...


Training = TypeVar("Training", bound=_WarmedUp)
Model = TypeVar("Model", bound=_Headed)


def check_warmup(training: Training) -> Training:
    """The `[training]` table: something is left to train at the peak, after the warm-up."""
    if training.warmup_steps >= training.num_steps:
        raise conflict(
            "training.warmup_steps",
            f"training.warmup_steps {training.warmup_steps} leaves nothing of "
            f"training.num_steps {training.num_steps}; lower the first",
        )
    return training


def check_heads(model: Model) -> Model:
    """The `[model]` table: the heads share the residual stream evenly."""
    if model.embed_size % model.heads:
        raise conflict(
            "model.heads",
            f"model.heads {model.heads} does not divide model.embed_size {model.embed_size}; "
            f"choose one of its divisors",
        )
    return model
