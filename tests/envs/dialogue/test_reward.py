"""What a reply earns: the formula term by term, its decomposition, and the anchor's controller."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from parley.envs.dialogue.reward import (
    ReplyReward,
    SurpriseScale,
    next_kl_weight,
    reward_reply,
)

Floats = NDArray[np.float32]
SCALE = SurpriseScale(start=2.0, ceiling=4.0, random=9.0)
STEEP = SurpriseScale(start=1.0, ceiling=5.0, random=6.0)
"""Beyond its ceiling a nat costs four."""

nats = st.floats(0.0, 20.0, allow_nan=False)
levels = st.tuples(nats, nats, nats).map(lambda x: (min(x[:2]), max(x[:2]), x[2]))
"""Start, ceiling and random; most are a scale."""


@st.composite
def replies(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """Log-probabilities under the judge, the policy and its start, [n] each."""
    size = draw(st.integers(1, 30))
    columns = [draw(st.lists(nats, min_size=size, max_size=size)) for _ in range(3)]
    judge, policy, start = (-np.array(column, np.float32) for column in columns)
    return judge, policy, start


def draw_reply(seed: int, size: int, mean: float) -> tuple[Floats, Floats, Floats]:
    generator = np.random.default_rng(seed)
    judge, policy, start = -generator.gamma(2.0, mean / 2.0, (3, size)).astype(np.float32)
    return judge, policy, start


def count_slowly(surprise: float, scale: SurpriseScale | None) -> float:
    """f of the module's docstring, in Python's floats."""
    if scale is None or surprise <= scale.ceiling:
        return surprise
    slope = 1.0
    if scale.random > scale.ceiling:
        slope = max(slope, (scale.ceiling - scale.start) / (scale.random - scale.ceiling))
    return scale.ceiling - slope * (surprise - scale.ceiling)


def reward_slowly(
    judge: Floats, policy: Floats, start: Floats, beta: float, scale: SurpriseScale | None
) -> tuple[float, list[float]]:
    """The reward of a reply and of its tokens, token by token."""
    n = len(judge)
    surprise = [-float(value) for value in judge]
    log_ratios = [float(a) - float(b) for a, b in zip(policy, start, strict=True)]
    total = count_slowly(sum(surprise) / n, scale) - beta * sum(log_ratios) / n
    tokens = []
    for t in range(n):
        until, before = sum(surprise[: t + 1]) / n, sum(surprise[:t]) / n
        paid = count_slowly(until, scale) - (count_slowly(before, scale) if t else 0.0)
        tokens.append(paid - beta * log_ratios[t] / n)
    return total, tokens


@pytest.mark.parametrize("scale", [None, SCALE, STEEP], ids=["none", "scale", "steep"])
@pytest.mark.parametrize("size", [1, 2, 24])
@pytest.mark.parametrize("mean", [1.0, 4.0, 12.0])
def test_a_reply_earns_what_the_formula_says(
    mean: float, size: int, scale: SurpriseScale | None
) -> None:
    for seed in range(5):
        judge, policy, start = draw_reply(seed, size, mean)
        reward = reward_reply(judge, policy, start, 0.3, scale)
        total, tokens = reward_slowly(judge, policy, start, 0.3, scale)
        assert reward.total == pytest.approx(total, abs=1e-4)
        np.testing.assert_allclose(reward.tokens, tokens, rtol=0, atol=1e-4)
        assert reward.competitor_nll == pytest.approx(-float(judge.mean()), abs=1e-5)
        assert reward.kl == pytest.approx(float((policy - start).mean()), abs=1e-5)
        assert reward.kl_penalty == pytest.approx(0.3 * reward.kl)


@given(reply=replies(), beta=st.floats(0.0, 10.0), scale=st.sampled_from([None, SCALE, STEEP]))
def test_the_rewards_of_tokens_add_up_to_the_reply_s(
    reply: tuple[Floats, Floats, Floats], beta: float, scale: SurpriseScale | None
) -> None:
    reward = reward_reply(*reply, beta, scale)
    assert reward.tokens.dtype == np.float32
    assert reward.tokens.shape == reply[0].shape
    assert float(reward.tokens.sum(dtype=np.float64)) == pytest.approx(
        reward.total, rel=1e-4, abs=1e-3
    )


def test_a_token_below_the_ceiling_earns_its_own_surprise() -> None:
    judge = np.array([-1.0, -3.0, -2.0], np.float32)
    zero = np.zeros(3, np.float32)
    reward = reward_reply(judge, zero, zero, 0.0, SCALE)
    np.testing.assert_allclose(reward.tokens, [1 / 3, 1.0, 2 / 3], rtol=1e-6)
    assert reward.counted_nll == pytest.approx(2.0)


def test_parts_name_what_the_total_is_made_of() -> None:
    reward = ReplyReward(5.0, 3.0, 0.5, 0.25, np.zeros(2, np.float32))
    assert reward.parts() == {
        "total": 2.75,
        "competitor_nll": 5.0,
        "counted_nll": 3.0,
        "kl": 0.5,
        "kl_penalty": 0.25,
    }


def make_scale(values: tuple[float, float, float]) -> SurpriseScale:
    """A scale of three levels where they are valid; other examples do not count."""
    try:
        return SurpriseScale(*values)
    except ValueError:
        assume(False)
        raise


def counted(surprise: float, scale: SurpriseScale) -> float:
    return float(scale.count(np.array([surprise], np.float32))[0])


@given(values=levels, share=st.floats(0.0, 1.0))
def test_surprise_counts_as_it_is_up_to_the_ceiling(
    values: tuple[float, float, float], share: float
) -> None:
    scale = make_scale(values)
    surprise = share * scale.ceiling
    assert counted(surprise, scale) == pytest.approx(surprise, rel=1e-5, abs=1e-5)


@given(values=levels)
def test_random_tokens_are_worth_no_more_than_the_start(
    values: tuple[float, float, float],
) -> None:
    scale = make_scale(values)
    assert counted(scale.random, scale) <= scale.start + 1e-4 * (1.0 + scale.slope)


@given(values=levels, first=nats, second=nats)
def test_more_surprise_beyond_the_ceiling_is_worth_less(
    values: tuple[float, float, float], first: float, second: float
) -> None:
    scale = make_scale(values)
    assume(scale.slope < 1e3)  # float32 has seven digits
    low, high = sorted((scale.ceiling + first, scale.ceiling + second))
    rounding = 1e-5 * (1.0 + scale.slope) * high
    assert counted(high, scale) <= counted(low, scale) + rounding
    assert counted(low, scale) <= scale.ceiling + rounding
    assert scale.slope >= 1.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((math.nan, 3.0, 9.0), "finite"),
        ((2.0, math.inf, 9.0), "finite"),
        ((2.0, 3.0, -math.inf), "finite"),
        ((3.0, 2.0, 9.0), "ceiling 2.000 is below start 3.000"),
        ((2.0, 5.0, 5.0), "ceiling 5.000 is not below random 5.000"),
    ],
)
def test_impossible_levels_are_refused(values: tuple[float, float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SurpriseScale(*values)


@given(
    weight=st.floats(0.0, 10.0),
    kl=st.floats(-5.0, 50.0),
    budget=st.floats(0.01, 5.0),
    base=st.floats(0.0, 1.0),
    rate=st.floats(0.0, 1.0),
)
def test_the_anchor_never_falls_below_its_base_nor_moves_faster_than_its_rate(
    weight: float, kl: float, budget: float, base: float, rate: float
) -> None:
    following = next_kl_weight(weight, kl, budget, base, rate)
    assert following >= base
    assert following <= max(base, weight * (1.0 + rate) * (1.0 + 1e-9))
    if kl > budget and rate > 0.0:
        assert following >= weight
    assert next_kl_weight(0.0, kl, budget, 0.0, rate) == 0.0


def test_the_anchor_grows_over_its_budget_and_comes_back_under_it() -> None:
    assert next_kl_weight(0.1, kl=3.0, budget=1.5, base=0.1, rate=0.1) == pytest.approx(0.11)
    assert next_kl_weight(0.1, kl=30.0, budget=1.5, base=0.1, rate=0.1) == pytest.approx(0.11)
    assert next_kl_weight(0.1, kl=1.5, budget=1.5, base=0.1, rate=0.1) == pytest.approx(0.1)
    assert next_kl_weight(0.4, kl=0.0, budget=1.5, base=0.1, rate=0.1) == pytest.approx(0.36)
    assert next_kl_weight(0.1, kl=0.0, budget=1.5, base=0.1, rate=0.1) == 0.1


@given(
    replies=st.lists(st.floats(0.1, 6.0), min_size=2, max_size=12),
    above=st.floats(0.0, 1.0),
    gap=st.floats(1.0, 10.0),
)
def test_random_tokens_earn_at_most_what_the_start_earns_on_average(
    replies: list[float], above: float, gap: float
) -> None:
    """The start's own replies may exceed the ceiling; what they lose there is made up for."""
    own = np.array(replies, np.float32)
    ceiling = float(own.mean()) + above
    excess = float(np.maximum(own - ceiling, 0.0).mean())
    scale = SurpriseScale(float(own.mean()), ceiling, ceiling + 2 * excess + gap, excess)
    noise = np.array([scale.random], np.float32)
    assert scale.count(noise)[0] <= scale.count(own).mean() + 1e-4 * (1 + scale.slope)
