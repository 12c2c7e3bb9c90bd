"""The belief filter follows its equations; its noise is off, seeded or in training only."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from parley.policies.dhmm_gpt2 import BeliefFilter, DHMMGPT2Config, DHMMGPT2Model, parameter_groups
from parley.policies.dhmm_gpt2.softmax import short_softmax


def make_filter(**changes: Any) -> BeliefFilter:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"embed_size": 16, "heads": 2, "num_states": 5, "mutation_rate": 0.05}
    return BeliefFilter(DHMMGPT2Config(**(sizes | changes))).double().eval()


def make_hidden(batch: int = 3, steps: int = 20) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, steps, 16, generator=generator, dtype=torch.float64)


def filter_by_the_equations(model: BeliefFilter, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """The definition, one batch row, head and step after the other: stream and last beliefs."""
    states, rate = model.num_states, model.mutation_rate
    written, last = hidden.clone(), []
    for row in range(hidden.shape[0]):
        beliefs = [torch.softmax(logits, -1) for logits in model.initial_logits]
        for t in range(hidden.shape[1]):
            signal = model.norm(hidden[row, t])
            for head in range(model.counter_heads + model.filter_heads):
                belief = beliefs[head]
                if head < model.counter_heads:
                    drive = model.counter_drive.view(-1, states, states, 16)[head] @ signal
                    logits, emission = model.counter_base[head] + drive, torch.ones(states).double()
                else:
                    of_kind = head - model.counter_heads
                    logits = model.filter_base[of_kind]
                    emission = model.emission.view(-1, states, 16)[of_kind] @ signal
                    emission = emission.clip(-model.emission_clip, model.emission_clip).exp()
                logits = logits / model.temperature
                transition = (1 - rate) * torch.softmax(logits, -1) + rate / states
                belief = (belief @ transition) * emission
                beliefs[head] = belief / belief.sum()
            written[row, t] += model.write @ torch.cat(beliefs)
        last.append(torch.stack(beliefs))
    return written, torch.stack(last)


@pytest.mark.parametrize(
    "changes",
    [{}, {"counter_heads": 2}, {"filter_heads": 0}, {"counter_heads": 0}, {"temperature": 0.5}],
)
def test_filter_equals_its_equations(changes: dict[str, Any]) -> None:
    model, hidden = make_filter(**changes), make_hidden()
    with torch.no_grad():
        expected, expected_last = filter_by_the_equations(model, hidden)
    written, last = model(hidden)
    torch.testing.assert_close(written, expected)
    torch.testing.assert_close(last, expected_last)
    torch.testing.assert_close(last.sum(-1), torch.ones_like(last[..., 0]))


def test_gradient_of_the_whole_filter_equals_the_equations() -> None:
    model, hidden = make_filter(), make_hidden(2, 9)
    parameters = list(model.parameters())
    weight = torch.randn_like(hidden)
    gradients = []
    for run in (lambda: model(hidden)[0], lambda: filter_by_the_equations(model, hidden)[0]):
        gradients.append(torch.autograd.grad((run() * weight).sum(), parameters))
    for fast, slow in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, slow)
        assert fast.abs().max() > 0


def test_masked_steps_leave_the_belief_alone() -> None:
    model, hidden = make_filter(), make_hidden(1, 6)
    valid = torch.tensor([[False, True, True, False, True, True]])
    _, masked = model(hidden, valid=valid)
    _, plain = model(hidden[:, valid[0]])
    torch.testing.assert_close(masked, plain)


def test_belief_carries_over_pieces() -> None:
    model, hidden = make_filter(), make_hidden()
    whole, last = model(hidden)
    belief, pieces = None, []
    for piece in hidden.split([1, 7, 1, 11], dim=1):
        written, belief = model(piece, belief)
        pieces.append(written)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole)
    torch.testing.assert_close(belief, last)


def test_noise_acts_in_training_only_and_follows_the_seed() -> None:
    model, hidden = make_filter(mutation_noise=1.0), make_hidden()
    assert torch.equal(model(hidden)[0], model(hidden)[0])
    quiet = model(hidden)[0]
    model.train()
    assert not torch.allclose(model(hidden)[0], quiet)
    draws = [model(hidden, generator=torch.Generator().manual_seed(s))[0] for s in (3, 3, 4)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    torch.manual_seed(5)
    first = model(hidden)[0]
    torch.manual_seed(5)
    assert torch.equal(model(hidden)[0], first)
    model.mutation_noise = 0.0
    assert torch.equal(model(hidden)[0], quiet)


def test_gumbel_noise_samples_the_transition() -> None:
    """The largest of logits plus Gumbel noise is a draw from their softmax (Gumbel 1954)."""
    model = make_filter(mutation_noise=1.0, filter_heads=0, num_states=3).train()
    logits = model.counter_base.detach()[0]
    with torch.no_grad():
        model.counter_drive.zero_()
        signal = torch.zeros(1, 20_000, 16, dtype=torch.float64)
        drawn = model._transitions(signal, torch.Generator().manual_seed(0)).argmax(-1)[0, 0]
    for row in range(3):
        frequency = torch.bincount(drawn[:, row], minlength=3) / len(drawn)
        torch.testing.assert_close(
            frequency.double(), torch.softmax(logits[row], -1), atol=0.02, rtol=0
        )


def test_snapped_transitions_keep_a_certain_belief_certain() -> None:
    model, hidden = make_filter(snap_transitions=True, filter_heads=0), make_hidden(2, 300)
    certain = torch.eye(5, dtype=torch.float64)[None, 2:3].expand(2, -1, -1)
    _, last = model(hidden, certain)
    assert torch.equal(last.sort(-1).values[..., -1], torch.ones(2, 1, dtype=torch.float64))
    _, trained_with = model.train()(hidden, certain)
    assert trained_with.max() < 1.0


def test_short_softmax_is_softmax() -> None:
    logits = torch.tensor([[0.0, 1.0, -2.0], [900.0, -900.0, 899.0]], dtype=torch.float64)
    torch.testing.assert_close(short_softmax(logits), torch.softmax(logits, -1))
    assert torch.autograd.gradcheck(short_softmax, (logits.requires_grad_(),))


def test_parameter_groups_treat_the_filter_apart() -> None:
    config = DHMMGPT2Config(vocab_size=11, embed_size=16, heads=2, layers=2, filter_layers=(1,))
    model = DHMMGPT2Model(config)
    groups = {group["name"]: group for group in parameter_groups(model, 1e-3, 0.1)}
    filters = {id(p) for p in model.get_submodule("blocks.1.filter").parameters()}
    assert {id(p) for p in groups["filters"]["params"]} == filters
    assert groups["filters"]["lr"] == pytest.approx(5e-3)
    assert [groups[name]["weight_decay"] for name in ("decayed", "undecayed", "filters")] == [
        0.1,
        0.0,
        0.0,
    ]
    assert all(parameter.dim() >= 2 for parameter in groups["decayed"]["params"])
    assert sum(len(group["params"]) for group in groups.values()) == len(list(model.parameters()))
    torch.optim.AdamW(list(groups.values()))


def test_plain_gpt2_has_no_filter_group() -> None:
    model = DHMMGPT2Model(DHMMGPT2Config(counter_heads=0, filter_heads=0))
    assert [group["name"] for group in parameter_groups(model, 1e-3, 0.1)] == [
        "decayed",
        "undecayed",
    ]
