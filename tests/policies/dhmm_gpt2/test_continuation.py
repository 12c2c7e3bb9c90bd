"""Written traces equal what the model's full forward pass says, token by token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from parley.policies.dhmm_gpt2 import DHMMGPT2Config, DHMMGPT2ForCausalLM
from parley.policies.dhmm_gpt2.continuation import Continuations, continue_traces

VOCAB, END = 11, 1
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "embed_size": 32,
    "layers": 2,
    "num_states": 4,
    "max_len": 96,
    "filter_layers": (0, 1),
    "initializer_range": 0.3,  # logits apart enough for greedy choices to be clear
}
PLAIN = {"counter_heads": 0, "filter_heads": 0}
KINDS: dict[str, dict[str, Any]] = {
    "both": {},
    "counters": {"filter_heads": 0, "positions": "rotary"},
    "snapped": {"snap_transitions": True, "positions": "none"},
    "second block": {"filter_layers": (1,), "layers": 3},
    "one block": {"layers": 1, "filter_layers": (0,), "positions": "rotary"},
    "plain": PLAIN,
    "plain, rotary": {**PLAIN, "positions": "rotary"},
    "plain, no positions": {**PLAIN, "positions": "none", "layers": 1, "filter_layers": ()},
}


def make_model(**changes: Any) -> DHMMGPT2ForCausalLM:
    torch.manual_seed(0)
    return DHMMGPT2ForCausalLM(DHMMGPT2Config(**(SIZES | changes))).eval()


def make_prompts(rows: int = 24, steps: int = 7) -> Tensor:
    return torch.randint(2, VOCAB, (rows, steps), generator=torch.Generator().manual_seed(1))


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def check(model: DHMMGPT2ForCausalLM, prompts: Tensor, done: Continuations, limit: int) -> Tensor:
    """The full forward's log-probabilities [N, T - P, V], after comparing all else with them."""
    given, longest = prompts.shape[1], done.tokens.shape[1]
    log_probs = model(done.tokens).logits.log_softmax(-1)[:, given - 1 : -1]
    written = done.tokens[:, given:]
    assert torch.equal(done.tokens[:, :given], prompts)
    assert longest == int(done.lengths.max()) <= limit
    for row, length in enumerate(done.lengths.tolist()):
        body, padding = written[row, : length - given], written[row, length - given :]
        assert (body[:-1] != END).all() and (padding == END).all()
        assert length == limit or body[-1] == END
    is_padding = torch.arange(given, longest) >= done.lengths[:, None]
    expected = log_probs.gather(-1, written[..., None]).squeeze(-1).masked_fill(is_padding, 0.0)
    assert done.log_probs.dtype == torch.float32
    torch.testing.assert_close(done.log_probs, expected, atol=1e-5, rtol=0)
    return log_probs.masked_fill(is_padding[..., None], float("nan"))


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_tokens_are_the_most_likely_of_the_full_forward(kind: str) -> None:
    model, prompts = make_model(**KINDS[kind]), make_prompts()
    done = continue_traces(model, prompts, 60, END)
    log_probs = check(model, prompts, done, 60)
    is_token = ~log_probs[..., 0].isnan()
    best = log_probs.argmax(-1)[is_token]
    assert torch.equal(done.tokens[:, prompts.shape[1] :][is_token], best)
    assert done.values is None


@pytest.mark.parametrize("kind", KINDS)
def test_drawn_tokens_carry_the_full_forwards_log_probs(kind: str) -> None:
    model, prompts = make_model(**KINDS[kind]), make_prompts(64)
    done = continue_traces(model, prompts, 60, END, seeded())
    check(model, prompts, done, 60)
    assert len(set(done.lengths.tolist())) > 5  # so that rows left the batch on the way


def test_drawn_tokens_follow_the_distribution() -> None:
    model, prompts = make_model(initializer_range=0.1), make_prompts(1).expand(4_000, -1)
    done = continue_traces(model, prompts, prompts.shape[1] + 1, END, seeded())
    share = torch.bincount(done.tokens[:, -1], minlength=VOCAB) / len(prompts)
    with torch.no_grad():
        probabilities = model(prompts[:1]).logits[0, -1].softmax(-1)
    error = (probabilities * (1 - probabilities) / len(prompts)).sqrt()
    assert ((share - probabilities).abs() < 4 * error).all()


def test_a_row_is_drawn_alike_in_any_company() -> None:
    model, prompts = make_model(), make_prompts(40)
    together = continue_traces(model, prompts, 50, END, seeded())
    few = continue_traces(model, prompts[:5], 50, END, seeded())
    again = continue_traces(model, prompts, 50, END, seeded())
    assert torch.equal(together.tokens, again.tokens)
    assert torch.equal(together.log_probs, again.log_probs)
    assert torch.equal(together.lengths[:5], few.lengths)
    longest = few.tokens.shape[1]
    assert torch.equal(together.tokens[:5, :longest], few.tokens)


def test_values_are_those_of_the_states_before_the_tokens() -> None:
    model, prompts = make_model(), make_prompts()
    head = nn.Linear(32, 1)
    done = continue_traces(model, prompts, 50, END, seeded(), head)
    given, longest = prompts.shape[1], done.tokens.shape[1]
    with torch.no_grad():
        hidden = model.transformer(done.tokens).last_hidden_state[:, given - 1 : -1]
        expected = head(hidden).squeeze(-1)
    expected = expected.masked_fill(torch.arange(given, longest) >= done.lengths[:, None], 0.0)
    assert done.values is not None
    torch.testing.assert_close(done.values, expected, atol=1e-5, rtol=0)


def test_a_row_that_never_ends_stops_at_the_limit() -> None:
    model, prompts = make_model(tie_embeddings=False), make_prompts()
    with torch.no_grad():
        model.lm_head.weight[END] = 0.0
    done = continue_traces(model, prompts, 96, END)
    assert done.tokens.shape == (24, 96) and (done.lengths == 96).all()
    check(model, prompts, done, 96)


def test_a_limit_far_above_the_longest_trace_changes_nothing() -> None:
    model, prompts = make_model(positions="rotary"), make_prompts()
    near = continue_traces(model, prompts, 60, END)
    far = continue_traces(model, prompts, 300, END)
    shared = near.tokens.shape[1]
    assert torch.equal(far.tokens[:, :shared], near.tokens)
    check(model, prompts, far, 300)


def test_the_model_is_left_as_it_was() -> None:
    model, prompts = make_model(mutation_noise=1.0, dropout=0.5), make_prompts()
    quiet = continue_traces(model, prompts, 40, END)
    model.train()
    done = continue_traces(model, prompts, 40, END)
    assert model.training and torch.equal(done.tokens, quiet.tokens)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        (torch.zeros(3, 4), {}, "prompts must be int64"),
        (torch.zeros(0, 4, dtype=torch.int64), {}, "N >= 1"),
        (torch.full((2, 4), VOCAB), {}, f"tokens from 0 to {VOCAB - 1}, got tokens from {VOCAB}"),
        (torch.full((2, 4), 2), {"end_token": -1}, "end_token -1"),
        (torch.full((2, 4), 2), {"max_length": 4}, "above the prompts' 4 tokens"),
        (torch.full((2, 4), 2), {"max_length": 97}, "at most the model's 96 learned positions"),
    ],
)
def test_prompts_that_cannot_be_continued(
    prompts: Tensor, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        continue_traces(make_model(), prompts, **{"max_length": 20, **options})
