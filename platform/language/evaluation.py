"""How well a pretrained language model predicts dialogues it has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from parley.platform.errors import InputError, display_path
from parley.platform.language.dialogue_tokens import encode_dialogues
from parley.platform.language.language_data import load_split
from parley.platform.language.settings import PretrainConfig
from parley.platform.language.training import measure_losses
from parley.platform.records import Metrics
from parley.platform.report.intervals import bootstrap_rate_interval
from parley.platform.runs.checkpoints import Checkpoint, resolve_checkpoint
from parley.platform.runs.kinds import find_run
from parley.platform.runs.run_folder import CONFIG_FILE
from parley.platform.runs.run_inputs import find_inputs
from parley.platform.settings.loading import load_experiment
from parley.platform.settings.resuming import moved_inputs
from parley.policies.dialogue.loading import load_language_model


def evaluate_pretrained(
    path: Path,
    episodes: int | None = None,
    seed: int | None = None,
    data: Path | None = None,
    overrides: Sequence[str] = (),
) -> Metrics:
    """Nats per token and perplexity on held-out dialogues.

    Args:
        path: a run of `dialogue/pretrain`, or a checkpoint in one.
        episodes: dialogues, the first ones; None: all.
        seed: nothing is drawn.
        data: dialogues that the run did not learn from; None: the part that it held out.

        overrides: `key=value` of the run's data where they lie elsewhere by now.

    Raises:
        InputError: the run's settings or the dialogues cannot be had, or these are other ones.
    """
    checkpoint = resolve_checkpoint(path)
    (folder,) = checkpoint.policy_folders.values()
    model = load_language_model(folder)
    config = _run_config(checkpoint)
    moved = moved_inputs(config, overrides)
    if data is None:
        config = find_inputs(config, checkpoint, ["data.path"], moved)
        talks = load_split(config.data, config.seed).heldout
    else:
        source = config.data.model_copy(update={"path": str(data)})
        split = load_split(source, config.seed)
        talks = [*split.training, *split.selection, *split.heldout]
    tokenizer = cast("PreTrainedTokenizerFast", model.tokenizer)
    dialogues = encode_dialogues([talk.messages for talk in talks[:episodes]], tokenizer)
    losses = measure_losses(cast("GPT2LMHeadModel", model.model), dialogues)
    interval = bootstrap_rate_interval(losses.nats, losses.counts)
    return {
        "heldout_nats_per_token": losses.mean,
        "heldout_nats_per_token_ci95": list(interval),
        "heldout_perplexity": math.exp(losses.mean),
        "heldout_perplexity_ci95": [math.exp(bound) for bound in interval],
        "heldout_tokens": int(np.sum(losses.counts)),
        "heldout_dialogues": len(dialogues),
    }


def _run_config(checkpoint: Checkpoint) -> PretrainConfig:
    run = find_run(checkpoint.path)
    if run is not None:
        config = load_experiment(run / CONFIG_FILE, allow_unread=True)
        if isinstance(config, PretrainConfig):
            return config
    raise InputError(
        f"{display_path(checkpoint.path)}: no {CONFIG_FILE} of a pretraining run above it, so its "
        f"held-out dialogues are unknown; leave the checkpoint in its run's folder"
    )
