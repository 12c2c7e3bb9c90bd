"""DPO runs of seconds, and what they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from parley.platform.cooperate.dpo.run import run_dpo
from parley.platform.cooperate.evaluation.generator_checkpoint import GENERATOR
from parley.platform.cooperate.settings import DialogueDPOConfig
from parley.platform.runs.checkpoints import resolve_checkpoint
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.loading import load_experiment
from parley.policies.dialogue.loading import load_language_model

OVERRIDES = [
    "data.num_generated=300",
    "supervised.num_epochs=1",
    "supervised.warmup_steps=2",
    "dpo.num_epochs=2",
    "dpo.warmup_steps=2",
    "dpo.learning_rate=1e-3",
    "learner.num_threads=1",
    "learner.num_gpus_per_learner=0",
    "evaluation.interval_steps=12",
    "evaluation.prompts=3",
    "evaluation.final_prompts=4",
    "generation.max_new_tokens=6",
    "generation.candidates=2",
    "checkpoint.keep=9",
]
TIMES = ("seconds", "pairs_per_s")


def settings(model: Path, classifier: Path, *overrides: str) -> DialogueDPOConfig:
    models = [f"model={model}", f"judges.judge={classifier}", f"judges.detector={classifier}"]
    config = load_experiment("dialogue/dpo", [*OVERRIDES, *models, *overrides])
    assert isinstance(config, DialogueDPOConfig)
    return config


def train(config: DialogueDPOConfig, folder: Path, resume: bool = False) -> dict[str, Any]:
    opened = RunFolder.resume(folder, config) if resume else RunFolder.create(config, folder)
    with opened as run_folder:
        return run_dpo(config, run_folder, resume)


def figures(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics, without times."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model = load_language_model(resolve_checkpoint(folder).policy_folders[GENERATOR]).model
    return dict(model.state_dict())
