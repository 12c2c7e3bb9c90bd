"""What a language model thinks of completions: of responses after their prompts.

A completion is a response as it follows its prompt, and the end token: what a model learns to write
behind a prompt, and what it is measured on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from parley.platform.language.batches import plan_batches
from parley.platform.language.text_ids import Ids, TextEncoder
from parley.platform.terminal.activities import each
from parley.policies.dialogue.loading import LanguageModel
from parley.policies.dialogue.output_head import find_base_model, make_head

BATCH_TOKENS = 8_192
"""Tokens, padding included, that are read together."""
LOGITS_PER_CHUNK = 2**24
"""Logits held at once: 64 MiB."""


def completion_log_probs(
    language_model: LanguageModel,
    prompts: Sequence[str],
    responses: Sequence[str],
    max_prompt_tokens: int = 0,
    batch_tokens: int = BATCH_TOKENS,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How likely a model finds each response after its prompt.

    A prompt that leaves no room in the model's context is cut from the left, for all its responses
    alike; a response that is longer than the context by itself is cut from the right.

    Args:
        language_model: what reads; it stays in the mode it is in.
        prompts, responses: N each.
        max_prompt_tokens: longer prompts are cut to so many tokens; 0: none is.
        batch_tokens: tokens, padding included, that are read together.

    Returns:
        The log-probability of each completion, its end token included: float64 [N], in nats; and
        how many tokens it has: int64 [N], at least 1.
    """
    if len(prompts) != len(responses):
        raise ValueError(f"{len(prompts)} prompts and {len(responses)} responses: one for each")
    sums, counts = np.zeros(len(prompts)), np.zeros(len(prompts), np.int64)
    if not prompts:
        return sums, counts
    encoder, context = TextEncoder(language_model.tokenizer), language_model.context
    longest = context - max(1, len(encoder.beginning))
    tails = [ids[:longest] for ids in encoder.encode_responses(responses)]
    rooms: dict[str, int] = {}
    for prompt, tail in zip(prompts, tails, strict=True):
        room = min(context - len(tail), max_prompt_tokens or context)
        rooms[prompt] = min(room, rooms.get(prompt, room))
    heads = [
        encoder.cut(ids, rooms[prompt])
        for ids, prompt in zip(encoder.encode_prompts(prompts), prompts, strict=True)
    ]
    rows = [head + tail for head, tail in zip(heads, tails, strict=True)]
    lengths = np.array([len(row) for row in rows], np.int64)
    counts[:] = [len(tail) for tail in tails]
    for picked in each(plan_batches(lengths, batch_tokens), "reading responses", "batches"):
        log_probs = _score([rows[i] for i in picked], counts[picked], language_model.model)
        starts = np.cumsum(counts[picked]) - counts[picked]
        sums[picked] = np.add.reduceat(log_probs, starts)
    return sums, counts


@torch.inference_mode()
def _score(
    rows: Sequence[Ids], counts: NDArray[np.int64], model: PreTrainedModel
) -> NDArray[np.float64]:
    """Log-probabilities of the last `counts[i]` tokens of every row, one behind the other."""
    width = max(map(len, rows))
    tokens = np.zeros((len(rows), width), np.int64)  # padding behind a row changes nothing before
    row_of, column_of = [], []
    for i, (row, count) in enumerate(zip(rows, counts, strict=True)):
        tokens[i, : len(row)] = row
        row_of.append(np.full(count, i))
        column_of.append(np.arange(len(row) - count, len(row)))
    rows_at, columns_at = (torch.from_numpy(np.concatenate(part)) for part in (row_of, column_of))
    ids = torch.from_numpy(tokens)
    output = find_base_model(model)(input_ids=ids.to(model.device), use_cache=False)
    hidden = output.last_hidden_state[rows_at, columns_at - 1]  # [A, D]
    size = max(1, LOGITS_PER_CHUNK // int(model.get_output_embeddings().weight.shape[0]))
    targets = ids[rows_at, columns_at].to(model.device)
    return _log_probs(make_head(model), hidden, targets, size)


def _log_probs(head: nn.Module, hidden: Tensor, targets: Tensor, size: int) -> NDArray[np.float64]:
    """Log-probabilities [A] of targets [A] from the hidden states [A, D] before them.

    `size` of them are computed at a time.
    """
    parts = [
        -F.cross_entropy(
            head(hidden[i : i + size]).float(), targets[i : i + size], reduction="none"
        )
        for i in range(0, len(targets), size)
    ]
    joined: NDArray[np.float64] = torch.cat(parts).cpu().numpy().astype(np.float64)
    return joined
