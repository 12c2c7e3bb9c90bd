"""RLlib's learner on dialogues: it computes what was sampled, and updates as plain PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.core.columns import Columns
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from torch import Tensor
from transformers.optimization import Adafactor

from parley.platform.distort.batch import (
    SUPPORT,
)
from parley.platform.distort.learner import DialogueLearner
from parley.platform.distort.rllib_config import build_dialogue_config
from parley.platform.distort.runner import DialogueEnvRunner, DialogueRunnerSettings
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.engine.rllib.gradient_learner import ITERATION
from parley.platform.engine.rllib.gradients.policy_gradient import (
    ACTIONS,
    ADAM_EPSILON,
    ADVANTAGES,
    LOG_PROBS,
    VALUE_TARGETS,
    VALUES,
)
from parley.platform.engine.rllib.restorable_algorithm import POLICY_PREFIX
from parley.platform.engine.rllib.sequence_batch import make_share
from parley.platform.engine.torch.loss_fault import NonFiniteLossError
from parley.policies.dialogue.actor_critic import DialogueActorCritic
from parley.policies.dialogue.parts import take_apart
from parley.policies.dialogue.sampling import Sampling, truncated_log_probs
from parley.policies.rows import POSITIONS, TOKENS, VALID
from tests.platform.distort.dialogue_fixtures import (
    SAMPLINGS,
    make_policy,
    make_settings,
)
from tests.platform.distort.learner_fixtures import (
    NARROW,
    NUM_DIALOGUES,
    SEAT,
    Rows,
    make_config,
    play_rows,
)
from tests.platform.engine.rllib.gradient_fixtures import compute_ppo_loss, compute_reinforce_loss


def make_learner(
    policy: DialogueActorCritic, sampling: Sampling, *overrides: str
) -> DialogueLearner:
    """A learner in this process that holds the policy's weights."""
    config = make_config(f"sampling.temperature={sampling.temperature}", *overrides)
    runner = DialogueRunnerSettings(make_settings(), sampling, NUM_DIALOGUES)
    architecture = take_apart(policy.language_model).config
    rllib = build_dialogue_config(config, runner, {SEAT: architecture})
    spaces = DialogueEnvRunner(config=rllib, worker_index=1).get_spaces()
    learner = rllib.build_learner(spaces=spaces)
    assert isinstance(learner, DialogueLearner)
    learner.build()
    state = {f"{POLICY_PREFIX}{name}": w.numpy() for name, w in policy.state_dict().items()}
    learner.set_state({COMPONENT_RL_MODULE: {SEAT: state}})
    return learner


def tensors(rows: Rows) -> dict[str, Tensor]:
    return {key: torch.from_numpy(array) for key, array in rows.items()}


def update(learner: DialogueLearner, rows: Rows, num_epochs: int = 1, size: int = 0) -> None:
    """As `DialogueAlgorithm` asks for it; by default in one minibatch."""
    learner.update(
        batch=make_share({SEAT: rows}, 0, 1),
        timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: 100, ITERATION: 0},
        num_epochs=num_epochs,
        minibatch_size=size or len(rows[TOKENS]),
        shuffle_batch_per_epoch=True,
    )


def weights_of(learner: DialogueLearner) -> dict[str, NDArray[Any]]:
    state = learner.get_state()[COMPONENT_RL_MODULE][SEAT]
    return {name.removeprefix(POLICY_PREFIX): np.array(array) for name, array in state.items()}


def loss_of(policy: DialogueActorCritic, rows: Rows, config: DialogueDistortConfig) -> Tensor:
    """The loss over a batch, put together from its parts."""
    batch = tensors(rows)
    valid = batch[VALID]
    logits, values = policy(batch[TOKENS], batch[POSITIONS], valid)
    support = batch[SUPPORT][valid] if SUPPORT in batch else None
    log_probs = truncated_log_probs(logits, support, config.sampling.temperature)
    actions, old, advantages = (batch[key][valid] for key in (ACTIONS, LOG_PROBS, ADVANTAGES))
    if config.algorithm == "reinforce":
        bonus = config.reinforce.entropy_coefficient
        return compute_reinforce_loss(
            log_probs, actions, old, advantages, entropy_coefficient=bonus
        ).total
    ppo = config.ppo
    return compute_ppo_loss(
        log_probs,
        values,
        actions,
        old,
        batch[VALUES][valid],
        advantages,
        batch[VALUE_TARGETS][valid],
        clip=ppo.clip,
        value_clip=ppo.value_clip,
        value_coefficient=ppo.value_coefficient,
        entropy_coefficient=ppo.entropy_coefficient,
    ).total


@pytest.mark.parametrize("changes", [{}, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", SAMPLINGS)
def test_before_any_update_the_learner_says_what_the_sampler_said(
    name: str, changes: dict[str, Any]
) -> None:
    policy, sampling = make_policy(0), SAMPLINGS[name]
    rows = play_rows(policy, sampling, **changes)
    learner = make_learner(policy, sampling)
    batch = tensors(rows)
    valid = batch[VALID]
    with torch.no_grad():
        out = learner.module[SEAT].forward_train(batch)
    support = batch[SUPPORT][valid] if SUPPORT in batch else None
    assert (support is None) == (name in ("plain", "temperature"))
    log_probs = truncated_log_probs(
        out[Columns.ACTION_DIST_INPUTS], support, sampling.temperature
    ).gather(1, batch[ACTIONS][valid][:, None])[:, 0]
    torch.testing.assert_close(log_probs, batch[LOG_PROBS][valid], rtol=0, atol=1e-5)
    torch.testing.assert_close(out[Columns.VF_PREDS], batch[VALUES][valid], rtol=0, atol=1e-5)
    learner.compute_loss_for_module(module_id=SEAT, config=None, batch=batch, fwd_out=out)
    (terms,) = learner._terms[SEAT]
    assert terms.clip_fraction == 0.0
    assert terms.kl < 1e-7
    assert terms.policy.item() == pytest.approx(0.0, abs=1e-4)  # the mean whitened advantage


@pytest.mark.parametrize("algorithm", ["ppo", "reinforce"])
@pytest.mark.parametrize("name", ["plain", "all"])
def test_the_loss_is_over_the_seats_own_tokens_alone(name: str, algorithm: str) -> None:
    """What stands in the padding and in rows that make up the number plays no part."""
    policy, sampling = make_policy(0), SAMPLINGS[name]
    rows = play_rows(policy, sampling, algorithm, **NARROW)
    overrides = [f"algorithm={algorithm}"]
    if algorithm == "reinforce":
        overrides += ["reinforce.entropy_coefficient=0.01"]
    learner = make_learner(policy, sampling, *overrides)
    config = make_config(f"sampling.temperature={sampling.temperature}", *overrides)
    expected = loss_of(policy, rows, config).item()
    padded = tensors(rows)
    padded = {
        key: torch.cat([column, torch.zeros_like(column[:2])]) for key, column in padded.items()
    }
    for key in (LOG_PROBS, ADVANTAGES, VALUES, VALUE_TARGETS):
        if key in padded:
            padded[key][~padded[VALID]] = 1e6
    out = learner.module[SEAT].forward_train(padded)
    loss = learner.compute_loss_for_module(module_id=SEAT, config=None, batch=padded, fwd_out=out)
    assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_ppo_updates_equal_a_loop_in_plain_pytorch() -> None:
    policy, sampling = make_policy(0), SAMPLINGS["all"]
    rows = play_rows(policy, sampling, **NARROW)
    overrides = ["ppo.learning_rate=1e-3", "ppo.value_learning_rate=5e-3", "ppo.weight_decay=0.1"]
    learner = make_learner(policy, sampling, *overrides)
    config = make_config(f"sampling.temperature={sampling.temperature}", *overrides)
    before = weights_of(learner)
    update(learner, rows, num_epochs=3)
    parameters = list(policy.language_model.parameters())
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": 0.1},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
            {"params": policy.value_head.parameters(), "weight_decay": 0.0, "lr": 5e-3},
        ],
        lr=1e-3,
        eps=ADAM_EPSILON,
    )
    for _ in range(3):
        optimiser.zero_grad()
        loss_of(policy, rows, config).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), config.ppo.max_grad_norm)
        optimiser.step()
    assert_equal_weights(learner, policy, before)


def assert_equal_weights(
    learner: DialogueLearner, policy: DialogueActorCritic, before: dict[str, NDArray[Any]]
) -> None:
    """The learner has moved, and to where the plain loop has."""
    found = weights_of(learner)
    expected = {name: tensor.numpy() for name, tensor in policy.state_dict().items()}
    assert found.keys() == expected.keys()
    assert max(np.abs(found[name] - before[name]).max() for name in found) > 5e-4
    for name, array in found.items():
        np.testing.assert_allclose(array, expected[name], rtol=0, atol=2e-5, err_msg=name)


def test_reinforce_updates_equal_a_loop_in_plain_pytorch() -> None:
    policy, sampling = make_policy(0), SAMPLINGS["top_k"]
    rows = play_rows(policy, sampling, "reinforce")
    overrides = ["algorithm=reinforce", "reinforce.learning_rate=1e-3"]
    learner = make_learner(policy, sampling, *overrides)
    before = weights_of(learner)
    update(learner, rows)
    update(learner, rows)
    optimiser = Adafactor(
        list(policy.language_model.parameters()),
        lr=1e-3,
        scale_parameter=False,
        relative_step=False,
    )
    for _ in range(2):
        optimiser.zero_grad()
        loss_of(policy, rows, make_config(*overrides)).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimiser.step()
    assert_equal_weights(learner, policy, before)


@pytest.mark.parametrize(("iteration", "progress"), [(0, 0.0), (5, 0.5), (10, 1.0), (30, 1.0)])
def test_the_learning_rates_go_down_a_straight_line_together(
    iteration: int, progress: float
) -> None:
    learner = make_learner(
        make_policy(0),
        SAMPLINGS["plain"],
        "ppo.learning_rate=1e-3",
        "ppo.learning_rate_final=2e-4",
        "ppo.value_learning_rate=5e-3",
        "ppo.anneal_iterations=10",
    )
    steps = {NUM_ENV_STEPS_SAMPLED_LIFETIME: 100, ITERATION: iteration}
    learner.before_gradient_based_update(timesteps=steps)
    ((_, optimiser),) = learner.get_optimizers_for_module(SEAT)
    rate = 1e-3 - 8e-4 * progress
    rates = [group["lr"] for group in optimiser.param_groups]
    assert rates == pytest.approx([rate, rate, 5 * rate])


def test_adafactor_is_set_as_the_recipe_says() -> None:
    policy = make_policy(0)
    learner = make_learner(policy, SAMPLINGS["plain"], "algorithm=reinforce")
    update(learner, play_rows(policy, SAMPLINGS["plain"], "reinforce"))  # changes no rate
    ((_, optimiser),) = learner.get_optimizers_for_module(SEAT)
    assert isinstance(optimiser, Adafactor)
    (group,) = optimiser.param_groups
    assert group["lr"] == 5e-5
    assert not any(group[name] for name in ("relative_step", "scale_parameter", "warmup_init"))
    assert group["beta1"] is None
    assert group["weight_decay"] == 0.0
    assert make_config("algorithm=reinforce").reinforce.max_grad_norm == 1.0


def test_reinforce_leaves_the_value_head_as_it_was() -> None:
    policy = make_policy(0)
    rows = play_rows(policy, SAMPLINGS["plain"], "reinforce")
    learner = make_learner(
        policy, SAMPLINGS["plain"], "algorithm=reinforce", "reinforce.learning_rate=0.01"
    )
    before = weights_of(learner)
    update(learner, rows)
    moved = {name for name, array in weights_of(learner).items() if (array != before[name]).any()}
    heads = {name for name in before if name.startswith("value_head")}
    assert len(heads) == 2
    assert moved == before.keys() - heads


def test_ppo_raises_the_probability_of_what_turned_out_well_and_learns_values() -> None:
    policy = make_policy(0)
    rows = play_rows(policy, SAMPLINGS["plain"])
    learner = make_learner(policy, SAMPLINGS["plain"], "ppo.learning_rate=3e-3")
    update(learner, rows, num_epochs=5, size=8)
    batch = tensors(rows)
    valid = batch[VALID]
    with torch.no_grad():
        out = learner.module[SEAT].forward_train(batch)
    log_probs = out[Columns.ACTION_DIST_INPUTS].log_softmax(-1)
    now = log_probs.gather(1, batch[ACTIONS][valid][:, None])[:, 0]
    change, advantages = now - batch[LOG_PROBS][valid], batch[ADVANTAGES][valid]
    assert change[advantages > 0.5].mean() > change[advantages < -0.5].mean() + 0.1
    targets = batch[VALUE_TARGETS][valid]
    error_before = (batch[VALUES][valid] - targets).square().mean()
    assert (out[Columns.VF_PREDS] - targets).square().mean() < error_before


def test_an_update_is_repeated_by_its_number() -> None:
    """Minibatches are shuffled by the seed and the steps so far, not by what was drawn before."""
    policy = make_policy(0)
    rows = play_rows(policy, SAMPLINGS["plain"])
    found = []
    for salt in (1, 2):
        learner = make_learner(policy, SAMPLINGS["plain"])
        np.random.seed(salt)
        update(learner, rows, num_epochs=2, size=4)
        found.append(weights_of(learner))
    assert all((found[0][name] == found[1][name]).all() for name in found[0])


def test_a_gradient_that_is_no_number_stops_the_update() -> None:
    policy = make_policy(0)
    rows = play_rows(policy, SAMPLINGS["plain"])
    rows[ADVANTAGES][rows[VALID]] = np.nan
    learner = make_learner(policy, SAMPLINGS["plain"])
    before = weights_of(learner)
    with pytest.raises(NonFiniteLossError, match=r"learning_rate"):
        update(learner, rows)
    assert all((array == before[name]).all() for name, array in weights_of(learner).items())


@pytest.mark.parametrize("num_shares", [1, 2, 3])
def test_learners_share_the_rows(num_shares: int) -> None:
    """Each row goes to one learner; rows that make up the number hold no token that counts."""
    rows = play_rows(make_policy(0), SAMPLINGS["top_k"])
    shares = [
        make_share({SEAT: rows}, share, num_shares).policy_batches[SEAT]
        for share in range(num_shares)
    ]
    assert len({len(share) for share in shares}) == 1
    found = [
        share[TOKENS][row].tolist()
        for share in shares
        for row in range(len(share))
        if share[VALID][row].any()
    ]
    assert sorted(found) == sorted(rows[TOKENS].tolist())
