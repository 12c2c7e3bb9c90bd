"""Whether a checkpoint holds the model that the settings describe."""

from __future__ import annotations

from torch import Tensor

from parley.platform.runs.checkpoints import CheckpointError


def check_same_model(
    place: str, policy: str, found: dict[str, Tensor], expected: dict[str, Tensor]
) -> None:
    """Compare the weights of a checkpoint with those that the settings describe, by shape.

    Raises:
        CheckpointError: they differ; the message names the first.
    """
    differing = [
        name
        for name in sorted(set(found) | set(expected))
        if name not in found or name not in expected or found[name].shape != expected[name].shape
    ]
    if not differing:
        return
    name = differing[0]
    shapes = [
        list(tensors[name].shape) if name in tensors else "absent" for tensors in (found, expected)
    ]
    raise CheckpointError(
        f"{place} is another model than policy={policy} with these [model] settings: "
        f"{len(differing)} weights differ, the first is {name} ({shapes[0]} there, {shapes[1]} "
        f"here); repeat the settings of that run, or start without init_from"
    )
