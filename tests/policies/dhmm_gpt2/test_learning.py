"""The shell game: a ball under one of three cups, cups swapped in pairs, where is it now?"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn import functional as F

from parley.policies.dhmm_gpt2 import DHMMGPT2Config, DHMMGPT2ForCausalLM, parameter_groups

CUPS = 3
SWAPS = torch.tensor(list(itertools.combinations(range(CUPS), 2)))


def play(num_games: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Moves [B, T] (the ball's first place, then swaps) and the ball's place after each [B, T]."""
    place = torch.randint(CUPS, (num_games,), generator=generator)
    moves, places = [place], [place]
    for _ in range(length - 1):
        swap = torch.randint(len(SWAPS), (num_games,), generator=generator)
        one, other = SWAPS[swap].unbind(-1)
        place = torch.where(place == one, other, torch.where(place == other, one, place))
        moves.append(CUPS + swap)
        places.append(place)
    return torch.stack(moves, dim=1), torch.stack(places, dim=1)


def train_and_test(counter_heads: int, filter_heads: int) -> float:
    """Share of right answers at the last move of unseen games; chance is a third."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    config = DHMMGPT2Config(
        vocab_size=CUPS + len(SWAPS),
        embed_size=32,
        heads=2,
        ff_hidden=64,
        max_len=12,
        counter_heads=counter_heads,
        filter_heads=filter_heads,
    )
    model = DHMMGPT2ForCausalLM(config)
    optimizer = torch.optim.AdamW(parameter_groups(model, lr=3e-3, weight_decay=0.01))
    for _ in range(120):
        moves, places = play(64, 12, generator)
        loss = F.cross_entropy(model(moves).logits.flatten(0, 1), places.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    moves, places = play(500, 12, generator)
    with torch.no_grad():
        answers = model.eval()(moves).logits[:, -1].argmax(-1)
    return (answers == places[:, -1]).float().mean().item()


def test_belief_filter_learns_the_shell_game_where_attention_alone_does_not() -> None:
    assert train_and_test(counter_heads=1, filter_heads=1) > 0.95
    assert train_and_test(counter_heads=0, filter_heads=0) < 0.6
