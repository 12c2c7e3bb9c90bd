"""Which workflow and algorithm a folder is of, as its files state; older ones state less."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parley.platform.errors import InputError, display_path
from parley.platform.runs.checkpoints import MANIFEST_FILE, POLICY_FILE
from parley.platform.runs.run_folder import CONFIG_FILE
from parley.platform.settings.experiments import EXPERIMENTS, Experiment, Kind, find_experiment
from parley.platform.settings.sections import ExperimentConfig

RUN_DEPTH = 4
"""Folders above a checkpoint, of a trial too, among which its run is looked for."""
CHECKPOINT_FILES = (MANIFEST_FILE, "config.json")
"""What marks a checkpoint: its list of files, or the transformers configuration of its policy."""


def kind_facts(config: ExperimentConfig) -> dict[str, str]:
    """What a checkpoint's `policy.json` and a `result.json` state."""
    return {"workflow": config.workflow, "algorithm": config.algorithm}


def find_run(path: Path) -> Path | None:
    """The run folder at `path` or around it; None where it lies in none."""
    for folder in (path, *list(path.absolute().parents)[:RUN_DEPTH]):
        if (folder / CONFIG_FILE).is_file():
            return folder
    return None


def experiment_at(path: Path) -> tuple[Kind, Experiment]:
    """What a run folder is of, or a checkpoint inside or outside of one, and its row.

    Raises:
        InputError: there is no such folder, or it is neither a run nor a checkpoint.
    """
    if not path.is_dir():
        raise InputError(f"no run or checkpoint folder {display_path(path)}")
    kind = _kind_of_run(path) or _kind_of_checkpoint(path)
    if kind is None:
        raise InputError(
            f"{display_path(path)} is neither a run folder (with {CONFIG_FILE}) nor a checkpoint "
            f"(with {' or '.join(CHECKPOINT_FILES)}); give a folder that `parley train` wrote"
        )
    return kind, find_experiment(*kind)


def kind_of_facts(facts: Mapping[str, Any]) -> Kind:
    """The kind that a `policy.json` states.

    Older ones state less: a generator and a detector call themselves so, self-play holds its
    experiment, a trace run its language; what tells nothing is of carts.
    """
    workflow, experiment = facts.get("workflow"), facts.get("experiment")
    stated = (str(workflow), str(facts.get("algorithm")))
    if stated in EXPERIMENTS:
        return stated
    if facts.get("policy") in ("detector", "dpo"):
        return "dialogue", str(facts["policy"])
    if isinstance(experiment, Mapping):
        return "dialogue", str(experiment.get("algorithm", "ppo"))
    if workflow == "trace":
        return "trace", "next_token"
    return ("dialogue", "pretrain") if workflow == "dialogue" else ("cartpole", "ppo")


def _kind_of_run(path: Path) -> Kind | None:
    run = find_run(path)
    if run is None:
        return None
    file = run / CONFIG_FILE
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{display_path(file)} is damaged: {error}") from error
    return str(table.get("workflow", "")), str(table.get("algorithm", ""))


def _kind_of_checkpoint(path: Path) -> Kind | None:
    if not any((path / name).is_file() for name in CHECKPOINT_FILES):
        return None
    try:
        facts = json.loads((path / POLICY_FILE).read_text(encoding="utf-8"))
        return kind_of_facts(facts if isinstance(facts, Mapping) else {})
    except (OSError, ValueError):
        return kind_of_facts({})
