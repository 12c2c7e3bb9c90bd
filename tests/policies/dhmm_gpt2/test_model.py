"""DHMM-GPT2 is causal, deaf to padding, GPT-2 without its filters, and trains in every weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

from parley.policies.dhmm_gpt2 import DHMMGPT2Config, DHMMGPT2ForCausalLM, DHMMGPT2Model

VOCAB = 17


def make_model(**changes: Any) -> Any:  # submodules of a torch module are untyped
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": VOCAB,
        "embed_size": 32,
        "layers": 2,
        "heads": 4,
        "ff_hidden": 48,
        "num_states": 5,
        "max_len": 128,
        "filter_layers": (0, 1),
        "initializer_range": 0.2,  # logits with a standard deviation of about 1.3
    }
    return DHMMGPT2ForCausalLM(DHMMGPT2Config(**(sizes | changes))).eval()


def make_tokens(batch: int = 3, steps: int = 60) -> torch.Tensor:
    return torch.randint(VOCAB, (batch, steps), generator=torch.Generator().manual_seed(1))


def copy_into_gpt2(model: Any) -> Any:
    """Transformers' GPT-2 with the same weights; its linear layers are transposed."""
    config = model.config
    gpt2 = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCAB,
            n_positions=config.max_len,
            n_embd=config.embed_size,
            n_layer=config.layers,
            n_head=config.heads,
            n_inner=config.ff_hidden,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    names = {
        "norm_1": "ln_1",
        "attention.qkv": "attn.c_attn",
        "attention.proj": "attn.c_proj",
        "norm_2": "ln_2",
        "up": "mlp.c_fc",
        "down": "mlp.c_proj",
    }
    weights = {
        "wte.weight": model.transformer.token_embedding.weight,
        "wpe.weight": model.transformer.position_embedding.weight,
        "ln_f.weight": model.transformer.norm.weight,
        "ln_f.bias": model.transformer.norm.bias,
    }
    for index, block in enumerate(model.transformer.blocks):
        for ours, theirs in names.items():
            part = block.get_submodule(ours)
            weight = part.weight.T if isinstance(part, torch.nn.Linear) else part.weight
            weights[f"h.{index}.{theirs}.weight"] = weight
            weights[f"h.{index}.{theirs}.bias"] = part.bias
    gpt2.transformer.load_state_dict(weights)
    return gpt2.eval()


@torch.no_grad()
def test_without_filter_heads_it_is_gpt2() -> None:
    model, tokens = make_model(counter_heads=0, filter_heads=0), make_tokens()
    for parameter in model.parameters():  # biases and norms away from their neutral start
        parameter.add_(0.1 * torch.randn_like(parameter))
    gpt2 = copy_into_gpt2(model)
    torch.testing.assert_close(model(tokens).logits, gpt2(tokens).logits, atol=1e-5, rtol=0)
    loss, expected = (m(tokens, labels=tokens).loss for m in (model, gpt2))
    torch.testing.assert_close(loss, expected)


@torch.no_grad()
@pytest.mark.parametrize("changed", [10, 35, 59])
def test_a_later_token_changes_no_earlier_logit(changed: int) -> None:
    model, tokens = make_model(), make_tokens()
    other = tokens.clone()
    other[:, changed] = (other[:, changed] + 1) % VOCAB
    before, after = model(tokens).logits, model(other).logits
    torch.testing.assert_close(after[:, :changed], before[:, :changed], atol=1e-6, rtol=0)
    assert not torch.allclose(after[:, changed:], before[:, changed:])


@torch.no_grad()
@pytest.mark.parametrize("positions", ["learned", "rotary", "none"])
def test_left_padding_is_harmless(positions: str) -> None:
    model, tokens = make_model(positions=positions), make_tokens(3, 20)
    alone = model(tokens).logits
    mask = torch.ones(3, 27, dtype=torch.long)
    mask[:, :7] = 0
    for filler in (0, 5):
        padded = torch.cat([torch.full((3, 7), filler), tokens], dim=1)
        logits = model(padded, attention_mask=mask).logits
        assert logits.isfinite().all()
        torch.testing.assert_close(logits[:, 7:], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_rows_of_different_length_share_a_batch() -> None:
    model, tokens = make_model(), make_tokens(3, 20)
    lengths = [20, 1, 13]
    mask = torch.stack([torch.arange(20) >= 20 - length for length in lengths]).long()
    logits = model(tokens, attention_mask=mask).logits
    for row, length in enumerate(lengths):
        alone = model(tokens[row : row + 1, -length:]).logits[0]
        torch.testing.assert_close(logits[row, -length:], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("masked", [False, True])
def test_every_parameter_receives_a_gradient(masked: bool) -> None:
    model, tokens = make_model(tie_embeddings=False), make_tokens()
    mask = torch.ones_like(tokens)
    mask[0, :9] = 0
    model.train()(tokens, labels=tokens, attention_mask=mask if masked else None).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


def test_mutation_noise_is_set_for_all_filters_and_acts_in_training_only() -> None:
    model, tokens = make_model(), make_tokens()
    quiet = model(tokens).logits
    model.set_mutation_noise(1.0)
    assert torch.equal(model(tokens).logits, quiet)
    model.train()
    torch.manual_seed(0)
    noisy = model(tokens).logits
    assert not torch.allclose(noisy, quiet)
    torch.manual_seed(0)
    assert torch.equal(model(tokens).logits, noisy)
    with pytest.raises(ValueError, match="mutation noise must be >= 0, got -1"):
        model.set_mutation_noise(-1.0)


@torch.no_grad()
def test_logits_to_keep_and_unlabelled_tokens() -> None:
    model, tokens = make_model(), make_tokens()
    full = model(tokens)
    last = model(tokens, logits_to_keep=2).logits
    torch.testing.assert_close(last, full.logits[:, -2:])
    picked = model(tokens, logits_to_keep=torch.tensor([3, 8])).logits
    torch.testing.assert_close(picked, full.logits[:, [3, 8]])
    labels = tokens.masked_fill(torch.arange(60) < 50, -100)
    scores = full.logits[:, 49:-1].flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(scores, tokens[:, 50:].flatten())
    torch.testing.assert_close(model(tokens, labels=labels).loss, expected)


@pytest.mark.parametrize("padded", [False, True])
def test_last_only_is_the_last_position_of_the_full_forward(padded: bool) -> None:
    model, tokens = make_model(), make_tokens()
    base, mask = model.transformer, None
    if padded:
        mask = torch.ones_like(tokens)
        mask[0, :25] = 0
    weight = torch.randn(3, 1, 32)
    outputs, gradients = [], []
    for last_only in (True, False):
        hidden = base(tokens, attention_mask=mask, last_only=last_only).last_hidden_state[:, -1:]
        outputs.append(hidden)
        gradients.append(torch.autograd.grad((hidden * weight).sum(), list(base.parameters())))
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=0)
    for short, full in zip(*gradients, strict=True):
        torch.testing.assert_close(short, full, atol=1e-4, rtol=1e-4)
    logits = model(tokens, attention_mask=mask, logits_to_keep=1).logits
    full_logits = model(tokens, attention_mask=mask).logits[:, -1:]
    torch.testing.assert_close(logits, full_logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_bfloat16_stays_near_float32() -> None:
    """Bounds: logits (standard deviation 1.3) and log-probabilities within 0.1 everywhere.

    Holds for bfloat16 weights and for autocast; beliefs are carried in float32 in both.
    """
    model, tokens = make_model(), make_tokens(2, 120)
    expected = model(tokens).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = model(tokens).logits.float()
    narrow = model.to(torch.bfloat16)(tokens)
    assert narrow.logits.dtype == torch.bfloat16
    for logits in (autocast, narrow.logits.float()):
        torch.testing.assert_close(logits, expected, atol=0.1, rtol=0)
        scores = logits.log_softmax(-1)
        torch.testing.assert_close(scores, expected.log_softmax(-1), atol=0.1, rtol=0)


def test_wrong_inputs_are_refused() -> None:
    model, tokens = make_model(), make_tokens()
    with pytest.raises(ValueError, match="exceeds max_len=128"):
        model(make_tokens(1, 129))
    with pytest.raises(ValueError, match=r"attention_mask must be .*\[3, 60\], got \[3, 59\]"):
        model(tokens, attention_mask=torch.ones(3, 59))
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        model()
    with pytest.raises(ValueError, match="must be a DHMMGPT2Cache"):
        model(tokens, past_key_values=DynamicCache())
    with pytest.raises(ValueError, match="labels need all logits"):
        model(tokens, labels=tokens, logits_to_keep=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embed_size": 30}, "embed_size=30 and heads=4"),
        ({"num_states": 1}, "num_states must be >= 2, got 1"),
        ({"layers": 0}, "layers must be >= 1, got 0"),
        ({"vocab_size": 0}, "vocab_size must be >= 1, got 0"),
        ({"counter_heads": -1}, "counter_heads must be >= 0, got -1"),
        ({"filter_layers": (0, 2)}, r"from 0 to 1, got \(0, 2\)"),
        ({"filter_layers": (0, 0)}, "distinct"),
        ({"mutation_rate": 1.5}, r"mutation_rate must be in \[0, 1\], got 1.5"),
        ({"mutation_noise": -0.1}, "mutation_noise must be >= 0, got -0.1"),
        ({"temperature": 0.0}, "temperature must be > 0, got 0.0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"scan_chunk": 1}, "scan_chunk must be >= 2, got 1"),
    ],
)
def test_configuration_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_model(**changes)


def test_standard_names_of_transformers_are_understood() -> None:
    config = DHMMGPT2Config(embed_size=96, layers=3, heads=6, ff_hidden=100, max_len=77)
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (96, 3, 6)
    assert (config.intermediate_size, config.max_position_embeddings) == (100, 77)
    standard: dict[str, Any] = {"hidden_size": 32}
    assert DHMMGPT2Config(**standard).embed_size == 32


def test_dropout_acts_in_training_only() -> None:
    model, tokens = make_model(dropout=0.3), make_tokens()
    assert torch.equal(model(tokens).logits, model(tokens).logits)
    model.train()
    assert not torch.allclose(model(tokens).logits, model(tokens).logits)


def test_base_model_gives_hidden_states() -> None:
    model = DHMMGPT2Model(DHMMGPT2Config(vocab_size=VOCAB, embed_size=16, heads=2))
    assert model(make_tokens(2, 7)).last_hidden_state.shape == (2, 7, 16)
