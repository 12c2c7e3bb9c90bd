"""From logits to tokens: which tokens may be drawn, the draw itself, and its log-probabilities.

Owns the sampling settings, the truncation (top-k, top-p) and the one place where it is repeated:
the learner renormalises on the support that the sampler recorded, so that both speak of the same
distribution even after an update has changed which tokens would be the top k.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MASKED_LOG_PROB = -1e9
"""Log-probability of a token outside the support: as good as minus infinity, but finite, so that
a gradient or a product with a zero mask stays a number."""

NO_TOKEN = -1
"""Padding of a support."""


@dataclass(frozen=True)
class Sampling:
    """How a reply is drawn.

    Attributes:
        temperature: divides the logits; 0 takes the most likely token (greedy).
        top_k: only the k most likely tokens may be drawn; 0 switches it off.
        top_p: of these, the fewest whose probabilities reach top_p together; 1 switches it off.
        max_reply_tokens: longest reply, a closing end token included.
        min_reply_tokens: the end token cannot be drawn before so many others.

    Raises:
        ValueError: a value out of its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    max_reply_tokens: int = 32
    min_reply_tokens: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0.0):
            raise ValueError(f"temperature must be finite and >= 0, got {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be >= 0 (0 switches it off), got {self.top_k}")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(
                f"top_p must be above 0 and at most 1 (1 switches it off), got {self.top_p}"
            )
        if self.max_reply_tokens < 1:
            raise ValueError(f"max_reply_tokens must be >= 1, got {self.max_reply_tokens}")
        if not 0 <= self.min_reply_tokens <= self.max_reply_tokens:
            raise ValueError(
                f"min_reply_tokens must be between 0 and max_reply_tokens = "
                f"{self.max_reply_tokens}, got {self.min_reply_tokens}"
            )


@dataclass(frozen=True)
class Draw:
    """One token for each of B rows."""

    tokens: Tensor
    """int64 [B]."""
    log_probs: Tensor
    """float32 [B], of the distribution drawn from: tempered, truncated, renormalised."""
    full_log_probs: Tensor
    """float32 [B], of the model itself: temperature 1, all tokens. Not finite where the row's
    logits hold NaN or +inf; the other fields mean nothing then."""
    entropies: Tensor
    """float32 [B], in nats, of the distribution drawn from."""
    support: Tensor | None
    """int64 [B, K]: the tokens that could be drawn, padded with -1; None where all could."""


def draw(
    logits: Tensor, uniforms: Tensor, sampling: Sampling, forbidden: int | None = None
) -> Draw:
    """Draw a token for every row by inverse transform; no row depends on the others.

    Args:
        logits: [B, V], raw.
        uniforms: float64 [B] in [0, 1): the only randomness.
        forbidden: a token that cannot be drawn this time.
    """
    logits = logits.float()
    allowed = logits
    if forbidden is not None:
        allowed = logits.clone()
        allowed[:, forbidden] = -torch.inf
    if sampling.temperature == 0.0:
        tokens = allowed.argmax(dim=-1)
        log_probs = entropies = torch.zeros_like(logits[:, 0])
        support: Tensor | None = tokens[:, None]
    else:
        kept_log_probs, ids = _truncate(allowed, sampling, forbidden)
        probs = kept_log_probs.exp()
        choice = _invert(probs, uniforms)
        log_probs = kept_log_probs.gather(1, choice).squeeze(1)
        entropies = torch.special.entr(probs).sum(dim=-1)
        tokens = (choice if ids is None else ids.gather(1, choice)).squeeze(1)
        support = ids
        if support is not None and (forbidden is not None or sampling.top_p < 1.0):
            support = support.masked_fill(kept_log_probs == -torch.inf, NO_TOKEN)
    full_log_probs = logits.log_softmax(dim=-1).gather(1, tokens[:, None]).squeeze(1)
    return Draw(tokens, log_probs, full_log_probs, entropies, support)


def _truncate(
    logits: Tensor, sampling: Sampling, forbidden: int | None
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities [B, K] of the tokens that may be drawn, and their ids.

    A row with fewer tokens has -inf in place of the others. Where nothing is cut off: all tokens
    in the order of the vocabulary, and None.
    """
    vocab_size = logits.shape[-1]
    ids: Tensor | None = None
    if 0 < sampling.top_k < vocab_size:
        logits, ids = find_top_k(logits, sampling.top_k)
    elif sampling.top_p == 1.0 and forbidden is not None:
        ids = torch.arange(vocab_size, device=logits.device).expand_as(logits)
    log_probs = (logits / sampling.temperature).log_softmax(dim=-1)
    if sampling.top_p < 1.0:
        if ids is None:
            log_probs, ids = _find_most_likely(log_probs, sampling.top_p)
        return _take_top_p(log_probs, ids, sampling.top_p)
    return log_probs, ids


def _find_most_likely(log_probs: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """So many of [B, V], descending, that they hold `share` of the probability in every row."""
    k, vocab_size = 64, log_probs.shape[-1]
    while k < vocab_size:
        largest, ids = find_top_k(log_probs, k)
        if (largest.double().exp().sum(dim=-1) >= share).all():
            return largest, ids
        k *= 4
    return log_probs.sort(dim=-1, descending=True)


def _take_top_p(log_probs: Tensor, ids: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Cut off [B, K] descending tokens once those before hold `top_p` of the probability."""
    probs = log_probs.double().exp()
    before = probs.cumsum(dim=-1) - probs
    kept = before < top_p
    kept[:, 0] = True
    width = int(kept.sum(dim=-1).max())
    log_probs = log_probs.masked_fill(~kept, -torch.inf)[:, :width].log_softmax(dim=-1)
    return log_probs, ids[:, :width]


def find_top_k(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row of [B, V], descending, and their ids; both [B, k], no gradient.

    On a CPU `torch.topk` takes several times as long. The k-th largest of the maxima of groups of
    columns is a bound from below that few columns reach, and finding those is work that a processor
    does on many columns at a time. Among equals the higher ids count as larger.
    """
    group_size = 2 ** int(math.log2(max(1.0, logits.shape[-1] / (5 * k))))
    if group_size == 1 or logits.device.type != "cpu":
        return logits.topk(k, dim=-1)
    num_rows, vocab_size = logits.shape
    num_groups = vocab_size // group_size
    # Group j holds the columns j, j + num_groups, ...; the last few columns need not be in one.
    grouped = logits.detach()[:, : num_groups * group_size].view(num_rows, group_size, num_groups)
    bound = np.sort(grouped.amax(dim=1).numpy(), axis=1)[:, num_groups - k, None]
    values: NDArray[np.float32] = logits.detach().numpy()
    reaching = np.flatnonzero(values >= bound)
    rows, ids = np.divmod(reaching, vocab_size)
    counts = np.bincount(rows, minlength=num_rows)
    places = np.arange(len(reaching)) - np.repeat(np.cumsum(counts) - counts, counts)
    keys = np.full((num_rows, max(k, counts.max())), np.iinfo(np.int64).min)
    keys[rows, places] = _ordered_bits(values[rows, ids]).astype(np.int64) << 32 | ids
    largest = np.sort(keys, axis=1)[:, : -k - 1 : -1]
    found = _ordered_bits((largest >> 32).astype(np.int32).view(np.float32)).view(np.float32)
    return torch.from_numpy(found), torch.from_numpy(largest & 0xFFFFFFFF)


def _ordered_bits(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """The bits of floats as integers that are ordered as the floats are; its own inverse."""
    bits = values.view(np.int32)
    return bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))


def _invert(probs: Tensor, uniforms: Tensor) -> Tensor:
    """The index int64 [B, 1] at which the cumulated probabilities [B, K] pass the uniforms [B]."""
    cumulated = probs.double().cumsum(dim=-1)
    total = cumulated[:, -1:]
    choice = torch.searchsorted(cumulated, uniforms[:, None] * total, right=True)
    # Rounding may lift the product to the total itself; what lies behind has no probability.
    last = torch.searchsorted(cumulated, total.contiguous())
    return torch.minimum(choice, last).clamp(max=probs.shape[-1] - 1)


def support_mask(support: Tensor, vocab_size: int) -> Tensor:
    """Which tokens could be drawn, bool [N, V], from a support [N, K] padded with -1.

    A row of padding alone stands for a draw from the whole vocabulary.
    """
    columns = torch.where(support < 0, vocab_size, support.long())
    mask = torch.zeros(
        len(support), vocab_size + 1, dtype=torch.bool, device=support.device
    ).scatter_(1, columns, True)[:, :vocab_size]
    return mask | ~mask.any(dim=1, keepdim=True)


def truncated_log_probs(logits: Tensor, support: Tensor | None, temperature: float) -> Tensor:
    """Log-probabilities [N, V] on the support that the sampler recorded; differentiable.

    Holding the sampler's support keeps the importance ratio defined when an update moves other
    tokens into the top k (the sampling mask of DeepSeek-V3.2, arXiv:2512.02556, section 3.1).

    Args:
        logits: [N, V], raw.
        support: [N, K] padded with -1; None, or a row of padding alone: the whole vocabulary.
        temperature: the sampler's, above 0.

    Raises:
        ValueError: the temperature is not above 0; greedy replies have no policy gradient.
    """
    if not temperature > 0.0:
        raise ValueError(
            f"log-probabilities need a temperature above 0, got {temperature}: greedy replies "
            "are for evaluation, not for training"
        )
    scaled = logits.float() / temperature
    if support is None:
        return scaled.log_softmax(dim=-1)
    mask = support_mask(support, logits.shape[-1])
    masked = scaled.masked_fill(~mask, -torch.inf)
    return (scaled - masked.logsumexp(dim=-1, keepdim=True)).masked_fill(~mask, MASKED_LOG_PROB)
