"""RLlib's learner as parley sets it up, against plain PyTorch; and learners beside each other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.rllib.utils.minibatch_utils import ShardEpisodesIterator
from torch import Tensor

from parley.platform.control.algorithm import build_config
from parley.platform.control.learner import (
    COLUMNS,
    BatchEpisodes,
    WindowLearner,
    credit_episodes,
    stretches_of,
)
from parley.platform.control.runner import VectorEnvRunner
from parley.platform.control.settings import CartPolePPOConfig, PPOConfig
from parley.platform.control.task import make_cartpole_task, policy_settings
from parley.platform.engine.rllib.gradients.advantages import estimate_stretches
from parley.platform.engine.rllib.gradients.policy_gradient import (
    ACTIONS,
    ADAM_EPSILON,
    ADVANTAGES,
    LOG_PROBS,
    VALUE_TARGETS,
    VALUES,
)
from parley.platform.engine.rllib.gradients.ppo import PPO
from parley.platform.engine.rllib.restorable_algorithm import POLICY_PREFIX
from parley.platform.engine.torch.loss_fault import NonFiniteLossError
from parley.platform.runs.state_tree import load_tree, save_tree
from parley.policies.token.building import build_policy
from tests.platform.engine.rllib.gradient_fixtures import compute_ppo_loss

MakeConfig = Callable[..., CartPolePPOConfig]
Episodes = list[SingleAgentEpisode]
BATCH_STEPS = 64


def rllib_config(config: CartPolePPOConfig) -> Any:
    settings = policy_settings(config.env, config.model)
    return build_config(config, make_cartpole_task(config.env), settings)


def play(config: CartPolePPOConfig) -> Episodes:
    """One iteration's batch."""
    episodes: Any = VectorEnvRunner(config=rllib_config(config), worker_index=1).sample()
    credit_episodes(episodes, PPO(config.ppo), config.ppo.reward_scale)
    return list(episodes)


@contextmanager
def learners(config: CartPolePPOConfig) -> Iterator[LearnerGroup]:
    rllib = rllib_config(config)
    spaces = VectorEnvRunner(config=rllib, worker_index=1).get_spaces()
    group = rllib.build_learner_group(spaces=spaces)
    yield group
    group.shutdown()


@pytest.fixture
def make_learner(make_config: MakeConfig) -> Callable[..., WindowLearner]:
    """Makes a learner in this process."""

    def make(*overrides: str) -> WindowLearner:
        rllib = rllib_config(make_config(*overrides))
        spaces = VectorEnvRunner(config=rllib, worker_index=1).get_spaces()
        learner = rllib.build_learner(spaces=spaces)
        assert isinstance(learner, WindowLearner)
        learner.build()
        return learner

    return make


def update(
    group: LearnerGroup | WindowLearner,
    config: CartPolePPOConfig,
    episodes: Sequence[SingleAgentEpisode],
    num_env_steps: int = BATCH_STEPS,
) -> Any:
    """As `WindowAlgorithm.training_step` asks for it."""
    rllib = rllib_config(config)
    given: list[Any] = copy.deepcopy(list(episodes))
    return group.update(
        episodes=given,
        timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: num_env_steps},
        num_epochs=rllib.num_epochs,
        minibatch_size=rllib.minibatch_size,
        shuffle_batch_per_epoch=True,
    )


def weights_of(group: LearnerGroup | WindowLearner, module: str = "carts") -> dict[str, Any]:
    state = group.get_state()
    state = state.get(COMPONENT_LEARNER, state)
    weights: dict[str, Any] = state[COMPONENT_RL_MODULE][module]
    return {name.removeprefix(POLICY_PREFIX): np.array(array) for name, array in weights.items()}


def difference(found: dict[str, Any], expected: dict[str, Any]) -> float:
    assert found.keys() == expected.keys()
    return max(float(np.abs(found[name] - expected[name]).max()) for name in expected)


def batch_of(episodes: Sequence[SingleAgentEpisode]) -> dict[str, Tensor]:
    """All steps in the order of the episodes, by the episodes' own accessors."""
    columns: dict[str, list[Any]] = {
        Columns.OBS: [e.get_observations(slice(0, len(e))) for e in episodes],
        ACTIONS: [e.get_actions() for e in episodes],
    }
    for column, name in COLUMNS.items():
        columns[column] = [e.get_extra_model_outputs(name) for e in episodes]
    return {name: torch.as_tensor(np.concatenate(parts)) for name, parts in columns.items()}


def loss_of(
    logits: Tensor, values: Tensor, batch: dict[str, Tensor], ppo: PPOConfig, bonus: float
) -> Tensor:
    """The loss with its entropy bonus."""
    return compute_ppo_loss(
        logits,
        values,
        batch[ACTIONS],
        batch[LOG_PROBS],
        batch[VALUES],
        batch[ADVANTAGES],
        batch[VALUE_TARGETS],
        clip=ppo.clip,
        value_clip=ppo.value_clip,
        value_coefficient=ppo.value_coefficient,
        entropy_coefficient=bonus,
    ).total


WHOLE_BATCH = f"ppo.minibatch_size={BATCH_STEPS}"


@pytest.mark.parametrize(
    "overrides",
    [
        ["policy=mlp", "ppo.max_grad_norm=0.05"],
        ["policy=dhmm_gpt2", "env.window=2", "ppo.filter_lr_scale=4.0", "ppo.weight_decay=0.01"],
    ],
    ids=["mlp", "dhmm_gpt2"],
)
def test_updates_equal_a_loop_in_plain_pytorch(
    overrides: list[str], make_config: MakeConfig
) -> None:
    config = make_config(*overrides, WHOLE_BATCH, "ppo.num_epochs=4", "ppo.value_clip=0.1")
    ppo, episodes = config.ppo, play(config)
    policy: Any = build_policy(config.policy, policy_settings(config.env, config.model))
    with learners(config) as group:
        start = weights_of(group)
        policy.load_state_dict({name: torch.as_tensor(w) for name, w in start.items()})
        update(group, config, episodes)
        found = weights_of(group)
    progress = BATCH_STEPS / ppo.anneal_env_steps
    learning_rate = ppo.learning_rate + (ppo.learning_rate_final - ppo.learning_rate) * progress
    bonus = ppo.entropy_coefficient * (1 - progress)
    in_filter = [p for name, p in policy.named_parameters() if ".filter" in name]
    others = [p for name, p in policy.named_parameters() if ".filter" not in name]
    assert bool(in_filter) == (config.policy == "dhmm_gpt2")
    groups: list[dict[str, Any]] = [
        {"params": [p for p in others if p.dim() >= 2], "weight_decay": ppo.weight_decay},
        {"params": [p for p in others if p.dim() < 2]},
        {"params": in_filter, "lr": learning_rate * ppo.filter_lr_scale},
    ]
    optimiser = torch.optim.AdamW(groups, lr=learning_rate, eps=ADAM_EPSILON, weight_decay=0.0)
    batch = batch_of(episodes)
    for _ in range(ppo.num_epochs):
        optimiser.zero_grad()
        logits, values = policy(batch[Columns.OBS])
        loss_of(logits, values, batch, ppo, bonus).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), ppo.max_grad_norm)
        optimiser.step()
    expected = {name: tensor.numpy() for name, tensor in policy.state_dict().items()}
    assert difference(found, start) > 1e-3
    assert difference(found, expected) < 2e-5


@pytest.mark.parametrize(
    ("num_env_steps", "progress"), [(0, 0.0), (500, 0.5), (1_000, 1.0), (3_000, 1.0)]
)
def test_learning_rates_and_entropy_bonus_go_down_a_straight_line(
    num_env_steps: int,
    progress: float,
    make_config: MakeConfig,
    make_learner: Callable[..., WindowLearner],
) -> None:
    overrides = (
        "policy=dhmm_gpt2",
        "ppo.learning_rate=4e-3",
        "ppo.learning_rate_final=1e-3",
        "ppo.filter_lr_scale=3.0",
        "ppo.entropy_coefficient=0.2",
        "ppo.entropy_coefficient_final=0.1",
    )
    config, learner = make_config(*overrides), make_learner(*overrides)
    learner.before_gradient_based_update(timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: num_env_steps})
    expected = 4e-3 - 3e-3 * progress
    (optimiser,) = (optimiser for _, optimiser in learner.get_optimizers_for_module("carts"))
    rates = {group["name"]: group["lr"] for group in optimiser.param_groups}
    assert rates == {
        "decayed": pytest.approx(expected),
        "undecayed": pytest.approx(expected),
        "filters": pytest.approx(3 * expected),
    }
    batch = batch_of(play(config))
    fwd_out = learner.module["carts"].forward_train({Columns.OBS: batch[Columns.OBS]})
    loss = learner.compute_loss_for_module(
        module_id="carts", config=None, batch=batch, fwd_out=fwd_out
    )
    logits, values = fwd_out[Columns.ACTION_DIST_INPUTS], fwd_out[Columns.VF_PREDS]
    bonus = 0.2 - 0.1 * progress
    torch.testing.assert_close(loss, loss_of(logits, values, batch, config.ppo, bonus))


def test_long_gradients_are_scaled_to_the_allowed_norm_and_short_ones_left(
    make_learner: Callable[..., WindowLearner],
) -> None:
    learner = make_learner("ppo.max_grad_norm=0.5")
    generator = torch.Generator().manual_seed(0)
    gradients = {name: torch.randn(7, 3, generator=generator) for name in "abc"}
    before = torch.cat([gradient.flatten() for gradient in gradients.values()])
    for scale, norm in ((100.0, 0.5), (1e-3, 1e-3 * float(before.norm()))):
        given = {name: scale * gradient for name, gradient in gradients.items()}
        found = learner.postprocess_gradients(given)
        after = torch.cat([gradient.flatten() for gradient in found.values()])
        assert float(after.norm()) == pytest.approx(norm, rel=1e-4)
        torch.testing.assert_close(after / after.norm(), before / before.norm())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("column", [ADVANTAGES, VALUE_TARGETS])
def test_a_gradient_that_is_no_number_stops_the_update_before_it_does_harm(
    column: str,
    value: float,
    make_config: MakeConfig,
    make_learner: Callable[..., WindowLearner],
) -> None:
    config, learner = make_config(), make_learner()
    episodes = play(config)
    episodes[0].extra_model_outputs[column].data[0] = value
    before = weights_of(learner)
    with pytest.raises(NonFiniteLossError, match=r"the loss is .*lower ppo\.learning_rate"):
        update(learner, config, episodes)
    after = weights_of(learner)
    assert all(np.isfinite(array).all() for array in after.values())
    assert difference(after, before) == 0.0


def test_an_update_raises_the_probability_of_what_turned_out_well(
    make_config: MakeConfig, make_learner: Callable[..., WindowLearner]
) -> None:
    overrides = ("ppo.num_epochs=10", "ppo.learning_rate=0.01", "ppo.entropy_coefficient=0.0")
    config, learner = make_config(*overrides), make_learner(*overrides)
    episodes = play(config)
    batch = batch_of(episodes)
    update(learner, config, episodes)
    with torch.no_grad():
        output = learner.module["carts"].forward_train({Columns.OBS: batch[Columns.OBS]})
    log_probs = torch.log_softmax(output[Columns.ACTION_DIST_INPUTS], -1)
    changes = log_probs.gather(1, batch[ACTIONS][:, None])[:, 0]
    changes -= batch[LOG_PROBS]
    assert float((changes * batch[ADVANTAGES]).mean()) > 0.01
    before = (batch[VALUES] - batch[VALUE_TARGETS]).square().mean()
    after = (output[Columns.VF_PREDS] - batch[VALUE_TARGETS]).square().mean()
    assert after < before


def test_an_update_is_seeded_by_its_number(make_config: MakeConfig) -> None:
    config = make_config()
    episodes = play(config)

    def updated(num_env_steps: int) -> dict[str, Any]:
        torch.manual_seed(num_env_steps)
        np.random.seed(num_env_steps)
        with learners(config) as group:
            update(group, config, episodes, num_env_steps)
            return weights_of(group)

    first, second = updated(64), updated(64)
    np.random.seed(99)
    torch.manual_seed(99)
    third = updated(64)
    assert difference(first, second) == difference(first, third) == 0.0
    frozen = make_config("ppo.anneal_env_steps=1_000_000_000")
    with learners(frozen) as one, learners(frozen) as other:
        update(one, frozen, episodes, 64)
        update(other, frozen, episodes, 128)
        assert difference(weights_of(one), weights_of(other)) > 1e-6


def test_a_restored_learner_goes_on_exactly(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config("policy=dhmm_gpt2")
    episodes = play(config)
    with learners(config) as group, learners(config) as resumed:
        update(group, config, episodes, 64)
        learner = group.get_state()[COMPONENT_LEARNER]
        kept = {name: learner[name] for name in (COMPONENT_RL_MODULE, COMPONENT_OPTIMIZER)}
        save_tree(kept, tmp_path / "state")
        update(group, config, episodes, 128)
        resumed.set_state({COMPONENT_LEARNER: load_tree(tmp_path / "state")})
        update(resumed, config, episodes, 128)
        assert difference(weights_of(resumed), weights_of(group)) == 0.0


def test_two_policies_are_updated_each_by_its_own_cart(make_config: MakeConfig) -> None:
    config = make_config("env.num_carts=2", "env.shared_policy=false")
    episodes = play(config)
    with learners(config) as group:
        before = {name: weights_of(group, name) for name in ("cart_0", "cart_1")}
        results = update(group, config, episodes)
        for name, weights in before.items():
            assert difference(weights_of(group, name), weights) > 1e-3
    assert {"cart_0", "cart_1"} <= set(results[0])


def test_advantages_are_whitened_over_all_steps_of_a_policy(make_config: MakeConfig) -> None:
    config = make_config("env.num_carts=2", "env.shared_policy=false")
    ppo, episodes = config.ppo, play(config)
    for name in ("cart_0", "cart_1"):
        own = [e for e in episodes if e.module_id == name]
        parts = estimate_stretches(stretches_of(own, ppo.reward_scale), ppo.gamma, ppo.gae_lambda)
        raw, found = torch.from_numpy(np.concatenate(parts)), batch_of(own)[ADVANTAGES]
        assert float(found.mean()) == pytest.approx(0.0, abs=1e-5)
        assert float(found.std(unbiased=False)) == pytest.approx(1.0, abs=1e-4)
        torch.testing.assert_close(found, (raw - raw.mean()) / raw.std(unbiased=False))


def test_the_batch_holds_every_step_in_the_order_of_sampling(
    make_config: MakeConfig, make_learner: Callable[..., WindowLearner]
) -> None:
    module, episodes = make_learner().module, play(make_config())
    expected = batch_of(episodes)
    shuffled = [episodes[index] for index in np.random.default_rng(0).permutation(len(episodes))]
    for given in (episodes, shuffled):
        batch = BatchEpisodes()(rl_module=module, episodes=given)["carts"]
        assert batch.keys() == expected.keys()
        for name, column in batch.items():
            assert column.dtype == expected[name].dtype
            assert torch.equal(column, expected[name])


@pytest.mark.parametrize("num_shards", [3, 5])
def test_shards_for_several_learners_hold_every_step_once(
    num_shards: int, make_config: MakeConfig, make_learner: Callable[..., WindowLearner]
) -> None:
    overrides = ("env.num_carts=2", "env.shared_policy=false")
    module, episodes = make_learner(*overrides).module, play(make_config(*overrides))
    given: list[Any] = list(episodes)
    iterator: Any = ShardEpisodesIterator(given, num_shards, len_lookback_buffer=1)
    shards: list[Episodes] = list(iterator)
    lengths = [sum(map(len, shard)) for shard in shards]
    assert max(lengths) - min(lengths) <= 1
    assert sum(map(len, shards)) > len(episodes)  # some were sliced
    batches = [BatchEpisodes()(rl_module=module, episodes=shard) for shard in shards]
    for name in ("cart_0", "cart_1"):
        rows = np.concatenate([step_rows(batch[name]) for batch in batches if name in batch])
        expected = step_rows(batch_of([e for e in episodes if e.module_id == name]))
        np.testing.assert_array_equal(np.sort(rows), np.sort(expected))


def step_rows(batch: dict[str, Tensor]) -> NDArray[np.float32]:
    """Numbers that tell steps apart."""
    numbers: NDArray[np.float32] = batch[ADVANTAGES].numpy()
    assert len(batch[Columns.OBS]) == len(numbers)
    return numbers


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(
    "num_learners", [1, pytest.param(2, marks=pytest.mark.slow)], ids=["one", "two"]
)
def test_remote_learners_learn_what_the_local_one_does(
    num_learners: int, make_config: MakeConfig
) -> None:
    """One: minibatch by minibatch. Two: their joined gradient is that of the joined batch."""
    joined = [WHOLE_BATCH] if num_learners > 1 else []
    overrides = [*joined, "ppo.num_epochs=5", "env.max_steps=9"]
    local = make_config(*overrides)
    remote = make_config(*overrides, f"learner.num_learners={num_learners}")
    episodes = play(local)
    with learners(local) as group, learners(remote) as others:
        assert difference(weights_of(others), weights_of(group)) == 0.0
        for num_env_steps in (64, 128):
            update(group, local, episodes, num_env_steps)
            update(others, remote, episodes, num_env_steps)
        assert difference(weights_of(others), weights_of(group)) < 1e-5
