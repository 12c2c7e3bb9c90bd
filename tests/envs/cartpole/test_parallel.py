from __future__ import annotations

import warnings

import numpy as np
import pytest

from parley.envs.cartpole.parallel import ParallelCartPole

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PettingZoo's test package uses PettingZoo's deprecated API.
    from pettingzoo.test import parallel_api_test, parallel_seed_test


@pytest.mark.filterwarnings("error")
def test_pettingzoos_own_tests_pass() -> None:
    parallel_api_test(ParallelCartPole(num_carts=3, window=2), num_cycles=1000)
    parallel_seed_test(lambda: ParallelCartPole(dither=1.0), num_cycles=200)


def test_agents_leave_as_they_fall() -> None:
    env = ParallelCartPole(num_carts=2)
    env.reset(seed=0)
    terminated: dict[str, bool] = {}
    for age in range(100):
        _, rewards, terminated, _, _ = env.step({"cart_0": 1, "cart_1": age % 2})
        assert rewards == {"cart_0": 1.0, "cart_1": 1.0}
        if "cart_0" not in env.agents:
            break
    assert terminated == {"cart_0": True, "cart_1": False}
    assert env.agents == ["cart_1"]
    with pytest.raises(ValueError, match="cart_0"):
        env.step({"cart_0": 0, "cart_1": 0})
    observations, *_ = env.step({"cart_1": 0})
    assert observations.keys() == {"cart_1"}


def test_a_new_seed_is_honoured_and_none_goes_on() -> None:
    env, other = ParallelCartPole(), ParallelCartPole()
    starts = [env.reset(seed=3)[0]["cart_0"], env.reset()[0]["cart_0"]]
    again = [other.reset(seed=3)[0]["cart_0"], other.reset()[0]["cart_0"]]
    np.testing.assert_array_equal(starts, again)
