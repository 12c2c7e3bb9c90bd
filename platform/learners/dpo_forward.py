"""Log-probabilities of responses: each prompt is read once, logits exist at response tokens only.

Works with any causal language model of transformers. What a model supports is found out by asking
it: a short input is computed both ways and compared. A model that ignores tree-shaped masks or
carries a recurrent state gets a row for each response; one that does more to its logits than a
linear map computes them itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import GELUTanh, NewGELUActivation

from parley.platform.learners.dpo_batches import PackedResponses, pack_pairs
from parley.platform.learners.dpo_data import TokenPairs, TokenRows
from parley.platform.learners.dpo_head import LogitsBuffer, TargetScores, score_hidden, score_logits

PROBE_LENGTHS = (7, 4, 5)
"""Tokens of the prompt and the two responses that a model is asked about."""
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-6}
"""Nats by which two ways to compute a log-probability may differ."""
HALF_TOLERANCE = 5e-2
WINDOWED = ("sliding_attention", "chunked_attention", "linear_attention")
"""Kinds of layers whose own mask a tree mask would replace."""


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
            return score_logits(self._own_logits(packed), packed.targets)
        hidden, head = self._hidden(packed), base_model_of(self.model).get_output_embeddings()
        bias = getattr(head, "bias", None)
        return score_hidden(hidden, head.weight, bias, packed.targets, self._buffer)

    def logits(self, packed: PackedResponses) -> Tensor:
        """The logits [T, V] that the targets are drawn from."""
        if not self.plan.linear_head:
            return self._own_logits(packed)
        logits: Tensor = base_model_of(self.model).get_output_embeddings()(self._hidden(packed))
        return logits

    def _hidden(self, packed: PackedResponses) -> Tensor:
        """The last hidden states [T, D] at the positions that predict the targets."""
        base = base_model_of(self.model)
        inputs = model_inputs(packed, base, self.plan.shares_prompts)
        hidden: Tensor = base.base_model(**inputs, use_cache=False).last_hidden_state  # [R, L, D]
        return hidden[packed.rows, packed.columns]

    def _own_logits(self, packed: PackedResponses) -> Tensor:
        """The logits [T, V] that the model itself computes, for lack of a shortcut."""
        inputs = model_inputs(packed, base_model_of(self.model), self.plan.shares_prompts)
        logits: Tensor = self.model(**inputs, use_cache=False).logits  # [R, L, V]
        return logits[packed.rows, packed.columns]


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


def find_plan(model: nn.Module) -> ForwardPlan:
    """The fastest way that gives the log-probabilities of the model's own logits."""
    base = base_model_of(model)
    tolerance = TOLERANCE.get(base.dtype, HALF_TOLERANCE)
    pairs = _probe_pairs(base)
    device = next(model.parameters()).device
    with evaluating(model), torch.no_grad():
        apart = pack_pairs(pairs, [0], shared=False).to(device)
        expected = ResponseForward(model, ForwardPlan(False, False)).score(apart).log_probs
        for plan in (ForwardPlan(True, True), ForwardPlan(True, False), ForwardPlan(False, True)):
            if plan.shares_prompts and _has_own_masks(base):
                continue
            packed = pack_pairs(pairs, [0], plan.shares_prompts).to(device)
            try:
                found = ResponseForward(model, plan).score(packed).log_probs
            except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
                continue
            if torch.allclose(found, expected, rtol=0.0, atol=tolerance):
                return plan
    return ForwardPlan(False, False)


def _has_own_masks(base: PreTrainedModel) -> bool:
    """Whether some layer sees less than all that came before, further back than is asked about."""
    config = base.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ()
    if kinds:
        return any(kind in WINDOWED for kind in kinds)
    return bool(getattr(config, "sliding_window", None))


def _probe_pairs(base: PreTrainedModel) -> TokenPairs:
    """One pair of arbitrary tokens."""
    vocab_size = int(base.config.get_text_config().vocab_size)
    ids = [(11 * n + 3) % vocab_size for n in range(sum(PROBE_LENGTHS))]
    prompt, chosen, _ = PROBE_LENGTHS
    return TokenPairs(
        prompts=TokenRows.join([ids[:prompt]]),
        chosen=TokenRows.join([ids[prompt : prompt + chosen]]),
        rejected=TokenRows.join([ids[prompt + chosen :]]),
        ids=("probe",),
        end_token=0,
        fingerprint="",
    )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout for a while."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
