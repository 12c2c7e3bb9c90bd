"""What a checkpoint of self-play holds: the models of the trained seats, and who sat where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.distort.task import DialogueTask
from parley.platform.records import Facts
from parley.platform.runs.kinds import kind_facts
from parley.policies.dialogue.actor_critic import DialogueActorCritic
from parley.policies.dialogue.loading import LanguageModel, save_language_model
from parley.policies.dialogue.parts import build_from_parts, take_apart


def save_seats(
    weights: Mapping[str, Mapping[str, Tensor]],
    task: DialogueTask,
    seats: Sequence[str],
    folder: Path,
) -> None:
    """Write the language model of each trained seat, with its tokenizer.

    Args:
        weights: seat -> state dict of its policy.
        task: the models that the seats started as.
        seats: the trained ones.
        folder: gets a folder for each.
    """
    for seat in seats:
        source = task.models[seat]
        policy = DialogueActorCritic(build_from_parts(take_apart(source.model).config))
        policy.load_state_dict(dict(weights[seat]))
        saved = LanguageModel(
            cast("Any", policy.language_model),
            source.tokenizer,
            source.end_token,
            source.context,
            source.source,
        )
        save_language_model(saved, folder / seat)


def seat_facts(config: DialogueDistortConfig, task: DialogueTask, iteration: int) -> Facts:
    """What `policy.json` tells: enough to play and measure the dialogues again."""
    return {
        **kind_facts(config),
        "seats": {
            seat: {"model": task.models[seat].source, "trained": seat in config.trained_seats}
            for seat in config.seats
        },
        "sampling": config.sampling.model_dump(),
        "dialogue": config.dialogue.model_dump(),
        "experiment": config.model_dump(exclude_none=True),
        "iteration": iteration,
    }
