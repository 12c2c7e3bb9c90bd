"""AdamW and Muon as one optimiser: who gets what, the schedule, and going on from a state."""

from __future__ import annotations

import torch

from parley.platform.engine.torch.optimiser import JointOptimiser, split_parameters
from parley.policies.dhmm_gpt2 import DHMMGPT2Config, DHMMGPT2ForCausalLM, parameter_groups

CONFIG = DHMMGPT2Config(vocab_size=7, embed_size=8, heads=2, ff_hidden=16, layers=2, max_len=8)


def make_optimiser(model: DHMMGPT2ForCausalLM, muon: bool) -> JointOptimiser:
    matrices, others = split_parameters(model)
    groups = parameter_groups(model, 1e-2, 0.01, among=others if muon else None)
    return JointOptimiser(groups, matrices if muon else (), 0.02, 0.01)


def take_step(model: DHMMGPT2ForCausalLM, optimiser: JointOptimiser, factor: float = 1.0) -> None:
    tokens = torch.arange(14).view(2, 7) % 7
    optimiser.zero_grad()
    loss = model(tokens, labels=tokens).loss
    assert loss is not None
    loss.backward()
    optimiser.step(factor)


def make_model() -> DHMMGPT2ForCausalLM:
    torch.manual_seed(0)
    return DHMMGPT2ForCausalLM(CONFIG)


def test_muon_takes_the_matrices_of_the_blocks_alone() -> None:
    model = make_model()
    names = {id(p): name for name, p in model.named_parameters()}
    matrices, others = split_parameters(model)
    assert {names[id(p)].split(".", 3)[3] for p in matrices} == {
        "attention.qkv.weight",
        "attention.proj.weight",
        "up.weight",
        "down.weight",
    }
    assert len(matrices) == 8
    assert len(matrices) + len(others) == len(names)
    assert any("filter.counter_base" in names[id(p)] for p in others)


def test_groups_among_some_parameters_hold_those_alone() -> None:
    model = make_model()
    _, others = split_parameters(model)
    groups = parameter_groups(model, 1e-2, 0.01, among=others)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in others)


def test_without_matrices_it_is_adamw() -> None:
    first, second = make_model(), make_model()
    joint = make_optimiser(first, muon=False)
    plain = torch.optim.AdamW(parameter_groups(second, 1e-2, 0.01), fused=True)
    tokens = torch.arange(14).view(2, 7) % 7
    for _ in range(3):
        take_step(first, joint)
        plain.zero_grad()
        second(tokens, labels=tokens).loss.backward()
        plain.step()
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_factor_scales_all_learning_rates() -> None:
    model = make_model()
    before = [p.detach().clone() for p in model.parameters()]
    take_step(model, make_optimiser(model, muon=True), factor=0.0)
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_a_restored_optimiser_goes_on_exactly() -> None:
    model = make_model()
    optimiser = make_optimiser(model, muon=True)
    take_step(model, optimiser)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = optimiser.state()
    take_step(model, optimiser, 0.5)
    other = make_model()
    other.load_state_dict(weights)
    resumed = make_optimiser(other, muon=True)
    resumed.restore(state)
    take_step(other, resumed, 0.5)
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
