"""DHMM-GPT2: a lean GPT-2 whose blocks may carry a belief filter in front of their attention.

Owns the network and its input conventions (padding, positions, cache). The filter is `filter.py`'s,
the carried state `cache.py`'s. With no filter heads the network is GPT-2 (Radford et al. 2019):
pre-layer-norm blocks, tanh GELU, learned positions, tied output embedding.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Cache, GenerationConfig, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from parley.policies.dhmm_gpt2.attention import CausalAttention, Step
from parley.policies.dhmm_gpt2.cache import DHMMGPT2Cache
from parley.policies.dhmm_gpt2.configuration import DHMMGPT2Config
from parley.policies.dhmm_gpt2.filter import BeliefFilter
from parley.policies.dhmm_gpt2.rotary import rotation_of


class Block(nn.Module):
    """Belief filter (where the configuration puts one), attention, feed-forward; all residual."""

    def __init__(self, config: DHMMGPT2Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        carries_filter = layer in config.filter_layers and config.num_filter_heads > 0
        self.filter = BeliefFilter(config) if carries_filter else None
        self.norm_1 = nn.LayerNorm(config.embed_size, eps=config.layer_norm_epsilon)
        self.attention = CausalAttention(config, layer)
        self.norm_2 = nn.LayerNorm(config.embed_size, eps=config.layer_norm_epsilon)
        self.up = nn.Linear(config.embed_size, config.ff_hidden)
        self.down = nn.Linear(config.ff_hidden, config.embed_size)
        self.dropout = config.dropout

    def forward(self, hidden: Tensor, step: Step, last_only: bool = False) -> Tensor:
        """[B, T, D] to [B, T or 1, D]; leaves the new belief in the cache."""
        if self.filter is not None:
            beliefs = step.cache.beliefs if isinstance(step.cache, DHMMGPT2Cache) else {}
            before = beliefs.get(self.layer)
            hidden, after = self.filter(hidden, before, step.valid, step.generator)
            beliefs[self.layer] = after
        if last_only:
            mixed = self.attention.read_last(self.norm_1(hidden), step)
            hidden = hidden[:, -1:] + self._drop(mixed)
        else:
            hidden = hidden + self._drop(self.attention(self.norm_1(hidden), step))
        inner = F.gelu(self.up(self.norm_2(hidden)), approximate="tanh")
        return hidden + self._drop(self.down(inner))

    def _drop(self, tensor: Tensor) -> Tensor:
        return F.dropout(tensor, self.dropout, self.training) if self.dropout else tensor


class DHMMGPT2PreTrainedModel(PreTrainedModel):
    """Weight initialisation and the transformers conventions of the family."""

    config_class = DHMMGPT2Config
    config: DHMMGPT2Config
    base_model_prefix = "transformer"
    _no_split_modules = ["Block"]  # noqa: RUF012
    _supports_sdpa = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, BeliefFilter):
            module.reset_parameters()
        elif isinstance(module, Block):
            # GPT-2 scales residual writes by the number of layers that write.
            std = self.config.initializer_range / math.sqrt(2 * self.config.layers)
            init.normal_(module.attention.proj.weight, std=std)
            init.normal_(module.down.weight, std=std)

    def set_mutation_noise(self, sigma: float) -> None:
        """Set the scale of the Gumbel noise of all filters (>= 0; used in training mode only)."""
        if not sigma >= 0.0:
            raise ValueError(f"mutation noise must be >= 0, got {sigma}")
        self.config.mutation_noise = sigma
        for module in self.modules():
            if isinstance(module, BeliefFilter):
                module.mutation_noise = sigma


class DHMMGPT2Model(DHMMGPT2PreTrainedModel):
    """The network without an output head."""

    def __init__(self, config: DHMMGPT2Config) -> None:
        super().__init__(config)
        self.token_embedding = nn.Embedding(config.vocab_size, config.embed_size)
        self.position_embedding = (
            nn.Embedding(config.max_len, config.embed_size)
            if config.positions == "learned"
            else None
        )
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = nn.LayerNorm(config.embed_size, eps=config.layer_norm_epsilon)
        # Reading a transformers configuration takes longer than some of the steps below.
        self.dropout = config.dropout
        self.rotary_width = config.embed_size // config.heads if config.positions == "rotary" else 0
        self.carries_beliefs = bool(config.num_filter_heads)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding."""
        return self.token_embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding."""
        if not isinstance(value, nn.Embedding):
            raise ValueError(f"the token embedding must be an nn.Embedding, got {type(value)}")
        self.token_embedding = value

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        generator: torch.Generator | None = None,
        last_only: bool = False,
    ) -> BaseModelOutputWithPast:
        """Encode tokens that follow those in the cache.

        Args:
            input_ids: int64 [B, T]; or `inputs_embeds` [B, T, D] in their place.
            attention_mask: [B, past + T], 0 at padding. Padding moves no belief, is looked at by
                nobody, and does not count for positions.
            past_key_values: the cache returned by the call for the tokens before.
            position_ids: int64 [B or 1, T]; counted from the mask and the cache by default.
            use_cache: return a cache; by default only when one is passed in.
            generator: source of the mutation noise in training.
            last_only: compute the last position only, which spares the last block most of its
                work.

        Returns:
            `last_hidden_state` [B, T, D] (with `last_only` [B, 1, D]) and `past_key_values`.

        Raises:
            ValueError: wrong shapes, a sequence beyond `max_len`, or a cache of another kind.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("pass exactly one of input_ids and inputs_embeds")
        hidden = self.token_embedding(input_ids) if inputs_embeds is None else inputs_embeds
        cache = self._check_cache(past_key_values, use_cache)
        past = 0 if cache is None else int(cache.get_seq_length())
        batch, steps = hidden.shape[:2]
        if attention_mask is not None and attention_mask.shape != (batch, past + steps):
            raise ValueError(
                f"attention_mask must be [batch, past + new tokens] = [{batch}, {past + steps}], "
                f"got {list(attention_mask.shape)}"
            )
        if self.position_embedding is not None:
            hidden = hidden + self._positions(attention_mask, position_ids, past, steps)
        if self.dropout:
            hidden = F.dropout(hidden, self.dropout, self.training)
        step = _plan_step(attention_mask, past, steps, hidden.device, cache, generator)
        if self.rotary_width:
            if position_ids is None:
                position_ids = _count_positions(attention_mask, past, steps, hidden.device)
            step.rotation = rotation_of(position_ids, self.rotary_width, hidden.dtype)
        for block in self.blocks[:-1]:
            hidden = block(hidden, step)
        hidden = self.blocks[-1](hidden, step, last_only and steps > 1)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden), past_key_values=cache)

    def _check_cache(self, cache: Cache | None, use_cache: bool | None) -> Cache | None:
        if cache is None:
            return DHMMGPT2Cache(config=self.config) if use_cache else None
        if self.carries_beliefs and not isinstance(cache, DHMMGPT2Cache):
            raise ValueError(
                f"past_key_values must be a DHMMGPT2Cache, which carries the beliefs, "
                f"got {type(cache).__name__}"
            )
        return cache

    def _positions(
        self, mask: Tensor | None, position_ids: Tensor | None, past: int, steps: int
    ) -> Tensor:
        """Position embeddings [B or 1 or none, T, D]."""
        assert self.position_embedding is not None
        max_len = self.position_embedding.num_embeddings
        if past + steps > max_len:
            raise ValueError(f"sequence of {past + steps} tokens exceeds max_len={max_len}")
        if position_ids is None and mask is None:
            return self.position_embedding.weight[past : past + steps]
        if position_ids is None:
            position_ids = _count_positions(mask, past, steps, self.device)
        embedded: Tensor = self.position_embedding(position_ids)
        return embedded


class DHMMGPT2ForCausalLM(DHMMGPT2PreTrainedModel, GenerationMixin):
    """The network with a language-model head, for training and `generate`."""

    _tied_weights_keys = {"lm_head.weight": "transformer.token_embedding.weight"}  # noqa: RUF012

    def __init__(self, config: DHMMGPT2Config) -> None:
        super().__init__(config)
        self.transformer = DHMMGPT2Model(config)
        self.lm_head = nn.Linear(config.embed_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        generator: torch.Generator | None = None,
        **loss_options: Any,
    ) -> CausalLMOutputWithPast:
        """As `DHMMGPT2Model.forward`, with logits and a loss.

        Args:
            labels: int64 [B, T], usually `input_ids`; the label at t + 1 is predicted from the
                logits at t, and -100 is left out of the mean.
            logits_to_keep: compute only the last so many logits, or those at these time indices;
                0 computes all.
            loss_options: for transformers' causal loss, such as `num_items_in_batch`.

        Returns:
            `logits` [B, T or those kept, V], `loss` (nats per token) where labels are given,
            `past_key_values`.

        Raises:
            ValueError: as the model, or labels together with `logits_to_keep`.
        """
        keep_all = isinstance(logits_to_keep, int) and logits_to_keep == 0
        if labels is not None and not keep_all:
            raise ValueError("labels need all logits: leave logits_to_keep at 0")
        output = self.transformer(
            input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            generator=generator,
            last_only=isinstance(logits_to_keep, int) and logits_to_keep == 1,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(output.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits, labels, vocab_size=self.config.vocab_size, **loss_options
            )
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=output.past_key_values
        )

    def _prepare_cache_for_generation(
        self,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
        *args: Any,
        **kwargs: Any,
    ) -> bool:
        """Give `generate` a cache that carries beliefs, where it would make a plain one."""
        if generation_config.cache_implementation not in (None, "dynamic"):
            raise ValueError(
                f"cache_implementation must be 'dynamic' (beliefs are carried next to the keys and "
                f"values), got {generation_config.cache_implementation!r}"
            )
        if generation_config.use_cache and model_kwargs.get("past_key_values") is None:
            model_kwargs["past_key_values"] = DHMMGPT2Cache(config=self.config)
            return True
        return super()._prepare_cache_for_generation(  # type: ignore[misc]
            generation_config, model_kwargs, *args, **kwargs
        )


def _count_positions(mask: Tensor | None, past: int, steps: int, device: torch.device) -> Tensor:
    """Positions int64 [B or 1, T] after `past` tokens; padding does not count."""
    if mask is None:
        return torch.arange(past, past + steps, device=device).unsqueeze(0)
    return (mask.long().cumsum(-1)[:, past:] - 1).clamp_(min=0)


def _plan_step(
    mask: Tensor | None,
    past: int,
    steps: int,
    device: torch.device,
    cache: Cache | None,
    generator: torch.Generator | None,
) -> Step:
    """Work out the attention mask of a piece of `steps` tokens after `past` cached ones."""
    if mask is None and (past == 0 or steps == 1):
        return Step(None, None, past == 0 and steps > 1, None, cache, generator)
    queries = torch.arange(past, past + steps, device=device).unsqueeze(-1)
    keys = torch.arange(past + steps, device=device)
    allowed = keys <= queries  # [T, past + T]
    if mask is None:
        return Step(None, allowed[None, None], False, None, cache, generator)
    valid = mask.bool()
    # A padding token looks at itself: attention over nothing is not a number.
    allowed = (allowed & valid[:, None, None, :]) | (keys == queries)
    return Step(valid[:, past:], allowed, False, None, cache, generator)
