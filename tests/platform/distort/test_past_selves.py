"""A pool of earlier selves: who is kept, who speaks, and that a resumed run does not differ."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import ray

from parley.platform.distort.past_selves import SelfPool, Weights
from parley.platform.distort.settings import PoolConfig

ARCHITECTURE = {"model_type": "gpt2"}


def make_pool(share: float = 1.0, size: int = 3, interval: int = 2, seed: int = 0) -> SelfPool:
    config = PoolConfig(share=share, size=size, interval_iterations=interval)
    return SelfPool(config, seed, ARCHITECTURE)


def weights(value: int) -> Weights:
    return {"head": np.full((2, 2), value, np.float32)}


def test_selves_join_at_their_interval_and_never_without_a_share() -> None:
    assert [i for i in range(1, 9) if make_pool().wants(i)] == [2, 4, 6, 8]
    assert not any(make_pool(share=0.0).wants(i) for i in range(1, 9))


def test_the_oldest_leave() -> None:
    pool = make_pool(size=2)
    for iteration in (2, 4, 6):
        pool.add(iteration, weights(iteration))
    assert list(pool.state()) == ["4", "6"]


def test_a_self_is_kept_as_it_was() -> None:
    pool, state = make_pool(), weights(1)
    pool.add(2, state)
    state["head"][:] = 5.0
    np.testing.assert_array_equal(pool.state()["2"]["head"], np.ones((2, 2)))


def test_nobody_speaks_for_an_empty_pool() -> None:
    assert all(make_pool().choose(iteration) is None for iteration in range(20))


def test_who_speaks_depends_on_the_iteration_and_the_seed(local_ray: None) -> None:
    """As often as the share says, each of the selves alike; the same on every call."""
    pool, again, other = make_pool(0.5), make_pool(0.5), make_pool(0.5, seed=1)
    for one in (pool, again, other):
        for iteration in (2, 4, 6):
            one.add(iteration, weights(iteration))
    chosen, repeated, others = (
        [voice and voice.model_id for voice in map(one.choose, range(600))]
        for one in (pool, again, other)
    )
    assert chosen == repeated
    assert chosen != others
    counts = Counter(chosen)
    assert counts.keys() == {None, "past-2", "past-4", "past-6"}
    assert counts[None] == pytest.approx(300, abs=60)
    for name in ("past-2", "past-4", "past-6"):
        assert counts[name] == pytest.approx(100, abs=40)


def test_a_voice_carries_the_weights_of_its_iteration(local_ray: None) -> None:
    pool = make_pool(size=1)
    for iteration in (2, 4):
        pool.add(iteration, weights(iteration))
        voice = pool.choose(iteration)
        assert voice is not None
        assert voice.architecture == ARCHITECTURE
        assert voice.model_id == f"past-{iteration}"
        np.testing.assert_array_equal(ray.get(voice.weights)["head"], weights(iteration)["head"])
        assert pool.choose(iteration) == voice  # stored once


def test_a_restored_pool_goes_on_as_the_old_one(local_ray: None) -> None:
    pool, restored = make_pool(0.5), make_pool(0.5)
    pool.add(2, weights(2))
    restored.add(99, weights(99))  # what it held before is forgotten
    restored.restore(pool.state())
    for one in (pool, restored):
        one.add(4, weights(4))
    for iteration in range(20):
        ours, theirs = pool.choose(iteration), restored.choose(iteration)
        assert (ours and ours.model_id) == (theirs and theirs.model_id)
    assert list(restored.state()) == ["2", "4"]
