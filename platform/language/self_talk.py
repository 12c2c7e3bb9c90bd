"""Dialogues that a language model holds with itself, to be read by people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

from parley.platform.language.text_ids import TextEncoder

TOP_K = 50


@torch.no_grad()
def hold_dialogue(
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerFast,
    opener: str,
    num_replies: int,
    max_reply_tokens: int,
    seed: int,
) -> list[list[int]]:
    """The token ids of the opener and of each reply, without the tokens that end them.

    Drawn at temperature 1 from the 50 likeliest tokens. It ends early where no reply fits into the
    model's context any more, or where the model says nothing.
    """
    model.eval()
    device = next(model.parameters()).device
    encoder = TextEncoder(tokenizer)
    end_token = encoder.end_token
    turns: list[list[int]] = encoder.encode_turns([opener])
    history = [*turns[0], end_token]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        while len(turns) <= num_replies:
            if len(history) + max_reply_tokens > int(model.config.n_positions):
                break
            reply = _draw_reply(model, history, max_reply_tokens, end_token, device)
            if not reply:
                break
            turns.append(reply)
            history += [*reply, end_token]
    return turns


def _draw_reply(
    model: GPT2LMHeadModel,
    history: Sequence[int],
    max_reply_tokens: int,
    end_token: int,
    device: torch.device,
) -> list[int]:
    tokens = torch.tensor([list(history)], device=device)
    generate = cast(Any, model).generate  # its type admits no concrete model
    drawn = generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        max_new_tokens=max_reply_tokens,
        do_sample=True,
        temperature=1.0,
        top_k=TOP_K,
        pad_token_id=end_token,
        eos_token_id=end_token,
    )
    reply: list[int] = drawn[0, len(history) :].tolist()
    return reply[: reply.index(end_token)] if end_token in reply else reply
