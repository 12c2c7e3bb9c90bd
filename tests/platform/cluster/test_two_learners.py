"""Two learners on their shares take the step of one on the joined batch, whatever is learned.

The shares are uneven on purpose: rows of different numbers of tokens, an odd number of rows,
a policy whose steps all fall to one learner.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pytest
import ray
from numpy.typing import NDArray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME

from parley.platform.control.algorithm import build_config, divide
from parley.platform.control.learner import credit_episodes
from parley.platform.control.runner import VectorEnvRunner
from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.control.task import make_cartpole_task, policy_settings
from parley.platform.distort.rllib_config import build_dialogue_config
from parley.platform.distort.runner import DialogueEnvRunner, DialogueRunnerSettings
from parley.platform.engine.rllib.gradient_learner import ITERATION
from parley.platform.engine.rllib.gradients.ppo import PPO
from parley.platform.engine.rllib.restorable_algorithm import POLICY_PREFIX
from parley.platform.engine.rllib.sequence_batch import make_share
from parley.platform.settings.loading import replace_overrides
from parley.policies.dialogue.parts import take_apart
from parley.policies.rows import VALID
from tests.platform.cluster.nodes import logical_cluster, node
from tests.platform.conftest import TINY
from tests.platform.distort import learner_fixtures as dialogue
from tests.platform.distort.dialogue_fixtures import SAMPLINGS, make_policy, make_settings
from tests.platform.trace import trace_ppo_fixtures

Weights = dict[str, dict[str, NDArray[Any]]]
TOLERANCE = 1e-5
NUM_UPDATES = 3


@pytest.fixture(scope="module")
def two_machines() -> Iterator[None]:
    """A machine of one CPU for each learner."""
    with logical_cluster(node(1), node(1)):
        yield


@contextmanager
def learners(config: PPOConfig, spaces: Mapping[str, Any]) -> Iterator[LearnerGroup]:
    group = config.build_learner_group(spaces=dict(spaces))
    try:
        yield group
    finally:
        group.shutdown()


def weights_of(group: Any) -> list[Weights]:
    """Of every learner: module -> its weights."""
    results = group.foreach_learner(lambda learner: learner.module.get_state())
    return [copy.deepcopy(result.get()) for result in results]


def difference(found: Weights, expected: Weights) -> float:
    assert found.keys() == expected.keys()
    return max(
        float(np.abs(felt(name, found[module][name]) - felt(name, array)).max())
        for module, arrays in expected.items()
        for name, array in arrays.items()
    )


def felt(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """The part of the weights that makes a difference to the model: softmax does not feel the keys'
    bias, whose gradient is rounding alone, which Adafactor makes as long as any other."""
    array = np.asarray(array)
    if not name.endswith("attn.c_attn.bias"):
        return array
    queries, _, values = np.split(array, 3)
    return np.concatenate([queries, values])


def compare(
    build: Callable[[int], PPOConfig],
    spaces: Mapping[str, Any],
    update: Callable[[LearnerGroup, PPOConfig, int], object],
    start: Weights | None = None,
) -> None:
    """Update one learner and two on the same batches; all modules must end alike."""
    one, two = build(0), build(2)
    with learners(one, spaces) as local, learners(two, spaces) as remote:
        if start is not None:
            for group in (local, remote):
                group.set_state({COMPONENT_LEARNER: {COMPONENT_RL_MODULE: start}})
        before = weights_of(local)[0]
        for number in range(NUM_UPDATES):
            update(local, one, number)
            update(remote, two, number)
        (expected,), found = weights_of(local), weights_of(remote)
        assert min(difference({m: expected[m]}, {m: before[m]}) for m in expected) > 10 * TOLERANCE
        assert len(found) == 2
        assert difference(found[0], found[1]) == 0.0
        assert difference(found[0], expected) < TOLERANCE
        homes = [
            result.get()
            for result in cast("Any", remote).foreach_learner(
                lambda learner: ray.get_runtime_context().get_node_id()
            )
        ]
        assert len(set(homes)) == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("two_machines")
@pytest.mark.parametrize(
    "overrides",
    [
        ["env.max_steps=9"],
        ["policy=dhmm_gpt2", "env.window=2", "env.max_steps=7"],
        ["env.num_carts=2", "env.shared_policy=false", "env.max_steps=5"],
    ],
    ids=["mlp", "dhmm_gpt2", "two_policies"],
)
def test_ppo_on_carts(overrides: list[str]) -> None:
    def build(num_learners: int) -> PPOConfig:
        config = replace_overrides(
            CartPolePPOConfig.model_validate(TINY),
            [*overrides, "ppo.minibatch_size=64", f"learner.num_learners={num_learners}"],
        )
        assert isinstance(config, CartPolePPOConfig)
        settings = policy_settings(config.env, config.model)
        return build_config(config, make_cartpole_task(config.env), settings)

    runner = VectorEnvRunner(config=build(0), worker_index=1)
    batches: Any = [runner.sample() for _ in range(NUM_UPDATES)]
    ppo = CartPolePPOConfig.model_validate(TINY).ppo
    for episodes in batches:
        credit_episodes(episodes, PPO(ppo), ppo.reward_scale)

    def update(group: LearnerGroup, config: PPOConfig, number: int) -> object:
        return group.update(
            **divide(copy.deepcopy(batches[number]), config.num_learners),
            timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: 64 * (number + 1)},
            num_epochs=config.num_epochs,
            minibatch_size=config.minibatch_size,
            shuffle_batch_per_epoch=True,
        )

    compare(build, runner.get_spaces(), update)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("two_machines")
@pytest.mark.parametrize(
    ("algorithm", "sampling"), [("ppo", "plain"), ("ppo", "all"), ("reinforce", "top_k")]
)
def test_dialogue(algorithm: str, sampling: str) -> None:
    policy = make_policy(0)
    rows = dialogue.play_rows(policy, SAMPLINGS[sampling], algorithm, **dialogue.NARROW)
    rows = {key: column[:15] for key, column in rows.items()}
    counts = rows[VALID].sum(1)
    assert counts[::2].sum() != counts[1::2].sum()
    runner = DialogueRunnerSettings(make_settings(), SAMPLINGS[sampling], dialogue.NUM_DIALOGUES)

    def build(num_learners: int) -> PPOConfig:
        config = dialogue.make_config(
            f"sampling.temperature={SAMPLINGS[sampling].temperature}",
            f"algorithm={algorithm}",
            *(["ppo.learning_rate=1e-3"] if algorithm == "ppo" else []),
            f"learner.num_learners={num_learners}",
        )
        return build_dialogue_config(
            config, runner, {dialogue.SEAT: take_apart(policy.language_model).config}
        )

    def update(group: LearnerGroup, config: PPOConfig, number: int) -> object:
        return update_whole(group, config, dialogue.SEAT, rows, number)

    start = {f"{POLICY_PREFIX}{name}": array.numpy() for name, array in policy.state_dict().items()}
    spaces = DialogueEnvRunner(config=build(0), worker_index=1).get_spaces()
    compare(build, spaces, update, {dialogue.SEAT: start})


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("two_machines")
def test_ppo_on_traces() -> None:
    def config_of(num_learners: int) -> Any:
        return trace_ppo_fixtures.make_config(
            learner={"num_learners": num_learners}, ppo={"num_iterations": 40}
        )

    def build(num_learners: int) -> PPOConfig:
        return trace_ppo_fixtures.build(config_of(num_learners))

    config = config_of(0)
    policy = trace_ppo_fixtures.make_policy(config)
    rows = [trace_ppo_fixtures.rows_of(config, policy, number) for number in range(NUM_UPDATES)]

    def update(group: LearnerGroup, rllib: PPOConfig, number: int) -> object:
        return update_whole(group, rllib, DEFAULT_MODULE_ID, rows[number], number)

    start = trace_ppo_fixtures.state_of(policy)[COMPONENT_RL_MODULE]
    spaces = trace_ppo_fixtures.make_runner(config).get_spaces()
    compare(build, spaces, update, start)


def update_whole(
    group: LearnerGroup, config: PPOConfig, module: str, rows: dict[str, Any], number: int
) -> object:
    """As `SequenceAlgorithm` asks for it, the whole batch in one gradient step."""
    num_learners = max(1, config.num_learners)
    shares = [make_share({module: rows}, share, num_learners) for share in range(num_learners)]
    steps = 100 * (number + 1)
    return group.update(
        **({"batch": shares[0]} if num_learners == 1 else {"batches": shares}),
        timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: steps, ITERATION: number},
        num_epochs=2,
        minibatch_size=-(-len(rows[VALID]) // num_learners),
        shuffle_batch_per_epoch=True,
    )
