"""The parallel scan is the step-by-step filter; its gradient is autograd's through the steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from parley.policies.dhmm_gpt2 import scan
from parley.policies.dhmm_gpt2.scan import filter_step, scan_beliefs

STATES = 4


@pytest.fixture(autouse=True)
def _chunk_even_short_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "LOOP_MAX_STEPS", 4)


def random_operators(rows: int, steps: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Sticky transitions times emissions that differ by orders of magnitude, [N, T, S, S]."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, steps, STATES, STATES, generator=generator, dtype=torch.float64)
    emission = torch.randn(rows, steps, 1, STATES, generator=generator, dtype=torch.float64)
    transition = torch.softmax(3 * torch.eye(STATES, dtype=torch.float64) + logits, dim=-1)
    return (transition * (3 * emission).exp()).to(dtype)


def random_start(rows: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(99)
    start = torch.rand(rows, STATES, generator=generator, dtype=torch.float64)
    return (start / start.sum(-1, keepdim=True)).to(dtype)


def step_through(initial: Tensor, operators: Tensor) -> Tensor:
    beliefs = []
    belief = initial
    for operator in operators.unbind(1):
        belief, _ = filter_step(belief, operator)
        beliefs.append(belief)
    return torch.stack(beliefs, dim=1)


@pytest.mark.parametrize("steps", [1, 4, 5, 16, 37, 64, 300])
@pytest.mark.parametrize("chunk", [2, 8, 16])
def test_scan_equals_the_steps_in_float32(steps: int, chunk: int) -> None:
    initial = random_start(3, torch.float32)
    operators = random_operators(3, steps, torch.float32)
    expected = step_through(initial, operators)
    torch.testing.assert_close(scan_beliefs(initial, operators, chunk), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("steps", [1, 4, 5, 16, 37, 300])
@pytest.mark.parametrize("rows", [3, 40])
def test_gradient_equals_autograd_through_the_steps(steps: int, rows: int) -> None:
    initial = random_start(rows, torch.float64).requires_grad_()
    operators = random_operators(rows, steps, torch.float64).requires_grad_()
    weight = torch.randn(rows, steps, STATES, dtype=torch.float64)
    gradients = []
    for run in (
        lambda: scan_beliefs(initial, operators, 8),
        lambda: step_through(initial, operators),
    ):
        gradients.append(torch.autograd.grad((run() * weight).sum(), (initial, operators)))
    for parallel, sequential in zip(*gradients, strict=True):
        torch.testing.assert_close(parallel, sequential, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("steps", [3, 11])
def test_gradient_equals_finite_differences(steps: int) -> None:
    initial = random_start(2, torch.float64).requires_grad_()
    operators = random_operators(2, steps, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda b, m: scan_beliefs(b, m, 4), (initial, operators))


def test_float32_gradient_keeps_its_precision_over_a_long_sequence() -> None:
    operators = random_operators(2, 1000, torch.float64)
    weight = torch.randn(2, 1000, STATES, dtype=torch.float64)
    gradients = []
    for dtype in (torch.float64, torch.float32):
        leaf = operators.to(dtype).requires_grad_()
        beliefs = scan_beliefs(random_start(2, dtype), leaf, 16)
        (gradient,) = torch.autograd.grad((beliefs * weight.to(dtype)).sum(), leaf)
        gradients.append((gradient * leaf.detach()).double())  # relative to the operators' scale
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-4, rtol=0)


def test_thousands_of_extreme_steps_neither_underflow_nor_drift() -> None:
    steps = 4096
    generator = torch.Generator().manual_seed(1)
    emission = (20 * torch.rand(2, steps, 1, STATES, generator=generator) - 10).exp()
    transition = (1 - 1e-4) * torch.eye(STATES) + 1e-4 / STATES
    operators = (transition * emission).requires_grad_()
    beliefs = scan_beliefs(random_start(2, torch.float32), operators)
    (gradient,) = torch.autograd.grad(beliefs.square().sum(), operators)
    assert beliefs.isfinite().all() and gradient.isfinite().all()
    torch.testing.assert_close(beliefs.sum(-1), torch.ones(2, steps), atol=1e-5, rtol=0)
    expected = step_through(random_start(2, torch.float64), operators.detach().double())
    torch.testing.assert_close(beliefs.double(), expected, atol=1e-4, rtol=0)


def test_beliefs_and_likelihood_equal_the_textbook_forward_algorithm() -> None:
    """A hand-made weather model: 2 states, 3 observations (Rabiner 1989, equations 19 to 21)."""
    transition = np.array([[0.7, 0.3], [0.4, 0.6]])
    emission = np.array([[0.1, 0.4, 0.5], [0.7, 0.2, 0.1]])
    prior = np.array([0.6, 0.4])
    observations = np.random.default_rng(0).integers(3, size=60)

    alpha = prior.copy()
    expected = []
    for observation in observations:
        alpha = (alpha @ transition) * emission[:, observation]
        expected.append(alpha / alpha.sum())
    log_likelihood = np.log(alpha.sum())

    operators = torch.from_numpy(transition[None] * emission.T[observations][:, None, :])
    start = torch.from_numpy(prior)
    beliefs = scan_beliefs(start[None], operators[None], 8)[0]
    np.testing.assert_allclose(beliefs.numpy(), np.stack(expected), atol=1e-12)

    total, belief = 0.0, start
    for operator in operators:
        belief, evidence = filter_step(belief, operator)
        total += evidence.log().item()
    assert total == pytest.approx(log_likelihood, abs=1e-9)


def test_scale_of_operators_and_start_does_not_matter() -> None:
    initial, operators = random_start(2, torch.float64), random_operators(2, 30, torch.float64)
    scale = torch.rand(2, 30, 1, 1, dtype=torch.float64) * 1e3 + 1e-3
    expected = scan_beliefs(initial, operators)
    torch.testing.assert_close(scan_beliefs(5 * initial, operators * scale), expected)


def test_autocast_leaves_the_products_in_full_width() -> None:
    initial, operators = random_start(2, torch.float32), random_operators(2, 30, torch.float32)
    expected = scan_beliefs(initial, operators)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(scan_beliefs(initial, operators), expected)


@pytest.mark.parametrize(
    ("initial", "operators", "chunk", "message"),
    [
        ((2, 4), (2, 5, 4, 4), 1, "chunk must be >= 2, got 1"),
        ((2, 4), (2, 0, 4, 4), 8, "T >= 1"),
        ((3, 4), (2, 5, 4, 4), 8, "do not fit"),
        ((2, 4), (2, 5, 4, 3), 8, "do not fit"),
    ],
)
def test_wrong_shapes_are_refused(
    initial: tuple[int, ...], operators: tuple[int, ...], chunk: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        scan_beliefs(torch.ones(initial), torch.ones(operators), chunk)
