"""Starting from another run's weights (`init_from`), checked before anything heavy starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.control.task import policy_settings
from parley.platform.engine.torch.same_model import check_same_model
from parley.platform.runs.checkpoints import CheckpointError, resolve_checkpoint
from parley.policies.token.building import build_policy, load_policy


@dataclass(frozen=True)
class WarmStart:
    """Weights to begin with, and the environment steps that they have cost."""

    state_dict: dict[str, Tensor]
    env_steps: int


def load_warm_start(config: CartPolePPOConfig) -> WarmStart:
    """The policy at `init_from`.

    Raises:
        CheckpointError: there is none, it is another model or speaks another language, or its
            environment steps leave none to train.
    """
    checkpoint = resolve_checkpoint(Path(config.init_from))
    facts = checkpoint.read_policy_facts()
    place = f"init_from {config.init_from}"
    if facts["env"]["num_bins"] != config.env.num_bins:
        raise CheckpointError(
            f"{place} speaks {facts['env']['num_bins']} bins, but env.num_bins is "
            f"{config.env.num_bins}; set env.num_bins={facts['env']['num_bins']}"
        )
    try:
        policy = load_policy(next(iter(checkpoint.policy_folders.values())))
    except ValueError as error:
        raise CheckpointError(f"{place}: {error}") from error
    expected = build_policy(config.policy, policy_settings(config.env, config.model))
    check_same_model(place, config.policy, policy.state_dict(), expected.state_dict())
    env_steps = int(facts["env_steps"])
    if env_steps + config.rollouts.batch_size > config.stop.max_env_steps:
        raise CheckpointError(
            f"{place} has cost {env_steps} environment steps already, which leaves no "
            f"iteration of stop.max_env_steps {config.stop.max_env_steps}; raise the latter"
        )
    return WarmStart(policy.state_dict(), env_steps)
