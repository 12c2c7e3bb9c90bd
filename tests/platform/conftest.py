"""What the platform's tests share: models, and experiments of a few seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from parley.platform.control.settings import CartPolePPOConfig
from parley.platform.control.task import make_cartpole_task, policy_settings
from parley.platform.runs.checkpoints import Checkpoint, CheckpointStore
from parley.platform.settings.loading import replace_overrides
from parley.policies.token.building import build_policy, save_policy

TINY = {
    "policy": "mlp",
    "env": {"window": 1, "max_steps": 200},
    "model": {"embed_size": 16, "heads": 2, "ff_hidden": 32, "num_states": 4},
    "rollouts": {
        "num_env_runners": 1,
        "num_envs_per_env_runner": 4,
        "rollout_fragment_length": 16,
    },
    "ppo": {"minibatch_size": 32, "num_epochs": 2, "anneal_env_steps": 1_000},
    "stop": {"max_env_steps": 512},
    "evaluation": {"episodes": 4, "interval_env_steps": 256, "selection_episodes": 3},
    "checkpoint": {"interval_iterations": 2},
}
"""Iterations of 4 x 16 steps, two gradient steps an epoch."""

MakeConfig = Callable[..., CartPolePPOConfig]
SaveUntrained = Callable[..., Checkpoint]


@pytest.fixture(scope="session")
def make_config() -> MakeConfig:
    """Makes a tiny experiment; its arguments are overrides, `key=value`."""
    tiny = CartPolePPOConfig.model_validate(TINY)

    def make(*overrides: str) -> CartPolePPOConfig:
        config = replace_overrides(tiny, overrides)
        assert isinstance(config, CartPolePPOConfig)
        return config

    return make


@pytest.fixture(scope="session")
def save_untrained() -> SaveUntrained:
    """Writes a checkpoint of freshly drawn policies, as a run of the experiment would."""

    def save(folder: Path, config: CartPolePPOConfig, iteration: int = 1) -> Checkpoint:
        module_of_agent = make_cartpole_task(config.env).module_of_agent

        def save_policies(policies: Path) -> None:
            torch.manual_seed(config.seed)
            settings = policy_settings(config.env, config.model)
            for module_id in sorted(set(module_of_agent.values())):
                save_policy(build_policy(config.policy, settings), policies / module_id)

        facts = {
            "policy": config.policy,
            "env": config.env.model_dump(),
            "module_of_cart": list(module_of_agent.values()),
            "env_steps": 100,
        }
        return CheckpointStore(folder).save(iteration, save_policies, facts, {})

    return save


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory, quick_model_folder: Path) -> Path:
    """A sequence classifier of the four maxims with random weights, as a detector for runs."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2ForSequenceClassification

    from parley.platform.maxims.text.exchange import MAXIMS

    tokenizer = AutoTokenizer.from_pretrained(quick_model_folder)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=192,
        n_embd=16,
        n_layer=1,
        n_head=2,
        id2label=dict(enumerate(MAXIMS)),
        label2id={maxim: number for number, maxim in enumerate(MAXIMS)},
        pad_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        problem_type="multi_label_classification",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2ForSequenceClassification(config)
    folder = tmp_path_factory.mktemp("classifier")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
