"""The table of experiments: which class holds the settings of which kind of TOML file.

A new experiment is a class in a module of its own, made of `sections`, and a row here.
"""

from __future__ import annotations

from parley.platform.control.settings import CartPoleImitateConfig, CartPolePPOConfig
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.language.settings import PretrainConfig
from parley.platform.maxims.detector_settings import DialogueDetectorConfig
from parley.platform.settings.sections import ExperimentConfig
from parley.platform.trace.settings import TraceConfig

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
