"""Rotary positions: what attention sees is the distance, and decoding goes on where it stopped."""

from __future__ import annotations

import pytest
import torch

from parley.policies.dhmm_gpt2 import DHMMGPT2Config, DHMMGPT2ForCausalLM
from parley.policies.dhmm_gpt2.rotary import rotate, rotation_of


def make_model() -> DHMMGPT2ForCausalLM:
    torch.manual_seed(0)
    config = DHMMGPT2Config(
        vocab_size=11,
        embed_size=16,
        heads=2,
        layers=2,
        max_len=8,
        positions="rotary",
        initializer_range=0.3,
    )
    return DHMMGPT2ForCausalLM(config).eval()


def test_rotation_is_that_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(0)
    heads = torch.randn(2, 3, 5, 8, generator=generator)
    positions = torch.tensor([[0, 1, 2, 3, 4], [7, 9, 11, 13, 15]])
    turned = rotate(heads, rotation_of(positions, 8, heads.dtype))
    for row in range(2):
        for place in range(5):
            for pair in range(4):
                angle = positions[row, place] * 10_000.0 ** (-2 * pair / 8)
                one, other = heads[row, :, place, pair], heads[row, :, place, pair + 4]
                expected = one * angle.cos() - other * angle.sin()
                torch.testing.assert_close(turned[row, :, place, pair], expected)
                expected = one * angle.sin() + other * angle.cos()
                torch.testing.assert_close(turned[row, :, place, pair + 4], expected)


def test_products_depend_on_the_distance_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    query, key = torch.randn(2, 1, 1, 1, 8, generator=generator)
    products = []
    for start in (0, 5, 900):
        turned = [
            rotate(vector, rotation_of(torch.tensor([[place]]), 8, torch.float32))
            for vector, place in ((query, start + 3), (key, start))
        ]
        products.append((turned[0] * turned[1]).sum())
    torch.testing.assert_close(products[0], products[1])
    torch.testing.assert_close(products[0], products[2], atol=1e-4, rtol=1e-4)


def test_sequences_may_be_longer_than_max_len() -> None:
    tokens = torch.randint(11, (2, 40), generator=torch.Generator().manual_seed(2))
    assert make_model()(tokens).logits.shape == (2, 40, 11)


@pytest.mark.parametrize("piece", [1, 3])
def test_cached_decoding_equals_the_whole_pass(piece: int) -> None:
    model = make_model()
    tokens = torch.randint(11, (2, 12), generator=torch.Generator().manual_seed(3))
    whole = model(tokens).logits
    cache, parts = None, []
    for start in range(0, 12, piece):
        output = model(tokens[:, start : start + piece], past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        parts.append(output.logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-5)
    last = model(tokens, logits_to_keep=1).logits
    torch.testing.assert_close(last[:, 0], whole[:, -1], atol=1e-5, rtol=1e-5)


def test_odd_head_width_is_refused() -> None:
    with pytest.raises(ValueError, match="even width"):
        DHMMGPT2Config(embed_size=9, heads=3, positions="rotary")
    with pytest.raises(ValueError, match="learned, rotary, none"):
        DHMMGPT2Config(positions="alibi")  # type: ignore[arg-type]
