"""Batches of pairs: plans, rows, masks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from parley.platform.cooperate.dpo.batches import (
    PackedResponses,
    pack_pairs,
    plan_scoring,
    plan_steps,
)
from parley.platform.cooperate.dpo.token_pairs import TokenPairs
from tests.platform.cooperate.dpo_fixtures import make_pairs

SOME = [7, 0, 3, 5, 10, 2]


@pytest.mark.parametrize("num_pairs", [1, 15, 16, 17, 100])
def test_each_pass_holds_every_pair_once(num_pairs: int) -> None:
    pairs = make_pairs(num_pairs)
    for epoch in range(3):
        plan = plan_steps(pairs, 16, seed=5, epoch=epoch)
        assert sorted(np.concatenate(plan)) == list(range(num_pairs))
        sizes = sorted(map(len, plan))
        assert sizes[1:] == [16] * (len(sizes) - 1)
        assert len(plan) == -(-num_pairs // 16)


def test_plan_is_a_function_of_seed_and_pass() -> None:
    pairs = make_pairs(60)
    plans = [plan_steps(pairs, 8, seed, epoch) for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))]
    texts = [[step.tolist() for step in plan] for plan in plans]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    assert texts[0] != texts[3]


def test_pairs_of_a_prompt_stand_together() -> None:
    pairs = make_pairs(50)  # five prompts of ten pairs
    plan = plan_steps(pairs, 10, seed=0, epoch=0)
    assert all(len(set(pairs.prompt_groups[step])) == 1 for step in plan)


def test_scoring_holds_every_pair_once_within_the_budget() -> None:
    pairs = make_pairs(60)
    plan = plan_scoring(pairs, batch_tokens=300)
    assert sorted(np.concatenate(plan)) == list(range(60))
    assert len(plan) > 1
    for first, second in pairwise(plan):
        assert not set(pairs.prompt_groups[first]) & set(pairs.prompt_groups[second])
    assert len(plan_scoring(pairs, batch_tokens=1)) == 5


@pytest.mark.parametrize("shared", [True, False])
def test_rows_hold_what_the_pairs_say(shared: bool) -> None:
    pairs = make_pairs()
    packed = pack_pairs(pairs, SOME, shared)
    batch = len(SOME)
    for n, pair in enumerate(SOME):
        for side in (0, 1):
            places = packed.places[side * batch + n]
            places = places[places < len(packed.targets)]
            response = pairs.response(pair, side)
            assert packed.targets[places].tolist() == response.tolist()
            history = [*pairs.prompts[pair].tolist(), *response.tolist()]
            for t, place in enumerate(places.tolist()):
                seen = visible(packed, place, shared)
                assert seen == history[: len(pairs.prompts[pair]) + t]


def visible(packed: PackedResponses, place: int, shared: bool) -> list[int]:
    """The tokens seen where a target is predicted, in the order of their positions."""
    row, column = packed.rows[place], packed.columns[place]
    if shared:
        columns = packed.tree_mask[row, 0, column].nonzero().squeeze(1)
    else:
        columns = torch.arange(int(column) + 1)
        assert (packed.branches[row, columns] >= 0).all()
    positions = packed.position_ids[row, columns]
    assert sorted(positions.tolist()) == list(range(len(columns)))
    return packed.input_ids[row, columns[positions.argsort()]].tolist()


def test_what_is_shared_is_read_once() -> None:
    pairs = make_pairs()
    packed = pack_pairs(pairs, range(len(pairs)))
    groups = pairs.prompt_groups
    different = {(g, pairs.response(n, s).tobytes()) for n, g in enumerate(groups) for s in (0, 1)}
    prompts = sum(len(pairs.prompts[int(np.argmax(groups == g))]) for g in set(groups.tolist()))
    assert packed.num_tokens == prompts + len(packed.targets)
    assert len(packed.targets) == sum(len(text) // 4 for _, text in different)
    apart = pack_pairs(pairs, range(len(pairs)), shared=False)
    assert len(apart.input_ids) == len(different)
    assert packed.input_ids.numel() < 0.8 * apart.input_ids.numel()


def test_padding_sees_something_and_nobody_sees_padding() -> None:
    packed = pack_pairs(make_pairs(), SOME)
    mask = packed.tree_mask[:, 0]
    assert mask.any(-1).all()
    padding = packed.branches < 0
    assert not (mask & padding[:, None, :] & ~padding[:, :, None]).any()


def test_a_batch_of_one_pair() -> None:
    pairs: TokenPairs = make_pairs(1)
    packed = pack_pairs(pairs, [0])
    assert packed.input_ids.shape[0] == 1
    assert packed.places.shape[0] == 2
