"""What a checkpoint of `dialogue/dpo` holds: two models, and the settings that made one of the
other."""

from __future__ import annotations

import torch
from pydantic import ValidationError

from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.engine.torch.device import choose_device
from parley.platform.errors import display_path
from parley.platform.runs.checkpoints import Checkpoint, CheckpointError
from parley.policies.dialogue.loading import LanguageModel, load_language_model

GENERATOR, REFERENCE = "generator", "reference"
"""Folders of the tuned model and of what DPO started from, each with its tokenizer; a run holds the
latter, too."""


def experiment_of(checkpoint: Checkpoint) -> DialogueDPOConfig:
    """The settings that a generator was tuned with.

    The checkpoint holds them itself: they differ between the trials of a sweep.

    Raises:
        CheckpointError: its `policy.json` does not hold them.
    """
    try:
        return DialogueDPOConfig.model_validate(checkpoint.read_policy_facts().get("experiment"))
    except ValidationError as error:
        raise CheckpointError(
            f"{display_path(checkpoint.path)}: its policy.json is not that of a DPO run: {error}"
        ) from error


def load_policy(checkpoint: Checkpoint, name: str, config: DialogueDPOConfig) -> LanguageModel:
    """A model of a checkpoint, on the GPU where the experiment may use one.

    Raises:
        CheckpointError: it is not there, or cannot be read.
    """
    folder = checkpoint.policy_folders.get(name)
    if folder is None:
        raise CheckpointError(
            f"{display_path(checkpoint.path)} holds no {name} below policies/; name a "
            f"checkpoint that parley train dialogue/dpo wrote"
        )
    try:
        return load_language_model(folder, device_of(config))
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def device_of(config: DialogueDPOConfig) -> torch.device:
    """The GPU where the experiment may use one and there is one, else the CPU."""
    return choose_device(1.0 if config.learner.num_gpus_per_learner != 0 else 0.0)
