"""Log-probabilities of responses equal those of each sequence read alone, for any kind of model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)
from transformers.activations import NewGELUActivation

from parley.platform.cooperate.dpo.batches import pack_pairs
from parley.platform.cooperate.dpo.forward import ForwardPlan, ResponseForward, find_plan
from parley.platform.cooperate.dpo.head import LogitsBuffer, score_hidden, score_logits
from parley.platform.cooperate.dpo.scoring import response_log_probs, sample_kl
from parley.platform.cooperate.dpo.token_pairs import TokenPairs, TokenRows
from parley.policies.dhmm_gpt2.configuration import DHMMGPT2Config
from parley.policies.dhmm_gpt2.model import DHMMGPT2ForCausalLM
from tests.platform.cooperate.dpo_fixtures import VOCAB, make_model, make_pairs

SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
LOCAL_CONTEXT = 400
ALONE, SHARED = ForwardPlan(False, True), ForwardPlan(True, True)


def make_other(kind: str) -> PreTrainedModel:
    """A model that some shortcut does not hold for."""
    torch.manual_seed(0)
    if kind == "dhmm":
        config = DHMMGPT2Config(
            vocab_size=VOCAB, embed_size=32, layers=2, max_len=64, counter_heads=1, filter_heads=1
        )
        return DHMMGPT2ForCausalLM(config)
    if kind == "sliding window":
        return MistralForCausalLM(MistralConfig(sliding_window=8, **SIZES))
    if kind.startswith("local layers"):
        window = int(kind.split()[-1])
        local = GPTNeoConfig(
            hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]],
            window_size=window, intermediate_size=48, vocab_size=VOCAB, bos_token_id=0,
            eos_token_id=0, max_position_embeddings=LOCAL_CONTEXT,
        )  # fmt: skip
        model = GPTNeoForCausalLM(local)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(8.0 if parameter.dim() > 1 else 1.0)
        return model
    if kind == "capped logits":
        sizes = {**SIZES, "head_dim": 8, "final_logit_softcapping": 30.0}
        return Gemma2ForCausalLM(Gemma2Config(sliding_window=8, **sizes))
    if kind == "scaled logits":
        return GraniteForCausalLM(GraniteConfig(logits_scaling=4.0, **SIZES))
    return CohereForCausalLM(CohereConfig(logit_scale=0.5, **SIZES))


def log_probs_alone(model: PreTrainedModel, pairs: TokenPairs) -> NDArray[np.float64]:
    """[N, 2]: each sequence by itself, one token after the other; the plain, slow way."""
    model.eval()
    sums = np.zeros((len(pairs), 2))
    for pair in range(len(pairs)):
        for side in (0, 1):
            history = pairs.prompts[pair].tolist()
            tokens = [*history, *pairs.response(pair, side).tolist()]
            with torch.no_grad():
                logits = model(torch.tensor([tokens]), use_cache=False).logits[0].double()
            chances = torch.log_softmax(logits, -1)
            sums[pair, side] = sum(
                float(chances[t - 1, tokens[t]]) for t in range(len(history), len(tokens))
            )
    return sums


@pytest.mark.parametrize("kind", ["gpt2", "llama", "neox"])
def test_common_models_share_prompts(kind: str) -> None:
    model, pairs = make_model(kind), make_pairs()
    assert find_plan(model) == SHARED
    expected = log_probs_alone(model, pairs)
    for batch_tokens in (50, 10_000):
        found = response_log_probs(model, pairs, batch_tokens)
        np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "plan"),
    [
        ("dhmm", ALONE),
        ("sliding window", ALONE),
        ("local layers that see 6", ALONE),
        ("local layers that see 256", ALONE),
        ("local layers that see 512", SHARED),
        ("capped logits", ForwardPlan(False, False)),
        ("scaled logits", ForwardPlan(True, False)),
        ("scaled logits of another family", ForwardPlan(True, False)),
    ],
)
def test_models_that_differ_are_found_out(kind: str, plan: ForwardPlan) -> None:
    model, pairs = make_other(kind), make_pairs()
    assert find_plan(model) == plan
    found = response_log_probs(model, pairs)
    np.testing.assert_allclose(found, log_probs_alone(model, pairs), rtol=0.0, atol=1e-4)


def test_prompts_longer_than_a_local_window_are_read_alone() -> None:
    """Shared rows would be off by nats here, though a short prompt shows nothing of it."""
    model, random = make_other("local layers that see 256"), np.random.default_rng(0)

    def draw(length: int) -> list[int]:
        return random.integers(1, VOCAB, length).tolist()

    prompts, chosen, rejected = (
        TokenRows.join([draw(length) for _ in range(2)]) for length in (300, 20, 30)
    )
    pairs = TokenPairs(prompts, chosen, rejected, ("a", "b"), 0, "test")
    expected = log_probs_alone(model, pairs)
    found = response_log_probs(model, pairs)
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-3)
    packed = pack_pairs(pairs, [0])
    with torch.no_grad():
        shared = ResponseForward(model, SHARED).score(packed).log_probs[packed.places[1]]
    assert abs(float(shared.sum()) - expected[0, 1]) > 0.01


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_kinds_of_attention(attention: str) -> None:
    model, pairs = make_model("llama"), make_pairs()
    expected = log_probs_alone(model, pairs)
    model.set_attn_implementation(attention)
    assert find_plan(model) == SHARED
    found = response_log_probs(model, pairs)
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-4)


def test_half_precision_shares_prompts_too() -> None:
    model = make_model("gpt2").to(torch.bfloat16)  # type: ignore[arg-type]
    assert find_plan(model) == SHARED


def test_asking_a_model_leaves_it_as_it_was() -> None:
    model = make_model("gpt2")
    before = {name: p.clone() for name, p in model.named_parameters()}
    model.train()
    ResponseForward(model)
    assert model.training
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert not any(isinstance(module, NewGELUActivation) for module in model.modules())


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("vocab_size", [40, 600_000])
def test_scores_of_a_linear_head_equal_those_of_its_logits(
    with_bias: bool, vocab_size: int
) -> None:
    torch.manual_seed(0)
    buffer = LogitsBuffer()
    weight = torch.randn(vocab_size, 4, requires_grad=True)
    bias = torch.randn(vocab_size, requires_grad=True) if with_bias else None
    for num_targets in (5, 3, 7):
        hidden = torch.randn(num_targets, 4, requires_grad=True)
        targets = torch.randint(vocab_size, (num_targets,))
        wanted = [hidden, weight] if bias is None else [hidden, weight, bias]
        upstream = torch.randn(num_targets)
        plain = score_logits(F.linear(hidden, weight, bias), targets)
        own = score_hidden(hidden, weight, bias, targets, buffer)
        for figure, expected in zip(own, plain, strict=True):
            torch.testing.assert_close(figure, expected, rtol=1e-5, atol=1e-5)
        grads = torch.autograd.grad((own.log_probs * upstream).sum(), wanted)
        expected_grads = torch.autograd.grad((plain.log_probs * upstream).sum(), wanted)
        for grad, expected in zip(grads, expected_grads, strict=True):
            torch.testing.assert_close(grad, expected, rtol=1e-5, atol=1e-5)
        with torch.no_grad():
            again = score_hidden(hidden, weight, bias, targets, buffer)
        torch.testing.assert_close(again.log_probs, plain.log_probs, rtol=1e-5, atol=1e-5)


def test_two_forward_passes_may_wait_for_their_backward_passes() -> None:
    torch.manual_seed(0)
    buffer, targets = LogitsBuffer(), torch.tensor([1, 2])
    weight = torch.randn(9, 4)
    first, second = (torch.randn(2, 4, requires_grad=True) for _ in range(2))
    total = sum(
        score_hidden(hidden, weight, None, targets, buffer).log_probs.sum()
        for hidden in (first, second)
    )
    assert isinstance(total, torch.Tensor)
    total.backward()
    for hidden in (first, second):
        copy = hidden.detach().requires_grad_()
        score_logits(copy @ weight.T, targets).log_probs.sum().backward()
        torch.testing.assert_close(hidden.grad, copy.grad)


@pytest.mark.parametrize("kind", ["gpt2", "dhmm"])
def test_divergence_on_samples_equals_the_plain_sum(kind: str) -> None:
    model = make_model("gpt2") if kind == "gpt2" else make_other(kind)
    reference = make_model("gpt2") if kind == "gpt2" else make_other(kind)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    prompts, responses = [[5, 6, 7], [8]], [[9, 10, 0], [11, 0]]
    total, count = 0.0, 0
    model.eval()
    reference.eval()
    for prompt, response in zip(prompts, responses, strict=True):
        tokens = torch.tensor([[*prompt, *response]])
        with torch.no_grad():
            own = torch.log_softmax(model(tokens, use_cache=False).logits[0].double(), -1)
            base = torch.log_softmax(reference(tokens, use_cache=False).logits[0].double(), -1)
        for t in range(len(prompt) - 1, tokens.shape[1] - 1):
            total += float((own[t].exp() * (own[t] - base[t])).sum())
            count += 1
    assert sample_kl(model, reference, prompts, responses) == pytest.approx(total / count, abs=1e-5)
    assert sample_kl(model, model, prompts, responses) == 0.0


def test_packed_rows_go_to_a_device() -> None:
    packed = pack_pairs(make_pairs(), [0, 1])
    assert packed.to(torch.device("cpu")).places.equal(packed.places)
