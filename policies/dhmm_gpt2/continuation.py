"""Writing traces on: prompts of one length, continued token by token until all have ended.

Owns the loop: choose, write, read what was written. `dhmm_gpt2.decoder` reads, and owns the memory
of what was read. Nothing is read twice, rows that have ended leave the batch, and logits are
computed where a token is chosen and nowhere else.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from parley.policies.dhmm_gpt2 import DHMMGPT2ForCausalLM
from parley.policies.dhmm_gpt2.decoder import Decoder

_ROWS_WORTH_KEEPING = 0.75
"""Ended rows leave the batch when no more than this share of it goes on: a copy of the memory
costs about as much as a few steps."""

_STEPS_BETWEEN_LOOKS = 16
"""On a GPU the loop looks only so often whether all rows have ended, because it waits there."""

_ALL = slice(None)


class Continuations(NamedTuple):
    """N prompts of P tokens with what was written after them; the longest has T tokens."""

    tokens: Tensor
    """int64 [N, T]: prompt and continuation, padded with the end token."""
    lengths: Tensor
    """int64 [N]: tokens of each row, prompt and end token included."""
    log_probs: Tensor
    """float32 [N, T - P], of each written token given those before; 0 on padding."""
    values: Tensor | None
    """float32 [N, T - P], of the state before each written token; 0 on padding. None without a
    value head."""


@torch.inference_mode()
def continue_traces(
    model: DHMMGPT2ForCausalLM,
    prompts: Tensor,
    max_length: int,
    end_token: int = 1,
    generator: torch.Generator | None = None,
    value_head: nn.Module | None = None,
) -> Continuations:
    """Write every prompt on until its end token, or to `max_length` tokens.

    The model is in evaluation mode meanwhile. The outcome equals the model's full forward on the
    finished rows, to rounding.

    Args:
        model: what writes; the prompts are moved to its device.
        prompts: int64 [N >= 1, P >= 1], no padding.
        max_length: most tokens of a row, the prompt included; above P.
        end_token: ends a row where the model writes it; in a prompt it is a token as any other.
        generator: None: always the most likely token. Otherwise tokens are drawn by inverse
            transform from N x (max_length - P) uniform numbers that the generator gives at once,
            row by row: what is drawn for a row depends on its place, not on its batch mates.
        value_head: hidden states [R, D] to values [R, 1] or [R].

    Raises:
        ValueError: prompts of another shape, with a token outside the vocabulary, or with no room
            to continue; a `max_length` above the model's learned positions.
    """
    _check(model, prompts, max_length, end_token)
    was_training = model.training
    model.eval()
    try:
        writer = _Writer(model, prompts.to(model.device), max_length, end_token)
        return writer.write(generator, value_head)
    finally:
        model.train(was_training)


class _Writer:
    """One batch on its way: [N, ...] by place of the prompt, [R, ...] by row that is still read."""

    def __init__(
        self, model: DHMMGPT2ForCausalLM, prompts: Tensor, max_length: int, end_token: int
    ) -> None:
        num_prompts, self.num_given = prompts.shape
        self.model = model
        self.end_token = end_token
        self.num_steps = max_length - self.num_given
        self.decoder = Decoder(model.transformer, prompts, max_length)
        self.tokens = prompts.new_full((num_prompts, max_length), end_token)
        self.tokens[:, : self.num_given] = prompts
        self.log_probs = torch.zeros(num_prompts, self.num_steps, device=prompts.device)
        self.places: Tensor | slice = _ALL  # [R]; a slice as long as all rows are read
        self.ended = torch.zeros(num_prompts, dtype=torch.bool, device=prompts.device)  # [R]

    def write(
        self, generator: torch.Generator | None, value_head: nn.Module | None
    ) -> Continuations:
        """Write to the end of all rows."""
        uniforms = None
        if generator is not None:
            shape = (len(self.tokens), self.num_steps)
            uniforms = torch.rand(
                shape, generator=generator, device=generator.device, dtype=torch.float64
            ).to(self.tokens.device)
        values = None if value_head is None else torch.zeros_like(self.log_probs)
        hidden = self.decoder.hidden
        for steps in range(1, self.num_steps + 1):
            column = self.num_given + steps - 1
            if values is not None and value_head is not None:
                values[self.places, steps - 1] = value_head(hidden).flatten().float()
            drawn_by = None if uniforms is None else uniforms[self.places, steps - 1]
            chosen, log_probs = _choose(self.model.lm_head(hidden), drawn_by)
            self.tokens[self.places, column] = chosen
            self.log_probs[self.places, steps - 1] = log_probs
            self.ended |= chosen == self.end_token
            going_on = self._narrow(steps)
            if going_on is None or steps == self.num_steps:
                break
            hidden = self.decoder.read(chosen[going_on])
        return self._collect(steps, values)

    def _narrow(self, steps: int) -> Tensor | slice | None:
        """Which rows go on; takes those that have ended out where that pays. None: all have."""
        if self.ended.device.type != "cpu" and steps % _STEPS_BETWEEN_LOOKS:
            return _ALL
        num_rows = len(self.ended)
        num_going_on = num_rows - int(self.ended.sum())
        if num_going_on == 0:
            return None
        if num_going_on > _ROWS_WORTH_KEEPING * num_rows:
            return _ALL
        kept = (~self.ended).nonzero().squeeze(-1)
        self.decoder.keep(kept)
        self.places = kept if isinstance(self.places, slice) else self.places[kept]
        self.ended = self.ended[kept]
        return kept

    def _collect(self, steps: int, values: Tensor | None) -> Continuations:
        """What was written, without what ended rows went on writing."""
        written = self.tokens[:, self.num_given : self.num_given + steps]
        is_end = (written == self.end_token).long()
        is_past = (is_end.cumsum(-1) - is_end) > 0  # behind an end token
        lengths = self.num_given + steps - is_past.sum(-1)
        longest = int(lengths.max())
        num_written = longest - self.num_given
        is_past = is_past[:, :num_written]
        written = written[:, :num_written].masked_fill(is_past, self.end_token)
        tokens = torch.cat([self.tokens[:, : self.num_given], written], dim=1)
        log_probs = self.log_probs[:, :num_written].masked_fill(is_past, 0.0)
        if values is not None:
            values = values[:, :num_written].masked_fill(is_past, 0.0)
        return Continuations(tokens, lengths, log_probs, values)


def _choose(logits: Tensor, uniforms: Tensor | None) -> tuple[Tensor, Tensor]:
    """Tokens int64 [R] and their log-probabilities [R], from logits [R, V]: drawn or greedy."""
    logits = logits.float()
    if uniforms is None:
        best = logits.max(dim=-1)
        return best.indices, best.values - logits.logsumexp(dim=-1)
    log_probs = logits.log_softmax(dim=-1)
    cumulated = log_probs.double().exp().cumsum(dim=-1)
    chosen = torch.searchsorted(cumulated, (uniforms * cumulated[:, -1])[:, None], right=True)
    # Rounding may lift the product to the total itself.
    chosen = chosen.clamp_(max=logits.shape[-1] - 1)
    return chosen.squeeze(-1), log_probs.gather(-1, chosen).squeeze(-1)


def _check(model: DHMMGPT2ForCausalLM, prompts: Tensor, max_length: int, end_token: int) -> None:
    if prompts.dim() != 2 or 0 in prompts.shape or prompts.dtype != torch.int64:
        raise ValueError(
            f"prompts must be int64 [N >= 1, P >= 1], got {prompts.dtype} {list(prompts.shape)}"
        )
    if max_length <= prompts.shape[1]:
        raise ValueError(
            f"max_length must be above the prompts' {prompts.shape[1]} tokens, got {max_length}"
        )
    config = model.config
    if config.positions == "learned" and max_length > config.max_len:
        raise ValueError(
            f"max_length must be at most the model's {config.max_len} learned positions, "
            f"got {max_length}"
        )
    low, high = (int(bound) for bound in prompts.aminmax())
    if low < 0 or high >= config.vocab_size or not 0 <= end_token < config.vocab_size:
        raise ValueError(
            f"prompts and end_token must be tokens from 0 to {config.vocab_size - 1}, got tokens "
            f"from {low} to {high} and end_token {end_token}"
        )
