"""Written traces, what is known of their tokens, and the updates that are learned from them."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME, WEIGHTS_SEQ_NO
from torch import Tensor

from parley.envs.trace.reward import trace_rewards
from parley.envs.trace.split import is_heldout
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
from parley.platform.trace.algorithm import measure_written
from parley.platform.trace.learner import VALUE_LR_SCALE, TraceLearner
from parley.platform.trace.settings import TraceConfig
from parley.platform.trace.writing import (
    PlayedTraces,
)
from parley.policies.dhmm_gpt2 import parameter_groups
from parley.policies.rows import POSITIONS, TOKENS, VALID
from parley.policies.token.actor_critic import LanguageActorCritic
from parley.policies.token.row_module import TraceModule
from tests.platform.trace.trace_ppo_fixtures import (
    Rows,
    make_config,
    make_learner,
    make_policy,
    make_runner,
    rows_from,
    rows_of,
    state_of,
    write,
)

COUNTERS = {"counter_heads": 2, "filter_heads": 0}
PLAIN = {"counter_heads": 0, "filter_heads": 0}


def tensors(rows: Rows) -> dict[str, Tensor]:
    return {key: torch.from_numpy(array) for key, array in rows.items()}


def update(learner: TraceLearner, rows: Rows, num_epochs: int = 1, size: int = 0) -> None:
    """As the algorithm asks for it; by default in one minibatch."""
    learner.update(
        batch=make_share({DEFAULT_MODULE_ID: rows}, 0, 1),
        timesteps={NUM_ENV_STEPS_SAMPLED_LIFETIME: 100, ITERATION: 0},
        num_epochs=num_epochs,
        minibatch_size=size or len(rows[TOKENS]),
        shuffle_batch_per_epoch=True,
    )


def weights_of(learner: TraceLearner) -> dict[str, NDArray[Any]]:
    state = learner.get_state()[COMPONENT_RL_MODULE][DEFAULT_MODULE_ID]
    return {name.removeprefix(POLICY_PREFIX): np.array(array) for name, array in state.items()}


def assert_same(first: PlayedTraces, second: PlayedTraces) -> None:
    for name, array in vars(first).items():
        np.testing.assert_array_equal(array, getattr(second, name), err_msg=name)


def test_a_group_is_a_function_of_its_number_and_the_weights() -> None:
    config = make_config()
    policy = make_policy(config)
    first, other = write(config, policy, 3), write(config, policy, 4)
    torch.rand(3)  # other draws of the process play no part
    again = write(config, policy, 3)
    for one, two in zip(first.parts, again.parts, strict=True):
        assert_same(one, two)
    prompts = [group.parts[1].tokens[:, : group.parts[1].prompt_length] for group in (first, other)]
    assert (prompts[0] != prompts[1]).any()
    assert {part.size: len(part.tokens) for part in first.parts} == {2: 6, 3: 6}


def test_inputs_are_of_the_training_part() -> None:
    config = make_config(stream={"holdout": 0.5})
    language = config.language.build()
    for part in write(config, make_policy(config)).parts:
        marked = part.tokens[:, 1 : part.prompt_length]
        inputs = marked[marked >= 7].reshape(len(marked), part.size) - 7
        true = language.write_traces(part.size, inputs)
        np.testing.assert_array_equal(
            true.tokens[:, : part.prompt_length], part.tokens[:, : part.prompt_length]
        )
        assert not is_heldout(language, part.size, inputs, 0.5).any()
        earned = trace_rewards(language, part.size, inputs, part.tokens)
        np.testing.assert_allclose(part.rewards, earned.rewards, rtol=1e-6)
        np.testing.assert_array_equal(part.counts, earned.counts)


@pytest.mark.parametrize("heads", [{}, COUNTERS, PLAIN], ids=["both", "counters", "plain"])
@pytest.mark.parametrize("positions", ["rotary", "learned", "none"])
def test_before_any_update_the_learner_says_what_the_writer_said(
    positions: str, heads: dict[str, int]
) -> None:
    config = make_config(model={"positions": positions, "max_len": 64, **heads})
    policy = make_policy(config)
    batch = tensors(rows_of(config, policy))
    learner = make_learner(config, policy)
    with torch.no_grad():
        out = learner.module[DEFAULT_MODULE_ID].forward_train(batch)
    valid = batch[VALID]
    log_probs = out[Columns.ACTION_DIST_INPUTS].log_softmax(-1)
    drawn = log_probs.gather(1, batch[ACTIONS][valid][:, None])[:, 0]
    torch.testing.assert_close(drawn, batch[LOG_PROBS][valid], rtol=0, atol=1e-5)
    torch.testing.assert_close(out[Columns.VF_PREDS], batch[VALUES][valid], rtol=0, atol=1e-5)
    assert batch[VALUES][valid].abs().max() > 0.1
    learner.compute_loss_for_module(
        module_id=DEFAULT_MODULE_ID, config=None, batch=batch, fwd_out=out
    )
    (terms,) = learner._terms[DEFAULT_MODULE_ID]
    assert terms.clip_fraction == 0.0
    assert terms.kl < 1e-7
    assert terms.policy.item() == pytest.approx(0.0, abs=1e-4)  # the mean whitened advantage


def loss_of(policy: LanguageActorCritic, rows: Rows, config: TraceConfig) -> Tensor:
    """PPO's loss token by token, each in a forward pass over what stands before it."""
    ppo = config.ppo
    batch = tensors(rows)
    losses = []
    for row, column in batch[VALID].nonzero().tolist():
        place = int(batch[POSITIONS][row, column])
        tokens = batch[TOKENS][row : row + 1, : place + 1]
        hidden = policy.language_model.transformer(tokens).last_hidden_state[0, -1]
        log_probs = policy.language_model.lm_head(hidden).log_softmax(-1)
        value = policy.value_head(hidden.detach())[0]
        old, advantage, target = (
            batch[key][row, column] for key in (LOG_PROBS, ADVANTAGES, VALUE_TARGETS)
        )
        action = batch[TOKENS][row, place + 1]
        assert action == batch[ACTIONS][row, column]
        ratio = (log_probs[action] - old).exp()
        clipped = ratio.clamp(1 - ppo.clip, 1 + ppo.clip)
        surrogate = torch.minimum(advantage * ratio, advantage * clipped)
        entropy = -(log_probs.exp() * log_probs).sum()
        losses.append(
            -surrogate
            + ppo.value_coefficient * (value - target).square()
            - ppo.entropy_coefficient * entropy
        )
    return torch.stack(losses).mean()


CHANGES: dict[str, Any] = {
    "learning_rate": 3e-3,
    "entropy_coefficient": 0.01,
    "filter_lr_scale": 2.0,
    "num_epochs": 3,
}


def test_updates_equal_a_plain_slow_loop() -> None:
    config = make_config(ppo=CHANGES)
    policy = make_policy(config)
    rows = rows_of(config, policy)
    learner = make_learner(config, policy)
    before = weights_of(learner)
    update(learner, rows, num_epochs=3)
    groups = parameter_groups(policy.language_model, 3e-3, 0.0, 2.0)
    optimiser = torch.optim.Adam(
        [
            *({"params": group["params"], "lr": group["lr"]} for group in groups),
            {"params": policy.value_head.parameters(), "lr": 3e-3 * VALUE_LR_SCALE},
        ],
        eps=ADAM_EPSILON,
    )
    for _ in range(3):
        optimiser.zero_grad()
        loss_of(policy, rows, config).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), config.ppo.max_grad_norm)
        optimiser.step()
    found = weights_of(learner)
    assert max(np.abs(found[name] - before[name]).max() for name in found) > 3e-3
    for name, tensor in policy.state_dict().items():
        np.testing.assert_allclose(found[name], tensor.numpy(), rtol=0, atol=1e-4, err_msg=name)


def test_padding_and_made_up_rows_play_no_part() -> None:
    config = make_config()
    policy = make_policy(config)
    rows = rows_of(config, policy)
    learner = make_learner(config, policy)
    padded = {key: torch.cat([c, torch.zeros_like(c[:2])]) for key, c in tensors(rows).items()}
    for key in (LOG_PROBS, ADVANTAGES, VALUES, VALUE_TARGETS):
        padded[key][~padded[VALID]] = 1e6
    losses = []
    for batch in (tensors(rows), padded):
        out = learner.module[DEFAULT_MODULE_ID].forward_train(batch)
        losses.append(
            learner.compute_loss_for_module(
                module_id=DEFAULT_MODULE_ID, config=None, batch=batch, fwd_out=out
            ).item()
        )
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    only_padding = {key: torch.zeros_like(column) for key, column in padded.items()}
    out = learner.module[DEFAULT_MODULE_ID].forward_train(only_padding)
    loss = learner.compute_loss_for_module(
        module_id=DEFAULT_MODULE_ID, config=None, batch=only_padding, fwd_out=out
    )
    assert loss.item() == 0.0


def test_rows_hold_what_was_written_up_to_its_end() -> None:
    config = make_config()
    group = write(config, make_policy(config))
    rows = rows_from(config, group)
    num_tokens = sum(int(part.counts.sum()) for part in group.parts)
    assert rows[VALID].sum() == num_tokens == measure_written(group.parts).num_tokens
    advantages = rows[ADVANTAGES][rows[VALID]]
    assert advantages.mean() == pytest.approx(0.0, abs=1e-5)
    assert advantages.std() == pytest.approx(1.0, abs=1e-3)
    places = rows[POSITIONS] + 1
    written = np.take_along_axis(rows[TOKENS], np.minimum(places, rows[TOKENS].shape[1] - 1), 1)
    np.testing.assert_array_equal(written[rows[VALID]], rows[ACTIONS][rows[VALID]])


@pytest.mark.parametrize(("iteration", "share"), [(0, 1.0), (2, 0.5), (4, 0.0), (9, 0.0)])
def test_the_learning_rates_fall_to_zero_together(iteration: int, share: float) -> None:
    config = make_config(ppo=CHANGES)
    learner = make_learner(config, make_policy(config))
    steps = {NUM_ENV_STEPS_SAMPLED_LIFETIME: 100, ITERATION: iteration}
    learner.before_gradient_based_update(timesteps=steps)
    ((_, optimiser),) = learner.get_optimizers_for_module(DEFAULT_MODULE_ID)
    rates = {round(group["lr"], 9) for group in optimiser.param_groups}
    assert rates == {round(3e-3 * share * scale, 9) for scale in (1.0, 2.0, VALUE_LR_SCALE)}


def test_the_policy_learns_without_noise() -> None:
    """Mutation is for next-token training, snapping for evaluation."""
    noisy = {"mutation_noise": 1.0, "snap_transitions": True}
    config = make_config(model=noisy)
    learner = make_learner(config, make_policy(config))
    module = learner.module[DEFAULT_MODULE_ID]
    batch = tensors(rows_of(config, make_policy(config)))
    first, second = (module.forward_train(batch)[Columns.ACTION_DIST_INPUTS] for _ in range(2))
    assert torch.equal(first, second)
    first.square().sum().backward()
    language_model = cast("TraceModule", module).policy.language_model
    for name, parameter in language_model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_runner_writes_its_share_with_the_weights_it_is_given() -> None:
    config = make_config()
    policy, runner = make_policy(config), make_runner(config)
    state = {**state_of(policy), WEIGHTS_SEQ_NO: 1}
    rollout = runner.write(state, {1: [2, 5], 2: [3]})
    assert rollout.numbers == {2, 5} and not rollout.error
    for group in rollout.groups:
        for ours, theirs in zip(
            group.parts, write(config, policy, group.number).parts, strict=True
        ):
            assert_same(ours, theirs)
    assert runner.write(state, {2: [3]}).numbers == set()
    with pytest.raises(NotImplementedError, match="write"):
        runner.sample()


def test_an_error_of_a_runner_is_brought_back() -> None:
    config = make_config()
    runner = make_runner(config)
    state = state_of(make_policy(config))
    weights = state[COMPONENT_RL_MODULE][DEFAULT_MODULE_ID]
    weights["policy.value_head.bias"] = np.zeros(7, np.float32)
    rollout = runner.write({**state, WEIGHTS_SEQ_NO: 1}, {1: [0]})
    assert "Traceback" in rollout.error and "value_head.bias" in rollout.error
    assert not rollout.numbers


def test_an_update_is_repeated_by_its_number() -> None:
    """Minibatches are shuffled by the seed and the tokens so far, not by what was drawn before."""
    config = make_config()
    policy = make_policy(config)
    rows = rows_of(config, policy)
    found = []
    for salt in (1, 2):
        learner = make_learner(config, policy)
        np.random.seed(salt)
        torch.manual_seed(salt)
        update(learner, rows, num_epochs=2, size=5)
        found.append(weights_of(learner))
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name], err_msg=name)
