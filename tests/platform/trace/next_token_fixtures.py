"""A next-token run of seconds."""

from __future__ import annotations

from parley.platform.settings.loading import replace_overrides
from parley.platform.trace.settings import TraceConfig

TINY = {
    "language": {"name": "addition", "options": {"base": 3}, "min_size": 1, "max_size": 2},
    "model": {
        "embed_size": 16,
        "heads": 2,
        "ff_hidden": 32,
        "num_states": 4,
        "positions": "rotary",
    },
    "stream": {"holdout": 0.3, "block_batches": 4},
    "training": {
        "num_steps": 60,
        "batch_tokens": 256,
        "warmup_steps": 5,
        "eval_interval": 20,
        "mutation_noise": 0.5,
        "mutation_loss": 2.2,
        "mutation_ramp_steps": 30,
    },
    "evaluation": {"sizes": [1, 2, 3], "inputs_per_size": 16, "selection_inputs": 8},
    "checkpoint": {"interval_iterations": 30, "keep": 8},
}


def make_config(*overrides: str) -> TraceConfig:
    config = replace_overrides(TraceConfig.model_validate(TINY), overrides)
    assert isinstance(config, TraceConfig)
    return config
