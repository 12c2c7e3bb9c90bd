"""Draws follow the truncated distribution exactly, and the learner can repeat their probability."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from parley.policies.dialogue.sampling import (
    MASKED_LOG_PROB,
    Sampling,
    draw,
    find_top_k,
    support_mask,
    truncated_log_probs,
)

V = 23


def make_logits(num_rows: int, seed: int = 0, vocab_size: int = V) -> Tensor:
    return 2 * torch.randn(num_rows, vocab_size, generator=torch.Generator().manual_seed(seed))


def make_uniforms(num_rows: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(num_rows))


def warp(logits: Tensor, sampling: Sampling) -> Tensor:
    """transformers' probabilities of the same settings."""
    nothing = torch.zeros(len(logits), 1, dtype=torch.long)
    scores = TemperatureLogitsWarper(sampling.temperature)(nothing, logits)
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(nothing, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(nothing, scores)
    return scores.softmax(dim=-1)


SETTINGS = [
    Sampling(),
    Sampling(temperature=0.7),
    Sampling(temperature=1.9, top_k=5),
    Sampling(top_k=V + 5),
    Sampling(top_p=0.8),
    Sampling(top_p=1e-9),
    Sampling(temperature=0.6, top_k=9, top_p=0.9),
    Sampling(top_k=1),
]


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_inverse_transform_gives_every_token_its_exact_share(sampling: Sampling) -> None:
    """On a fine even grid of uniforms the shares of the tokens are their probabilities."""
    grid = 20_000
    logits = make_logits(1)
    uniforms = (torch.arange(grid, dtype=torch.float64) + 0.5) / grid
    tokens = draw(logits.expand(grid, V), uniforms, sampling).tokens
    shares = torch.bincount(tokens, minlength=V) / grid
    assert (shares - warp(logits, sampling)[0]).abs().max() <= 1.5 / grid


def test_random_draws_pass_a_chi_square_test() -> None:
    sampling, count = Sampling(temperature=0.8, top_k=8), 50_000
    logits = make_logits(1, seed=3)
    tokens = draw(logits.expand(count, V), make_uniforms(count, 5), sampling).tokens
    expected = warp(logits, sampling)[0].double()
    kept = expected > 0
    observed = torch.bincount(tokens, minlength=V)[kept]
    assert int(observed.sum()) == count
    expected = expected[kept] / expected[kept].sum() * count
    assert stats.chisquare(observed.numpy(), expected.numpy()).pvalue > 0.01


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_figures_are_those_of_the_warped_distribution(sampling: Sampling) -> None:
    logits = make_logits(200)
    drawn = draw(logits, make_uniforms(200), sampling)
    probs = warp(logits, sampling)
    chosen = probs.gather(1, drawn.tokens[:, None])[:, 0]
    assert torch.allclose(drawn.log_probs, chosen.log(), atol=1e-5)
    assert torch.allclose(drawn.entropies, torch.special.entr(probs).sum(dim=1), atol=1e-5)
    full = logits.log_softmax(dim=-1).gather(1, drawn.tokens[:, None])[:, 0]
    assert torch.allclose(drawn.full_log_probs, full, atol=1e-5)
    assert (drawn.support is None) == (sampling.top_p == 1 and not 0 < sampling.top_k < V)
    if drawn.support is not None:
        assert torch.equal(support_mask(drawn.support, V), probs > 0)


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_the_learner_repeats_the_log_probabilities(sampling: Sampling) -> None:
    logits = make_logits(200)
    drawn = draw(logits, make_uniforms(200), sampling)
    repeated = truncated_log_probs(logits, drawn.support, sampling.temperature)
    assert torch.allclose(
        repeated.gather(1, drawn.tokens[:, None])[:, 0], drawn.log_probs, atol=1e-5
    )
    assert torch.allclose(repeated.exp().sum(dim=1), torch.ones(200), atol=1e-5)


def test_another_policy_is_renormalised_on_the_recorded_support() -> None:
    drawn = draw(make_logits(50), make_uniforms(50), Sampling(top_k=4))
    assert drawn.support is not None
    later = make_logits(50, seed=9)  # other tokens are its top four
    repeated = truncated_log_probs(later, drawn.support, 0.5)
    of_support = (later.gather(1, drawn.support) / 0.5).log_softmax(dim=-1)
    assert torch.allclose(repeated.gather(1, drawn.support), of_support, atol=1e-5)
    outside = ~support_mask(drawn.support, V)
    assert (repeated[outside] == MASKED_LOG_PROB).all() and outside.sum() == 50 * (V - 4)


def test_gradients_stay_finite_and_leave_masked_tokens_alone() -> None:
    logits = make_logits(3).requires_grad_()
    support = torch.tensor([[1, 4, -1], [2, -1, -1], [-1, -1, -1]])
    log_probs = truncated_log_probs(logits, support, 1.0)
    (log_probs[:, 4] * log_probs.detach().exp()[:, 4] + log_probs[:, 2]).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    assert (logits.grad[0, [0, 2, 3]] == 0).all()
    assert torch.equal(support_mask(support, V)[2], torch.ones(V, dtype=torch.bool))


def test_a_row_does_not_depend_on_its_batch() -> None:
    logits, uniforms = make_logits(32), make_uniforms(32)
    for sampling in SETTINGS:
        together = draw(logits, uniforms, sampling)
        for row in (0, 7, 31):
            alone = draw(logits[row : row + 1], uniforms[row : row + 1], sampling)
            assert together.tokens[row] == alone.tokens[0]
            assert together.log_probs[row] == alone.log_probs[0]


def test_ties_keep_exactly_k_tokens() -> None:
    logits = torch.zeros(1, V).expand(500, V)
    drawn = draw(logits, make_uniforms(500), Sampling(top_k=4))
    assert drawn.support is not None and (drawn.support >= 0).all()
    assert torch.allclose(drawn.log_probs, torch.full((500,), -math.log(4)))
    assert len(drawn.tokens.unique()) == 4


def test_ties_under_top_p_keep_as_many_as_are_needed() -> None:
    drawn = draw(torch.zeros(1, 10), make_uniforms(1), Sampling(top_p=0.45))
    assert drawn.support is not None and drawn.support.shape == (1, 5)


def test_greedy_takes_the_most_likely_token() -> None:
    logits = make_logits(20)
    drawn = draw(logits, make_uniforms(20), Sampling(temperature=0.0, top_k=3))
    assert torch.equal(drawn.tokens, logits.argmax(dim=-1))
    assert (drawn.log_probs == 0).all() and (drawn.entropies == 0).all()
    assert (drawn.full_log_probs < 0).all()


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_a_forbidden_token_is_never_drawn(sampling: Sampling) -> None:
    logits = make_logits(300)
    logits[:, 6] = 20.0
    drawn = draw(logits, make_uniforms(300), sampling, forbidden=6)
    assert drawn.support is not None and not (drawn.support == 6).any()
    assert (drawn.tokens != 6).all()
    repeated = truncated_log_probs(logits, drawn.support, sampling.temperature)
    assert torch.allclose(
        repeated.gather(1, drawn.tokens[:, None])[:, 0], drawn.log_probs, atol=1e-5
    )


def test_the_ends_of_the_unit_interval_draw_tokens_that_have_probability() -> None:
    logits = torch.full((2, 6), -torch.inf)
    logits[:, 2:4] = 0.0
    uniforms = torch.tensor([0.0, math.nextafter(1.0, 0.0)], dtype=torch.float64)
    for sampling in (Sampling(), Sampling(top_k=4), Sampling(top_p=0.99)):
        assert set(draw(logits, uniforms, sampling).tokens.tolist()) == {2, 3}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_no_numbers_are_marked(bad: float) -> None:
    logits = make_logits(3)
    logits[1, 5] = bad
    for sampling in SETTINGS:
        drawn = draw(logits, make_uniforms(3), sampling)
        assert drawn.full_log_probs.isfinite().tolist() == [True, False, True]
        assert ((drawn.tokens >= 0) & (drawn.tokens < V)).all()


@pytest.mark.parametrize("k", [1, 7, 50])
@pytest.mark.parametrize("vocab_size", [V, 257, 2_000, 50_257])
def test_the_top_k_of_any_vocabulary(vocab_size: int, k: int) -> None:
    logits = make_logits(9, vocab_size=vocab_size)
    logits[3] *= 1e-30
    logits[4] = logits[4].abs() + 1e30
    logits[5] = -logits[5].abs()
    logits[6, 5:] = -torch.inf
    logits[7, :-5] = -torch.inf
    k = min(k, vocab_size)
    values, ids = find_top_k(logits, k)
    assert torch.equal(values, logits.topk(k).values)
    assert torch.equal(logits.gather(1, ids), values)
    assert all(len(row.unique()) == k for row in ids)


def test_the_top_k_of_equals() -> None:
    values, ids = find_top_k(torch.zeros(3, 2_000), 50)
    assert (values == 0).all() and torch.equal(ids, torch.arange(1_999, 1_949, -1).expand(3, 50))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.1}, "temperature must be finite and >= 0, got -0.1"),
        ({"temperature": math.nan}, "temperature must be finite"),
        ({"top_k": -1}, "top_k must be >= 0"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"top_p": 1.1}, "top_p must be above 0 and at most 1"),
        ({"max_reply_tokens": 0}, "max_reply_tokens must be >= 1, got 0"),
        ({"max_reply_tokens": 3, "min_reply_tokens": 4}, "min_reply_tokens must be between"),
    ],
)
def test_settings_out_of_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**settings)  # type: ignore[arg-type]


def test_greedy_replies_have_no_policy_gradient() -> None:
    with pytest.raises(ValueError, match="greedy replies are for evaluation"):
        truncated_log_probs(make_logits(1), None, 0.0)
