"""What an experiment asks of its model, asked before anything is learned or Ray is started."""

from __future__ import annotations

import torch

from parley.platform.cooperate.dpo.forward import find_plan
from parley.platform.cooperate.dpo.rehearsal import rehearse
from parley.platform.cooperate.evaluation.beam_search import find_beam_plan
from parley.platform.cooperate.evaluation.generation import decoding_of, encode_fitting
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.errors import InputError
from parley.policies.dialogue.loading import LanguageModel


def check_experiment(
    language_model: LanguageModel, config: DialogueDPOConfig, device: torch.device
) -> None:
    """See that a model on `device` can be scored, tuned and decoded as the settings say.

    Raises:
        InputError: it cannot; the message names the setting.
    """
    try:
        encode_fitting(language_model, [], decoding_of(config, "greedy"))
        find_plan(language_model.model)
        if config.generation.num_beams > 1:
            find_beam_plan(language_model.model)
    except ValueError as error:
        raise InputError(f"model {language_model.source}: {error}") from error
    rehearse(language_model.model, config, device)
