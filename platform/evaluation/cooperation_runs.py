"""`parley evaluate` of a generator that DPO tuned: from a run, a sweep, or a copied checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from parley.platform.checkpoints.store import Checkpoint, CheckpointError
from parley.platform.config.dpo import DialogueDPOConfig
from parley.platform.config.errors import display_path
from parley.platform.config.loading import load_experiment
from parley.platform.errors import InputError
from parley.platform.evaluation.cooperation import evaluate_generator
from parley.platform.judges.loading import load_detector
from parley.platform.models.completions import encode_responses
from parley.platform.models.resolving import resolve_model
from parley.platform.models.threads import limit_threads
from parley.platform.models.training import choose_device
from parley.platform.preferences.folder import read_pairs
from parley.platform.preferences.generated import generate_pairs
from parley.platform.preferences.pair import PreferencePair
from parley.platform.telemetry.run_folder import CONFIG_FILE
from parley.policies.dialogue.loading import LanguageModel, load_language_model

GENERATOR, REFERENCE = "generator", "reference"
"""Names of the tuned model and of what DPO started from, in a checkpoint."""


def is_generator(facts: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's facts are those of a DPO run."""
    return facts.get("policy") == "dpo"


def evaluate_dpo(
    checkpoint: Checkpoint, num_prompts: int | None, seed: int | None, data: Path | None
) -> dict[str, Any]:
    """Measure a tuned generator beside its reference, and keep the result in its run folder.

    Args:
        checkpoint: of `dialogue/dpo`.
        num_prompts: held-out prompts; None: as the experiment says.
        seed: of prompts and drawn responses; likewise.
        data: prepared folder whose held-out part is used; None: the run's own.

    Raises:
        InputError: data, model or detector cannot be had.
    """
    config = experiment_of(checkpoint)
    evaluation = config.evaluation
    pairs = _heldout_pairs(config, data)
    with limit_threads(config.learner.num_threads):
        tuned, reference = (_load(checkpoint, name, config) for name in (GENERATOR, REFERENCE))
        result = evaluate_generator(
            tuned,
            reference,
            _load_base(config) if config.supervised.num_epochs else None,
            keep_short(pairs, tuned, config.data.max_response_tokens),
            load_detector(config.judges.detector, "detector", _tell),
            load_detector(config.judges.judge, "judge", _tell),
            config,
            evaluation.final_prompts if num_prompts is None else num_prompts,
            evaluation.seed if seed is None else seed,
            print,
        )
    run = find_run(checkpoint)
    if run is not None:
        used = display_path(data) if data else config.data.path or "pairs that parley generates"
        try:
            result.write(run, f"{checkpoint.path.name}, held-out part of {used}")
        except OSError as error:
            _tell(f"not kept in {display_path(run)}: {error.strerror or error}")
    return result.metrics


def experiment_of(checkpoint: Checkpoint) -> DialogueDPOConfig:
    """The settings that a generator was tuned with.

    Those of its run, with what the checkpoint itself says of DPO, which differs between the trials
    of a sweep; of a copied checkpoint only the latter.

    Raises:
        InputError: it is of another kind of run.
    """
    facts = checkpoint.read_policy_facts()
    run = find_run(checkpoint)
    try:
        if "experiment" in facts:
            return DialogueDPOConfig.model_validate(facts["experiment"])
        config: object = DialogueDPOConfig() if run is None else load_experiment(run / CONFIG_FILE)
        if not isinstance(config, DialogueDPOConfig):
            raise CheckpointError(
                f"{display_path(checkpoint.path)} is a checkpoint of DPO, but lies in a run of "
                f"another kind; copy it elsewhere"
            )
        table = config.model_dump()
        table["dpo"] |= facts.get("dpo", {})
        if run is None:
            table["model"] = facts.get("model", config.model)
            table["data"]["path"] = facts.get("data", config.data.path)
        return DialogueDPOConfig.model_validate(table)
    except (ValidationError, TypeError) as error:
        raise CheckpointError(
            f"{display_path(checkpoint.path)}: its policy.json is not that of a DPO run: {error}"
        ) from error


def find_run(checkpoint: Checkpoint) -> Path | None:
    """The run folder around a checkpoint; None where it was copied out of one."""
    for folder in list(checkpoint.path.absolute().parents)[:4]:
        if (folder / CONFIG_FILE).is_file():
            return folder
    return None


def keep_short(
    pairs: list[PreferencePair], model: LanguageModel, max_response_tokens: int
) -> list[PreferencePair]:
    """The pairs whose responses are no longer than those of training; tells how many are not.

    Raises:
        InputError: none is left.
    """
    limit = min(max_response_tokens, model.context - 1)
    sides = [
        encode_responses(model.tokenizer, responses)
        for responses in ([p.chosen for p in pairs], [p.rejected for p in pairs])
    ]
    longest = [max(len(chosen), len(rejected)) for chosen, rejected in zip(*sides, strict=True)]
    kept = [pair for pair, length in zip(pairs, longest, strict=True) if length <= limit]
    if len(kept) < len(pairs):
        _tell(
            f"{len(pairs) - len(kept)} of {len(pairs)} held-out pairs have a response of more than "
            f"{limit} tokens and are left out, as in training"
        )
    if pairs and not kept:
        raise InputError(
            f"no held-out pair has responses of at most {limit} tokens "
            f"(data.max_response_tokens and the model's window); use other data"
        )
    return kept


def _heldout_pairs(config: DialogueDPOConfig, data: Path | None) -> list[PreferencePair]:
    if data is not None:
        return read_pairs(data).heldout
    if not config.data.path:
        return generate_pairs(config.data.num_generated, config.seed).heldout
    folder = Path(config.data.path)
    if not folder.is_dir():
        raise InputError(
            f"the run's data {config.data.path} is not here; go to the folder in which it was "
            f"trained, or name the prepared folder by --data DIR"
        )
    return read_pairs(folder).heldout


def _load(checkpoint: Checkpoint, name: str, config: DialogueDPOConfig) -> LanguageModel:
    folder = checkpoint.policy_folders.get(name)
    if folder is None:
        raise CheckpointError(
            f"{display_path(checkpoint.path)} holds no {name} below policies/, which its "
            f"evaluation needs; name a checkpoint that parley train dialogue/dpo wrote"
        )
    device = choose_device(1.0 if config.learner.num_gpus_per_learner != 0 else 0.0)
    try:
        return load_language_model(folder, device)
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def _load_base(config: DialogueDPOConfig) -> LanguageModel | None:
    """The model before supervised tuning; its row is left out where it cannot be had any more."""
    device = choose_device(1.0 if config.learner.num_gpus_per_learner != 0 else 0.0)
    try:
        return load_language_model(resolve_model(config.model, _tell), device)
    except (InputError, ValueError) as error:
        _tell(f"the model before tuning is left out: {error}")
        return None


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
