"""Beam search by transformers, in the fastest way that a model is found to allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from parley.policies.dialogue.loading import LanguageModel
from parley.policies.dialogue.pretrained import first_line, quiet_transformers
from parley.policies.dialogue.probing import are_same, once_per_model, probe_tokens

Ids = list[int]
_TOLERANCE = 1e-4
_PROBE_LENGTHS = (5, 3)


class BeamPlan(NamedTuple):
    """How a model's beams are searched."""

    pads: bool
    """Prompts of different lengths stand in one batch, padded in front."""
    caches: bool
    """What was read is kept from token to token."""


class BeamWriter:
    """Searches the likeliest responses to batches of prompts.

    Args:
        language_model: what writes.
        num_beams: kept at a time.
        max_new_tokens: longest response, a closing end token included.

    Raises:
        ValueError: see `find_beam_plan`.
    """

    def __init__(self, language_model: LanguageModel, num_beams: int, max_new_tokens: int) -> None:
        self._model = language_model.model
        self._end_token = language_model.end_token
        self._plan = find_beam_plan(self._model)
        self._num_beams = num_beams
        self._max_new_tokens = max_new_tokens

    def __call__(self, places: Sequence[int], prompts: Sequence[Ids]) -> list[list[Ids]]:
        """The ids of each prompt's best beam, an end token included where there is one."""
        config = GenerationConfig(
            num_beams=self._num_beams,
            do_sample=False,
            max_new_tokens=self._max_new_tokens,
            eos_token_id=self._end_token,
            pad_token_id=self._end_token,
            use_cache=self._plan.caches,
        )
        batches = [prompts] if self._plan.pads else [[prompt] for prompt in prompts]
        rows = []
        for batch in batches:
            written = _search(self._model, batch, config)
            rows += written[:, max(map(len, batch)) :].tolist()
        return [[_until(row, self._end_token)] for row in rows]


@once_per_model
def find_beam_plan(model: PreTrainedModel) -> BeamPlan:
    """The fastest way whose beams are those of each prompt alone, read anew for every token.

    Raises:
        ValueError: transformers has no beam search for the model.
    """
    prompts = [probe_tokens(model, length, length).tolist() for length in _PROBE_LENGTHS]
    try:
        expected = [_probe(model, [prompt], False) for prompt in prompts]
    except Exception as error:
        raise ValueError(
            f"transformers cannot search beams with {type(model).__name__} ({first_line(error)}); "
            "set generation.num_beams = 1, or choose another model"
        ) from error
    for plan in (BeamPlan(True, True), BeamPlan(True, False), BeamPlan(False, True)):
        batches = [prompts] if plan.pads else [[prompt] for prompt in prompts]
        try:
            found = [_probe(model, batch, plan.caches) for batch in batches]
        except Exception:
            continue
        tokens, scores = (torch.cat([part[i] for part in found]) for i in (0, 1))
        wanted, wanted_scores = (torch.cat([part[i] for part in expected]) for i in (0, 1))
        if tokens.equal(wanted) and are_same(scores, wanted_scores, _TOLERANCE):
            return plan
    return BeamPlan(False, False)


def _probe(model: PreTrainedModel, prompts: Sequence[Ids], caches: bool) -> tuple[Tensor, Tensor]:
    """Three tokens behind each prompt [N, 3], and the scores [N] of the beams."""
    config = GenerationConfig(
        num_beams=2, do_sample=False, max_new_tokens=3, eos_token_id=None, pad_token_id=0,
        use_cache=caches, return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    found = _search(model, prompts, config)
    return found.sequences[:, -3:], found.sequences_scores


def _search(model: PreTrainedModel, prompts: Sequence[Ids], config: GenerationConfig) -> Any:
    """What `generate` gives for prompts that are padded in front."""
    width = max(map(len, prompts))
    tokens = np.full((len(prompts), width), config.pad_token_id, np.int64)
    mask = np.zeros((len(prompts), width), np.int64)
    for row, ids in enumerate(prompts):
        tokens[row, width - len(ids) :] = ids
        mask[row, width - len(ids) :] = 1
    with quiet_transformers():
        return cast("Any", model).generate(
            input_ids=torch.from_numpy(tokens).to(model.device),
            attention_mask=torch.from_numpy(mask).to(model.device),
            generation_config=config,
        )


def _until(tokens: Sequence[int], end_token: int) -> Ids:
    """`tokens` up to and with the first end token."""
    stop = tokens.index(end_token) + 1 if end_token in tokens else len(tokens)
    return list(tokens[:stop])
