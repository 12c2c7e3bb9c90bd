"""Log-probabilities of responses: each prompt is read once, logits exist at response tokens only.

Works with any causal language model of transformers. What a model supports is found out by asking
it: a short input is computed both ways and compared. A model that ignores tree-shaped masks, sees
only so far or carries a recurrent state gets a row for each response.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import GELUTanh, NewGELUActivation

from parley.platform.cooperate.dpo.batches import PackedResponses, pack_pairs
from parley.platform.cooperate.dpo.head import (
    LogitsBuffer,
    TargetScores,
    score_hidden,
    score_logits,
)
from parley.platform.cooperate.dpo.token_pairs import TokenPairs, TokenRows
from parley.policies.dialogue.output_head import find_base_model, find_head_facts, make_head
from parley.policies.dialogue.probing import (
    FORWARD_ERRORS,
    context_of,
    length_beyond_sight,
    once_per_model,
    probe_tokens,
)

RESPONSE_LENGTHS = (4, 5)
"""Tokens of the two responses that a model is asked about."""
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6}
"""Nats by which two ways to compute a log-probability may differ; less where logits are small."""
HALF_TOLERANCE = 5e-2


class ForwardPlan(NamedTuple):
    """How a model's log-probabilities are computed."""

    shares_prompts: bool
    """A prompt is read once for all its responses."""
    linear_head: bool
    """Logits are a linear map of the last hidden states."""


class ResponseForward:
    """Scores the response tokens of packed rows under one model.

    Args:
        model: a causal language model, or a `PeftModel` around one; its activations are fused.
        plan: how; by default the model is asked.
    """

    def __init__(self, model: nn.Module, plan: ForwardPlan | None = None) -> None:
        fuse_activations(model)
        self.model = model
        self.plan = plan or find_plan(model)
        self._buffer = LogitsBuffer()

    @property
    def shares_prompts(self) -> bool:
        """What `pack_pairs` is to be told."""
        return self.plan.shares_prompts

    def score(self, packed: PackedResponses) -> TargetScores:
        """What the model makes of the T targets; [T] each."""
        if not self.plan.linear_head:
            return score_logits(self.logits(packed), packed.targets)
        head = base_model_of(self.model).get_output_embeddings()
        bias = getattr(head, "bias", None)
        hidden = self._hidden(packed)
        return score_hidden(hidden, head.weight, bias, packed.targets, self._buffer)

    def logits(self, packed: PackedResponses) -> Tensor:
        """The logits [T, V] that the targets are drawn from."""
        logits: Tensor = make_head(base_model_of(self.model))(self._hidden(packed))
        return logits

    def _hidden(self, packed: PackedResponses) -> Tensor:
        """The last hidden states [T, D] at the positions that predict the targets."""
        base = base_model_of(self.model)
        inputs = model_inputs(packed, base, self.plan.shares_prompts)
        hidden: Tensor = find_base_model(base)(**inputs, use_cache=False).last_hidden_state
        return hidden[packed.rows, packed.columns]


def fuse_activations(model: nn.Module) -> None:
    """Let torch compute GPT-2's activation in one operation; the function stays the same."""
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is NewGELUActivation:
                setattr(module, name, GELUTanh())


def base_model_of(model: nn.Module) -> PreTrainedModel:
    """The transformers model, whose layers adapters may have replaced."""
    unwrap = getattr(model, "get_base_model", None)
    base = unwrap() if unwrap is not None else model
    assert isinstance(base, PreTrainedModel)
    return base


def model_inputs(packed: PackedResponses, base: PreTrainedModel, shared: bool) -> dict[str, Tensor]:
    """What a model reads: the rows with a tree mask, or right-padded with a plain one."""
    if not shared:
        mask = (packed.branches >= 0).long()
        return {"input_ids": packed.input_ids, "attention_mask": mask}
    mask = packed.tree_mask
    plain = mask.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    if plain or base.config._attn_implementation == "eager":
        # Made once here, not once in every layer.
        additive = torch.zeros(mask.shape, dtype=base.dtype, device=mask.device)
        mask = additive.masked_fill_(~mask, torch.finfo(base.dtype).min)
    return {
        "input_ids": packed.input_ids,
        "attention_mask": mask,
        "position_ids": packed.position_ids,
    }


@once_per_model
def find_plan(model: nn.Module) -> ForwardPlan:
    """The fastest way that gives the log-probabilities of the model's own logits.

    Prompts are shared only where that holds beyond every window that the configuration names.

    Raises:
        ValueError: no way does.
    """
    base = base_model_of(model)
    is_linear = find_head_facts(base).is_linear
    length = length_beyond_sight(base, context_of(base))
    pairs = probe_pairs(base, min(length or 0, context_of(base)))
    device = next(model.parameters()).device
    apart = pack_pairs(pairs, [0], shared=False).to(device)
    logits = model(input_ids=apart.input_ids, use_cache=False).logits[apart.rows, apart.columns]
    expected = score_logits(logits, apart.targets).log_probs
    tolerance = TOLERANCE.get(base.dtype, HALF_TOLERANCE) * min(1.0, float(logits.float().std()))
    for plan in (ForwardPlan(True, is_linear), ForwardPlan(False, is_linear)):
        if plan.shares_prompts and length is None:
            continue
        packed = pack_pairs(pairs, [0], plan.shares_prompts).to(device)
        try:
            found = ResponseForward(model, plan).score(packed).log_probs
        except FORWARD_ERRORS:
            continue
        if not expected.isfinite().all():
            return ForwardPlan(False, is_linear)
        if torch.allclose(found, expected, rtol=0.0, atol=tolerance):
            return plan
    raise ValueError(
        f"{type(base).__name__} gives other log-probabilities when rows of different lengths are "
        "read together, padded behind with a mask; choose another model"
    )


def probe_pairs(base: PreTrainedModel, length: int = 0) -> TokenPairs:
    """One pair of arbitrary tokens whose rows have so many, or a few more than the responses."""
    chosen, rejected = RESPONSE_LENGTHS
    prompt = max(2, length - rejected)
    ids = probe_tokens(base, prompt + chosen + rejected).tolist()
    return TokenPairs(
        prompts=TokenRows.join([ids[:prompt]]),
        chosen=TokenRows.join([ids[prompt : prompt + chosen]]),
        rejected=TokenRows.join([ids[prompt + chosen :]]),
        ids=("probe",),
        end_token=0,
        fingerprint="",
    )
