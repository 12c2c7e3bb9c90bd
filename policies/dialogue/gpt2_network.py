"""GPT-2's network as the dozen operations it is, for short passes over many rows.

transformers' own forward pass spends more time between its operations than in them when every row
brings one token to a small model. This one computes the same from the same parameters (a test holds
them together), for a GPT-2 whose modules nobody has replaced; any other model takes the other path.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import GPT2LMHeadModel, PreTrainedModel
from transformers.models.gpt2.modeling_gpt2 import GPT2Attention, GPT2Block, GPT2Model
from transformers.pytorch_utils import Conv1D

from parley.policies.dialogue.cache import RowCache


def is_plain_gpt2(model: PreTrainedModel) -> bool:
    """Whether `GPT2Network` computes what the model computes."""
    if type(model) is not GPT2LMHeadModel:
        return False
    config = model.config
    return (
        config.activation_function == "gelu_new"
        and not config.add_cross_attention
        and not config.reorder_and_upcast_attn
        and all(_is_plain_block(block) for block in model.transformer.h)
    )


def _is_plain_block(block: object) -> bool:
    if type(block) is not GPT2Block or type(block.attn) is not GPT2Attention:
        return False
    maps = (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj)
    return all(type(linear) is Conv1D for linear in maps)


class GPT2Network:
    """GPT-2 between embedding and output head, called with a `RowCache`.

    Reads the model's parameters anew at every call, so that new weights count at once.

    Args:
        model: for which `is_plain_gpt2` holds.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        base = model.transformer
        assert isinstance(base, GPT2Model)
        self._base = base
        self._heads = model.config.n_head
        self._blocks = [block for block in base.h if isinstance(block, GPT2Block)]

    def __call__(self, tokens: Tensor, positions: Tensor, mask: Tensor, cache: RowCache) -> Tensor:
        """Tokens, positions [R, T], additive mask [R, 1, T, L] to hidden states [R, T, D]."""
        rows, steps = tokens.shape
        flat = F.embedding(tokens.reshape(-1), self._base.wte.weight)
        flat = flat + F.embedding(positions.reshape(-1), self._base.wpe.weight)  # [R * T, D]
        for layer, block in enumerate(self._blocks):
            attention = block.attn
            inner = _norm(flat, block.ln_1)
            heads = _map(inner, attention.c_attn).view(rows, steps, 3, self._heads, -1)
            query, key, value = heads.permute(2, 0, 3, 1, 4).unbind(0)  # [R, heads, T, D / heads]
            key, value = cache.update(key, value, layer)
            mixed = F.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, scale=attention.scaling
            )
            mixed = mixed.transpose(1, 2).reshape(rows * steps, -1)
            flat = _map_onto(flat, mixed, attention.c_proj)
            inner = _map(_norm(flat, block.ln_2), block.mlp.c_fc)
            flat = _map_onto(flat, F.gelu(inner, approximate="tanh"), block.mlp.c_proj)
        return _norm(flat, self._base.ln_f).view(rows, steps, -1)


def _norm(flat: Tensor, norm: nn.LayerNorm) -> Tensor:
    return F.layer_norm(flat, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _map(flat: Tensor, linear: Conv1D) -> Tensor:
    return linear.bias.addmm(flat, linear.weight)


def _map_onto(residual: Tensor, flat: Tensor, linear: Conv1D) -> Tensor:
    return residual + linear.bias.addmm(flat, linear.weight)
