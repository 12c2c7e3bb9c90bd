"""The table of experiments: which class holds the settings of which kind of TOML file.

A new experiment is a class in a module of its own, made of `sections`, and a row here.
"""

from __future__ import annotations

from parley.platform.config.cartpole import CartPoleImitateConfig, CartPolePPOConfig
from parley.platform.config.detector import DialogueDetectorConfig
from parley.platform.config.distort import DialogueDistortConfig
from parley.platform.config.dpo import DialogueDPOConfig
from parley.platform.config.pretraining import PretrainConfig
from parley.platform.config.sections import ExperimentConfig
from parley.platform.config.trace import TraceConfig

EXPERIMENT_KINDS: dict[tuple[str, str], type[ExperimentConfig]] = {
    ("cartpole", "ppo"): CartPolePPOConfig,
    ("cartpole", "imitate"): CartPoleImitateConfig,
    ("dialogue", "pretrain"): PretrainConfig,
    ("dialogue", "ppo"): DialogueDistortConfig,
    ("dialogue", "reinforce"): DialogueDistortConfig,
    ("dialogue", "dpo"): DialogueDPOConfig,
    ("dialogue", "detector"): DialogueDetectorConfig,
    ("trace", "next_token"): TraceConfig,
    ("trace", "ppo"): TraceConfig,
}
"""(workflow, algorithm) of a TOML file -> the class of its settings."""
